"""Waveforms, validation, planning, thinning and names: pure functions against their definitions."""

import math
import pickle
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwire.domains.potentiostat import impedance, progress, waveforms
from benchwire.domains.potentiostat.checks import (
    BYTES_PER_ROW,
    bytes_of_tables,
    ordered_modes,
)
from benchwire.domains.potentiostat.errors import NameInvalid
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.progress import SlotProgress
from benchwire.domains.potentiostat.recording import (
    CsvFile,
    DiskFailed,
    Thinner,
    drop_half_row,
    points_per_row,
)
from benchwire.domains.potentiostat.run_folder import RunNames, subdir_of
from benchwire.domains.potentiostat.status import belongs_to_group
from benchwire.domains.potentiostat.store import RunRecord
from benchwire.domains.potentiostat.validation import ModeParametersInvalid, parse, validate
from benchwire.domains.potentiostat.waveforms import SAMPLE_PERIOD
from tests.support.clock import ManualClock

volts = st.floats(-2, 2).map(lambda value: round(value, 3))
CV = {"start": 0.0, "vertex1": 0.5, "vertex2": -0.5, "end": 0.1, "scan_rate": 1.0, "cycles": 3}


def joined(mode: str, raw: dict[str, Any], **options: int) -> tuple[np.ndarray, np.ndarray | None]:
    chunks = list(waveforms.potential_waveform(MODES[mode], parse(MODES[mode], raw), **options))
    if not chunks:
        return np.empty(0), None
    marks = [chunk.mark for chunk in chunks if chunk.mark is not None]
    applied = np.concatenate([chunk.applied for chunk in chunks])
    return applied, np.concatenate(marks) if marks else None


# -- waveforms ---------------------------------------------------------------------------------


def test_cv_goes_through_its_vertices_and_counts_cycles() -> None:
    applied, mark = joined("CV", CV)
    half, full = int(0.5 / SAMPLE_PERIOD), int(1.0 / SAMPLE_PERIOD)
    assert applied[0] == 0.0
    assert applied[half - 1] == pytest.approx(0.5)
    assert applied[half + full - 1] == pytest.approx(-0.5)
    assert applied[-1] == pytest.approx(0.1)
    assert mark is not None
    assert (mark[0], mark[half + full - 1], mark[half + full], mark[-1]) == (1, 1, 2, 3)
    assert np.all(np.diff(mark) >= 0)


def test_cv_that_ends_at_its_vertex_has_no_last_sweep() -> None:
    applied, _ = joined("CV", {**CV, "end": -0.5, "cycles": 1})
    assert applied[-1] == pytest.approx(-0.5)


def test_sweep_includes_both_ends_and_is_straight() -> None:
    applied, _ = joined("LSV", {"start": 0.0, "end": 0.36, "scan_rate": 1.0})
    assert len(applied) == 1000
    assert (applied[0], applied[-1]) == (0.0, pytest.approx(0.36))
    assert np.allclose(np.diff(applied), 0.36 / 999)


def test_rounding_error_costs_no_point() -> None:
    # 0.36 / 0.00036 is 999.9999999999999 in binary.
    applied, _ = joined("CA", {"potential": 0.1, "duration": 0.36})
    assert len(applied) == 1000


def test_steps_are_marked_from_zero() -> None:
    applied, mark = joined("PSTEP", {"potentials": [0.1, 0.2], "step_duration": 0.1})
    assert mark is not None
    assert set(zip(applied.tolist(), mark.tolist(), strict=True)) == {(0.1, 0.0), (0.2, 1.0)}


@settings(max_examples=60, deadline=None)
@given(
    start=volts, vertex1=volts, vertex2=volts, end=volts,
    scan_rate=st.floats(0.5, 5), cycles=st.integers(1, 3), chunk=st.integers(1, 5000),
)  # fmt: skip
def test_point_count_equals_the_points_made(chunk: int, **raw: float) -> None:
    mode = MODES["CV"]
    try:
        parameters = parse(mode, raw)
    except ModeParametersInvalid:
        return
    made = sum(
        len(part.applied) for part in waveforms.potential_waveform(mode, parameters, chunk + 200)
    )
    assert waveforms.point_count(mode, parameters) == made


def test_hour_long_waveform_is_made_in_pieces() -> None:
    parameters = parse(MODES["CA"], {"potential": 0.1, "duration": 36_000})
    chunks = waveforms.potential_waveform(MODES["CA"], parameters)
    assert len(next(chunks).applied) == waveforms.CHUNK_POINTS
    assert waveforms.point_count(MODES["CA"], parameters) == 100_000_000


