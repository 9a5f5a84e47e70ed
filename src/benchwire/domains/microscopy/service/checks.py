"""What a workflow is refused for, before there is a job."""

from pathlib import Path

from benchwire.domains.microscopy import finished, results
from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.features import Kind, load_features
from benchwire.domains.microscopy.plan import DEFAULT_INTERVAL_MINUTES, MovieInfo, Plan
from benchwire.domains.microscopy.schemas import Parameters
from benchwire.domains.microscopy.stacks import stacks_of
from benchwire.foundation.files import make_usable, refuse_too_large

# So that the longest name made of it stays within the 255 bytes a file system takes.
_LONGEST_NAME = 180


def check_channels(plan: Plan, info: MovieInfo) -> None:
    """Refuse channels that the movie lacks, and features that are not of their kind."""
    features = load_features()
    choices: list[tuple[Kind, int, tuple[str, ...]]] = [
        ("phase", plan.phase, plan.phase_features),
        *(("fluorescence", item.channel, item.features) for item in plan.fluorescence),
    ]
    for kind, channel, names in choices:
        if channel >= info.n_channels:
            raise ParametersInvalid(
                f"There is no channel {channel}; the file has 0 to {info.n_channels - 1}"
            )
        for name in names:
            feature = features.get(name)
            if feature is None or feature.kind != kind:
                known = sorted(item.name for item in features.values() if item.kind == kind)
                raise ParametersInvalid(
                    f"'{name}' is no {kind} feature", hint=f"There are: {', '.join(known)}."
                )


def fov_range(parameters: Parameters, info: MovieInfo) -> range:
    """Return the FOVs that a request means.

    Raises
    ------
    ParametersInvalid
        The movie lacks some of them, or there are none.
    """
    first = max(parameters.fov_start, 0)
    last = info.n_fovs - 1 if parameters.fov_end == -1 else parameters.fov_end
    if not first <= last < info.n_fovs:
        raise ParametersInvalid(
            f"FOVs {first} to {last} are not there; the file has 0 to {info.n_fovs - 1}"
        )
    return range(first, last + 1)


def check_times(plan: Plan, info: MovieInfo) -> list[str]:
    """Return what to warn of; times that are there and wrong are refused, not replaced."""
    if plan.frame_interval is not None or info.has_times or info.n_frames == 1:
        return []
    if info.has_unusable_times:
        raise ParametersInvalid(
            "The times in the file do not ascend from frame to frame",
            hint="Give frame_interval, the minutes between frames.",
        )
    minutes = DEFAULT_INTERVAL_MINUTES
    return [f"The file gives no times; frames are taken to be {minutes:g} min apart"]


def refuse_file(output: Path) -> None:
    """Refuse an output folder that is a file or would have to lie in one."""
    there = next(path for path in (output, *output.parents) if path.exists())
    if not there.is_dir():
        raise ParametersInvalid(f"{there.name} is not a folder")


def check_output(output: Path, info: MovieInfo, fovs: range) -> None:
    """Make the output folder, unless it cannot be used."""
    if len(info.base_name.encode()) > _LONGEST_NAME:
        raise ParametersInvalid("The movie's name is too long for the names of its results")
    make_usable(output)
    for fov in fovs:
        owner = finished.facts(results.fov_folder(output, fov)).get("base_name", info.base_name)
        if owner != info.base_name:
            raise ParametersInvalid(
                f"output_dir holds results of another movie, {owner}",
                hint="Choose another output_dir.",
            )


def check_room(output: Path, plan: Plan, info: MovieInfo, fovs: range) -> None:
    """Refuse a workflow whose stacks would not fit on the disk; FOVs that are there need no room.

    Raises
    ------
    DiskAlmostFull
    """
    frame_bytes = info.height * info.width * sum(each.dtype.itemsize for each in stacks_of(plan))
    new = sum(not finished.facts(results.fov_folder(output, fov)) for fov in fovs)
    refuse_too_large(output, new * info.n_frames * frame_bytes, "the results")
