"""Traces: kinetic models fitted to the fluorescence of single cells.

Paths are paths on the server's computer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchwire.client.connection import Connection
from benchwire.client.frames import table
from benchwire.client.microscopy import analysis_status
from benchwire.client.work import Status, Work, below, quoted

if TYPE_CHECKING:
    import polars as pl

_PATH = "/api/v1/analysis"


class Fit(Work):
    """The fitting of a model to every trace of a file."""

    kind: ClassVar[str] = "fit"

    def _ask(self, **how: Any) -> Status:
        answer = self._connection.get(f"{_PATH}/fitting/status/{quoted(self.id)}", **how)
        return analysis_status(answer)

    def cancel(self) -> None:
        """Stop it."""
        self._connection.send("POST", f"{_PATH}/fitting/cancel/{quoted(self.id)}")

    @property
    def summary(self) -> dict[str, Any]:
        """``total_cells``, ``successful_fits``, ``failed_fits``, ``mean_r_squared``.

        Raises
        ------
        Conflict
            It is not completed.
        """
        return dict(self._answer()["summary"])

    def results(self) -> "pl.DataFrame":
        """Return what was fitted.

        Returns
        -------
        pl.DataFrame
            A row per cell: ``fov``, ``cell``, ``model_type``, ``success``, ``r_squared``, and a
            column per parameter in the model's units, times in h; null where the fit failed.
        """
        rows = self._answer()["results"]
        names = list(dict.fromkeys(name for row in rows for name in row["fitted_params"] or {}))
        columns = ("fov", "cell", "model_type", "success", "r_squared")
        return table(
            [{**row, **(row["fitted_params"] or {})} for row in rows], columns=(*columns, *names)
        )

    def curve(self, fov: int, cell: int) -> "pl.DataFrame":
        """Return one cell's trace and the curve fitted to it.

        Returns
        -------
        pl.DataFrame
            ``time`` (h), ``value`` and ``fitted`` in the units of the traces.

        Raises
        ------
        NotFound
            There is no such cell.
        """
        path = f"{_PATH}/fitting/results/{quoted(self.id)}/traces/{fov}/{cell}"
        answer = self._connection.get(path)
        curve = answer.get("curve") or [None] * len(answer["time"])
        points = zip(answer["time"], answer["value"], curve, strict=True)
        return table(
            ({"time": time, "value": value, "fitted": fitted} for time, value, fitted in points),
            columns=("time", "value", "fitted"),
        )

    def download(self, folder: str | Path = ".") -> list[Path]:
        """Write its table as ``folder/<id>.csv``."""
        path = f"{_PATH}/fitting/results/{quoted(self.id)}/download"
        return [self._connection.download(path, below(folder, f"{self.id}.csv"))]

    def _answer(self) -> dict[str, Any]:
        return dict(self._connection.get(f"{_PATH}/fitting/results/{quoted(self.id)}"))


class Traces:
    """The fitting of a server: ``bench.traces``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def models(self) -> list[dict[str, Any]]:
        """Return the models: name, equation, parameters with defaults and bounds."""
        return list(self._connection.get(f"{_PATH}/models")["models"])

    def describe(self, csv: str | Path) -> dict[str, Any]:
        """Return what a file of traces holds: ``n_cells``, ``n_timepoints``, ``time_units`` ..."""
        answer = self._connection.send("POST", f"{_PATH}/load-traces", {"csv_path": str(csv)})
        return dict(answer["data"])

    def fit(
        self,
        csv: str | Path,
        model: str,
        *,
        params: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        samples: Mapping[int | str, str] | None = None,
        sample: str | None = None,
    ) -> Fit:
        """Start to fit a model to every trace of a file.

        Parameters
        ----------
        params, bounds
            Start values and bounds that depart from the model's own.
        samples
            What was measured, by FOV.
        sample
            What all of it measures.

        Raises
        ------
        Invalid, NotFound
            Something of it cannot be used.
        Conflict
            The same table is being written already.
        AnswerLost
            The connection was cut; whether it began is shown by ``bench.jobs.all()``.
        """
        body: dict[str, Any] = {
            "csv_path": str(csv),
            "model_type": model,
            "model_params": dict(params or {}),
            "model_bounds": {name: list(pair) for name, pair in (bounds or {}).items()},
        }
        if samples is not None:
            body["samples"] = {str(fov): name for fov, name in samples.items()}
        if sample is not None:
            body["sample"] = sample
        answer = self._connection.send("POST", f"{_PATH}/fitting/start", body)
        return Fit(self._connection, answer["job_id"])

    def get(self, fit_id: str) -> Fit:
        """Return a fitting by its id.

        Raises
        ------
        NotFound
            There is none.
        """
        return Fit.found(self._connection, fit_id)
