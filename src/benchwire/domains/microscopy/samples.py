"""Which FOVs belong to which sample, from a YAML file that people write."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.yaml_files import YamlInvalid, load_yaml

MAX_FOV = 99_999
MAX_NAME_BYTES = 150
_MAX_FILE_BYTES = 1 << 20
_MAX_SAMPLES = 10_000
_MOST_FOVS = 200_000
_RANGE = re.compile(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", re.ASCII)


class SamplesInvalid(ParametersInvalid):
    """A samples file that does not say plainly which FOVs belong to which sample."""

    code = "microscopy.samples_invalid"


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample; its FOVs are sorted and without doubles."""

    name: str
    fovs: tuple[int, ...]


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Return the samples of a file in its order.

    Raises
    ------
    SamplesInvalid
        Not such a file; the message says which sample is wrong.
    """
    try:
        document = load_yaml(path, max_bytes=_MAX_FILE_BYTES)
    except YamlInvalid as error:
        raise SamplesInvalid(error.message) from error
    entries = document.get("samples") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SamplesInvalid(f"{path.name} has no list named samples")
    if len(entries) > _MAX_SAMPLES:
        raise SamplesInvalid(f"{path.name} has more than {_MAX_SAMPLES} samples")
    samples: list[Sample] = []
    total = 0
    for number, entry in enumerate(entries, start=1):
        samples.append(_sample(entry, number))
        total += len(samples[-1].fovs)
        if total > _MOST_FOVS:
            raise SamplesInvalid(f"{path.name} names more than {_MOST_FOVS} FOVs")
    _refuse_equal_names(samples)
    return tuple(samples)


def _sample(entry: Any, number: int) -> Sample:
    if not isinstance(entry, dict):
        raise SamplesInvalid(f"Sample {number} has no name and fovs")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise SamplesInvalid(f"Sample {number} has no name")
    if "fovs" not in entry:
        raise SamplesInvalid(f"Sample {number} ({name.strip()[:50]}) has no fovs")
    return Sample(_file_name(name.strip(), number), parse_fovs(entry["fovs"], name.strip()[:50]))


def _file_name(name: str, number: int) -> str:
    if "/" in name or "\\" in name:
        raise SamplesInvalid(f"The name of sample {number} contains a path separator")
    if name in {".", ".."}:
        raise SamplesInvalid(f"The name of sample {number} is a folder, not a name")
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name):
        raise SamplesInvalid(f"The name of sample {number} contains control characters")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise SamplesInvalid(f"The name of sample {number} is longer than {MAX_NAME_BYTES} bytes")
    return name


def parse_fovs(spec: Any, sample: str) -> tuple[int, ...]:
    """Return the FOVs that ``"0-5, 7"``, a number or a list of numbers stands for, sorted."""
    if isinstance(spec, list):
        parts = [str(part) for part in spec]
        if odd := [part for part in parts if not re.fullmatch(r"\s*[0-9]+\s*", part)]:
            raise SamplesInvalid(_not_a_fov(odd[0], sample))
    elif isinstance(spec, str | int):
        parts = str(spec).split(",")
        if ";" in str(spec):
            raise SamplesInvalid(f"Sample {sample}: FOVs are separated by commas, not semicolons")
    else:
        raise SamplesInvalid(f"Sample {sample}: fovs is neither a text nor a list of numbers")
    fovs = {fov for part in parts if part.strip() for fov in _range(part, sample)}
    if not fovs:
        raise SamplesInvalid(f"Sample {sample} has no FOVs")
    return tuple(sorted(fovs))


def _range(part: str, sample: str) -> range:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise SamplesInvalid(_not_a_fov(part, sample))
    first, last = (_number(match[group] or match[1]) for group in (1, 2))
    if max(first, last) > MAX_FOV:
        raise SamplesInvalid(f"Sample {sample}: there are no FOVs above {MAX_FOV}")
    if first > last:
        raise SamplesInvalid(f"Sample {sample}: the range {first}-{last} runs backwards")
    return range(first, last + 1)


def _number(digits: str) -> int:
    """Return a number, or one that is too large for any longer than `MAX_FOV`."""
    # Python refuses to read numbers of thousands of digits.
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= len(str(MAX_FOV)) else MAX_FOV + 1


def _not_a_fov(part: str, sample: str) -> str:
    shown = part.strip()[:30]
    if re.match(r"\s*-", part):
        return f"Sample {sample}: {shown!r} is negative"
    return f"Sample {sample}: {shown!r} is neither a whole number nor a range"


def _refuse_equal_names(samples: Sequence[Sample]) -> None:
    seen: dict[str, str] = {}
    for sample in samples:
        # Some file systems take Ä and a, or two spellings of ä, for the same.
        key = unicodedata.normalize("NFC", sample.name).casefold()
        if key in seen:
            raise SamplesInvalid(f"Two samples would write the same files: {sample.name}")
        seen[key] = sample.name
