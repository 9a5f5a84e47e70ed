"""Files that strangers hand in or point to: damaged, lying, bombs."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tifffile

from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import one_chunk, planes
from tests.domains.microscopy.readers.test_czi import write as write_czi
from tests.support import damage
from tests.support.battery import minutes, write_signal
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.soaking import SoakOr

pytestmark = pytest.mark.paced

SEED = 20261128
MOST_MEMORY = 200_000_000
# What a process has loaded that works for the server; and a chunk that zstd unpacks whole.
WORKER_MEMORY, MOST_OF_A_WORKER = 250_000_000, 400_000_000
# Times on calm cores are below 2 s; other tests have the same ones.
BOMB_SECONDS = 30.0
LISTED = {"success", "error", "error_code"}


class Bench:
    """A server, the folder that requests may name, and what a stranger can hand in."""

    def __init__(self, server: Server, client: httpx.Client, area: Path) -> None:
        self.server = server
        self.client = client
        self.area = area
        made = client.post("/api/v1/plates", json={"plate": {"barcode": "P"}}).json()["data"]
        self.well = made["wells"][0]["id"]

    def upload(self, content: bytes, name: str = "x.png") -> httpx.Response:
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        files = {"image[file]": (name, content)}
        return self.client.post(f"/api/v1/wells/{self.well}/images", data=form, files=files)

    def preview(self, image: int) -> httpx.Response:
        return self.client.get(f"/api/v1/wells/{self.well}/images/{image}/preview")

    def delete(self, image: int) -> None:
        self.client.delete(f"/api/v1/wells/{self.well}/images/{image}").raise_for_status()

    def look_at(self, path: Path) -> httpx.Response:
        """Ask what a movie says of itself, and for its first plane where it can be read."""
        answer = self.client.post("/api/v1/processing/load-metadata", json={"file_path": str(path)})
        if answer.status_code == 200:
            answer = self.client.get("/api/v1/processing/preview", params={"file_path": str(path)})
        return answer

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """See that the server is the same process afterwards and never needed much more memory.

        Nor did any process that works for it, also one that has begun meanwhile.
        """
        process = self.server.process
        assert process is not None
        before = {each: each.memory_info().rss for each in _family(process.pid)}
        for each in before:
            # The kernel's high-water mark begins anew.
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")
        yield
        assert process.poll() is None, self.server.log
        for each in _family(process.pid):
            grown = peak_memory(each.pid) - before.get(each, WORKER_MEMORY)
            most = MOST_MEMORY if each.pid == process.pid else MOST_OF_A_WORKER
            assert grown < most, f"{each}: {grown / 1e6:.0f} MB"
        assert self.client.get("/health").json()["ok"]


def _family(pid: int) -> list[psutil.Process]:
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def peak_memory(pid: int) -> int:
    """Return how many bytes a process needed at most; none of one that has ended meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line), 0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("files")
    area = folder / "area"
    area.mkdir()
    write_signal(folder / "rec", "GOOD", "bms1_soc", [(at, 50) for at in minutes(300)])
    for name, content in csv_bombs():
        path = write_signal(folder / "rec", name, "bms1_soc", [])
        path.write_bytes(content)
    options = ("--battery-data", str(folder / "rec"))
    environment = {"PYAMA_ALLOWED_PATHS": str(area), "BENCHWIRE_COMPUTE_PROCESSES": "1"}
    with (
        Server(folder / "data", free_port(), *options, environment=environment) as server,
        httpx.Client(base_url=server.url, timeout=150) as client,
    ):
        yield Bench(server, client, area)


def csv_bombs() -> Iterator[tuple[str, bytes]]:
    """Return tables that would fill the memory of a careless reader, by what they are."""
    head = b"barcode,time,fov,cell,value\n"
    yield "giant line", head + b"a" * 30_000_000
    yield "giant line without a head", b"1" * 30_000_000
    yield (
        "million columns",
        b",".join(b"c%d" % k for k in range(1_000_000)) + b"\n" + b"1," * 999_999,
    )
    yield "empty lines", head + b"\n" * 10_000_000
    yield "only empty lines", b"\n" * 10_000_000
    yield "bare returns", b"\r" * 10_000_000
    yield "short lines", head + b"a\n" * 10_000_000
    yield "nuls", head + b"\0" * 1_000_000
    yield "nuls in cells", head + b"a,1,1\0,1,1\n" * 100_000
    yield "quote never closed", head + b'"' + b"a,1,1,1,1\n" * 1_000_000
    yield "nothing but quotes", head + b'"' * 1_000_001
    yield "formulas", head + b"=cmd|' /C calc'!A0,@SUM(1),+1,-1,=1\n"
    yield "not text", head + bytes(range(128, 256)) * 1000
    yield "nothing", b""


