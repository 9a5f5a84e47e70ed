"""The index of an output folder: which FOVs have been processed and where their files are.

One ``processing_results.yaml`` that runs add to; what earlier runs entered stays.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchwire.domains.microscopy.plan import FluorescenceChannel, Plan
from benchwire.domains.microscopy.results import column_channel, free_name
from benchwire.domains.microscopy.stacks import Stack
from benchwire.domains.microscopy.yaml_files import YamlInvalid, is_number, load_yaml
from benchwire.foundation.files import only_writer, write_whole

logger = logging.getLogger(__name__)

RESULTS_NAME = "processing_results.yaml"
_MAX_BYTES = 64 << 20
_MAX_NAMES = 1_000


@dataclass(frozen=True, slots=True)
class FovFiles:
    """Files of one FOV, each with its channel."""

    pc: tuple[int, Path] | None = None
    fl: tuple[tuple[int, Path], ...] = ()
    seg: tuple[int, Path] | None = None
    seg_labeled: tuple[int, Path] | None = None
    fl_background: tuple[tuple[int, Path], ...] = ()
    traces: Path | None = None

    @classmethod
    def of(cls, stacks: Mapping[Stack, Path], traces: Path) -> Self:
        """Return the files of an FOV as it is processed."""

        def every(kind: str) -> tuple[tuple[int, Path], ...]:
            return tuple((item.channel, path) for item, path in stacks.items() if item.kind == kind)

        (pc,), (seg,), (labels,) = every("pc"), every("seg"), every("seg_labeled")
        return cls(pc, every("fl"), seg, labels, every("fl_background"), traces)

    @property
    def table(self) -> Path:
        """The traces of an FOV as it is processed."""
        assert self.traces is not None  # noqa: S101 - `of` gives them
        return self.traces

    @property
    def phase_and_labels(self) -> tuple[tuple[int, Path], tuple[int, Path]]:
        """The stacks of an FOV as it is processed."""
        assert self.pc is not None  # noqa: S101 - `of` gives them
        assert self.seg_labeled is not None  # noqa: S101 - as above
        return self.pc, self.seg_labeled

    def stacks(self) -> list[Path]:
        """Return the files of all stacks."""
        single = (item for item in (self.pc, self.seg, self.seg_labeled) if item)
        return [path for _, path in (*single, *self.fl, *self.fl_background)]


@dataclass(frozen=True, slots=True)
class ResultsIndex:
    """What `processing_results.yaml` says, apart from parameters."""

    phase: FluorescenceChannel | None = None
    fluorescence: tuple[FluorescenceChannel, ...] = ()
    fovs: Mapping[int, FovFiles] = field(default_factory=dict)

    @classmethod
    def of_plan(cls, plan: Plan, fovs: Mapping[int, FovFiles]) -> Self:
        """Return what there is to say of FOVs that were processed by a plan."""
        phase = FluorescenceChannel(plan.phase, plan.phase_features)
        return cls(phase, plan.fluorescence, fovs)

    def columns(self) -> tuple[str, ...]:
        """Return the names of the feature columns, phase first."""
        channels = [*([self.phase] if self.phase else []), *self.fluorescence]
        return tuple(f"{name}_ch_{item.channel}" for item in channels for name in item.features)

    def untold_channels(self) -> dict[int, int]:
        """Return for each FOV a channel of which `columns` may lack some.

        That is its phase channel where FOVs differ in it: there is room for that of the last run
        alone.
        """
        phases = {fov: files.pc[0] for fov, files in self.fovs.items() if files.pc}
        is_one = self.phase is None or set(phases.values()) <= {self.phase.channel}
        return {} if is_one else phases


def write_results(output_dir: Path, index: ResultsIndex, *, params: Mapping[str, Any]) -> Path:
    """Add FOVs to the index of a folder, and return its path.

    FOVs, channels and features of earlier runs stay. An index that cannot be read is renamed and a
    new one begun.
    """
    import yaml

    path = output_dir / RESULTS_NAME
    with only_writer(output_dir):
        try:
            merged = _merged(read_results(path), index) if path.exists() else index
        except YamlInvalid:
            aside = free_name(path, "damaged")
            path.rename(aside)
            logger.warning("The index %s cannot be read and is now %s", path, aside.name)
            merged = index
        document = _document(merged, output_dir, params)
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        text = yaml.dump(
            document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1 << 20
        )
        write_whole(path, text.encode())
    return path


def read_results(path: Path) -> ResultsIndex:
    """Return what the index of a folder says; entries that make no sense are left out.

    A file that has been moved together with the index is found at its new place.

    Raises
    ------
    YamlInvalid
        The file as a whole is no such index.
    """
    document = load_yaml(path, max_bytes=_MAX_BYTES)
    if not isinstance(document, dict):
        raise YamlInvalid(f"{path.name} is not a list of results")
    channels = _mapping(document.get("channels"))
    phase = _channel(channels.get("pc"))
    fluorescence = [_channel(item) for item in _list(channels.get("fl"))[:_MAX_NAMES]]
    fovs = {
        int(number): _fov_files(_mapping(files), path.parent)
        for number, files in _mapping(document.get("results")).items()
        if is_number(number)
    }
    return ResultsIndex(phase, tuple(item for item in fluorescence if item), fovs)


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _channel(value: Any) -> FluorescenceChannel | None:
    if isinstance(value, dict):
        value = [value.get("channel"), value.get("features")]
    if not (isinstance(value, list) and value and is_number(value[0])):
        return None
    features = _list(value[1] if len(value) > 1 else None)[:_MAX_NAMES]
    return FluorescenceChannel(
        int(value[0]),
        tuple(x for x in features if isinstance(x, str) and column_channel(f"{x}_ch_0")),
    )


def _fov_files(files: Mapping[Any, Any], folder: Path) -> FovFiles:
    def one(key: str) -> tuple[int, Path] | None:
        item = _list(files.get(key))
        if len(item) != 2 or not (is_number(item[0]) and isinstance(item[1], str) and item[1]):
            # A single entry may stand in a list of entries.
            return many(key)[0] if many(key) else None
        return int(item[0]), _located(item[1], folder)

    def many(key: str) -> tuple[tuple[int, Path], ...]:
        return tuple(
            (int(item[0]), _located(item[1], folder))
            for item in map(_list, _list(files.get(key))[:_MAX_NAMES])
            if len(item) == 2 and is_number(item[0]) and isinstance(item[1], str) and item[1]
        )

    traces = files.get("traces")
    return FovFiles(
        pc=one("pc"),
        fl=many("fl"),
        seg=one("seg"),
        seg_labeled=one("seg_labeled"),
        fl_background=many("fl_background"),
        traces=_located(traces, folder) if isinstance(traces, str) and traces else None,
    )


def _located(stored: str, folder: Path) -> Path:
    path = folder / stored
    moved = folder.joinpath(*Path(stored).parts[-2:])
    try:
        return moved if not path.exists() and moved.exists() else path
    except (OSError, ValueError):
        return path  # a name that no file can have


def _merged(old: ResultsIndex, new: ResultsIndex) -> ResultsIndex:
    phase = new.phase or old.phase
    if old.phase and new.phase and old.phase.channel == new.phase.channel:
        phase = _united([old.phase, new.phase])[0]
    return ResultsIndex(
        phase, _united([*old.fluorescence, *new.fluorescence]), {**old.fovs, **new.fovs}
    )


def _united(channels: Sequence[FluorescenceChannel]) -> tuple[FluorescenceChannel, ...]:
    features: dict[int, set[str]] = {}
    for item in channels:
        features.setdefault(item.channel, set()).update(item.features)
    return tuple(
        FluorescenceChannel(channel, tuple(sorted(names)))
        for channel, names in sorted(features.items())
    )


def _document(index: ResultsIndex, output_dir: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    channels: dict[str, Any] = {
        "pc": [index.phase.channel, list(index.phase.features)] if index.phase else None,
        "fl": [[item.channel, list(item.features)] for item in index.fluorescence],
    }
    return {
        "output_dir": str(output_dir),
        "channels": channels,
        "results": {str(fov): _entry(index.fovs[fov]) for fov in sorted(index.fovs)},
        "params": json.loads(json.dumps(params)),
        "time_units": "min",
    }


def _entry(files: FovFiles) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if files.pc:
        entry["pc"] = [files.pc[0], str(files.pc[1])]
    entry["fl"] = [[channel, str(path)] for channel, path in files.fl]
    if files.seg:
        entry["seg"] = [files.seg[0], str(files.seg[1])]
    if files.seg_labeled:
        entry["seg_labeled"] = [files.seg_labeled[0], str(files.seg_labeled[1])]
    entry["fl_background"] = [[channel, str(path)] for channel, path in files.fl_background]
    if files.traces:
        entry["traces"] = str(files.traces)
    return entry