def test_gcv_has_three_legs_per_cycle_and_a_last_one() -> None:
    raw = {
        "start": 0, "vertex1": 2**-9, "vertex2": -(2**-9), "end": 2**-10, "num_steps": 3,
        "step_duration": 0.5, "cycles": 2,
    }  # fmt: skip
    parameters = parse(MODES["GCV"], raw)
    steps = list(waveforms.current_steps(MODES["GCV"], parameters))
    currents = [step.current * 2**10 for step in steps]
    assert currents[:9] == [0, 1, 2, 2, 0, -2, -2, -1, 0]
    assert currents[18:] == [0, 0.5, 1]
    assert [step.mark for step in steps] == [1] * 9 + [2] * 9 + [3] * 3
    assert waveforms.duration(MODES["GCV"], parameters) == 21 * 0.5


def test_staircase_includes_both_ends() -> None:
    raw = {"start": 0, "end": 2**-8, "num_steps": 5, "step_duration": 1}
    steps = waveforms.current_steps(MODES["GS"], parse(MODES["GS"], raw))
    assert [step.current * 2**8 for step in steps] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("mode", "raw"),
    [
        ("CP", {"current": 10, "duration": 1}),
        ("CP", {"current": 1e39, "duration": 1}),
        ("GS", {"start": -1e308, "end": 1e308, "num_steps": 5, "step_duration": 1}),
        ("STEPSEQ", {"currents": [1e-5, -0.005], "step_duration": 1}),
    ],
)
def test_currents_beyond_the_instrument_are_refused(mode: str, raw: dict[str, Any]) -> None:
    """Amperes meant as milliamperes would have the cell at the end of the output all the time."""
    found = {code for _, code in codes(mode, raw)}
    assert found
    assert found <= {"min_value", "max_value"}


@pytest.mark.parametrize(
    ("mode", "raw", "field"),
    [
        ("CP", {"current": -2e-4, "duration": 1}, "current"),
        ("GS", {"start": 0, "end": 2e-4, "num_steps": 5, "step_duration": 1}, "end"),
        ("GCV", {"start": 0, "vertex1": 2e-4, "vertex2": 0, "end": 0, "num_steps": 2,
                 "step_duration": 1, "cycles": 1}, "vertex1"),
        ("STEPSEQ", {"currents": [1e-5, -2e-4], "step_duration": 1}, "currents"),
    ],
)  # fmt: skip
def test_currents_beyond_the_gain_are_refused(mode: str, raw: dict[str, Any], field: str) -> None:
    for gain in (0, 1):
        assert validate(mode, raw, gain).ok
    for gain, scale in ((2, "50 uA"), (3, "5.4 uA"), (4, "5.4 uA")):
        issues = [issue for issue in validate(mode, raw, gain).errors if issue.field == field]
        message = issues[-1].message
        assert f"beyond the {scale} of tia_gain {gain}; tia_gain 1 goes to 0.5 mA" in message
        assert message.startswith("number 2 of the list ") is (mode == "STEPSEQ")
        with pytest.raises(ModeParametersInvalid, match=f"{scale} of tia_gain {gain}"):
            parse(MODES[mode], raw, gain)


@pytest.mark.parametrize(
    ("gain", "full_scale"), [(0, 4.95e-3), (1, 0.5e-3), (2, 50e-6), (3, 5.4e-6), (4, 5.4e-6)]
)
def test_full_scale_itself_can_be_used(gain: int, full_scale: float) -> None:
    assert validate("CP", {"current": -full_scale, "duration": 1}, gain).ok
    (issue,) = validate("CP", {"current": 1.001 * full_scale, "duration": 1}, gain).errors
    assert (issue.field, issue.code) == ("current", "max_value")


def test_a_current_beyond_the_instrument_is_told_once_at_every_gain() -> None:
    (issue,) = validate("CP", {"current": 1, "duration": 1}, 3).errors
    assert "0.00495 A or less" in issue.message


# -- validation --------------------------------------------------------------------------------


def codes(mode: str, raw: dict[str, Any]) -> set[tuple[str, str]]:
    return {(issue.field, issue.code) for issue in validate(mode, raw).errors}


def warned(mode: str, raw: dict[str, Any]) -> set[tuple[str, str]]:
    return {(issue.field, issue.code) for issue in validate(mode, raw).warnings}


