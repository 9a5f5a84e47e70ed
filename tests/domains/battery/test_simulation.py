"""The generated fleet is coherent, looks like real recordings, and says where its faults are."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Samples
from benchwire.domains.battery.signals import BESS, BMS, PCS
from benchwire.domains.battery.simulation import (
    FAULT_KINDS,
    inject,
    make_fleet,
    signal_groups,
    simulate,
)


@pytest.fixture(scope="module")
def recording() -> dict[str, Samples]:
    """Return eight days of one system."""
    return simulate(0, 8, seed=1)


def at(samples: Samples, times: np.ndarray) -> np.ndarray:
    known = samples.without_nulls()
    return np.asarray(np.interp(times, known.at_us, known.values))


def test_every_signal_of_the_three_groups_is_recorded(recording: dict[str, Samples]) -> None:
    wanted = {signal.name for group in (BMS, PCS, BESS) for signal in group.signals}
    assert wanted == set(recording)
    assert wanted == set(signal_groups())


@pytest.mark.parametrize(
    ("signal", "interval_s"),
    [("bms1_soc", 59), ("bms1_v", 31), ("bms1_c", 31), ("pcs1_ap", 15), ("bms1_cell_ave_t", 59)],
)
def test_rate_is_that_of_the_real_data_set(
    recording: dict[str, Samples], signal: str, interval_s: int
) -> None:
    steps = np.diff(recording[signal].at_us)
    assert np.median(steps) == interval_s * MICROSECONDS
    assert steps.min() > 0
    assert not np.any(recording[signal].at_us % MICROSECONDS)


def test_values_are_rounded_as_real_ones(recording: dict[str, Samples]) -> None:
    for signal, decimals in (("bms1_soc", 0), ("bms1_cell_max_t", 0), ("bms1_v", 1)):
        values = recording[signal].without_nulls().values
        assert np.array_equal(values, np.round(values, decimals))
    cells = simulate(0, 1, seed=1, cells=2)
    values = cells["bms1_p5_v2"].without_nulls().values
    assert np.array_equal(values, np.round(values, 3))
    assert "bms1_p5_t2" in cells
    assert "bms1_p1_v3" not in cells


def test_one_temperature_starts_late(recording: dict[str, Samples]) -> None:
    late_days = (recording["pcs1_t_igbt"].at_us[0] - recording["pcs1_ap"].at_us[0]) / DAY_US
    assert late_days == pytest.approx(2, abs=0.01)


def test_soc_is_the_integral_of_the_current(recording: dict[str, Samples]) -> None:
    current = recording["bms1_c"].without_nulls()
    seconds = np.diff(current.at_us, prepend=current.at_us[0]) / MICROSECONDS
    charge_ah = np.cumsum(current.values * seconds) / 3600
    soc = at(recording["bms1_soc"], current.at_us)
    slope, rest = np.polyfit(charge_ah, soc, 1)
    capacity_ah = 100 / slope
    assert 190 < capacity_ah < 330
    assert np.abs(slope * charge_ah + rest - soc).max() < 5


def test_dc_side_of_the_converter_is_the_pack(recording: dict[str, Samples]) -> None:
    times = recording["bms1_c"].at_us
    assert np.abs(at(recording["bms1_c"], times) + at(recording["pcs1_dcc"], times)).mean() < 1
    assert np.abs(at(recording["bms1_v"], times) - at(recording["pcs1_dcv"], times)).mean() < 3


def test_converter_loses_power_both_ways_and_feeds_three_phases(
    recording: dict[str, Samples],
) -> None:
    times = recording["bms1_c"].at_us
    ac_kw = at(recording["pcs1_ap"], times)
    dc_kw = at(recording["pcs1_dcc"], times) * at(recording["pcs1_dcv"], times) / 1e3
    assert (np.abs(ac_kw) < dc_kw)[dc_kw > 15].mean() > 0.95
    assert (np.abs(ac_kw) > -dc_kw)[dc_kw < -15].mean() > 0.95
    amps = sum(at(recording[f"pcs1_i{phase}"], times) for phase in "abc") / 3
    volts = sum(at(recording[f"pcs1_u{pair}"], times) for pair in ("ab", "bc", "ca")) / 3
    busy = np.abs(ac_kw) > 15
    ratio = np.sqrt(3) * volts * amps / 1e3 / np.abs(ac_kw)
    assert np.median(ratio[busy]) == pytest.approx(1, abs=0.02)


def test_pack_voltage_is_that_of_its_cells(recording: dict[str, Samples]) -> None:
    times = recording["bms1_v"].at_us[-5000:]
    mean = at(recording["bms1_cell_ave_v"], times)
    assert at(recording["bms1_v"], times) / mean == pytest.approx(260, abs=1)
    assert (at(recording["bms1_cell_max_v"], times) >= mean - 0.005).all()
    assert (at(recording["bms1_cell_min_v"], times) <= mean + 0.005).all()


def test_health_falls_slowly() -> None:
    health = simulate(0, 200, seed=3)["bms1_soh"].without_nulls().values
    assert 0.5 <= health[:100].mean() - health[-100:].mean() <= 4


def test_same_seed_gives_the_same_and_another_seed_another_plant() -> None:
    one, same, other = (simulate(0, 1, seed=seed)["bms1_v"] for seed in (4, 4, 5))
    assert np.array_equal(one.at_us, same.at_us)
    assert np.array_equal(one.values, same.values, equal_nan=True)
    assert not np.array_equal(one.values[:100], other.values[:100])


def test_recording_of_no_length_is_empty() -> None:
    assert not any(len(samples) for samples in simulate(0, 0, seed=1).values())


def test_faults_change_the_signal_they_name_and_no_other(recording: dict[str, Samples]) -> None:
    changed, faults = inject(recording, 7, faults_per_day=4)
    assert {fault.kind for fault in faults} == set(FAULT_KINDS)
    named = {fault.signal for fault in faults}
    for name, samples in recording.items():
        same = np.array_equal(samples.at_us, changed[name].at_us) and np.array_equal(
            samples.values, changed[name].values, equal_nan=True
        )
        assert same == (name not in named)


def test_faults_are_where_their_labels_say(recording: dict[str, Samples]) -> None:
    changed, faults = inject(recording, 8, faults_per_day=4)
    for fault in faults:
        before = recording[fault.signal].between(fault.start_us, fault.end_us + 1)
        after = changed[fault.signal].between(fault.start_us, fault.end_us + 1)
        assert fault.size != 0
        assert (fault.field, fault.group) == signal_groups()[fault.signal]
        if fault.kind == "gap":
            assert len(after) == 2
            continue
        assert len(before) == len(after)
        if fault.kind == "stuck":
            assert np.ptp(after.values) == 0
    assert faults == inject(recording, 8, faults_per_day=4)[1]


def test_fleet_is_written_as_the_data_set_is(tmp_path: Path) -> None:
    truth = make_fleet(tmp_path, devices=2, days=1, seed=2)
    assert truth.labels == ()
    assert truth.device_ids == ("ZHPESS232A230002", "ZHPESS232A230003")
    assert {path.name for path in (tmp_path / "BESS").iterdir()} == set(truth.device_ids)
    path = tmp_path / "BESS" / "ZHPESS232A230003" / "bms1_v.csv"
    table = pl.read_csv(path)
    assert table.columns == ["ts", "bms1_v"]
    assert table["ts"].str.contains(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$").all()
    samples = simulate(1, 1, seed=2)["bms1_v"]
    written = table["bms1_v"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    assert np.array_equal(written, samples.values, equal_nan=True)
    soc = path.with_name("bms1_soc.csv").read_text().splitlines()[1]
    assert soc.split(",")[1].isdigit()


def test_fleet_with_faults_names_their_devices(tmp_path: Path) -> None:
    truth = make_fleet(tmp_path, devices=2, days=2, seed=2, faults_per_device_day=4)
    assert {label.device_id for label in truth.labels} == set(truth.device_ids)
    assert [label.start_us for label in truth.labels] == sorted(
        label.start_us for label in truth.labels
    )