def test_damaged_pictures_are_refused_or_kept_as_they_are(bench: Bench, soak_or: SoakOr) -> None:
    chance = random.Random(SEED)
    whole = [damage.picture(kind) for kind in damage.FORMATS]
    shown: dict[int, int] = {}
    with bench.unharmed():
        for number in range(soak_or(40, 6000)):
            content = damage.mutated(whole[number % len(whole)], chance)
            answer = bench.upload(content)
            assert answer.status_code in {201, 422}, answer.text
            if answer.status_code == 422:
                assert answer.json()["details"]
                continue
            image = answer.json()["data"]["id"]
            preview = bench.preview(image)
            assert preview.status_code in {200, 422}, preview.text
            shown[preview.status_code] = shown.get(preview.status_code, 0) + 1
            bench.delete(image)
    assert shown.get(200)


def test_what_is_no_picture_is_refused_at_once(bench: Bench) -> None:
    for what, content in damage.impostors():
        with bench.unharmed():
            begun = time.perf_counter()
            answer = bench.upload(content, "picture.png")
            seconds = time.perf_counter() - begun
        assert answer.status_code == 422, what
        assert answer.json()["error"] == "Failed to create image"
        # The promise is 1 s; machines of a test may be slow.
        assert seconds < 5.0, what


def test_a_picture_that_is_a_page_as_well_is_only_a_picture(bench: Bench) -> None:
    for what, content in damage.polyglots():
        image = bench.upload(content, "page.html").json()["data"]["id"]
        answer = bench.client.get(f"/api/v1/wells/{bench.well}/images/{image}/file")
        assert answer.content == content, what
        assert answer.headers["content-type"].startswith("image/")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]


def movies(folder: Path) -> dict[str, bytes]:
    """Return a small whole movie of each format, by its suffix."""
    pixels = planes(2, 3, 2)
    write_nd2(folder / "a.nd2", pixels.transpose(1, 0, 2, 3, 4)[:, :, None])
    write_nd2(folder / "b.nd2", pixels.transpose(1, 0, 2, 3, 4)[:, :, None], compressed=True)
    write_czi(folder / "c.czi")
    write_czi(folder / "d.czi", compression="zstd1:ExplicitLevel=1")
    tifffile.imwrite(
        folder / "e.ome.tif", pixels[0], ome=True, metadata={"axes": "TCYX"}, compression="zlib"
    )
    tifffile.imwrite(folder / "f.tif", pixels[0, :, 0], photometric="minisblack")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_damaged_movies_end_no_server(bench: Bench, tmp_path: Path, soak_or: SoakOr) -> None:
    """A file of a known kind that cannot be read is 500 by the API's contract, in its shape."""
    chance = random.Random(SEED)
    whole = movies(tmp_path)
    seen: dict[int, int] = {}
    with bench.unharmed():
        for number in range(soak_or(40, 4000)):
            name = list(whole)[number % len(whole)]
            path = bench.area / f"{number}-{name}"
            path.write_bytes(damage.mutated(whole[name], chance))
            answer = bench.look_at(path)
            path.unlink()
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            if answer.status_code != 200:
                assert answer.json().keys() == LISTED
                assert answer.json()["error_code"] in {"PROCESSING_ERROR", "INVALID_PARAMETERS"}
    assert set(seen) <= {200, 400, 500}
    assert seen.get(200)
    assert seen.get(500)


def test_a_movie_in_black_and_white_is_shown(bench: Bench) -> None:
    path = bench.area / "mask.tif"
    tifffile.imwrite(path, np.eye(64, dtype=bool), photometric="minisblack")
    assert bench.look_at(path).status_code == 200


