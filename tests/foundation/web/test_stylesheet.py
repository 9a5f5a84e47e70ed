"""The style sheet: colours that can be read in both themes, and every class the pages use."""

import itertools
import re
from pathlib import Path

import nicegui
import pytest

ROOT = Path(__file__).parents[3] / "src" / "benchwire"
SHEET = (ROOT / "foundation" / "web" / "static" / "benchwire.css").read_text("utf-8")
BACKGROUNDS = ("page", "surface", "raised")
TEXTS = ("text", "muted", "link", "primary", "good", "bad", "warn", "busy", "accent")
TINTED = {"good": "good-soft", "bad": "bad-soft", "warn": "warn-soft", "busy": "busy-soft",
          "muted": "idle-soft"}  # fmt: skip
FILLS = ("primary", "good", "bad", "warn", "busy", "accent")
TEXT_CONTRAST, CONTROL_CONTRAST = 4.5, 3.0


def tokens(selector: str) -> dict[str, str]:
    block = SHEET.split(f"{selector} {{", 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--bw-([\w-]+): (#[0-9a-f]{6});", block))


LIGHT = tokens(":root")
DARK = LIGHT | tokens(':root[data-theme="dark"]')


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_contrast_on_every_background(theme: dict[str, str]) -> None:
    pairs = [
        *itertools.product(TEXTS, BACKGROUNDS),
        *TINTED.items(),
        *(("on-fill", fill) for fill in FILLS),
    ]
    poor = {
        pair: round(found, 2)
        for pair in pairs
        if (found := contrast(theme[pair[0]], theme[pair[1]])) < TEXT_CONTRAST
    }
    assert poor == {}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_fields_and_the_focus_are_seen(theme: dict[str, str]) -> None:
    for part, background in itertools.product(("control", "focus"), BACKGROUNDS):
        assert contrast(theme[part], theme[background]) >= CONTROL_CONTRAST, (part, background)


def test_every_class_of_the_pages_is_defined() -> None:
    used = {
        word
        for path in ROOT.rglob("*.py")
        for given in re.findall(r"\.classes\(\s*((?:f?\"[^\"{]*\"\s*)+)", path.read_text("utf-8"))
        for text in re.findall(r"\"([^\"]*)\"", given)
        for word in text.split()
    }
    library = Path(nicegui.__file__).parent / "static"
    sheets = [
        *ROOT.rglob("*.css"),
        *(library / f"quasar.{kind}.prod.css" for kind in ("important", "unimportant")),
    ]
    styles = "".join(sheet.read_text("utf-8") for sheet in sheets)
    # Some domains keep a few rules beside their pages.
    styles += "".join(
        rules
        for path in ROOT.rglob("*.py")
        for rules in re.findall(r"<style>(.*?)</style>", path.read_text("utf-8"), re.DOTALL)
    )
    defined = {name.replace("\\", "") for name in re.findall(r"\.((?:[\w-]|\\.)+)", styles)}
    assert used - defined == set()
