"""The command line as a client: run, jobs, get. Nothing heavy is loaded before it is needed."""

import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from benchwire.client import Bench, BenchError
from benchwire.domains.potentiostat.modes import MODES, Mode, Parameter, ParameterValue

if TYPE_CHECKING:
    from rich.table import Table

    from benchwire.client.work import Status, Work

FAILED, REFUSED, LEFT_RUNNING = 1, 2, 130
_STATES = ("queued", "running", "done", "failed", "cancelled")

Url = Annotated[
    str | None, typer.Option("--url", help="Address of the server; BENCHWIRE_URL if not given.")
]
Key = Annotated[
    str | None, typer.Option("--key", help="Its key; better in BENCHWIRE_API_KEY than here.")
]


def add_commands(cli: typer.Typer) -> None:
    """Add the client's commands to the command line."""
    run = typer.Typer(
        name="run", help="Start a run on potentiostats and follow it.", no_args_is_help=True
    )
    for mode in MODES.values():
        run.command(mode.name.lower(), help=f"{mode.title}.")(_starter(mode))
    cli.add_typer(run)
    cli.command(name="jobs")(jobs)
    cli.command(name="get")(get)


# -- run -------------------------------------------------------------------------------------


def _starter(mode: Mode) -> Callable[..., None]:
    """Return a command whose options are a mode's parameters, units in the help."""

    def start(**given: Any) -> None:
        parameters = {item.name: _read(item, given.pop(item.name)) for item in mode.parameters}
        _run(mode.name, {k: v for k, v in parameters.items() if v is not None}, **given)

    own = [_option(item) for item in mode.parameters]
    shared = list(inspect.signature(_shared).parameters.values())
    signature = inspect.Signature([*own, *shared])
    start.__signature__ = signature  # type: ignore[attr-defined]
    start.__annotations__ = {item.name: item.annotation for item in signature.parameters.values()}
    return start


def _option(item: Parameter) -> inspect.Parameter:
    """Return a parameter of a mode as an option."""
    kinds: dict[str, type] = {"float": float, "int": int, "float_list": str, "choice": str}
    text = f"{item.explanation.rstrip('.')}{f', in {item.unit}' if item.unit else ''}."
    if item.kind == "float_list":
        text += " Separated by commas."
    if item.choices:
        text += f" One of {', '.join(item.choices)}."
    metavar = item.unit or ("TEXT" if item.kind == "choice" else "N")
    option = typer.Option(f"--{item.name.replace('_', '-')}", help=text, metavar=metavar)
    kind = kinds[item.kind]
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if item.required else None,
        annotation=Annotated[kind if item.required else kind | None, option],
    )


def _read(item: Parameter, given: Any) -> Any:
    if item.kind != "float_list" or given is None:
        return given
    try:
        return [float(part) for part in given.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{given!r} is no list of numbers", param_hint=item.name
        ) from error


