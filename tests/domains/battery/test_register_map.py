import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwire.domains.battery.mapping_file import MappingInvalid
from benchwire.domains.battery.register_map import (
    Inverter,
    Register,
    decode,
    in_powers_of_ten,
    load_maps,
    number,
)

GOOD = """
[[inverters]]
name = "container-1"
device_id = "ZHPESS232A230002"
host = "192.0.2.10"
port = 1502
unit = 3
interval_s = 5
word_order = "little"
[[inverters.registers]]
field = "soc"
address = 100
type = "uint16"
scale = 0.1
not_available = 0xFFFF
[[inverters.registers]]
field = "apparent_power"
group = "pcs"
table = "input"
address = 0x20
type = "int32"
scale_register = 0x22

[[inverters]]
name = "container-2"
device_id = "ZHPESS232A230003"
host = "inverter.example"
sunspec = true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "inverters.toml"
    path.write_text(text, "utf-8")
    return path


def mistakes(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(MappingInvalid) as caught:
        load_maps(written(folder, text))
    found = {one["key"]: one["message"] for one in caught.value.details}
    assert all(f"{key}: {message}" in caught.value.message for key, message in found.items())
    assert str(folder) not in caught.value.message
    return found


def test_file_gives_its_inverters(tmp_path: Path) -> None:
    first, second = load_maps(written(tmp_path, GOOD))
    assert (first.name, first.device_id, first.host) == (
        "container-1",
        "ZHPESS232A230002",
        "192.0.2.10",
    )
    assert (first.port, first.unit, first.interval_s, first.word_order) == (1502, 3, 5.0, "little")
    assert first.registers == (
        Register(field="soc", address=100, type="uint16", scale=0.1, not_available=0xFFFF),
        Register(
            field="apparent_power",
            group="pcs",
            table="input",
            address=32,
            type="int32",
            scale_register=34,
        ),
    )
    assert (second.sunspec, second.port, second.unit, second.interval_s) == (True, 502, 1, 2.0)


def test_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "inverters.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert len(load_maps(path)) == 2


def test_every_mistake_is_named_by_entry_and_key(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
        [[inverters]]
        name = "a"
        device_id = "../x"
        host = "h"
        port = 99999
        interval_s = 0.1
        timeot_s = 1
        [[inverters.registers]]
        field = "sok"
        address = 1
        type = "int16"
        [[inverters.registers]]
        field = "soc"
        address = 70000
        type = "int8"
        scale = 0
        [[inverters]]
        name = "b"
        device_id = "b"
        """,
    )
    assert set(found) == {
        "inverters[1].device_id",
        "inverters[1].port",
        "inverters[1].interval_s",
        "inverters[1].timeot_s",
        "inverters[1].registers[1]",
        "inverters[1].registers[2].address",
        "inverters[1].registers[2].type",
        "inverters[1].registers[2].scale",
        "inverters[2].host",
    }
    assert "'sok' is not a field; there are soc, soh" in found["inverters[1].registers[1]"]
    assert found["inverters[1].timeot_s"] == "there is no such key"


REGISTER = '[[inverters.registers]]\nfield = "{}"\naddress = {}\ntype = "{}"\n'


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ("", "inverters[1]", "either sunspec = true or registers are needed"),
        ("sunspec = true\n" + REGISTER.format("soc", 1, "int16"), "inverters[1]", "neither"),
        ('sunspec = true\nword_order = "little"', "inverters[1]", "neither"),
        (REGISTER.format("soc", 65535, "int32"), "inverters[1].registers[1]", "last register"),
        (
            REGISTER.format("soc", 1, "int16") + 'group = "pcs"',
            "inverters[1].registers[1]",
            "'soc' belongs to bms, not to pcs",
        ),
        (REGISTER.format("soc", 1, "int16") * 2, "inverters[1]", "'soc' is in more than one"),
        (REGISTER.format("soc", 1, "int16") + "scale = nan", "scale", "finite"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, content: str, key: str, message: str
) -> None:
    head = '[[inverters]]\nname = "a"\ndevice_id = "a"\nhost = "h"\n'
    [(place, told)] = mistakes(tmp_path, head + content).items()
    assert key in place
    assert message in told


def test_inverters_of_one_name_or_field_are_refused(tmp_path: Path) -> None:
    one = '[[inverters]]\nname = "{}"\ndevice_id = "a"\nhost = "h"\n'
    soc = REGISTER.format("soc", 1, "int16")
    same_name = one.format("a") + soc + one.format("a") + REGISTER.format("soh", 1, "int16")
    assert "two inverters have the name 'a'" in mistakes(tmp_path, same_name)["the file"]
    same_field = one.format("a") + soc + one.format("b") + soc
    assert "'soc' of a comes from two inverters" in mistakes(tmp_path, same_field)["the file"]
    assert "there is no inverter" in mistakes(tmp_path, "inverters = []")["the file"]


