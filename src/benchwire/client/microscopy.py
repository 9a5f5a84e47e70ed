"""Microscopy: movies, workflows that find and follow cells, traces of them.

Paths are paths on the server's computer.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from benchwire.client.connection import Connection
from benchwire.client.errors import BenchError
from benchwire.client.frames import table
from benchwire.client.work import Status, Work, below, quoted, state_of

if TYPE_CHECKING:
    import polars as pl

_PATH = "/api/v1/processing"
# Opening a large movie for the first time may mean reading all of it.
_OPEN_SECONDS = 300.0
_FILE = ("name", "path", "is_directory", "size_bytes", "modified_time", "extension")
_TRACES = "_traces.csv"


class WorkflowOptions(TypedDict, total=False):
    """How a workflow is carried out; what is left out has the server's default.

    Parameters
    ----------
    fov_start, fov_end
        First and last FOV, both included; -1 for the last there is.
    n_workers
        How many FOVs are processed at once.
    background_weight
        From 0, no background is subtracted, to 1.
    erosion_size
        Pixels taken off the rim of each cell.
    min_frames
        Frames a cell has to be followed for.
    border_margin
        Pixels from the edge of the image within which cells are left out.
    min_size, max_size
        Area of a cell, in pixels.
    min_iou
        Overlap from frame to frame by which a cell is known again, from 0 to 1.
    frame_interval
        Minutes between two frames, where the file does not say.
    ome_zarr
        Version of OME-Zarr in which the stacks are written: ``"0.4"``, ``"0.5"`` or ``"none"``.
    """

    fov_start: int
    fov_end: int
    batch_size: int
    n_workers: int
    background_weight: float
    erosion_size: int
    min_frames: int
    border_margin: int
    min_size: int
    max_size: int
    min_iou: float
    frame_interval: float
    ome_zarr: str


class Picture:
    """A PNG; shows itself in a notebook."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def _repr_png_(self) -> bytes:
        return self.content

    def save(self, path: str | Path) -> Path:
        """Write it to a file."""
        target = Path(path)
        target.write_bytes(self.content)
        return target


