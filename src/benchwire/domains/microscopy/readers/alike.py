"""What a file says of each FOV, and whether the FOVs of one movie are alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.readers.units import timeline

_SAME_SIZE = 1e-6


@dataclass(frozen=True, slots=True)
class FovMetadata:
    """What a file says of one FOV.

    Parameters
    ----------
    channel_names
        Names from channel 0 on; None for a channel without one.
    times_ms
        Time of each frame from any moment on; None when the file gives none.
    """

    channel_names: tuple[str | None, ...] = ()
    times_ms: Sequence[float] | None = None
    pixel_size_um: float | None = None


def refuse_unlike(fovs: Sequence[FovMetadata], n_frames: int) -> None:
    """Refuse a movie whose FOVs differ in channel names, pixel size or times.

    A channel without a name is like any other. Times are those from the FOV's own first frame,
    and may differ by half the smallest interval of FOV 0: a stage does not arrive on the dot.
    """
    names: dict[int, tuple[int, str]] = {}
    points, has_times = timeline(fovs[0].times_ms, n_frames)
    allowed = half_interval(points)
    for fov, metadata in enumerate(fovs):
        for channel, name in enumerate(metadata.channel_names):
            if name and name.strip():
                owner, known = names.setdefault(channel, (fov, name.strip()))
                if known != name.strip():
                    raise differing(fov, "channel names", reference=owner)
        if not _same_size(metadata.pixel_size_um, fovs[0].pixel_size_um):
            raise differing(fov, "pixel size")
        own_points, has_own = timeline(metadata.times_ms, n_frames)
        apart = max(abs(a - b) for a, b in zip(points, own_points, strict=True))
        given = (metadata.times_ms is None, has_own)
        if given != (fovs[0].times_ms is None, has_times) or apart > allowed:
            raise differing(fov, "times")


def refuse_unlike_durations(
    durations_ms: Sequence[float | None], times_ms: Sequence[float] | None
) -> None:
    """Refuse a movie whose FOVs did not last equally long from their first frame to their last.

    Parameters
    ----------
    durations_ms
        That of each FOV; None where it is not known.
    times_ms
        Times of FOV 0; unusable ones allow no comparison.
    """
    points, has_times = timeline(times_ms, len(times_ms or ()))
    if not has_times or durations_ms[0] is None:
        return
    for fov, duration in enumerate(durations_ms):
        if duration is not None and not abs(duration - durations_ms[0]) <= half_interval(points):
            raise differing(fov, "times")


def half_interval(points_ms: Sequence[float]) -> float:
    """Return half of the smallest step; infinite for a single time."""
    return min((b - a for a, b in pairwise(points_ms)), default=math.inf) / 2


def differing(fov: int, what: str, *, reference: int = 0) -> FileUnreadable:
    """Return the answer to a movie with an FOV unlike another."""
    return FileUnreadable(
        f"FOV {fov} differs from FOV {reference} in its {what}",
        hint="The FOVs of one movie must be alike; process the others apart.",
    )


def _same_size(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_SAME_SIZE)