@pytest.mark.parametrize("mode", [*MODES, "DC", "AC", "CDL"])
def test_empty_parameters_are_missing_fields(mode: str) -> None:
    found = codes(mode, {})
    assert found
    assert {code for _, code in found} == {"missing_field"}


def test_eis_names_missing_fields_canonically() -> None:
    assert {field for field, _ in codes("EIS", {})} == {
        "start_freq",
        "end_freq",
        "points_per_decade",
    }


@pytest.mark.parametrize("mode", MODES)
def test_form_defaults_are_valid(mode: str) -> None:
    raw = {parameter.name: parameter.default for parameter in MODES[mode].parameters}
    assert validate(mode, raw).ok
    assert not validate(mode, raw).warnings


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"start": None}, ("start", "missing_field")),
        ({"start": "  "}, ("start", "missing_field")),
        ({"start": "abc"}, ("start", "not_a_number")),
        ({"start": float("nan")}, ("start", "not_a_number")),
        ({"start": float("inf")}, ("start", "not_a_number")),
        ({"start": True}, ("start", "not_a_number")),
        ({"start": 10**400}, ("start", "not_a_number")),
        ({"start": [1]}, ("start", "not_a_number")),
        ({"start": -10.001}, ("start", "min_value")),
        ({"start": 10.001}, ("start", "max_value")),
        ({"scan_rate": 0}, ("scan_rate", "must_be_positive")),
        ({"scan_rate": "x"}, ("scan_rate", "not_a_number")),
        ({"cycles": 0}, ("cycles", "must_be_positive")),
        ({"cycles": 1.5}, ("cycles", "not_an_integer")),
        ({"vertex1": 0, "vertex2": 0, "end": 0}, ("end", "zero_sweep")),
    ],
)
def test_cv_errors(change: dict[str, Any], found: tuple[str, str]) -> None:
    assert found in codes("CV", {**CV, **change})
    with pytest.raises(ModeParametersInvalid) as refused:
        parse(MODES["CV"], {**CV, **change})
    assert refused.value.status == 422


@pytest.mark.parametrize("change", [{"start": 10}, {"start": -10}, {"cycles": "3"}, {"start": "1"}])
def test_cv_limits_are_included_and_text_is_read(change: dict[str, Any]) -> None:
    assert validate("cv", {**CV, **change}).ok


@pytest.mark.parametrize(
    ("mode", "raw", "found"),
    [
        ("CV", {**CV, "scan_rate": 5.1}, ("scan_rate", "high_value")),
        ("CV", {**CV, "cycles": 51}, ("cycles", "high_value")),
        ("CV", {**CV, "vertex1": 4.96}, ("vertex1", "high_value")),
        ("CA", {"potential": 0.1, "duration": 0.0004}, ("*", "too_short")),
        ("PSTEP", {"potentials": [5.0], "step_duration": 1}, ("potentials", "high_value")),
        (
            "EIS",
            {"start_freq": 1e5, "end_freq": 1, "points_per_decade": 10},
            ("start_freq", "high_value"),
        ),
        ("DC", {}, ("*", "not_implemented")),
    ],
)
def test_warnings(mode: str, raw: dict[str, Any], found: tuple[str, str]) -> None:
    assert found in warned(mode, raw)


@pytest.mark.parametrize(
    ("mode", "raw", "found"),
    [
        ("PSTEP", {"potentials": [], "step_duration": 1}, ("potentials", "missing_field")),
        ("PSTEP", {"potentials": 1, "step_duration": 1}, ("potentials", "not_a_list")),
        ("PSTEP", {"potentials": [1, "x"], "step_duration": 1}, ("potentials", "not_a_number")),
        ("PSTEP", {"potentials": [11], "step_duration": 1}, ("potentials", "max_value")),
        ("GS", {"start": 0, "end": 1, "num_steps": 1, "step_duration": 1},
         ("num_steps", "min_value")),
        ("CA", {"potential": 0, "duration": 0}, ("duration", "must_be_positive")),
        ("EIS", {"start_freq": 1, "end_freq": 9, "points_per_decade": 5, "spacing": "odd"},
         ("spacing", "invalid_choice")),
        ("EIS", {"start_freq": 1, "end_freq": 9, "points_per_decade": 10**8},
         ("points_per_decade", "max_value")),
    ],
)  # fmt: skip
def test_errors_of_other_modes(mode: str, raw: dict[str, Any], found: tuple[str, str]) -> None:
    assert found in codes(mode, raw)