def bombs_of_movies(folder: Path) -> Iterator[Path]:
    """Write movies whose pixels unpack to far more than they say, or say far too much."""
    honest = folder / "honest.tif"
    tifffile.imwrite(honest, np.zeros((64, 64), np.uint16), compression="zlib")
    with tifffile.TiffFile(honest) as file:
        tags = file.pages.first.tags
        place, count = tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset
    data = bytearray(honest.read_bytes())
    bomb = damage.zeros(256 << 20)
    data[count : count + 4] = len(bomb).to_bytes(4, "little")
    data[place : place + 4] = len(data).to_bytes(4, "little")
    strip = folder / "strip.tif"
    strip.write_bytes(bytes(data) + bomb)
    yield strip
    huge = folder / "huge.tif"
    tifffile.imwrite(huge, np.zeros((64, 64), np.uint16))
    with tifffile.TiffFile(huge) as file:
        tags = file.pages.first.tags
        wide, high = tags["ImageWidth"].valueoffset, tags["ImageLength"].valueoffset
    data = bytearray(huge.read_bytes())
    for where in (wide, high):
        data[where : where + 4] = (100_000).to_bytes(4, "little")
    huge.write_bytes(data)
    yield huge
    for codec in ("gzip", "zstd"):
        path = folder / f"chunk-{codec}.zarr"
        from numcodecs import GZip, Zstd

        compressor: Any = GZip(1) if codec == "gzip" else Zstd(1)
        chunk = one_chunk(path, compressor, np.ones((64, 64), "u2"))
        chunk.write_bytes(
            damage.zeros(256 << 20, as_gzip=True)
            if codec == "gzip"
            else compressor.encode(bytes(256 << 20))
        )
        yield path


def test_bombs_of_movies_are_refused(bench: Bench) -> None:
    folder = bench.area / "bombs"
    folder.mkdir()
    for path in bombs_of_movies(folder):
        with bench.unharmed(), in_time(path.name):
            answer = bench.look_at(path)
        assert answer.status_code == 500, path.name
        assert answer.json()["error_code"] == "PROCESSING_ERROR"


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """See that something does not take too long."""
    begun = time.perf_counter()
    yield
    assert time.perf_counter() - begun < BOMB_SECONDS, what


def test_tables_that_are_bombs_are_read_or_refused(bench: Bench) -> None:
    path = bench.area / "bomb.csv"
    for what, content in csv_bombs():
        path.write_bytes(content)
        with bench.unharmed(), in_time(what):
            answer = bench.client.post("/api/v1/analysis/load-traces", json={"csv_path": str(path)})
        assert answer.status_code in {200, 400}, (what, answer.text[:300])
        if answer.status_code == 400:
            assert answer.json().keys() == LISTED
        for target in (
            "/api/v1/import",
            "/api/v1/plates/P/contents_csv",
            "/api/v1/chemicals/import",
        ):
            with bench.unharmed(), in_time(f"{what} at {target}"):
                answer = bench.client.post(
                    target, params={"dry_run": "true"}, files={"file": ("x.csv", content)}
                )
            assert answer.status_code in {200, 400, 422}, (what, answer.text[:300])
            assert len(answer.content) < 20_000_000


def test_tables_of_batteries_that_are_bombs_hold_up_no_other(bench: Bench) -> None:
    with bench.unharmed():
        row = bench.client.get("/bms/GOOD?batch_size=1").json()
        assert row["data"]
        for name, _ in csv_bombs():
            answer = bench.client.get(f"/bms/{name}?batch_size=1")
            assert answer.status_code in {200, 404, 422}, (name, answer.text[:300])
            if answer.status_code == 200:
                report = bench.client.get(f"/bms/{name}/report").json()
                assert report


def test_lists_in_a_body_have_a_largest_length(bench: Bench) -> None:
    """Eight million bytes of JSON are some millions of empty records."""
    for path, name in (("/api/v1/import", "plates"), ("/api/v1/chemicals/import", "chemicals")):
        content = f'{{"{name}":[{",".join(["{}"] * 2_600_000)}]}}'
        assert len(content) < 8_000_000
        answer = bench.client.post(
            path,
            params={"dry_run": "true"},
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in {200, 422}
        assert "more than 200000" in answer.text
    assert bench.client.get("/health").json()["ok"]


def test_a_packed_body_is_not_unpacked(bench: Bench) -> None:
    body = damage.zeros(200_000_000, as_gzip=True)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    with bench.unharmed():
        begun = time.perf_counter()
        for path in ("/api/v1/analysis/load-traces", "/api/v1/plates", "/jobs", "/samples/links"):
            answer = bench.client.post(path, content=body, headers=headers)
            assert 400 <= answer.status_code < 500, answer.text
            assert isinstance(answer.json(), dict)
    assert time.perf_counter() - begun < 10.0
