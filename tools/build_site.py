"""Build the documentation site: the pages of ``docs/`` and those made from the program itself.

A page that holds a line such as ``<!-- made: http paths -->`` gets what that name stands for in its
place, so the pages can be read as they lie and say everything once they are built. A broken link
and a name that cannot be found end the build.
"""

import argparse
import asyncio
import html
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^<!-- made: ([a-z ]+) -->$", re.MULTILINE)
# The site generator reports these of the reference pages and goes on.
_COMPLAINTS = re.compile(r"^.*\b(ERROR|Could not collect|Error reading)\b.*$", re.MULTILINE)


def http_paths() -> str:
    """Return every path of a server with all installed domains, as tables by domain."""
    document = _openapi()
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            text = (operation.get("description") or operation.get("summary") or "").split("\n\n")[0]
            row = f"| {_path(method, path)} | {_cell(text)} | {_queries(operation)} |"
            by_tag.setdefault(operation["tags"][0], []).append(row)
    return "\n".join(
        f"## {tag}\n\n| path | what it does | query |\n| --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n"
        for tag, rows in by_tag.items()
        if rows
    )


def _path(method: str, path: str) -> str:
    """Return a path that is broken at its slashes where the column is narrow."""
    return f"<code>{method.upper()} {html.escape(path).replace('/', '/<wbr>')}</code>"


def _queries(operation: dict[str, Any]) -> str:
    names = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
    return " ".join(f"`{name}`" for name in names)


def _openapi() -> dict[str, Any]:
    """Return the document of a server that was started for it alone."""
    import httpx

    from benchwire.app import create_app
    from benchwire.foundation.settings import load_server_settings

    async def ask(folder: Path) -> dict[str, Any]:
        app = create_app(
            load_server_settings({"data_dir": folder, "ui": False, "allowed_paths": [folder]})
        )
        async with app.lifespan():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
                answer: dict[str, Any] = (await client.get("/openapi.json")).json()
                return answer

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(ask(Path(folder)))


def command_line() -> str:
    """Return every command with its arguments and options."""
    import typer

    from benchwire.cli import cli

    return "\n".join(_commands(typer.main.get_command(cli), "benchwire"))


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield f"## `{name}`\n\n{_cell(command.help or '')}\n"
        yield "| argument or option | default | meaning |\n| --- | --- | --- |"
        for parameter in command.params:
            yield _parameter(parameter)
        yield ""
        return
    for child_name, child in children.items():
        if not child.hidden:
            yield from _commands(child, f"{name} {child_name}")


def _parameter(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    text = f"`{parameter.name.upper()}`" if is_argument else _option(parameter)
    default = parameter.default
    is_plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    return f"| {text} | {f'`{default}`' if is_plain else ''} | {_cell(parameter.help or '')} |"


def _option(parameter: Any) -> str:
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _cell(text: str) -> str:
    """Return text that may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")


def changelog() -> str:
    """Return the changelog below its title."""
    return (ROOT / "CHANGELOG.md").read_text("utf-8").partition("\n")[2]


def measured() -> str:
    """Return the readme's table of figures."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = text[text.index("| measured") :].splitlines()
    return "\n".join(row for row in rows if row.startswith("|"))


MADE: dict[str, Callable[[], str]] = {
    "http paths": http_paths,
    "command line": command_line,
    "changelog": changelog,
    "measured": measured,
}


def build(site: Path) -> None:
    """Build the site into a folder, whatever was there before.

    Raises
    ------
    SystemExit
        A link or a reference leads nowhere; what was said of it is on the standard error.
    """
    with tempfile.TemporaryDirectory(prefix="benchwire-site-") as made:
        folder = Path(made)
        # The pictures' originals and notebooks go along; what editors leave behind does not.
        shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns(".*"))
        (folder / "src").symlink_to(ROOT / "src")
        shutil.copy(ROOT / "zensical.toml", folder)
        for page in sorted((folder / "docs").rglob("*.md")):
            text = page.read_text("utf-8")
            if MARK.search(text):
                page.write_text(MARK.sub(lambda found: MADE[found[1]](), text), "utf-8")
        told = subprocess.run(  # noqa: S603 - our own tool
            [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        said = told.stdout + told.stderr
        if told.returncode != 0 or _COMPLAINTS.search(said):
            sys.exit(said)
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(folder / "site", site)


def main() -> None:
    """Build the site where the command line says."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("site", type=Path, nargs="?", default=ROOT / "site")
    arguments = parser.parse_args()
    build(arguments.site)
    print(f"{arguments.site}: serve it with python -m http.server --directory {arguments.site}")


if __name__ == "__main__":
    main()
