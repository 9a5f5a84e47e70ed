"""Work on a Dask cluster: the same results as here, and nothing lost when parts of it go."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

pytest.importorskip("distributed")

from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.work import draw_plot
from benchwire.foundation.cluster.connection import Cluster, ClusterAway, Place
from benchwire.foundation.cluster.executor import ClusterExecutor
from benchwire.foundation.cluster.host import WorkerUnfit
from benchwire.foundation.workers import ProcessExecutor, TooBusy, WorkNeedsMemory, WorkStopped, ask
from tests.domains.traces.test_api import write_csv
from tests.support import ports, work
from tests.support.battery import DEVICE, write_group
from tests.support.cluster import DaskCluster
from tests.support.s3 import BUCKET, ObjectStore
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

FOVS, FRAMES, SIZE = 5, 6, 320
MEMORY = 600_000_000
WORKFLOW = "/api/v1/processing/workflow"
FITTING = "/api/v1/analysis/fitting"
FINAL = {"completed", "failed", "cancelled"}
# What a record tells of the moment and not of the work.
OF_THE_RUN = {"job_id", "started_at", "ended_at"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a movie, traces and recordings of a battery."""
    folder = tmp_path_factory.mktemp("lab")
    write_demo_movie(
        folder / "movie.ome.tif", seed=2, n_fovs=FOVS, n_frames=FRAMES, size=SIZE, n_cells=2
    )
    write_csv(folder / "traces.csv", cells=200, noise=0.1)
    write_group(folder / "recordings", DEVICE, "bms")
    return folder


class Bench:
    """A running server, and work done by it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, path: str, **query: Any) -> Any:
        return httpx.get(f"{self.server.url}{path}", params=query, timeout=60).raise_for_status()

    def post(self, path: str, body: Any) -> Any:
        answer = httpx.post(f"{self.server.url}{path}", json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()

    def start_workflow(self, lab: Path, output: Path) -> str:
        body = {
            "microscopy_path": str(lab / "movie.ome.tif"),
            "output_dir": str(output),
            "channels": {
                "phase": {"channel": 0, "features": ["area"]},
                "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
            },
            "parameters": {"border_margin": 5, "min_frames": 2, "n_workers": 3},
        }
        return self.post(f"{WORKFLOW}/start", body)["job_id"]

    def ended(self, family: str, job: str) -> dict[str, Any]:
        def status() -> dict[str, Any]:
            return self.get(f"{family}/status/{job}").json()

        until(lambda: status()["status"] in FINAL, seconds=120, what=f"the end of {job}")
        return status()

    def workflow(self, lab: Path, output: Path) -> dict[str, Any]:
        return self.ended(WORKFLOW, self.start_workflow(lab, output))


@contextmanager
def serving(
    folder: Path, lab: Path, cluster: DaskCluster | None = None, **more: str
) -> Iterator[Bench]:
    environment = {
        **more,
        "BENCHWIRE_BATTERY_DATA": str(lab / "recordings"),
        "BENCHWIRE_COMPUTE_PROCESSES": "4",
        "BENCHWIRE_EMULATE": "potentiostat=1",
    }
    if cluster is not None:
        environment["BENCHWIRE_CLUSTER"] = cluster.address
    with Server(folder / "data", ports.free_port(), environment=environment) as server:
        yield Bench(server)


@contextmanager
def connected(
    dask: DaskCluster,
    folder: Path,
    *,
    place: Place | None = None,
    at_once: int = 4,
    patience: float = 60.0,
    memory: int | None = None,
) -> Iterator[tuple[Cluster, ClusterExecutor]]:
    cluster = Cluster(
        place or Place(dask.address), data_dir=folder, grace=0.3, patience=patience, memory=memory
    )
    executor = ClusterExecutor(cluster, at_once)
    try:
        yield cluster, executor
    finally:
        executor.close()
        cluster.close()


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Return the files below a folder; of records what does not tell of the moment."""
    found = {}
    for path in sorted(folder.rglob(pattern)):
        if not path.is_file():
            continue
        content = path.read_bytes().replace(str(folder).encode(), b"HERE")
        if path.suffix == ".json":
            facts = json.loads(content)
            for key in OF_THE_RUN & set(facts):
                del facts[key]
            facts.get("stats", {}).pop("processing_time", None)
            content = json.dumps(facts).encode()
        found[path.relative_to(folder).as_posix()] = content
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, lab: Path) -> dict[str, dict[str, bytes]]:
    """What a server without a cluster makes of it all."""
    folder = tmp_path_factory.mktemp("local")
    with serving(folder, lab) as bench:
        return made_by(bench, folder, lab)


