"""Everything that can be set, asked for or typed stands in the documents."""

import html
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_settings import BaseSettings
from starlette.testclient import TestClient

import benchwire
from benchwire.app import create_app
from benchwire.cli import cli
from benchwire.foundation.settings import load_server_settings
from tests.docs.conftest import DOCS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def settings_classes() -> list[type[BaseSettings]]:
    """Every settings class of the program, wherever it stands."""
    for module in pkgutil.walk_packages(benchwire.__path__, "benchwire."):
        if module.name.endswith(".settings"):
            importlib.import_module(module.name)
    classes: list[type[BaseSettings]] = []
    waiting: list[type[BaseSettings]] = [BaseSettings]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("benchwire.") and kind.__name__ != "WithFile":
                classes.append(kind)
    return classes


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child_name, child in children.items():
        if not child.hidden:
            yield from commands(child, f"{name} {child_name}")


def text_of(site: Path, page: str) -> str:
    content = (site / page).read_text("utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", content))


def test_every_setting_of_every_part_is_named() -> None:
    text = (DOCS / "settings.md").read_text("utf-8")
    classes = settings_classes()
    assert {"ServerSettings", "PowerMeterSettings", "ClientSettings"} <= {
        kind.__name__ for kind in classes
    }
    missing = [
        f"{kind.__name__}.{name}"
        for kind in classes
        for name in kind.model_fields
        if f"`{name}`" not in text
    ]
    assert missing == []


def test_every_path_of_every_domain_is_listed_with_what_it_does(site: Path, tmp_path: Path) -> None:
    listed = text_of(site, "reference/http.html")
    app = create_app(load_server_settings({"data_dir": tmp_path, "ui": False}))
    document = TestClient(app).get("/openapi.json").json()
    operations = {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert len(operations) > 200
    assert [name for name in operations if name not in listed] == []
    silent = [name for name, operation in operations.items() if not operation.get("description")]
    assert silent == []


def test_every_command_and_option_is_listed_with_its_meaning(site: Path) -> None:
    listed = text_of(site, "reference/command-line.html")
    for name, command in commands(typer.main.get_command(cli), "benchwire"):
        assert name in listed
        assert command.help, name
        for parameter in command.params:
            word = parameter.opts[-1] if parameter.opts[0].startswith("-") else parameter.name
            assert word.casefold() in listed.casefold(), f"{name} {word}"
