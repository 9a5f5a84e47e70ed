"""Frames against bytes written down by hand."""

import pytest

from benchwire.domains.powermeter.errors import FrameDamaged
from benchwire.domains.powermeter.protocol import Identity, crc16, decode, decode_recording

GOLDEN = bytes.fromhex(
    "78f2a6947d84ef1a035c9aa26a265ce72aca6ec4a4554d5542e8674b097e259c"
    "449a11f25f4e281147d9732213f9193fc79c789ab3f6ccdf508a788cbbd915c2"
    "292d35418680087e9c7a67bd32dad75921c64382e6ebc95586833af7a49b0dd2"
    "6babf8c170d31db582db234384fa559365d86c5d628335a73302a3ab7332f6e0"
    "4231f411e56f5c203c590b4a68fd5b092aca6ec4a4554d5542e8674b097e259c"
    "2aca6ec4a4554d5542e8674b097e259ce09c4004c92da948c3165eebdb8b9ec2"
)


def test_golden_frame_gives_every_field() -> None:
    frame = decode(GOLDEN)
    assert frame.identity == Identity("TC66", "1.18", 4242, 17)
    assert frame.codes == (51234, 48765, 24984, 105, -7, 123, 634, 4567, 23456, 281, 280)


@pytest.mark.parametrize("position", range(192))
def test_no_changed_byte_goes_unnoticed(position: int) -> None:
    changed = bytearray(GOLDEN)
    changed[position] ^= 0x10
    with pytest.raises(FrameDamaged):
        decode(bytes(changed))


@pytest.mark.parametrize("data", [b"", GOLDEN[:100], GOLDEN + b"x", b"x" * 7 + GOLDEN[:185]])
def test_cut_and_shifted_frames_are_refused(data: bytes) -> None:
    with pytest.raises(FrameDamaged):
        decode(data)


def test_checksum_has_its_published_check_value() -> None:
    assert crc16(b"123456789") == 0x4B37


def test_recording_is_pairs_of_volts_and_amperes() -> None:
    data = (51234).to_bytes(4, "little") + (48765).to_bytes(4, "little")
    assert decode_recording(data * 2) == [(5.1234, 0.48765)] * 2
    assert decode_recording(b"") == []
    for damaged in (data[:-1], data * 1441):
        with pytest.raises(FrameDamaged):
            decode_recording(damaged)