def made_by(bench: Bench, folder: Path, lab: Path) -> dict[str, dict[str, bytes]]:
    shutil.copy(lab / "traces.csv", folder / "traces.csv")
    status = bench.workflow(lab, folder / "workflow")
    assert status["status"] == "completed", status
    fit = {"csv_path": str(folder / "traces.csv"), "model_type": "maturation"}
    fitted = bench.ended(FITTING, bench.post(f"{FITTING}/start", fit)["job_id"])
    assert fitted["status"] == "completed", fitted
    rows = {
        tail: bench.get(f"/bms/{DEVICE}{tail}", **query).content
        for tail, query in (("", {"batch_size": 300}), ("/anomalies", {"field": "soc"}))
    }
    return {
        "workflow": contents(folder / "workflow"),
        "fit": contents(folder, "*fitted*"),
        "rows": rows,
        "parquet": contents(folder / "data" / "battery", "*.parquet"),
    }


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A cluster for the tests that leave it whole."""
    with DaskCluster(tmp_path_factory.mktemp("dask")) as cluster:
        cluster.await_workers(2)
        yield cluster


def test_results_are_byte_for_byte_those_of_this_computer(
    dask: DaskCluster, lab: Path, tmp_path: Path, whole: dict[str, dict[str, bytes]]
) -> None:
    with serving(tmp_path, lab, dask) as bench:
        made = made_by(bench, tmp_path, lab)
        below = [psutil.Process(process.pid).children() for process in dask.workers]
        own = [
            " ".join(child.cmdline())
            for child in psutil.Process(bench.server.process.pid).children()
        ]
        png, csv = plotted(bench, tmp_path)
    for kind, files in whole.items():
        assert files
        assert sorted(made[kind]) == sorted(files), kind
        assert [name for name in files if made[kind][name] != files[name]] == [], kind
    # Both workers had work, and the server itself no process but its emulators.
    assert all(below)
    assert own
    assert not [command for command in own if "foundation.workers" in command]
    here = ProcessExecutor(1)
    again = tmp_path / "again.png"
    here.submit(
        draw_plot, str(csv), str(again), "OCP", f"{MODES['OCP'].title}, Test, slot01"
    ).result(60)
    here.close()
    assert again.read_bytes() == png.read_bytes()


def plotted(bench: Bench, folder: Path) -> tuple[Path, Path]:
    """Have something measured and drawn, and return picture and table."""
    body = {
        "devices": ["slot01"], "modes": ["OCP"], "experiment_name": "Test",
        "params_by_mode": {"OCP": {"duration": 0.2}}, "make_plot": True,
        "client_datetime": "2025-11-03T10:15:00",
    }  # fmt: skip
    run = bench.post("/jobs", body)["run_id"]
    until(lambda: bench.get(f"/jobs/{run}").json()["status"] == "done", seconds=60)
    (png,) = folder.rglob("*_OCP.png")
    return png, png.with_suffix(".csv")


@pytest.fixture
def own_dask(tmp_path: Path) -> Iterator[DaskCluster]:
    """A cluster to do harm to."""
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskCluster(folder) as cluster:
        cluster.await_workers(2)
        yield cluster


def finished(output: Path) -> int:
    return len(list(output.glob("fov_*/finished.json")))


def test_workers_that_are_killed_lose_nothing(
    own_dask: DaskCluster, lab: Path, tmp_path: Path, whole: dict[str, dict[str, bytes]],
    soak_or: SoakOr,
) -> None:  # fmt: skip
    """Each time a workflow begins, a worker is killed in the middle and another takes its place."""
    with serving(tmp_path, lab, own_dask) as bench:
        for number in range(soak_or(1, 20)):
            output = tmp_path / f"out-{number}"
            job = bench.start_workflow(lab, output)
            until(lambda: finished(output) >= 1 + number % 3, seconds=60)  # noqa: B023
            victim = own_dask.workers[number % 2]
            below = psutil.Process(victim.pid).children()
            victim.kill()
            victim.wait()
            own_dask.workers[number % 2] = own_dask.start_worker(number % 2)
            status = bench.ended(WORKFLOW, job)
            assert status["status"] == "completed", status
            assert contents(output) == whole["workflow"]
            assert not [child for child in below if child.is_running()]
            shutil.rmtree(output)


def test_scheduler_that_is_killed_and_comes_back_loses_nothing(
    own_dask: DaskCluster, lab: Path, tmp_path: Path, whole: dict[str, dict[str, bytes]],
    soak_or: SoakOr,
) -> None:  # fmt: skip
    with serving(tmp_path, lab, own_dask) as bench:
        for number in range(soak_or(1, 10)):
            output = tmp_path / f"out-{number}"
            job = bench.start_workflow(lab, output)
            until(lambda: finished(output) >= 1, seconds=60)  # noqa: B023
            own_dask.scheduler.kill()
            own_dask.scheduler.wait()
            for process in own_dask.workers:
                process.wait(30)
            told = "does not answer"
            until(lambda: told in bench.get("/notices").text, what="the notice")  # noqa: B023
            own_dask.start_scheduler()
            own_dask.workers = [own_dask.start_worker(place) for place in range(2)]
            status = bench.ended(WORKFLOW, job)
            assert status["status"] == "completed", status
            assert contents(output) == whole["workflow"]
            until(lambda: told not in bench.get("/notices").text)  # noqa: B023


def test_cluster_that_stays_away_is_told_and_waited_for_no_longer_than_said(
    tmp_path: Path,
) -> None:
    with (
        DaskCluster(tmp_path, 1) as dask,
        connected(dask, tmp_path, patience=1.0) as (cluster, executor),
    ):
        dask.await_workers(1)
        under_way = executor.submit(work.hang)
        until(lambda: _below(dask), seconds=30)
        dask.scheduler.kill()
        assert isinstance(under_way.exception(30), ClusterAway)
        assert cluster.troubles() == [f"The cluster at {dask.address} does not answer"]
        with pytest.raises(ClusterAway, match="does not answer"):
            ask(executor, work.add, 1, 1, seconds=0.5)


def test_cluster_without_workers_is_told(tmp_path: Path) -> None:
    with (
        DaskCluster(tmp_path, 0) as dask,
        connected(dask, tmp_path, patience=5.0) as (cluster, executor),
    ):
        with pytest.raises(ClusterAway, match="no workers"):
            executor.submit(work.add, 1, 1).result(30)
        assert "no workers" in cluster.troubles()[0]


def _below(dask: DaskCluster) -> list[psutil.Process]:
    """Return the processes in which pieces of work run."""
    return [child for one in dask.workers for child in psutil.Process(one.pid).children()]


# What a server does, until it is killed.
SERVER = """
import sys, time
from pathlib import Path
from benchwire.foundation.cluster.connection import Cluster, Place
from benchwire.foundation.cluster.executor import ClusterExecutor
from tests.support import work
folder = Path(sys.argv[2])
executor = ClusterExecutor(Cluster(Place(sys.argv[1]), data_dir=folder), 1)
executor.submit(work.beat, str(folder / "beats"))
time.sleep(600)
"""


def test_work_of_a_server_that_was_killed_ends(dask: DaskCluster, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, dask.address, str(tmp_path)], cwd=root
    ) as server:
        until(beats.exists, seconds=60)
        server.kill()
    time.sleep(3.0)
    count = beats.stat().st_size
    time.sleep(0.5)
    assert beats.stat().st_size == count


def test_who_waits_is_told_that_the_cluster_is_busy_and_the_others_go_on(
    dask: DaskCluster, tmp_path: Path
) -> None:
    (tmp_path / "long").mkdir()
    with (
        connected(dask, tmp_path / "long", at_once=8) as (_, long),
        connected(dask, tmp_path) as (_, short),
    ):
        stop = threading.Event()
        holding = [long.submit(work.listen_for_stop, stop=stop) for _ in range(8)]
        until(lambda: len(_below(dask)) >= 8, seconds=30)
        with pytest.raises(TooBusy):
            ask(short, work.add, 1, 1, seconds=1.0)
        stop.set()
        assert {type(future.exception(30)) for future in holding} == {WorkStopped}
        assert ask(short, work.add, 1, 1, seconds=30) == 2


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="memory is limited on Linux")
def test_memory_is_limited_below_a_worker(dask: DaskCluster, tmp_path: Path) -> None:
    with connected(dask, tmp_path, memory=MEMORY) as (_, executor):
        assert isinstance(
            executor.submit(work.fill_array, 2 * MEMORY).exception(60), WorkNeedsMemory
        )
        assert executor.submit(work.add, 1, 1).result(30) == 2


def test_worker_that_is_told_to_end_leaves_its_work_to_another(
    own_dask: DaskCluster, tmp_path: Path
) -> None:
    with connected(own_dask, tmp_path) as (_, executor):
        futures = [executor.submit(work.hold, 2.0) for _ in range(4)]
        until(lambda: len(_below(own_dask)) >= 4, seconds=30)
        own_dask.workers[0].terminate()
        assert [future.exception(60) for future in futures] == [None] * 4


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that vouches for itself,."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


def test_encrypted_cluster_works_and_takes_no_stranger(certificates: Path, tmp_path: Path) -> None:
    cert, key = certificates / "cert.pem", certificates / "key.pem"
    options = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    with DaskCluster(tmp_path, 1, protocol="tls", options=options) as dask:
        place = Place(dask.address, cert, cert, key)
        with connected(dask, tmp_path, place=place) as (_, executor):
            assert executor.submit(work.add, 1, 2).result(60) == 3
        plain = Place(dask.address.replace("tls", "tcp"))
        with connected(dask, tmp_path, place=plain, patience=1.0) as (_, executor):
            assert isinstance(executor.submit(work.add, 1, 2).exception(60), ClusterAway)


def test_missing_extra_is_said_in_a_sentence(tmp_path: Path) -> None:
    code = "import sys; sys.modules['distributed'] = None; from benchwire.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--data-dir", str(tmp_path), "--port", "0"],
        env={**os.environ, "BENCHWIRE_CLUSTER": "tcp://127.0.0.1:1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "needs the package distributed" in done.stderr
    assert "Install benchwire[cluster]" in done.stderr
    assert "Traceback" not in done.stderr


def test_work_whose_workers_are_all_gone_does_not_wait_for_ever(tmp_path: Path) -> None:
    with (
        DaskCluster(tmp_path, 1) as dask,
        connected(dask, tmp_path, patience=5.0) as (_, executor),
    ):
        dask.await_workers(1)
        under_way = executor.submit(work.hang)
        until(lambda: _below(dask), seconds=30)
        dask.workers[0].kill()
        assert isinstance(under_way.exception(60), ClusterAway)


def test_worker_of_another_version_is_refused(tmp_path: Path) -> None:
    preload = tmp_path / "older.py"
    preload.write_text("import benchwire\nbenchwire.__version__ = '0.0.1'\n")
    with DaskCluster(tmp_path, 0) as dask, connected(dask, tmp_path) as (cluster, executor):
        dask.workers.append(dask.start_worker(0, "--preload", str(preload)))
        with pytest.raises(WorkerUnfit, match=r"has benchwire 0\.0\.1 and this server"):
            executor.submit(work.add, 1, 1).result(60)
        until(lambda: "has benchwire 0.0.1" in "".join(cluster.troubles()), what="the notice")


def test_worker_that_does_not_see_the_data_folder_is_refused(
    dask: DaskCluster, tmp_path: Path
) -> None:
    with connected(dask, tmp_path) as (_, executor):
        # What such a worker finds there is another folder, or none.
        (tmp_path / ".cluster-probe").write_text("another's")
        with pytest.raises(WorkerUnfit, match="does not see the server's data folder"):
            executor.submit(work.add, 1, 1).result(60)


@pytest.mark.slow
def test_a_movie_from_an_object_store_gives_the_same_bytes(
    tmp_path: Path,
    lab: Path,
    whole: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cluster brings it, processes it, and puts what came of it into the store."""
    (tmp_path / "dask").mkdir()
    with ObjectStore() as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        store.put("movies/movie.ome.tif", (lab / "movie.ome.tif").read_bytes())
        # Part of the record, and so of the bytes that are compared.
        changed = (lab / "movie.ome.tif").stat()
        with DaskCluster(tmp_path / "dask") as dask:
            dask.await_workers(2)
            stores = {"BENCHWIRE_STORES_URLS": f"s3://{BUCKET}"}
            with serving(tmp_path, lab, dask, **stores) as bench:

                def copy(source: object, target: object) -> None:
                    body = {"source": str(source), "target": str(target)}
                    job = bench.post("/stores/copies", body)["job_id"]
                    place = f"/stores/copies/{job}"
                    until(lambda: bench.get(place).json()["status"] in FINAL, seconds=60)
                    assert bench.get(place).json()["status"] == "completed"

                copy(f"s3://{BUCKET}/movies", tmp_path / "brought" / "movies")
                brought = tmp_path / "brought" / "movies" / "movie.ome.tif"
                assert brought.read_bytes() == (lab / "movie.ome.tif").read_bytes()
                brought.replace(lab / "movie.ome.tif")
                os.utime(lab / "movie.ome.tif", ns=(changed.st_atime_ns, changed.st_mtime_ns))
                status = bench.workflow(lab, tmp_path / "workflow")
                assert status["status"] == "completed", status
                copy(tmp_path / "workflow", f"s3://{BUCKET}/results/workflow")
                copy(f"s3://{BUCKET}/results/workflow", tmp_path / "back" / "workflow")
                assert not [
                    child
                    for child in psutil.Process(bench.server.pid).children()
                    if "foundation.workers" in " ".join(child.cmdline())
                ]
    made = contents(tmp_path / "workflow")
    assert sorted(made) == sorted(whole["workflow"])
    assert [name for name in made if made[name] != whole["workflow"][name]] == []
    for path in (tmp_path / "workflow").rglob("*"):
        if path.is_file():
            again = tmp_path / "back" / "workflow" / path.relative_to(tmp_path / "workflow")
            assert again.read_bytes() == path.read_bytes()
