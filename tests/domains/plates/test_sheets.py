"""Sheets as text: their lines, however they end."""

import io
import random

from benchwire.domains.plates.sheets import _lines


def test_lines_are_those_of_a_file_opened_with_its_ends_kept() -> None:
    chance = random.Random(1)
    for _ in range(5000):
        text = "".join(chance.choices('ab,\r\n"\u2028\v', k=chance.randint(0, 12)))
        expected = list(io.StringIO(text, newline=""))
        assert list(_lines(text)) == list(_lines(f"\ufeff{text}")) == expected