def test_older_names_of_eis_are_understood() -> None:
    raw = {"freq_start_hz": 50, "freq_end_hz": 5, "points": 4, "spacing": "lin"}
    parameters = parse(MODES["EIS"], raw)
    assert (parameters["start_freq"], parameters["points_per_decade"]) == (50.0, 4)
    assert (parameters["cycles_per_freq"], parameters["spacing"]) == (3, "lin")


# -- impedance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", [(100, 500, 5e-5), (100, 1000, 2e-5), (50, 200, 4e-5)])
def test_spectrum_of_a_known_circuit(circuit: tuple[float, float, float]) -> None:
    series, transfer, capacitance = circuit
    raw = {"start_freq": 100, "end_freq": 1, "points_per_decade": 4}
    planned = impedance.plan(parse(MODES["EIS"], raw))
    exact = np.concatenate([chunk.applied for chunk in impedance.excitation(planned)])
    applied = np.round(exact / (9.9 / 4096)) * (9.9 / 4096)
    conductance = 1 / series + 1 / transfer
    decay = math.exp(-SAMPLE_PERIOD * conductance / capacitance)
    voltage, current = 0.0, np.empty(len(applied))
    for tick, value in enumerate(applied.tolist()):
        final = value / series / conductance
        voltage = final + (voltage - final) * decay
        current[tick] = (value - voltage) / series
    noise = np.random.default_rng(1)
    current += noise.normal(0, 5e-8, len(current))
    analyser = impedance.ImpedanceAnalyser(planned)
    found = []
    for start in range(0, len(applied), 777):
        part = slice(start, start + 777)
        found += analyser.feed(start, current[part], applied[part])
    assert len(found) == len(planned.segments)
    for point in found:
        true = series + 1 / (2j * np.pi * point.frequency * capacitance + 1 / transfer)
        assert abs(point.magnitude / abs(true) - 1) < 0.01
        assert abs(point.phase_degrees - np.degrees(np.angle(true))) < 1.0


def test_frequencies_above_the_hardware_are_left_out() -> None:
    raw = {"start_freq": 1e5, "end_freq": 1, "points_per_decade": 10}
    usable = impedance.usable_frequencies(parse(MODES["EIS"], raw))
    assert usable.max() <= 278
    assert usable.min() == pytest.approx(1)


def test_frequency_grid_follows_the_definition() -> None:
    raw = {"start_freq": 100, "end_freq": 1, "points_per_decade": 10}
    assert len(impedance.frequencies(parse(MODES["EIS"], raw))) == 21
    single = {"start_freq": 7, "end_freq": 7, "points_per_decade": 10}
    assert impedance.frequencies(parse(MODES["EIS"], single)).tolist() == [7.0]


# -- progress ----------------------------------------------------------------------------------


def test_plan_is_the_sum_of_all_modes() -> None:
    ocp = parse(MODES["OCP"], {"duration": 4})
    assert progress.plan_total([(MODES["OCP"], ocp)] * 2) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("status", "planned", "elapsed", "percent"),
    [
        ("queued", 10, 5, 0), ("done", 10, 5, 100), ("failed", 10, 5, 100),
        ("cancelled", 10, 5, 0), ("running", 10, 5, 50), ("running", 10, 50, 99),
        ("running", None, 50, 0),
    ],
)  # fmt: skip
def test_slot_percent(status: str, planned: float, elapsed: float, percent: int) -> None:
    assert SlotProgress(status, planned, elapsed).percent == percent


@pytest.mark.parametrize(
    ("slots", "percent", "remaining"),
    [
        ([("running", 10, 5), ("done", 10, 10)], 75, 5),
        ([("done", 10, 0), ("done", 10, 0)], 100, 0),
        ([("done", 10, 0), ("failed", 10, 0)], 100, 0),
        ([("done", 10, 0), ("cancelled", 10, 0)], 50, None),
        ([("running", 10, 10.0), ("running", 10, 10.0)], 99, 0),
        ([("running", None, 1)], 0, None),
        ([("running", 10, 0.5), ("running", 10, 4)], 22, 10),
    ],
)
def test_job_progress(slots: list[Any], percent: int, remaining: int | None) -> None:
    given_slots = [SlotProgress(*slot) for slot in slots]
    assert progress.job_progress_pct(given_slots) == percent
    assert progress.job_remaining_seconds(given_slots) == remaining


# -- space -------------------------------------------------------------------------------------


