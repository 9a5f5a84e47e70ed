"""Which channel is which: a proposal from the channels' names."""

import re
from collections.abc import Sequence
from typing import Any

PHASE_FEATURES = ("area", "aspect_ratio")
FLUORESCENCE_FEATURES = ("intensity_total",)

_LETTER = r"[^\W\d_]"
_HUMP = "(?:(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]))"
# Whole words but for the long ones: BFP, a calcium indicator and transferrin shine.
_PHASE_WORD = re.compile(
    f"(?i:brightfield)|(?:(?<!{_LETTER})|{_HUMP})(?:(?i:phase)|"
    "(?i:bf|dic(?:i+)?|trans(?:mit|mitted|mittance|mission|illumination|pmt)?(?:light)?)"
    f"(?:(?!{_LETTER})|{_HUMP}))"
)
_PHASE_ABBREVIATION = re.compile(r"(ph|pc)\d*")


def suggest_channels(names: Sequence[str]) -> dict[str, Any]:
    """Return a choice of channels that a workflow can be started with.

    The first channel that is called after a transmitted-light method is the phase channel, the
    first of all if none is; all others are fluorescence, in their order.
    """
    phase = next((number for number, name in enumerate(names) if is_phase(name)), 0)
    return {
        "phase": {"channel": phase, "features": list(PHASE_FEATURES)},
        "fluorescence": [
            {"channel": number, "features": list(FLUORESCENCE_FEATURES)}
            for number in range(len(names))
            if number != phase
        ],
    }


def is_phase(name: str) -> bool:
    """Whether a channel's name is that of a transmitted-light method."""
    has_word = _PHASE_WORD.search(name) is not None
    return has_word or _PHASE_ABBREVIATION.fullmatch(name.strip().lower()) is not None
