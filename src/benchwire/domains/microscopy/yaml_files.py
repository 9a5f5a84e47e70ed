"""YAML that people and programs write, read without being led astray by it."""

from pathlib import Path
from typing import Any

from benchwire.foundation.errors import Invalid

_MAX_DEPTH = 20
_MAX_ALIASES = 100


class YamlInvalid(Invalid):
    """A YAML file that cannot be read, or that is larger or deeper than any honest one."""

    code = "microscopy.yaml_invalid"


def load_yaml(path: Path, *, max_bytes: int) -> Any:
    """Return a YAML file as mappings, lists and texts; texts stay as they are written.

    Nothing is turned into numbers, dates or objects, so ``007`` and ``no`` are names like others,
    and neither tags nor merge keys do anything.

    Raises
    ------
    YamlInvalid
        Too large, too deep, too many aliases, or not YAML in UTF-8.
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    if path.exists() and not path.is_file():
        raise YamlInvalid(f"{path.name} is not a file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise YamlInvalid(f"{path.name} is larger than {max_bytes >> 20} MB")
    depth = aliases = 0
    try:
        for event in yaml.parse(content, loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > _MAX_DEPTH:
                raise YamlInvalid(f"{path.name} is nested too deeply")
            if aliases > _MAX_ALIASES:
                raise YamlInvalid(f"{path.name} has too many aliases")
        return yaml.load(content, loader)  # noqa: S506 - makes texts, lists and mappings only
    except (yaml.YAMLError, ValueError) as error:
        raise YamlInvalid(f"{path.name} is not YAML: {_place(error)}") from error


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable as text"
    return f"line {mark.line + 1}, {problem}" if mark else str(problem)


def is_number(text: Any) -> bool:
    """Whether a value is the text of a whole number that is not too large."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10