def test_space_follows_rows_and_the_time_that_is_left() -> None:
    raw: dict[str, dict[str, Any]] = {
        "CA": {"potential": 0.1, "duration": 3600},
        "EIS": {"start_freq": 100, "end_freq": 1, "points_per_decade": 5},
    }
    modes = ordered_modes({"modes": [*raw], "params_by_mode": raw})
    whole = 10_000_000 * BYTES_PER_ROW
    assert bytes_of_tables(modes, None) == whole
    assert bytes_of_tables(modes, 0.01) == pytest.approx(whole / 28)
    assert bytes_of_tables(modes, None, 36) == pytest.approx(whole / 100)
    assert bytes_of_tables(modes, None, 1e9) == whole
    assert bytes_of_tables(modes[1:], None) == 0


# -- recording ---------------------------------------------------------------------------------


def points(count: int, first: int = 0) -> dict[str, np.ndarray]:
    index = np.arange(first, first + count, dtype=float)
    return {"Time (s)": index * SAMPLE_PERIOD, "Current (A)": index, "Cycle": np.ones(count)}


@settings(max_examples=60, deadline=None)
@given(factor=st.integers(1, 40), sizes=st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_thinning_is_the_same_however_points_come(factor: int, sizes: list[int]) -> None:
    total = sum(sizes)
    thinner, rows, at = Thinner(factor, "Cycle"), [], 0
    for size in sizes:
        rows.append(thinner.feed(points(size, at)))
        at += size
    rows.append(thinner.finish())
    current = np.concatenate([row["Current (A)"] for row in rows if row] or [np.empty(0)])
    whole = np.arange(total, dtype=float)
    expected = [
        block.mean() for block in np.split(whole, range(factor, total, factor)) if len(block)
    ]
    assert np.allclose(current, expected)


def test_thinning_never_mixes_cycles() -> None:
    thinner = Thinner(28, "Cycle")
    table = points(100)
    table["Cycle"] = np.repeat([1.0, 2.0], 50)
    first, last = thinner.feed(table), thinner.finish()
    cycles = np.concatenate([first["Cycle"], last["Cycle"]])
    current = np.concatenate([first["Current (A)"], last["Current (A)"]])
    assert cycles.tolist() == [1, 1, 2, 2]
    assert current.tolist() == [13.5, 38.5, 63.5, 88.5]


@settings(max_examples=100, deadline=None)
@given(
    factor=st.integers(2, 60),
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    changes=st.sets(st.integers(0, 300), max_size=5),
    name=st.sampled_from(["Cycle", "Step", None]),
)
def test_thinned_rows_are_the_means_of_their_blocks(
    factor: int, sizes: list[int], changes: set[int], name: str | None
) -> None:
    """Whole numbers have exact sums, so that no order of adding them may be seen."""
    total = sum(sizes)
    mark = np.array([sum(change <= k for change in changes) for k in range(total)], dtype=float)
    table = points(total)
    table.pop("Cycle")
    if name is not None:
        table[name] = mark
    thinner, parts, at = Thinner(factor, name), [], 0
    for size in sizes:
        parts.append(thinner.feed({key: values[at : at + size] for key, values in table.items()}))
        at += size
    parts.append(thinner.finish())
    assert thinner.finish() == {}
    blocks: list[list[int]] = []
    for k in range(total):
        if not blocks or len(blocks[-1]) == factor or (name and mark[k] != mark[k - 1]):
            blocks.append([])
        blocks[-1].append(k)
    for key in table:
        found = np.concatenate([part[key] for part in parts if part] or [np.empty(0)])
        values = table[key]
        expected = [
            np.mean(values[block]) if key == "Current (A)" else values[block[0]] for block in blocks
        ]
        assert found.tolist() == expected


def test_thinning_keeps_nothing_of_the_size_of_a_row() -> None:
    """What is kept is gone through with every block of samples, of which an hour brings many."""
    thinner, kept = Thinner(10**6, "Cycle"), []
    for number in range(1000):
        thinner.feed(points(30, 30 * number))
        kept.append(len(pickle.dumps(thinner)))
    assert max(kept) < 2 * kept[0]
    assert thinner.finish()["Current (A)"].tolist() == [29_999 / 2]


@pytest.mark.parametrize(
    ("interval", "factor"), [(None, 1), (1e-9, 1), (0.01, 28), (600, 1_666_667)]
)
def test_points_per_row(interval: float | None, factor: int) -> None:
    assert points_per_row(interval, SAMPLE_PERIOD) == factor


def test_an_interval_beyond_any_run_makes_one_row() -> None:
    thinner = Thinner(points_per_row(1e306, SAMPLE_PERIOD))
    assert [len(thinner.feed(points(30, at))["Time (s)"]) for at in (0, 30)] == [0, 0]
    assert thinner.finish()["Current (A)"].tolist() == [29.5]


def test_rows_are_on_the_disk_within_a_second(tmp_path: Path) -> None:
    file = CsvFile(tmp_path / "a.csv", ("Time (s)", "Current (A)"), ManualClock())
    file.open()
    file.append(points(3))
    lines = (tmp_path / "a.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"Time (s),Current (A)"
    assert lines[2] == b"0.00036,1.00000000e+00"
    file.close()


def test_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("precious")
    with pytest.raises(DiskFailed):
        CsvFile(tmp_path / "a.csv", ("Time (s)",), ManualClock()).open()
    assert (tmp_path / "a.csv").read_text() == "precious"


def test_full_disk_is_told_and_the_file_ends_with_a_whole_row(tmp_path: Path) -> None:
    """A limit on file size stands in for a disk that is full."""
    resource = pytest.importorskip("resource")
    file = CsvFile(tmp_path / "a.csv", ("Time (s)", "Current (A)"), ManualClock())
    file.open()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DiskFailed, match="could not be written"):
            file.append(points(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
        file.close()
    content = (tmp_path / "a.csv").read_bytes()
    assert content.endswith(b"\r\n")
    assert len(content) > 900


def test_half_a_row_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"h\r\n1,2\r\n3,")
    drop_half_row(path)
    assert path.read_bytes() == b"h\r\n1,2\r\n"
    drop_half_row(path)
    assert path.read_bytes() == b"h\r\n1,2\r\n"


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" My Exp: ä/..\\x__y--z ", "My_Exp_x_y-z"),
        ("../../etc", "etc"),
        ("a" * 300, "a" * 100),
        ("CON<img>", "CON_img"),
    ],
)
def test_experiment_is_sanitised(text: str, name: str) -> None:
    assert RunNames.of(text, None, "2025").experiment == name


