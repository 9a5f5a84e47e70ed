"""A finished piece of work as an RO-Crate: what is in it, who accepts it, and what goes wrong."""

import asyncio
import errno
import hashlib
import json
import socket
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from rocrate.rocrate import ROCrate
from starlette.responses import Response

from benchwire import __version__
from benchwire.foundation.catalogue import Bundle, BundledFile, Instrument, Item
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.web import error_handlers
from benchwire.home.crates.archive import CHECKSUMS_NAME
from benchwire.home.crates.download import clear_leftovers, crate_download
from benchwire.home.crates.metadata import METADATA_NAME, PREVIEW_NAME, Terms
from benchwire.home.crates.names import Names
from tests.support import crate_validator
from tests.support.clock import ManualClock
from tests.support.waiting import until

NASTY = "<script>alert(1)</script>\"'&\u202e"
HOSTILE_NAMES = [
    "/etc/passwd", "../../up.csv", "a/../../b.csv", "..\\..\\win.csv", "C:\\temp\\x.csv", "con.txt",
    "sub/NUL", "data.csv", "DATA.csv", "data.csv/inside.csv", "trail. ", "nul\0byte.csv",
    "line\nfeed.csv", "sp ace#1%20?.csv", "grün/Δt µs.csv", "e\u0301.csv", "\u00e9.csv",
    "right\u202eto.csv", METADATA_NAME, PREVIEW_NAME, CHECKSUMS_NAME, "", "///", "x" * 400 + ".csv",
    "surrogate\udcff.csv", f"{NASTY}.csv",
]  # fmt: skip
BEGAN = datetime(2026, 11, 21, 10, tzinfo=UTC)
ENDED = datetime(2026, 11, 21, 11, 30, 0, 123456, tzinfo=UTC)
TERMS = Terms(
    license="https://spdx.org/licenses/CC-BY-4.0",
    author="Ada Lovelace <https://orcid.org/0000-0002-1825-0097>",
    publisher="Example Institute <https://ror.org/03yrm5c26>",
)
LINKS = [
    SampleLink(1, "PLATE 1/A1", "PLATE 1", "A1", "run", "r1", "slot 1", BEGAN, "ada"),
    SampleLink(2, "PLATE 1/A1", "PLATE 1", "A1", "run", "r1", "slot 2", BEGAN, "ada"),
    SampleLink(3, NASTY, None, None, "run", "r1", "", BEGAN, ""),
]


def a_bundle(files: Sequence[BundledFile] = (), **changes: Any) -> Bundle:
    item = Item("run", "r1", "Ferrocene: CV", state="done", detail="2 slots, 0.1 V/s")
    return replace(Bundle(item, files, {}, BEGAN, ENDED), **changes)


