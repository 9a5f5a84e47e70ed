"""The emulated firmware against frames written by hand, and its rules."""

import struct

import pytest

from benchwire.domains.potentiostat.emulator import EmulatedPotentiostat, checksum, emulated

TICK = 0.00036


class Host:
    """Sends frames at moments of its choosing."""

    def __init__(self, device: EmulatedPotentiostat) -> None:
        self.device = device
        self.now = 100.0

    def send(self, body: str) -> bytes:
        frame = bytes.fromhex(body)
        return self.device.receive(frame + checksum(frame), self.now)

    def command(self, code: int, parameter: int) -> None:
        assert self.send(f"01104f00000204{code:04x}{parameter:04x}")[1] == 0x10

    def push(self, *points: float) -> bytes:
        words = b"".join(
            struct.pack(">HH", *struct.unpack("<HH", struct.pack("<f", value))) for value in points
        )
        count = 2 * len(points)
        return self.send(f"01100200{count:04x}{2 * count:02x}{words.hex()}")

    def pop(self, count: int) -> list[tuple[float, float]]:
        answer = self.send(f"01030100{4 * count:04x}")
        assert answer[1] == 3, "busy"
        words = struct.unpack(f"<{4 * count}H", struct.pack(f"<{4 * count}H", *struct.unpack(
            f">{4 * count}H", answer[3:-2])))  # fmt: skip
        values = struct.unpack(f"<{2 * count}f", struct.pack(f"<{4 * count}H", *words))
        return list(zip(values[::2], values[1::2], strict=True))

    def wait(self, ticks: float) -> None:
        self.now += ticks * TICK

    @property
    def state(self) -> tuple[int, int, int]:
        """Waiting samples, waiting points, state bits."""
        registers = struct.unpack(">24H", self.send("010303000018")[3:-2])
        low = registers[16::2]
        return low[0], low[1], low[3]


@pytest.fixture
def host() -> Host:
    return Host(emulated(1))


def set_averaging(host: Host, length: float) -> None:
    for register in ("3004", "300a"):
        words = struct.pack(">HH", *struct.unpack("<HH", struct.pack("<f", length))).hex()
        assert host.send(f"0110{register}000204{words}")[1] == 0x10


def test_serial_number_is_read() -> None:
    host = Host(EmulatedPotentiostat(bytes.fromhex("3271001122334455")))
    assert host.send("010343000004")[3:-2] == bytes.fromhex("3271001122334455")


def test_broadcast_like_unit_is_answered(host: Host) -> None:
    frame = bytes.fromhex("ff0343000004")
    assert host.device.receive(frame + checksum(frame), host.now)[0] == 0xFF


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("010203000018", 1),
        ("010377000001", 2),
        ("010303000019", 2),
        ("01034f000001", 2),
        ("010301000004", 6),
        ("01104f0000020400ff0001", 3),
        ("01104f0000020400e30006", 3),
    ],
)
def test_bad_request_is_an_exception(host: Host, body: str, code: int) -> None:
    answer = host.send(body)
    assert answer[1] & 0x80
    assert answer[2] == code


def test_wrong_checksum_is_an_exception(host: Host) -> None:
    answer = host.device.receive(bytes.fromhex("010303000018") + b"\0\0", host.now)
    assert answer[1:3] == bytes([0x83, 3])


def test_frame_in_pieces_and_after_rubbish_is_answered(host: Host) -> None:
    frame = bytes.fromhex("010303000018")
    frame += checksum(frame)
    host.device.receive(b"\x01\x03", host.now)
    host.wait(100)
    assert host.device.receive(frame[:3], host.now) == b""
    assert len(host.device.receive(frame[3:], host.now)) == 53


def test_sample_after_next_answers_to_the_first_point(host: Host) -> None:
    set_averaging(host, 1)
    host.push(*[0.1 * number for number in range(1, 11)])
    host.command(0xE5, 1)
    host.wait(11.5)
    samples = host.pop(11)
    played = [potential for _, potential in samples[1:]]
    assert played == pytest.approx([0.1 * number for number in range(1, 11)], abs=0.0015)


def test_busy_pop_takes_nothing(host: Host) -> None:
    host.command(0xE5, 1)
    host.wait(5.5)
    assert host.send("010301000028")[1] == 0x83
    assert host.state[0] == 5
    assert len(host.pop(5)) == 5


def test_full_output_buffer_is_busy_and_takes_nothing(host: Host) -> None:
    for _ in range(68):
        assert host.push(*[0.0] * 60)[1] == 0x10
    assert host.push(*[0.0] * 60)[2] == 6
    assert host.state[1] == 68 * 60


def test_unread_samples_are_overwritten(host: Host) -> None:
    host.command(0xE5, 1)
    host.wait(3000.5)
    assert host.state[0] == 2048
    assert host.device._overwritten == 3000 - 2048


def test_empty_output_holds_and_sampling_goes_on(host: Host) -> None:
    set_averaging(host, 1)
    host.push(0.5)
    host.command(0xE5, 1)
    host.wait(20.5)
    assert [round(potential, 2) for _, potential in host.pop(20)[1:]] == [0.5] * 19


def test_stop_waits_for_the_output_to_play_out(host: Host) -> None:
    host.push(*[0.1] * 60)
    host.command(0xE5, 1)
    host.wait(10)
    host.command(0xE7, 1)
    host.wait(10)
    assert host.state[2] & 1 << 4
    host.wait(60)
    assert host.state[2] & (1 << 4 | 1 << 5 | 1 << 8) == 0


def test_stop_of_an_idle_instrument_ends_its_next_run(host: Host) -> None:
    host.command(0xE7, 1)
    assert host.state[2] & 1 << 5
    host.command(0xE5, 1)
    host.wait(5)
    assert host.state[2] & 1 << 4 == 0


def test_cell_opens_at_once(host: Host) -> None:
    host.push(*[0.1] * 60)
    host.command(0xE5, 1)
    host.wait(5)
    host.command(0xE4, 0)
    assert host.state[2] & 1 << 8 == 0


def test_reset_does_not_clear_a_mere_request(host: Host) -> None:
    host.push(*[0.1] * 60)
    host.command(0xE8, 1)
    assert host.state[1] == 60


def test_galvanostatic_mode_takes_no_samples_by_itself(host: Host) -> None:
    host.command(0xE4, 1)
    words = struct.pack(">HH", *struct.unpack("<HH", struct.pack("<f", 1e-5))).hex()
    assert host.send(f"01104f0000030600e6{words}")[1] == 0x10
    host.wait(1000)
    assert host.state[0] == 0
    assert host.state[2] & 1 << 3
    host.command(0xE7, 1)
    host.wait(2)
    assert host.state[2] & (1 << 3 | 1 << 4 | 1 << 8) == 0


def test_current_ends_at_full_scale(host: Host) -> None:
    set_averaging(host, 1)
    host.command(0xE3, 2)
    host.push(*[4.0] * 30)
    host.command(0xE5, 1)
    host.wait(31)
    currents = [current for current, _ in host.pop(30)[2:]]
    assert max(currents) == pytest.approx(4.95 / 1e5)