def test_stamps_follow_the_clients_time() -> None:
    names = RunNames.of("E", "S", "2025-11-03T10:15:00")
    assert names.folder().as_posix() == "E/S/2025-11-03T10_15_00"
    assert names.stem("slot01", "CV") == "E_S_2025-11-03_10-15-00_slot01_CV"
    odd = RunNames.of("E", " ", "2025-11-03 10:15:01.123Z")
    assert odd.folder().as_posix() == "E/2025-11-03T10_15_01_123Z"
    assert odd.stem("s", "M") == "E_2025-11-03_10-15-01-123Z_s_M"
    assert RunNames.of("E", None, "Monday").folder().as_posix() == "E/Monday"


@pytest.mark.parametrize(
    ("named", "subdir"),
    [
        ({}, None),
        ({"subdir": None, "folder_name": " "}, None),
        ({"subdir": "\t ", "folder_name": "Old"}, "Old"),
        ({"subdir": "New", "folder_name": "Old"}, "New"),
    ],
)
def test_subdir_is_the_first_name_that_is_not_blank(
    named: dict[str, Any], subdir: str | None
) -> None:
    assert subdir_of(named) == subdir


@pytest.mark.parametrize("name", ["Batch ä 7", "Batch_7"])
def test_a_run_is_found_under_its_folder_where_subdir_is_blank(name: str) -> None:
    request = {"modes": ["CA"], "subdir": " ", "folder_name": "Batch ä 7"}
    started = datetime(2025, 11, 3, tzinfo=UTC)
    run = RunRecord("r", request, "Test/2025-11-03", "done", started, slots=())
    assert belongs_to_group(run, name)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_name_leaves_the_runs_root(experiment: str, subdir: str, stamp: str) -> None:
    try:
        folder = RunNames.of(experiment, subdir, stamp).folder()
    except NameInvalid:
        return
    assert not folder.is_absolute()
    assert all(part.strip("_-.") and len(part) <= 100 for part in folder.parts)
    assert set("".join(folder.parts)) <= set(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
    )


def test_clock_moments_survive_as_text() -> None:
    from benchwire.foundation.clock import utc_moment, utc_text

    moment = datetime(2025, 11, 3, 10, 15, 0, 123456, UTC)
    assert utc_text(moment) == "2025-11-03T10:15:00.123456Z"
    assert utc_moment(utc_text(moment)) == moment