def a_rich_bundle(folder: Path) -> Bundle:
    """A bundle with every kind of file, names nobody should trust, and all that can be told."""
    files = []
    for number, name in enumerate(HOSTILE_NAMES):
        path = folder / f"{number}.dat"
        path.write_bytes(f"t,v\n{number},1\n".encode())
        files.append(BundledFile(name, f"Samples {name}", "text/csv", path))
    (folder / "empty").write_bytes(b"")
    (folder / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return a_bundle(
        [
            *files,
            BundledFile("empty.csv", "", "text/csv", folder / "empty"),
            BundledFile("plots/a.png", NASTY, "image/png", folder / "plot.png", role="plot"),
            BundledFile("raw/movie.tif", "Input", "image/tiff", folder / "empty", role="input"),
            BundledFile(
                "made.csv", "Made for the crate", "text/csv", make=lambda at: made(at, b"1,2\n")
            ),
        ],
        item=Item("run", "r1", f"CV {NASTY}", state="done", detail=f"2 slots {NASTY}"),
        parameters={
            "mode": "CV", "scan_rate": 0.1, "cycles": 3, "ir": True, "none": None,
            "nan": float("nan"), "slots": {"1": {"start": -0.2}}, "slots.1": {"start": 0},
            "vertices": [0.1, 0.2], "path": Path("/data"), NASTY: NASTY, "lone\ud800": "\ud800",
        },
        instruments=[Instrument("Slot 1", "SN 1", "EmStat"), Instrument(NASTY)],
        packages=("numpy", "scipy", "no-such-package"),
        requested_by="dashboard",
    )  # fmt: skip


def made(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@dataclass
class Answer:
    """What a client of a response saw."""

    status: int
    headers: dict[str, str]
    largest: int


def received(response: Response, take: Callable[[bytes], object]) -> Answer:
    """Take a response as a server does."""
    answer = Answer(0, {}, 0)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        else:
            answer.largest = max(answer.largest, len(message["body"]))
            take(message["body"])

    async def receive() -> Any:
        await asyncio.Event().wait()

    asyncio.run(response({"type": "http", "asgi": {}}, receive, send))
    return answer


def crate_of(bundle: Bundle, folder: Path, links: Sequence[SampleLink] = (), **more: Any) -> Path:
    """Download a crate, see that nothing is left of it on the server, and return its path."""
    scratch = folder / "scratch"
    scratch.mkdir()
    path = folder / "crate.zip"
    with path.open("wb") as file:
        response = crate_download(bundle, links, scratch=scratch, clock=ManualClock(), **more)
        received(response, file.write)
    assert list(scratch.iterdir()) == []
    return path


def graph_of(crate: Path) -> dict[str, dict[str, Any]]:
    with zipfile.ZipFile(crate) as archive:
        entities = json.loads(archive.read(METADATA_NAME))["@graph"]
    assert len({entity["@id"] for entity in entities}) == len(entities)
    return {entity["@id"]: entity for entity in entities}


def refs(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item["@id"] for item in values if item is not None]


# -- what is in it ----------------------------------------------------------------------------


def test_every_file_is_there_under_a_safe_name_and_with_its_true_checksum(tmp_path: Path) -> None:
    bundle = a_rich_bundle(tmp_path)
    crate = crate_of(bundle, tmp_path, LINKS, terms=TERMS)
    with zipfile.ZipFile(crate) as archive:
        assert archive.testzip() is None
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert len(contents) == len(bundle.files) + 4
    assert len({name.casefold() for name in contents}) == len(contents)
    for name in contents:
        assert_safe(name)
    manifest = dict(
        reversed(line.split("  ", 1)) for line in contents[CHECKSUMS_NAME].decode().splitlines()
    )
    assert manifest == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in contents.items()
        if name != CHECKSUMS_NAME
    }
    graph = graph_of(crate)
    files = {key: entity for key, entity in graph.items() if entity["@type"] == "File"}
    assert set(refs(graph["./"]["hasPart"])) == set(files)
    assert {unquote(key) for key in files} == set(contents) - {METADATA_NAME, PREVIEW_NAME}
    for key, entity in files.items():
        content = contents[unquote(key)]
        assert entity["contentSize"] == str(len(content))
        assert entity.get("sha256") == manifest.get(unquote(key))
        assert entity["name"]
        assert entity["description"]
        assert entity["encodingFormat"]
    assert contents["made.csv"] == b"1,2\n"
    assert contents["empty.csv"] == b""


def test_the_graph_tells_who_did_what_with_which_instruments(tmp_path: Path) -> None:
    graph = graph_of(crate_of(a_rich_bundle(tmp_path), tmp_path, LINKS, terms=TERMS))
    work = graph["#work"]
    assert work["@type"] == "CreateAction"
    assert graph[work["instrument"]["@id"]]["name"] == "benchwire"
    assert work["startTime"] == "2026-11-21T10:00:00.000+00:00"
    assert work["endTime"] == "2026-11-21T11:30:00.123+00:00"
    assert work["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert graph[work["agent"]["@id"]]["name"] == "dashboard"
    objects = [graph[key] for key in refs(work["object"])]
    values = {item["name"]: item["value"] for item in objects if item["@type"] == "PropertyValue"}
    assert values["scan_rate"] == 0.1
    assert values["slots.1.start"] == -0.2
    assert values["slots.1.start (2)"] == 0
    assert values["vertices"] == "[0.1, 0.2]"
    assert values["nan"] == "nan"
    assert "none" not in values
    assert [item["@id"] for item in objects if item["@type"] == "File"] == ["raw/movie.tif"]
    assert {"made.csv", "plots/a.png", "run.json"} <= set(refs(work["result"]))
    devices = [graph[key] for key in refs(graph["#measurement"]["instrument"])]
    assert devices[0]["serialNumber"] == "SN 1"
    assert devices[0]["model"] == "EmStat"
    software = graph[work["instrument"]["@id"]]
    libraries = {graph[key]["name"] for key in refs(software["softwareRequirements"])}
    assert libraries == {"numpy", "scipy"}
    root = graph["./"]
    assert root["license"] == {"@id": TERMS.license}
    assert graph[root["author"]["@id"]]["name"] == "Ada Lovelace"
    assert graph[root["publisher"]["@id"]]["name"] == "Example Institute"


def test_samples_are_entities_with_ids_of_their_own(tmp_path: Path) -> None:
    graph = graph_of(crate_of(a_bundle(), tmp_path, LINKS))
    first, second = [graph[key] for key in refs(graph["./"]["about"])]
    assert first["@id"] == "#sample/PLATE%201%2FA1"
    assert first["name"] == first["identifier"] == "PLATE 1/A1"
    assert first["description"] == "Well A1 of plate PLATE 1"
    parts = [graph[key]["value"] for key in refs(first["additionalProperty"])]
    assert parts == ["slot 1", "slot 2"]
    assert second["name"] == NASTY


@pytest.mark.parametrize(
    ("terms", "licence", "name"),
    [
        (None, "#license", "No licence chosen"),
        (Terms(license="Ask us first"), "#license", "Ask us first"),
        (Terms(license="https://spdx.org/licenses/MIT.html"), "https://spdx.org/licenses/MIT.html",
         "MIT"),
        (Terms(license="javascript:alert(1)"), "#license", "javascript:alert(1)"),
    ],
)  # fmt: skip
def test_the_licence_is_what_was_asked_for_or_says_that_none_was_chosen(
    tmp_path: Path, terms: Terms | None, licence: str, name: str
) -> None:
    graph = graph_of(crate_of(a_bundle(), tmp_path, terms=terms))
    assert graph["./"]["license"] == {"@id": licence}
    assert graph[licence]["name"] == name
    assert graph[licence]["description"]


@pytest.mark.parametrize("state", ["failed", "cancelled", "Aborted"])
def test_work_that_did_not_succeed_is_said_to_have_failed(tmp_path: Path, state: str) -> None:
    item = Item("run", "r1", "CV", state=state)
    work = graph_of(crate_of(a_bundle(item=item), tmp_path))["#work"]
    assert work["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert work["error"] == f"It ended as {state}"


def test_a_record_is_made_only_where_the_work_has_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(crate_of(a_rich_bundle(tmp_path), tmp_path, LINKS)) as archive:
        record = json.loads(archive.read("run.json"))
    assert record["started_at"] == "2026-11-21T10:00:00.000+00:00"
    assert record["parameters"]["slots"] == {"1": {"start": -0.2}}
    assert record["instruments"][0]["serial_number"] == "SN 1"
    assert record["versions_at_export"]["numpy"]
    assert [link["part"] for link in record["samples"]] == ["slot 1", "slot 2", ""]

    own = tmp_path / "own"
    own.mkdir()
    (own / "run.json").write_bytes(b'{"own": true}')
    file = BundledFile("run.json", "Record", "application/json", own / "run.json", role="record")
    with zipfile.ZipFile(crate_of(a_bundle([file]), own)) as archive:
        assert json.loads(archive.read("run.json")) == {"own": True}
        assert [name for name in archive.namelist() if name.startswith("run")] == ["run.json"]


@pytest.mark.parametrize(
    ("record", "ours", "numpy"),
    [
        ({"versions": {"benchwire": "0.0.9", "numpy": "1.0", "python": "3.11"}}, "0.0.9", "1.0"),
        ({"software": {"name": "benchwire", "version": "0.0.8"}}, "0.0.8", version("numpy")),
        ({"versions": ["?"]}, __version__, version("numpy")),
        ("no object", __version__, version("numpy")),
    ],
)
def test_the_versions_are_those_of_the_work_where_its_record_tells_them(
    tmp_path: Path, record: object, ours: str, numpy: str
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    file = BundledFile("run.json", "Record", "application/json", tmp_path / "run.json")
    graph = graph_of(crate_of(a_bundle([file], packages=["numpy"]), tmp_path))
    software = graph[graph["#work"]["instrument"]["@id"]]
    assert software["softwareVersion"] == ours
    assert graph[software["softwareRequirements"]["@id"]]["softwareVersion"] == numpy


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_preview_takes_every_name_for_text(tmp_path: Path) -> None:
    crate = crate_of(a_rich_bundle(tmp_path), tmp_path, LINKS, terms=Terms(NASTY, NASTY, NASTY))
    with zipfile.ZipFile(crate) as archive:
        page = archive.read(PREVIEW_NAME).decode()
        names = set(archive.namelist())
    parser = _Tags()
    parser.feed(page)
    assert {tag for tag, _ in parser.tags}.isdisjoint({"script", "iframe", "object", "link"})
    for tag, attributes in parser.tags:
        assert not any(key.startswith("on") for key in attributes)
        if tag in {"a", "img"}:
            assert unquote(attributes.get("href") or attributes.get("src") or "") in names
    assert "Asked for by" in page
    assert [a["src"] for tag, a in parser.tags if tag == "img"] == ["plots/a.png"]


# -- who accepts it ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_validator_has_nothing_against_a_crate_with_everything_in_it(tmp_path: Path) -> None:
    crate = crate_of(a_rich_bundle(tmp_path), tmp_path, LINKS, terms=TERMS)
    assert crate_validator.findings(crate, crate_validator.BASE, "RECOMMENDED") == []
    assert crate_validator.findings(crate, crate_validator.PROCESS_RUN, "REQUIRED") == []
    # It has no address of its own to give as long as the package names none.
    assert set(crate_validator.findings(crate, crate_validator.PROCESS_RUN, "RECOMMENDED")) <= {
        "RECOMMENDED: The SoftwareApplication id SHOULD be an absolute URI",
        "RECOMMENDED: The Application SHOULD have a url",
    }


def test_the_validator_accepts_a_crate_of_no_files(tmp_path: Path) -> None:
    item = Item("session", "s/1 ü", "")
    bundle = a_bundle(item=item, started=None, ended=None)
    crate = crate_of(bundle, tmp_path)
    assert crate_validator.findings(crate, crate_validator.PROCESS_RUN, "REQUIRED") == []
    assert {unquote(key) for key in refs(graph_of(crate)["./"]["hasPart"])} == {
        "run.json", CHECKSUMS_NAME,
    }  # fmt: skip


def test_the_validator_refuses_a_crate_without_its_software(tmp_path: Path) -> None:
    crate = crate_of(a_bundle(), tmp_path)
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(crate) as archive, zipfile.ZipFile(broken, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == METADATA_NAME:
                content = content.replace(b'"instrument"', b'"description"')
            copy.writestr(name, content)
    found = crate_validator.findings(broken, crate_validator.PROCESS_RUN, "REQUIRED")
    assert any("instrument" in finding for finding in found)


def test_the_library_reads_a_crate(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(crate_of(a_rich_bundle(tmp_path), tmp_path, LINKS)) as archive:
        archive.extractall(folder)
    crate = ROCrate(folder)
    assert crate.version == "1.1"
    assert crate.name == f"CV {NASTY}"
    files = [entity for entity in crate.data_entities if entity.type == "File"]
    assert len(files) == len(a_rich_bundle(tmp_path).files) + 2
    for entity in files:
        path = folder / unquote(entity.id)
        assert path.stat().st_size == int(entity["contentSize"])
    assert crate.get("#work")["instrument"]["name"] == "benchwire"


# -- names ------------------------------------------------------------------------------------


def assert_safe(name: str) -> None:
    windows = PureWindowsPath(name)
    assert not windows.is_absolute()
    assert not windows.drive
    assert not windows.is_reserved()
    assert windows.parts == PurePosixPath(name).parts
    assert ".." not in windows.parts
    assert not name.startswith("/")
    assert name.isprintable()
    for part in windows.parts:
        assert not set('<>:"\\|?*') & set(part)
        assert part == part.strip(" ").rstrip(". ")
        assert 0 < len(part.encode()) <= 255


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(), st.text("aA./\\:. \u0301\u202e\0é", max_size=12)), max_size=8))
def test_names_are_safe_and_differ(wanted: list[str]) -> None:
    names = Names([METADATA_NAME])
    given_names = [names.give(name) for name in wanted]
    keys = {name.casefold() for name in given_names}
    assert len(keys) == len(wanted)
    for name in given_names:
        assert_safe(name)
        folders = {parent.as_posix().casefold() for parent in PurePosixPath(name).parents}
        assert folders.isdisjoint(keys)


def test_names_that_need_no_change_keep_as_they_are() -> None:
    names = Names()
    for name in ["a/b/c.csv", "Δt µs.csv", "slot 1/CV.ome.tif", ".hidden", "v1.2"]:
        assert names.give(name) == name
    assert names.give("A/b/C.ome.tif") == "a/b/C.ome.tif"
    assert names.give("a/b/c.OME.tif") == "a/b/c_2.OME.tif"


# -- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["text/csv", "image/png"])
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path: Path, media_type: str) -> None:
    size = 300 << 20
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bundle = a_bundle([BundledFile("big.csv", "Zeros", media_type, tmp_path / "big")])
    response = crate_download(bundle, (), scratch=scratch, clock=ManualClock())
    total = 0

    def take(piece: bytes) -> None:
        nonlocal total
        total += len(piece)

    tracemalloc.start()
    try:
        answer = received(response, take)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="run-r1.crate.zip"'
    assert total > size if media_type == "image/png" else total < size / 100
    assert peak < 16 << 20
    assert answer.largest < 4 << 20


# -- what goes wrong --------------------------------------------------------------------------


@pytest.fixture
def serve(free_port: int) -> Iterator[Callable[[Callable[[], Response]], str]]:
    """Serve a response by a real server; returns its address."""
    app = FastAPI()
    error_handlers.install(app, error_handlers.render_detail)
    server = uvicorn.Server(uvicorn.Config(app, port=free_port, log_level="warning"))
    thread = threading.Thread(target=server.run)

    def start(answer: Callable[[], Response]) -> str:
        app.add_api_route("/crate", answer, response_model=None)
        thread.start()
        until(lambda: server.started, what="the server")
        return f"http://127.0.0.1:{free_port}/crate"

    yield start
    server.should_exit = True
    thread.join(10)


def zeros(path: Path, size: int) -> BundledFile:
    """A file that is sent as it is, so that the server cannot run far ahead of its client."""
    with path.open("wb") as file:
        file.truncate(size)
    return BundledFile(path.name, "Zeros", "image/png", path)


def test_a_client_that_leaves_leaves_no_temporary_folder(
    tmp_path: Path, serve: Callable[[Callable[[], Response]], str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bundle = a_bundle(
        [BundledFile("big.png", "Zeros", "image/png", make=lambda at: _ignore(zeros(at, 64 << 20)))]
    )
    url = serve(lambda: crate_download(bundle, (), scratch=scratch, clock=ManualClock()))
    with httpx.stream("GET", url) as response:
        next(response.iter_raw())
        assert len(list(scratch.iterdir())) == 1
    until(lambda: not list(scratch.iterdir()), what="the folder's end")


def test_only_so_many_crates_are_made_at_a_time(
    tmp_path: Path, serve: Callable[[Callable[[], Response]], str]
) -> None:
    """Others that are on the disk as they are go out meanwhile."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = [
        BundledFile("m.txt", "Text", "text/plain", make=lambda path: _ignore(path.write_text("m"))),
        zeros(tmp_path / "there.png", 1),
    ]
    asked = files[:1]
    url = serve(lambda: crate_download(a_bundle(asked), (), scratch=scratch, clock=ManualClock()))
    under_way = [scratch / f".crate-{number}" for number in range(8)]
    for folder in under_way:
        folder.mkdir()
    assert httpx.get(url).status_code == 503
    asked[:] = files[1:]
    assert httpx.get(url).status_code == 200
    under_way.pop().rmdir()
    asked[:] = files
    assert httpx.get(url).status_code == 200
    until(lambda: sorted(scratch.iterdir()) == under_way, what="the folder's end")


def test_a_client_that_leaves_while_files_are_made_leaves_nothing(
    tmp_path: Path, serve: Callable[[Callable[[], Response]], str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    begun, go_on = threading.Event(), threading.Event()

    def make(path: Path) -> None:
        path.write_bytes(b"half")
        begun.set()
        assert go_on.wait(10)

    bundle = a_bundle([BundledFile("slow.csv", "Slow", "text/csv", make=make)])
    url = httpx.URL(serve(lambda: crate_download(bundle, (), scratch=scratch, clock=ManualClock())))
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(b"GET /crate HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(10)
        assert len(list(scratch.iterdir())) == 1
    go_on.set()
    until(lambda: not list(scratch.iterdir()), what="the folder's end")


def test_an_end_of_the_server_meanwhile_leaves_no_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bundle = a_bundle(
        [BundledFile("a.png", "A", "image/png", make=lambda at: _ignore(zeros(at, 4 << 20)))]
    )

    async def cancelled() -> None:
        sending = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sending.set()
                await asyncio.Event().wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        response = crate_download(bundle, (), scratch=scratch, clock=ManualClock())
        task = asyncio.ensure_future(response({"type": "http", "asgi": {}}, receive, send))
        await sending.wait()
        assert len(list(scratch.iterdir())) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert list(scratch.iterdir()) == []


def _ignore(_value: object) -> None:
    """Take the value of something that is done for its effect."""


@pytest.mark.parametrize("harm", ["written", "replaced", "removed", "cut", "grown"])
def test_a_file_that_changes_meanwhile_breaks_the_download_off(
    tmp_path: Path, serve: Callable[[Callable[[], Response]], str], harm: str
) -> None:
    files = [zeros(tmp_path / "first.png", 32 << 20), zeros(tmp_path / "second.png", 1 << 20)]
    url = serve(lambda: crate_download(a_bundle(files), (), scratch=tmp_path, clock=ManualClock()))
    received_bytes = bytearray()

    def download() -> None:
        with httpx.stream("GET", url) as response:
            assert response.status_code == 200
            pieces = response.iter_raw()
            received_bytes.extend(next(pieces))
            _do_harm(harm, tmp_path)
            for piece in pieces:
                received_bytes.extend(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        download()
    assert METADATA_NAME.encode() not in received_bytes


def _do_harm(harm: str, folder: Path) -> None:
    first, second = folder / "first.png", folder / "second.png"
    if harm == "written":
        with first.open("r+b") as file:
            file.write(b"other")
    elif harm == "replaced":
        (folder / "new").write_bytes(b"\0" * (1 << 20))
        (folder / "new").replace(second)
    elif harm == "removed":
        second.unlink()
    else:
        with first.open("r+b") as file:
            file.truncate((31 if harm == "cut" else 33) << 20)


def test_what_is_missing_or_cannot_be_made_is_told_before_anything_is_sent(
    tmp_path: Path, serve: Callable[[Callable[[], Response]], str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    makes: dict[str, BundledFile] = {
        "gone": BundledFile("gone.csv", "", "text/csv", tmp_path / "gone"),
        "folder": BundledFile("folder.csv", "", "text/csv", scratch),
        "nothing": BundledFile("nothing.csv", "", "text/csv", make=_ignore),
        "full": BundledFile("full.csv", "", "text/csv", make=full),
    }
    wanted: list[BundledFile] = []
    url = serve(lambda: crate_download(a_bundle(wanted), (), scratch=scratch, clock=ManualClock()))
    for name, status in [("gone", 404), ("folder", 404), ("nothing", 404), ("full", 503)]:
        first = BundledFile("a.csv", "", "text/csv", make=lambda at: made(at, b"1"))
        wanted[:] = [first, makes[name]]
        answer = httpx.get(url)
        assert answer.status_code == status, name
        assert answer.json()["detail"]
        assert list(scratch.iterdir()) == []
    assert "full" in answer.json()["detail"]


def test_a_server_that_was_killed_leaves_nothing_after_its_next_start(tmp_path: Path) -> None:
    (tmp_path / ".crate-abc").mkdir()
    (tmp_path / ".crate-abc" / "0").write_bytes(b"x")
    (tmp_path / "runs").mkdir()
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