@pytest.mark.parametrize("content", [b"[[inverters", b"\xff\xfe\x00", b"a = 1\na = 2"])
def test_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "inverters.toml"
    path.write_bytes(content)
    with pytest.raises(MappingInvalid, match=r"inverters\.toml is not TOML"):
        load_maps(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingInvalid, match=r"nowhere\.toml cannot be read"):
        load_maps(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        ("int16", [0x7FFF], 32767),
        ("int16", [0xFFFE], -2),
        ("uint16", [0xFFFE], 65534),
        ("int32", [0x0001, 0x86A0], 100_000),
        ("int32", [0xFFFE, 0x7960], -100_000),
        ("uint32", [0xFFFE, 0x7960], 4_294_867_296),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD], -3),
        ("uint64", [0x0000, 0x0001, 0x0000, 0x0002], 4_294_967_298),
        ("float32", [0x42CA, 0x8000], 101.25),
        ("float64", [0x4059, 0x5000, 0x0000, 0x0000], 101.25),
    ],
)
def test_number_of_each_type_is_that_of_its_registers(
    kind: str, words: list[int], expected: float
) -> None:
    assert number(kind, words) == expected
    assert number(kind, words[::-1], word_order="little") == expected
    swapped = [(word & 0xFF) << 8 | word >> 8 for word in words]
    assert number(kind, swapped, byte_order="little") == expected
    assert number(kind, swapped[::-1], byte_order="little", word_order="little") == expected


@given(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.booleans())
def test_any_integer_comes_back_in_every_order(
    value: int, little_words: bool, little_bytes: bool
) -> None:
    words = list(struct.unpack(f"{'<' if little_bytes else '>'}4H", struct.pack(">q", value)))
    order = "little" if little_bytes else "big"
    if little_words:
        words.reverse()
    assert (
        number("int64", words, byte_order=order, word_order="little" if little_words else "big")
        == value
    )


def said(words: list[int], **register: object) -> float | None:
    inverter = Inverter(
        name="a",
        device_id="a",
        host="h",
        registers=(Register(field="soc", address=10, **register),),
    )
    there = {("holding", 10 + k): word for k, word in enumerate(words)}
    return decode(inverter, there)["bms"]["soc"]


def test_scale_and_offset_give_the_decimals_that_were_meant() -> None:
    assert said([3301], type="uint16", scale=0.1) == 330.1
    assert said([3301], type="uint16", scale=0.001) == 3.301
    assert said([653], type="uint16", scale=0.1, offset=-40) == 25.3
    assert said([7], type="uint16", scale=-1) == -7
    assert said([7], type="int16") == 7.0


@pytest.mark.parametrize(
    ("words", "nothing", "kind"),
    [
        ([0x8000], 0x8000, "int16"),
        ([0x8000], -0x8000, "int16"),
        ([0xFFFF], 0xFFFF, "uint16"),
        ([0xFFFF, 0xFFFF], 0xFFFFFFFF, "int32"),
        ([0x8000, 0, 0, 0], 0x8000_0000_0000_0000, "int64"),
        ([0xC61C, 0x3C00], -9999, "float32"),
        ([0x7FC0, 0x0000], None, "float32"),
        ([0x7F80, 0x0000], None, "float32"),
        ([0xFFF0, 0, 0, 0], None, "float64"),
    ],
)
def test_sentinel_or_no_number_is_no_value(
    words: list[int], nothing: int | None, kind: str
) -> None:
    assert said(words, type=kind, not_available=nothing) is None


def test_without_a_sentinel_every_integer_is_a_value() -> None:
    assert said([0xFFFF], type="uint16") == 65535
    assert said([0x8000], type="int16") == -32768


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0, 1234.0), (0xFFFE, 12.34), (2, 123400.0), (0x8000, None), (11, None), (0xFFF5, None)],
)
def test_scale_register_is_a_power_of_ten(factor: int, expected: float | None) -> None:
    assert said([1234, factor], type="uint16", scale_register=11) == expected


@given(st.integers(-32768, 65535), st.integers(-10, 10))
def test_power_of_ten_is_rounded_once(raw: int, factor: int) -> None:
    assert in_powers_of_ten(raw, factor) == float(f"{raw}e{factor}")