def _shared(
    *,
    slots: Annotated[str, typer.Option(help="all, or slots separated by commas.")] = "all",
    experiment: Annotated[
        str | None, typer.Option(help="Names folder and files; the mode's name if not given.")
    ] = None,
    folder: Annotated[str | None, typer.Option(help="Folder between experiment and run.")] = None,
    run_name: Annotated[str | None, typer.Option(help="Becomes the run's id.")] = None,
    group: Annotated[str | None, typer.Option(help="Label by which runs are found again.")] = None,
    sampling_interval: Annotated[
        float | None, typer.Option(help="Seconds per row of the CSV; every point if not given.")
    ] = None,
    tia_gain: Annotated[
        int, typer.Option(help="Current range: 0 is 4.95 mA, 1 0.5 mA, 2 50 uA, 3 and 4 5.4 uA.")
    ] = 0,
    plot: Annotated[bool, typer.Option(help="Draw a PNG beside each CSV.")] = True,
    sample: Annotated[
        list[str] | None,
        typer.Option(help="What is measured: slot01=PLATE/A1, or a sample for the whole run."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to download the files into.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Have the options that every mode has."""


def _run(mode: str, parameters: Mapping[str, ParameterValue], **given: Any) -> None:
    options = {
        "slots": _slots(given["slots"]),
        "experiment": given["experiment"],
        "folder": given["folder"],
        "run_name": given["run_name"],
        "group": given["group"],
        "sampling_interval": given["sampling_interval"],
        "tia_gain": given["tia_gain"],
        "make_plot": given["plot"],
        **_samples(given["sample"] or []),
    }
    chosen: Any = {name: value for name, value in options.items() if value is not None}
    with _bench(given["url"], given["key"]) as bench:
        if given["out"] is not None:
            # A folder that cannot be made is told before hours of measuring, not after.
            given["out"].mkdir(parents=True, exist_ok=True)
        try:
            run = bench.potentiostats.run([(mode, parameters)], **chosen)
        except KeyboardInterrupt:
            print("\nWhether it has begun is shown by `benchwire jobs`.", file=sys.stderr)
            raise typer.Exit(LEFT_RUNNING) from None
        status = _followed(run)
        fetch = f"Fetch them with: benchwire get run {run.id} --out FOLDER"
        if given["out"] is None:
            for name in run.files:
                print(name)
            print(fetch, file=sys.stderr)
        else:
            try:
                for path in run.download(given["out"]):
                    print(path)
            except OSError:
                print(fetch, file=sys.stderr)
                raise
        if status.state != "done":
            print(f"benchwire: run {run.id} {status.note}", file=sys.stderr)
            raise typer.Exit(FAILED)


def _slots(text: str) -> str | list[str]:
    return "all" if text.strip() == "all" else [part.strip() for part in text.split(",")]


def _samples(given: list[str]) -> dict[str, Any]:
    """Return the samples of slots, and that of the whole run."""
    samples: dict[str, str] = {}
    whole: str | None = None
    for text in given:
        slot, separator, name = text.partition("=")
        if separator and slot.startswith("slot"):
            samples[slot] = name
        else:
            whole = text
    return {"samples": samples or None, "sample": whole}


def _followed(work: "Work") -> "Status":
    """Follow work to its end; Ctrl-C asks what to do, a second one leaves it running."""
    is_told = False
    while True:
        try:
            if not is_told:
                is_told = True
                print(f"{work.kind.capitalize()} {work.id} has started.", file=sys.stderr)
            work.follow(check=False)
            return work.status
        except KeyboardInterrupt:
            _ask_about(work)


def _ask_about(work: "Work") -> None:
    try:
        if not sys.stdin.isatty():
            _leave(work)
        print("\nThe work goes on. Cancel it, or only stop watching?", file=sys.stderr)
        print("[c] cancel   [s] stop watching   [Enter] go on watching", file=sys.stderr)
        print("Ctrl-C again stops watching and leaves it running.", file=sys.stderr)
        answer = input("> ").strip().lower()[:1]
        if answer == "c":
            work.cancel()
        elif answer == "s":
            _leave(work)
    except (KeyboardInterrupt, EOFError):
        _leave(work)


def _leave(work: "Work") -> NoReturn:
    print(
        f"\n{work.kind.capitalize()} {work.id} is left running. See it with `benchwire jobs`, "
        f"fetch it with `benchwire get {work.kind} {work.id}`.",
        file=sys.stderr,
    )
    raise typer.Exit(LEFT_RUNNING)


# -- jobs ------------------------------------------------------------------------------------


def jobs(
    *,
    state: Annotated[
        list[str] | None, typer.Option(help=f"Only those {', '.join(_STATES[:-1])} or cancelled.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Only those of a domain, such as potentiostat.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a job per line.")] = False,
    watch: Annotated[bool, typer.Option(help="Go on with every change, until Ctrl-C.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Show work under way and done, over all domains, newest first."""
    strange = set(state or ()) - set(_STATES)
    if strange:
        raise typer.BadParameter(f"{strange.pop()!r} is not one of {', '.join(_STATES)}")
    chosen: Any = {"state": state, "domain": domain, "limit": limit}
    with _bench(url, key) as bench:
        if as_json:
            for row in bench.jobs.listed(**chosen):
                print(json.dumps(row))
        elif not watch:
            from rich.console import Console

            Console().print(_table(bench.jobs.listed(**chosen)))
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(bench, chosen, as_json=as_json)


def _watch(bench: Bench, chosen: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        states, domain = chosen["state"], chosen["domain"]
        for change in bench.jobs.watch():
            is_of_domain = domain is None or change["kind"].startswith(f"{domain}.")
            if is_of_domain and (not states or change["state"] in states):
                print(json.dumps(change), flush=True)
        return
    from rich.live import Live

    with Live(_table(bench.jobs.listed(**chosen)), auto_refresh=False) as shown:
        for _ in bench.jobs.watch():
            shown.update(_table(bench.jobs.listed(**chosen)), refresh=True)


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    colours = {"done": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
    table = Table(box=None)
    for title in ("job", "begun (UTC)", "state", "what"):
        # An id is there to be copied; what the rest says can be cut.
        table.add_column(title, no_wrap=title != "what", overflow="fold")
    for row in rows:
        note = row["message"] or (f"{row['progress']:.0%}" if row["state"] == "running" else "")
        begun = (row["started_at"] or row["created_at"])[:19].replace("T", " ")
        state = Text(row["state"], colours.get(row["state"], ""))
        what = f"{row['domain']}: {row['title']}{f' ({note})' if note else ''}"
        table.add_row(row["id"], begun, state, Text(what))
    return table


# -- get -------------------------------------------------------------------------------------


def get(
    what: Annotated[
        list[str],
        typer.Argument(help="Id of a job; or a kind (run, workflow, fit ...) and ids of it."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    crate: Annotated[
        bool, typer.Option("--crate", help="As RO-Crate ZIP: data, record and plots.")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download the results of finished work."""
    with _bench(url, key) as bench:
        known: dict[str, Callable[[str], Work]] = {
            "run": bench.potentiostats.get,
            "workflow": bench.microscopy.get,
            "fit": bench.traces.get,
        }
        first, *others = what
        for item_id in others or what:
            if not others:
                paths = _fetched(bench.jobs.get(item_id), out, crate=crate)
            elif crate or first not in known:
                out.mkdir(parents=True, exist_ok=True)
                paths = [bench.crate(first, item_id, out)]
            else:
                paths = _fetched(known[first](item_id), out, crate=False)
            for path in paths:
                print(path)


def _fetched(work: "Work", out: Path, *, crate: bool) -> list[Path]:
    if crate:
        out.mkdir(parents=True, exist_ok=True)
        return [work.crate(out)]
    return work.download(out)


# -- parts -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _bench(url: str | None, key: str | None) -> Iterator[Bench]:
    """Give the server; what goes wrong with it is one line, not a trace."""
    try:
        with Bench(url, api_key=key) as bench:
            yield bench
    except BenchError as error:
        print(f"benchwire: {error}", file=sys.stderr)
        raise typer.Exit(REFUSED) from error
    except OSError as error:
        print(f"benchwire: {error.strerror}: {error.filename}", file=sys.stderr)
        raise typer.Exit(REFUSED) from error
