"""Which channel is which: a proposal from the channels' names."""

import re
from collections.abc import Sequence
from typing import Any

PHASE_FEATURES = ("area", "aspect_ratio")
FLUORESCENCE_FEATURES = ("intensity_total",)

_PHASE_WORDS = ("phase", "bf", "brightfield", "dic", "trans")
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
    lower = name.strip().lower()
    return any(word in lower for word in _PHASE_WORDS) or bool(_PHASE_ABBREVIATION.fullmatch(lower))
