"""Each kind of fault is found in a recording that has it, and not in the one without."""

from functools import cache

import numpy as np
import pytest

from benchwire.domains.battery.anomalies import METHODS, TYPES, Anomaly, Found, find
from benchwire.domains.battery.errors import QueryInvalid
from benchwire.domains.battery.samples import DAY_US, HOUR_US, MICROSECONDS, Samples
from benchwire.domains.battery.signals import BESS, BMS, PCS, Group
from benchwire.domains.battery.simulation import simulate

START_US = 4 * DAY_US + 11 * HOUR_US
TOLERANCE_US = 5 * 60 * MICROSECONDS


@cache
def clean(group: Group) -> dict[str, Samples]:
    """Return ten faultless days by the group's fields."""
    recorded = simulate(0, 10, seed=501)
    return {signal.field: recorded[signal.name] for signal in group.signals}


@cache
def quiet(group: Group) -> Found:
    """Return what is found in the faultless recording."""
    return find(clean(group), group, "auto")


def changed(
    group: Group, field: str, hours: float, change: object, decimals: int
) -> tuple[dict[str, Samples], int, int]:
    """Return the recording with a stretch changed, and where that is."""
    samples = clean(group)[field]
    start_us = int(samples.at_us[0]) // DAY_US * DAY_US + START_US
    lo, hi = np.searchsorted(samples.at_us, [start_us, start_us + int(hours * HOUR_US)]).tolist()
    hi = max(hi, lo + 2)
    values = samples.values.copy()
    values[lo:hi] = np.round(change(values[lo:hi]), decimals)  # type: ignore[operator]
    signals = clean(group) | {field: Samples(samples.at_us, values)}
    return signals, int(samples.at_us[lo]), int(samples.at_us[hi - 1])


def meeting(found: tuple[Anomaly, ...], field: str, start_us: int, end_us: int) -> list[Anomaly]:
    return [
        one
        for one in found
        if one.metric == field
        and one.start_us - TOLERANCE_US <= end_us
        and start_us - TOLERANCE_US <= one.end_us
    ]


CASES = [
    (BMS, "soc", "out_of_range", 0.1, lambda v: v * 0 + 130, 0),
    (BMS, "cell_max_voltage", "out_of_range", 0.1, lambda v: v * 0 + 4.1, 3),
    (PCS, "temp_igbt", "out_of_range", 0.1, lambda v: v * 0 + 95, 0),
    (BMS, "voltage", "spike", 0, lambda v: v + 25, 1),
    (BMS, "cell_avg_temp", "spike", 0, lambda v: v - 10, 0),
    (PCS, "dc_current", "spike", 0, lambda v: v + 120, 1),
    (BMS, "current", "stuck", 2, lambda v: v * 0 + v[0], 1),
    (BMS, "soc", "stuck", 2.5, lambda v: v * 0 + v[0], 0),
    (PCS, "ac_voltage_bc", "stuck", 2, lambda v: v * 0 + v[0], 1),
    (BMS, "soc", "step", 5, lambda v: v + 14, 0),
    (BMS, "voltage", "step", 5, lambda v: v - 16, 1),
    (PCS, "temp_environment", "step", 6, lambda v: v + 10, 0),
    (BMS, "cell_min_voltage", "imbalance", 3, lambda v: v - 0.1, 3),
    (BMS, "cell_voltage_diff", "imbalance", 3, lambda v: v + 0.1, 3),
    (PCS, "ac_current_b", "imbalance", 2, lambda v: v * 0.7, 1),
    (PCS, "ac_voltage_ca", "imbalance", 2, lambda v: v * 1.05, 1),
    (BMS, "voltage", "drift", 30, lambda v: v + np.linspace(0, 30, len(v)), 1),
    (BMS, "cell_avg_temp", "drift", 30, lambda v: v + np.linspace(0, 14, len(v)), 0),
    (PCS, "dc_voltage", "drift", 30, lambda v: v - np.linspace(0, 30, len(v)), 1),
]


@pytest.mark.parametrize(("group", "field", "kind", "hours", "change", "decimals"), CASES)
def test_fault_is_found_as_its_kind_and_nothing_there_without_it(
    group: Group, field: str, kind: str, hours: float, change: object, decimals: int
) -> None:
    signals, start_us, end_us = changed(group, field, hours, change, decimals)
    found = meeting(find(signals, group, "auto").anomalies, field, start_us, end_us)
    assert kind in {one.type for one in found}
    assert all(one.score >= 1 for one in found)
    assert not meeting(quiet(group).anomalies, field, start_us, end_us)


@pytest.mark.parametrize("group", [BMS, PCS, BESS])
def test_clean_recording_gives_nothing(group: Group) -> None:
    found = quiet(group)
    assert found.anomalies == ()
    assert found.samples_analyzed == sum(len(samples) for samples in clean(group).values())


@pytest.mark.parametrize("group", [BMS, PCS])
@pytest.mark.parametrize("seed", [504, 505, 506])
def test_one_clean_day_gives_nothing(group: Group, seed: int) -> None:
    recorded = simulate(1, 1, seed=seed)
    signals = {signal.field: recorded[signal.name] for signal in group.signals}
    assert find(signals, group, "auto").anomalies == ()


