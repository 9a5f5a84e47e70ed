"""Potentiostats: runs of electrochemical modes on slots."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack

from benchwire.client.connection import Connection
from benchwire.client.errors import BenchError, NotFound
from benchwire.client.frames import numbers_of_csv, table
from benchwire.client.work import Status, Work, below, new_key, quoted, state_of

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

Step = tuple[str, Mapping[str, Any]]

RECORD_FILE = "run.json"


class RunOptions(TypedDict, total=False):
    """What every mode takes besides its parameters.

    Parameters
    ----------
    slots
        ``"all"``, which is the default, a slot such as ``"slot01"``, or several.
    experiment
        Names the folder and the files; the mode's name if not given.
    folder
        A folder between the experiment and the run.
    run_name
        Becomes the run's id; it has to be new.
    group
        A label by which runs are found again.
    sampling_interval
        Seconds per row of the CSV; every point if not given.
    tia_gain
        Current range: 0 is 4.95 mA (the default), 1 is 0.5 mA, 2 is 50 uA, 3 and 4 are 5.4 uA.
    make_plot
        Whether a PNG is drawn beside each CSV, as it is if not given.
    samples
        What is measured on each slot: a sample's id, or ``"<barcode>/<well>"``.
    sample
        What the whole run measures.
    key
        Runs with the same key are one run, however often it is started; made up if not given.
    """

    slots: str | Sequence[str]
    experiment: str
    folder: str
    run_name: str
    group: str
    sampling_interval: float
    tia_gain: int
    make_plot: bool
    samples: Mapping[str, str]
    sample: str
    key: str


class Run(Work):
    """One run of one or more modes on one or more slots."""

    kind: ClassVar[str] = "run"

    def _ask(self, **how: Any) -> Status:
        answer = self._connection.get(f"/jobs/{quoted(self.id)}", **how)
        failed = [
            f"{slot['slot']}: {slot['message']}"
            for slot in answer["slots"]
            if slot["message"] and slot["status"] != "done"
        ]
        return Status(
            state=state_of(answer["status"]),
            progress=answer["progress_pct"] / 100,
            message="; ".join(failed),
            step=answer["current_mode"] or "",
            remaining_seconds=answer["remaining_s"],
            answer=answer,
        )

    def cancel(self) -> None:
        """Cancel it: cells are opened at once, what was measured is kept."""
        self._connection.send("POST", f"/jobs/{quoted(self.id)}/cancel")

    @property
    def slots(self) -> list[str]:
        """The slots it runs on."""
        return [slot["slot"] for slot in self.status.answer["slots"]]

    @property
    def files(self) -> list[str]:
        """Its files so far, as paths like ``Wells/slot01/CV/... .csv``."""
        found = self._connection.get(f"/runs/{quoted(self.id)}/files")["files"]
        return [str(name) for name in found]

    def file(self, name: str) -> bytes:
        """Return one of its files."""
        return self._connection.content(f"/runs/{quoted(self.id)}/file", path=name)

    def download(self, folder: str | Path = ".") -> list[Path]:
        """Write its files below ``folder/<id>`` and return their paths.

        Once it has ended, ``run.json`` comes with them: what was asked for, on which instruments,
        and the files' checksums.
        """
        place = below(folder, self.id)
        written = [self._fetch(name, place) for name in self.files]
        if self.status.has_ended:
            with contextlib.suppress(NotFound):  # runs of other servers have no record
                written.append(self._fetch(RECORD_FILE, place))
        return written

    def _fetch(self, name: str, place: Path) -> Path:
        path = f"/runs/{quoted(self.id)}/file"
        return self._connection.download(path, below(place, name), path=name)

    def data(self, slot: str | None = None, mode: str | None = None) -> "pl.DataFrame":
        """Return what a slot measured in a mode; also while it is still being measured.

        Parameters
        ----------
        slot, mode
            May be left out where there is just one. A mode that was run twice is named by its
            folder.

        Returns
        -------
        pl.DataFrame
            A row per sample, all Float64, units in the names: ``Time (s)``, ``Potential (V)``,
            ``Current (A)``, ``Cycle`` or ``Step``, ``Exp``, ``Applied potential (V)`` or
            ``Applied current (A)``; for EIS ``Frequency (Hz)``, ``Z real (Ohm)``,
            ``Z imag (Ohm)``, ``|Z| (Ohm)``, ``Phase (deg)``. ``.to_pandas()`` gives a pandas table
            where pandas is installed.

        Raises
        ------
        BenchError
            There is no such file, or more than one is meant.
        """
        return numbers_of_csv(self.file(self._csv(slot, mode)))

    def array(
        self,
        slot: str | None = None,
        mode: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> "NDArray[np.float64]":
        """Return what `data` does as an array.

        Parameters
        ----------
        columns
            Those to take, in order; all if None.

        Returns
        -------
        NDArray[np.float64]
            (samples, columns), in the units of the columns' names.
        """
        frame = self.data(slot, mode)
        return (frame if columns is None else frame.select(columns)).to_numpy()

    def _csv(self, slot: str | None, mode: str | None) -> str:
        found = {
            (parts[1], parts[2]): name
            for name in self.files
            if name.endswith(".csv") and len(parts := PurePosixPath(name).parts) >= 4
        }
        fitting = {
            place: name
            for place, name in found.items()
            if slot in {None, place[0]} and (mode is None or mode.upper() == place[1].upper())
        }
        if len(fitting) == 1:
            return next(iter(fitting.values()))
        choice = ", ".join(" ".join(place) for place in fitting or found)
        raise BenchError(
            "More than one slot or mode is meant" if fitting else "There is nothing of that yet",
            code="run.which_file",
            hint=f"There are {choice}." if choice else "Nothing has been written so far.",
        )


class Potentiostats:
    """The potentiostats of a server: ``bench.potentiostats``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def slots(self) -> list[str]:
        """Return the slots with an instrument."""
        return [item["slot"] for item in self._connection.get("/devices")]

    def devices(self) -> "pl.DataFrame":
        """Return what every slot is doing: slot, status, run_id, connected, message."""
        rows = self._connection.get("/devices/status")
        columns = ("slot", "status", "run_id", "connected", "started_at", "message")
        return table(rows, columns=columns, moments={"started_at"})

    def rescan(self) -> list[str]:
        """Look for instruments again and return the slots; running work is not disturbed."""
        return list(self._connection.send("POST", "/admin/rescan")["devices"])

    def modes(self) -> list[str]:
        """Return the modes that can be run."""
        return list(self._connection.get("/modes"))

    def parameters(self, mode: str) -> dict[str, str]:
        """Return a mode's parameters and their types."""
        return dict(self._connection.get(f"/modes/{quoted(mode)}/params"))

    def validate(self, mode: str, *, tia_gain: int = 0, **parameters: Any) -> list[str]:
        """Return what is wrong with parameters, and what is worth a second look.

        Parameters
        ----------
        tia_gain
            The run's current range, which limits its currents; see `RunOptions`.
        """
        answer = self._connection.send(
            "POST",
            f"/modes/{quoted(mode)}/validate",
            parameters,
            query={"tia_gain": tia_gain} if tia_gain else None,
        )
        return [
            f"{kind}: {issue['field']}: {issue['message']}"
            for kind, key in (("error", "errors"), ("warning", "warnings"))
            for issue in answer[key]
        ]

    def runs(
        self,
        *,
        state: Literal["incomplete", "completed"] | None = None,
        group: str | None = None,
    ) -> "pl.DataFrame":
        """Return all runs, newest first: run_id, mode, status, started_at, ended_at, devices."""
        rows = self._connection.get("/jobs", state=state, group_id=group)
        columns = ("run_id", "mode", "status", "started_at", "ended_at", "devices")
        return table(rows, columns=columns, moments={"started_at", "ended_at"})

    def get(self, run_id: str) -> Run:
        """Return a run by its id.

        Raises
        ------
        NotFound
            There is none.
        """
        return Run.found(self._connection, run_id)

    # -- starting ----------------------------------------------------------------------------

    def run(self, steps: Sequence[str | Step], **options: Unpack[RunOptions]) -> Run:
        """Start modes one after another on each slot.

        Parameters
        ----------
        steps
            Modes with their parameters, such as ``[("OCP", {"duration": 5}), ("CV", {...})]``.

        Raises
        ------
        Invalid
            A mode or a parameter cannot be used.
        Conflict
            A slot is in use, or the run name or the key is taken.
        BenchError
            A slot has no instrument; nothing has begun.
        TypeError
            An option is not one of `RunOptions`.
        """
        strange = sorted(options.keys() - RunOptions.__annotations__.keys())
        if strange:
            known = ", ".join(RunOptions.__annotations__)
            raise TypeError(f"There is no option {strange[0]!r}; there are {known}")
        named: list[Step] = [(step, {}) if isinstance(step, str) else step for step in steps]
        parameters: dict[str, dict[str, Any]] = {}
        for mode, values in named:
            given = dict(values)
            if parameters.setdefault(mode, given) != given:
                raise BenchError(
                    f"{mode} is named twice with different parameters",
                    code="run.steps",
                    hint="A run has one set of parameters per mode; start two runs.",
                )
        body: dict[str, Any] = {
            "devices": self._chosen(options.get("slots", "all")),
            "modes": [mode for mode, _ in named],
            "params_by_mode": parameters,
            "experiment_name": options.get("experiment") or (named[0][0] if named else ""),
            "client_datetime": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "subdir": options.get("folder"),
            "run_name": options.get("run_name"),
            "group_id": options.get("group"),
            "sampling_interval": options.get("sampling_interval"),
            "tia_gain": options.get("tia_gain", 0),
            "make_plot": options.get("make_plot", True),
        }
        for name in ("samples", "sample"):
            if name in options:
                body[name] = options[name]
        answer = self._connection.start("/jobs", body, options.get("key") or new_key())
        return Run(self._connection, answer["run_id"])

    def _chosen(self, slots: str | Sequence[str]) -> str | list[str]:
        """Return the slots as the server wants them, all of which have an instrument.

        The server measures on those it knows and leaves out the others; here, none is left out
        unseen.
        """
        if slots == "all":
            return slots
        chosen = [slots] if isinstance(slots, str) else list(slots)
        there = [item["slot"] for item in self._connection.repeatable("GET", "/devices")]
        missing = [slot for slot in chosen if slot not in there]
        if missing:
            raise BenchError(
                f"There is no instrument on {', '.join(missing)}",
                code="run.no_such_slot",
                hint=f"There are {', '.join(there)}." if there else "No instrument is found.",
            )
        return chosen

    def cv(
        self,
        *,
        start: float,
        vertex1: float,
        vertex2: float,
        end: float,
        scan_rate: float,
        cycles: int,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Start cyclic voltammetry.

        Parameters
        ----------
        start, vertex1, vertex2, end
            Potentials in V: where it begins, where it turns first and then, where it ends.
        scan_rate
            V/s.
        cycles
            How often the sweep is repeated.
        """
        given = {
            "start": start, "vertex1": vertex1, "vertex2": vertex2, "end": end,
            "scan_rate": scan_rate, "cycles": cycles,
        }  # fmt: skip
        return self.run([("CV", given)], **options)

    def lsv(
        self, *, start: float, end: float, scan_rate: float, **options: Unpack[RunOptions]
    ) -> Run:
        """Start linear sweep voltammetry from ``start`` to ``end`` (V) at ``scan_rate`` (V/s)."""
        given = {"start": start, "end": end, "scan_rate": scan_rate}
        return self.run([("LSV", given)], **options)

    def ca(self, *, potential: float, duration: float, **options: Unpack[RunOptions]) -> Run:
        """Start chronoamperometry: ``potential`` (V) held for ``duration`` (s)."""
        return self.run([("CA", {"potential": potential, "duration": duration})], **options)

    def pstep(
        self, *, potentials: Sequence[float], step_duration: float, **options: Unpack[RunOptions]
    ) -> Run:
        """Start potential steps: each of ``potentials`` (V) held for ``step_duration`` (s)."""
        given = {"potentials": list(potentials), "step_duration": step_duration}
        return self.run([("PSTEP", given)], **options)

    def cp(self, *, current: float, duration: float, **options: Unpack[RunOptions]) -> Run:
        """Start chronopotentiometry: ``current`` (A) held for ``duration`` (s)."""
        return self.run([("CP", {"current": current, "duration": duration})], **options)

    def gs(
        self,
        *,
        start: float,
        end: float,
        num_steps: int,
        step_duration: float,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Start a galvanostatic staircase.

        Parameters
        ----------
        start, end
            First and last current in A.
        num_steps
            Steps from first to last, both included.
        step_duration
            Seconds each is held.
        """
        given = {
            "start": start, "end": end, "num_steps": num_steps, "step_duration": step_duration
        }  # fmt: skip
        return self.run([("GS", given)], **options)

    def gcv(
        self,
        *,
        start: float,
        vertex1: float,
        vertex2: float,
        end: float,
        num_steps: int,
        step_duration: float,
        cycles: int,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Start galvanostatic cycling.

        Parameters
        ----------
        start, vertex1, vertex2, end
            Currents in A: where each cycle begins, where the staircase turns first and then, where
            it ends after the last cycle.
        num_steps
            Steps of each part of the staircase.
        step_duration
            Seconds each is held.
        cycles
            How often it is repeated.
        """
        given = {
            "start": start, "vertex1": vertex1, "vertex2": vertex2, "end": end,
            "num_steps": num_steps, "step_duration": step_duration, "cycles": cycles,
        }  # fmt: skip
        return self.run([("GCV", given)], **options)

    def stepseq(
        self, *, currents: Sequence[float], step_duration: float, **options: Unpack[RunOptions]
    ) -> Run:
        """Start current steps: each of ``currents`` (A) held for ``step_duration`` (s)."""
        given = {"currents": list(currents), "step_duration": step_duration}
        return self.run([("STEPSEQ", given)], **options)

    def ocp(self, *, duration: float, **options: Unpack[RunOptions]) -> Run:
        """Start a measurement of the open-circuit potential for ``duration`` (s)."""
        return self.run([("OCP", {"duration": duration})], **options)

    def eis(
        self,
        *,
        start_freq: float,
        end_freq: float,
        points_per_decade: int,
        cycles_per_freq: int = 3,
        spacing: Literal["log", "lin"] = "log",
        amplitude: float = 0.02,
        bias: float = 0.0,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Start impedance spectroscopy.

        Parameters
        ----------
        start_freq, end_freq
            First and last frequency in Hz.
        points_per_decade
            How close the frequencies lie.
        cycles_per_freq
            Whole periods measured at each.
        spacing
            Whether frequencies lie evenly on a logarithmic or a linear scale.
        amplitude
            Of the sine, in V.
        bias
            Potential around which it swings, in V.
        """
        given = {
            "start_freq": start_freq, "end_freq": end_freq,
            "points_per_decade": points_per_decade, "cycles_per_freq": cycles_per_freq,
            "spacing": spacing, "amplitude": amplitude, "bias": bias,
        }  # fmt: skip
        return self.run([("EIS", given)], **options)
