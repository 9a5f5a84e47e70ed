"""Lines and what they mean."""

from decimal import Decimal

import pytest

from benchwire_balance import protocol
from benchwire_balance.errors import (
    AnswerDamaged,
    CommandRefused,
    NotStable,
    Overload,
    Underload,
)


def weight(line: bytes, command: str = "SI") -> protocol.Weight:
    return protocol.weight_of(protocol.parse(line, command))


@pytest.mark.parametrize(
    ("line", "grams", "is_stable"),
    [
        (b"S S     24.8132 g\r\n", "24.8132", True),
        (b"S D    -24.8130 g\r\n", "-24.8130", False),
        (b"S S      1.2000 kg\r\n", "1200.0000", True),
        (b"S S     12.500 mg\r\n", "0.012500", True),
    ],
)
def test_weight_is_in_grams_with_all_digits(line: bytes, grams: str, is_stable: bool) -> None:
    assert weight(line) == protocol.Weight(Decimal(grams), is_stable)
    assert str(weight(line).grams) == grams


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"S I\r\n", NotStable),
        (b"S +\r\n", Overload),
        (b"S -\r\n", Underload),
        (b"S L\r\n", CommandRefused),
        (b"ES\r\n", CommandRefused),
        (b"ET\r\n", CommandRefused),
        (b"EL\r\n", CommandRefused),
        (b"S S 12.5 oz\r\n", AnswerDamaged),
        (b"S S 1x.5 g\r\n", AnswerDamaged),
        (b"T S 12.5 g\r\n", AnswerDamaged),
        (b"\r\n", AnswerDamaged),
        (b"\xff\xfe\x00\r\n", AnswerDamaged),
    ],
)
def test_whatever_is_no_weight_is_told(line: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        weight(line)


def test_text_loses_its_quotes() -> None:
    assert protocol.text_of(protocol.parse(b'I4 A "B700101"\r\n', "I4")) == "B700101"