class Workflow(Work):
    """The processing of a movie into traces of cells."""

    kind: ClassVar[str] = "workflow"

    def _ask(self, **how: Any) -> Status:
        answer = self._connection.get(f"{_PATH}/workflow/status/{quoted(self.id)}", **how)
        return analysis_status(answer)

    def cancel(self) -> None:
        """Stop it; FOVs that are finished stay."""
        self._connection.send("POST", f"{_PATH}/workflow/cancel/{quoted(self.id)}")

    @property
    def fovs(self) -> "pl.DataFrame":
        """How far each FOV is: fov, status, percentage."""
        rows = self.status.answer.get("fovs", [])
        return table(rows, columns=("fov", "status", "percentage"))

    @property
    def results(self) -> dict[str, Any]:
        """Where its results are on the server, and figures: ``stats``, ``traces``, ``output_dir``.

        Raises
        ------
        Conflict
            It is not completed.
        """
        return dict(self._connection.get(f"{_PATH}/workflow/results/{quoted(self.id)}"))

    def traces(self) -> "pl.DataFrame":
        """Return the traces of all cells of all FOVs.

        Returns
        -------
        pl.DataFrame
            A row per cell and frame: ``fov``, ``cell``, ``frame``, ``time`` (min), ``good``, the
            position and bounding box in pixels, and a column per feature and channel.
        """
        import polars as pl

        with self._archive() as archive:
            frames = [
                pl.read_csv(
                    archive.read(name),
                    infer_schema_length=None,
                    schema_overrides={"time": pl.Float64},
                )
                for name in sorted(archive.namelist())
                if name.endswith(_TRACES)
            ]
        if not frames:
            return pl.DataFrame()
        both = pl.concat(frames, how="diagonal_relaxed")
        truth = pl.col("good").cast(pl.String).str.to_lowercase() == "true"
        return both.with_columns(truth) if "good" in both.columns else both

    def download(self, folder: str | Path = ".") -> list[Path]:
        """Write its tables and records below ``folder/<id>`` and return their paths."""
        place = below(folder, self.id)
        written = []
        with self._archive() as archive:
            for name in archive.namelist():
                target = below(place, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
                written.append(target)
        return written

    def overlay(self, fov: int = 0, frame: int = 0, *, labels: bool = True) -> Picture:
        """Return a processed frame with its cells outlined and named."""
        content = self._connection.content(
            f"{_PATH}/overlay",
            output_dir=self.results["output_dir"],
            fov=fov,
            frame=frame,
            labels="true" if labels else "false",
        )
        return Picture(content)

    def _archive(self) -> zipfile.ZipFile:
        path = f"{_PATH}/workflow/results/{quoted(self.id)}/download"
        return zipfile.ZipFile(io.BytesIO(self._connection.content(path)))


class Microscopy:
    """The microscopy of a server: ``bench.microscopy``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def info(self, movie: str | Path) -> dict[str, Any]:
        """Return what a movie says of itself.

        Returns
        -------
        dict[str, Any]
            ``n_fovs``, ``n_frames``, ``n_channels``, ``height`` and ``width`` (px),
            ``channel_names``, ``timepoints`` (ms), ``pixel_size_um``, ``suggested_channels`` ...

        Raises
        ------
        NotFound, Invalid
            There is no such file, or it is no movie.
        """
        return self._post("load-metadata", file_path=str(movie))

    def features(self) -> dict[str, list[str]]:
        """Return the features that can be measured, by ``phase`` and ``fluorescence``."""
        answer = self._connection.get(f"{_PATH}/features")
        return {
            "phase": answer["phase_features"],
            "fluorescence": answer["fluorescence_features"],
        }

    def workflow(
        self,
        movie: str | Path,
        output: str | Path,
        *,
        phase: int | None = None,
        phase_features: Sequence[str] | None = None,
        fluorescence: Mapping[int, Sequence[str]] | None = None,
        samples: Mapping[int | str, str] | None = None,
        sample: str | None = None,
        **options: Unpack[WorkflowOptions],
    ) -> Workflow:
        """Start the processing of a movie into traces of cells.

        Parameters
        ----------
        output
            Folder on the server for the results; FOVs that are finished there are not done anew.
        phase, phase_features
            The channel in which cells are found, and what is measured in it; the server's choice
            if not given.
        fluorescence
            Features by channel; the server's choice if not given.
        samples
            What was imaged in each FOV: a sample's id or ``"<barcode>/<well>"``.
        sample
            What the whole movie shows.

        Raises
        ------
        Invalid, NotFound
            Something of it cannot be used.
        Conflict
            Another workflow is writing to that folder.
        AnswerLost
            The connection was cut; whether it began is shown by ``bench.jobs.all()``.
        """
        channels = self._channels(movie, phase, phase_features, fluorescence)
        body: dict[str, Any] = {
            "microscopy_path": str(movie),
            "output_dir": str(output),
            "channels": channels,
            "parameters": dict(options),
        }
        if samples is not None:
            body["samples"] = {str(fov): name for fov, name in samples.items()}
        if sample is not None:
            body["sample"] = sample
        answer = self._connection.send(
            "POST", f"{_PATH}/workflow/start", body, timeout=_OPEN_SECONDS
        )
        return Workflow(self._connection, answer["job_id"])

    def get(self, workflow_id: str) -> Workflow:
        """Return a workflow by its id.

        Raises
        ------
        NotFound
            There is none.
        """
        return Workflow.found(self._connection, workflow_id)

    def preview(
        self,
        movie: str | Path,
        *,
        fov: int = 0,
        frame: int = 0,
        channel: int = 0,
        low: float | None = None,
        high: float | None = None,
    ) -> Picture:
        """Return one plane, counts from ``low`` to ``high`` as black to white."""
        where = {"fov": fov, "frame": frame, "channel": channel, "low": low, "high": high}
        return Picture(
            self._connection.content(
                f"{_PATH}/preview", timeout=_OPEN_SECONDS, file_path=str(movie), **where
            )
        )

    def merge(
        self, sample_yaml: str | Path, folder: str | Path, output: str | Path
    ) -> dict[str, Any]:
        """Write the traces of samples into one file per channel and feature.

        Parameters
        ----------
        sample_yaml
            Names the samples and their FOVs.
        folder
            Output of a workflow.

        Returns
        -------
        dict[str, Any]
            ``merged_files`` and more.
        """
        return self._post(
            "merge", sample_yaml=str(sample_yaml), input_dir=str(folder), output_dir=str(output)
        )

    def inspect(self, traces: str | Path, good: Mapping[int, bool]) -> str:
        """Note which cells of a traces file are good; return where it is noted."""
        noted = {str(cell): is_good for cell, is_good in good.items()}
        return str(self._post("inspect", traces_path=str(traces), good=noted)["inspected_path"])

    def list(self, folder: str | Path, *, hidden: bool = False) -> "pl.DataFrame":
        """Return what is in a folder of the server."""
        answer = self._post("list-directory", directory_path=str(folder), include_hidden=hidden)
        return _files(answer["items"])

    def search(
        self, folder: str | Path, pattern: str | None = None, *, depth: int = 10
    ) -> "pl.DataFrame":
        """Return the files below a folder of the server that match a pattern.

        Parameters
        ----------
        pattern
            Such as ``"*.nd2"``, or ``"**/*_traces.csv"`` for any folder below; movies if None.
        depth
            Most folders between the folder and a file.
        """
        answer = self._post(
            "search-files", search_path=str(folder), pattern=pattern, max_depth=depth
        )
        return _files(answer["files"])

    def recent(self, limit: int = 10) -> "pl.DataFrame":
        """Return the files that were opened last."""
        answer = self._connection.get(f"{_PATH}/recent-files", limit=limit)
        columns = (*_FILE, "accessed_at")
        return _timed(table(answer["recent_files"], columns=columns, moments={"accessed_at"}))

    def _channels(
        self,
        movie: str | Path,
        phase: int | None,
        phase_features: Sequence[str] | None,
        fluorescence: Mapping[int, Sequence[str]] | None,
    ) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if phase is None or phase_features is None or fluorescence is None:
            suggested = self.info(movie)["suggested_channels"]
            if suggested is None and (phase is None or fluorescence is None):
                raise BenchError(
                    "The server has no suggestion for the channels of this movie",
                    hint="Name them: phase=0, fluorescence={1: ['intensity_total']}.",
                )
            chosen = dict(suggested or {})
        if phase is not None or phase_features is not None:
            former = chosen.get("phase", {"channel": phase, "features": []})
            chosen["phase"] = {
                "channel": former["channel"] if phase is None else phase,
                "features": list(former["features"] if phase_features is None else phase_features),
            }
        if fluorescence is not None:
            chosen["fluorescence"] = [
                {"channel": channel, "features": [*features]}
                for channel, features in fluorescence.items()
            ]
        return chosen

    def _post(self, what: str, **body: Any) -> dict[str, Any]:
        return dict(self._connection.send("POST", f"{_PATH}/{what}", body, timeout=_OPEN_SECONDS))


def analysis_status(answer: Mapping[str, Any]) -> Status:
    """Return the status of an analysis job."""
    state = state_of(answer["status"])
    error = answer.get("error") or (answer.get("message") if state == "cancelled" else "")
    return Status(
        state=state,
        progress=answer["progress"]["percentage"] / 100,
        message=error or "",
        step=answer.get("current_step") or "",
        answer=answer,
    )


def _files(rows: Sequence[Mapping[str, Any]]) -> "pl.DataFrame":
    return _timed(table(rows, columns=_FILE))


def _timed(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a list of files with the time of their last change as a datetime (UTC)."""
    import polars as pl

    seconds = pl.col("modified_time").cast(pl.Float64)
    stamp = (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.with_columns(stamp)