def test_cell_voltages_of_one_decimal_accuse_nobody() -> None:
    signals = dict(clean(BMS))
    for field in ("cell_avg_voltage", "cell_max_voltage", "cell_min_voltage"):
        coarse = np.round(signals[field].values, 1)
        signals[field] = Samples(signals[field].at_us, coarse)
    assert find(signals, BMS, "auto").anomalies == ()


def test_gap_is_found_where_values_are_missing() -> None:
    samples = clean(BMS)["current"]
    kept = np.ones(len(samples), np.bool_)
    kept[5000:5200] = False
    signals = clean(BMS) | {"current": Samples(samples.at_us[kept], samples.values[kept])}
    (gap,) = find(signals, BMS, "gap").anomalies
    assert (gap.metric, gap.type, gap.severity) == ("current", "gap", "warning")
    assert (gap.start_us, gap.end_us) == (samples.at_us[4999], samples.at_us[5200])
    assert gap.value is None
    assert "gave no values for 103 min" in gap.message


def test_stretch_of_nulls_is_a_gap_too() -> None:
    samples = clean(BMS)["current"]
    values = samples.values.copy()
    values[5000:5200] = np.nan
    signals = clean(BMS) | {"current": Samples(samples.at_us, values)}
    (gap,) = find(signals, BMS, "gap").anomalies
    assert (gap.start_us, gap.end_us) == (samples.at_us[4999], samples.at_us[5200])


def test_signal_that_falls_silent_before_the_others_has_a_gap_to_their_end() -> None:
    samples = clean(BMS)["soc"]
    signals = clean(BMS) | {"soc": Samples(samples.at_us[:5000], samples.values[:5000])}
    (gap,) = find(signals, BMS, "gap").anomalies
    assert gap.end_us == max(int(one.at_us[-1]) for one in signals.values())


def test_soc_at_rest_is_not_stuck() -> None:
    signals, *_ = changed(BMS, "soc", 12, lambda v: v * 0 + v[0], 0)
    samples = clean(BMS)["current"]
    lo, hi = np.searchsorted(
        samples.at_us, samples.at_us[0] // DAY_US * DAY_US + START_US + np.array([0, 12 * HOUR_US])
    )
    values = samples.values.copy()
    values[lo:hi] = np.round(np.random.default_rng(1).normal(0, 0.3, hi - lo), 1)
    resting = signals | {"current": Samples(samples.at_us, values)}
    assert [one.metric for one in find(signals, BMS, "stuck").anomalies] == ["soc"]
    assert find(resting, BMS, "stuck").anomalies == ()


def test_faulty_reference_does_not_accuse_its_relatives() -> None:
    signals, *_ = changed(BMS, "cell_avg_voltage", 6, lambda v: v + 0.1, 3)
    assert {one.metric for one in find(signals, BMS, "auto").anomalies} == {"cell_avg_voltage"}


def test_method_gives_its_own_type_only() -> None:
    signals, *_ = changed(BMS, "voltage", 5, lambda v: v - 16, 1)
    signals |= {"soc": changed(BMS, "soc", 0.1, lambda v: v * 0 + 130, 0)[0]["soc"]}
    own = {"limits": "out_of_range"}
    everything = find(signals, BMS, "auto").anomalies
    for method in METHODS[1:-1]:
        found = find(signals, BMS, method).anomalies
        expected = [one for one in everything if one.type == own.get(method, method)]
        assert list(found) == expected


def test_only_the_metrics_asked_for_are_judged_with_the_help_of_the_others() -> None:
    signals, *_ = changed(BMS, "voltage", 5, lambda v: v - 16, 1)
    found = find(signals, BMS, "auto", metrics=["voltage"])
    assert found.samples_analyzed == len(signals["voltage"])
    assert [one.type for one in found.anomalies] == ["step"]
    assert find(signals, BMS, "auto", metrics=["soc"]).anomalies == ()


def test_view_of_the_whole_system_is_judged_under_its_own_names() -> None:
    signals, *_ = changed(BESS, "safety_smoke_flag", 0.1, lambda v: v * 0 + 1, 0)
    (smoke,) = find(signals, BESS, "auto").anomalies
    assert (smoke.metric, smoke.type, smoke.severity) == (
        "safety_smoke_flag", "out_of_range", "critical",
    )  # fmt: skip
    assert smoke.message == "Smoke was reported."


def test_message_names_value_unit_and_what_was_expected() -> None:
    signals, *_ = changed(PCS, "temp_igbt", 0, lambda v: v * 0 + 60, 0)
    (spike,) = find(signals, PCS, "spike").anomalies
    assert spike.message.startswith("IGBT temperature jumped to 60 °C for ")
    assert spike.value == 60
    assert spike.expected is not None
    assert spike.expected < 50


def test_forest_tells_an_hour_that_is_unlike_the_rest_and_is_reproducible() -> None:
    signals, start_us, end_us = changed(PCS, "temp_environment", 6, lambda v: v + 15, 0)
    found = find(signals, PCS, "iforest").anomalies
    assert meeting(found, "temp_environment", start_us, end_us)
    assert {one.type for one in found} <= set(TYPES)
    assert found == find(signals, PCS, "iforest").anomalies


def test_unknown_method_or_metric_is_refused() -> None:
    with pytest.raises(QueryInvalid, match="no method 'magic'"):
        find({}, BMS, "magic")
    with pytest.raises(QueryInvalid, match="no metric 'dc_voltage'"):
        find({}, BMS, "auto", metrics=["dc_voltage"])
