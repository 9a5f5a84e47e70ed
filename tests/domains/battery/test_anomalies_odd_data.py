"""Whatever the data are like, the search ends with an answer."""

import numpy as np
import pytest

from benchwire.domains.battery.anomalies import METHODS, find
from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Samples
from benchwire.domains.battery.signals import BESS, BMS, PCS, Group
from benchwire.domains.battery.simulation import simulate

RNG = np.random.default_rng(11)
FULL_US = 9_000_000_000_000_000


def even(values: np.ndarray, every_s: int = 30) -> Samples:
    at_us = np.arange(len(values), dtype=np.int64) * every_s * MICROSECONDS
    return Samples(at_us, values.astype(np.float64))


def irregular(n: int) -> Samples:
    at_us = np.cumsum(RNG.pareto(0.6, n) * MICROSECONDS + 1).clip(0, FULL_US).astype(np.int64)
    return Samples(np.unique(at_us), RNG.normal(50, 20, len(np.unique(at_us))))


ODD = {
    "nothing": even(np.empty(0)),
    "all null": even(np.full(3000, np.nan)),
    "one sample": even(np.array([50.0])),
    "one null": even(np.array([np.nan])),
    "two samples": even(np.array([50.0, 51.0])),
    "five samples": even(np.array([50.0, 1e9, -50, np.nan, 3.3])),
    "constant": even(np.full(6_000, 3.3)),
    "zero": even(np.zeros(6_000)),
    "half null": even(np.where(RNG.random(6_000) < 0.5, np.nan, RNG.normal(50, 1, 6_000))),
    "noise": even(RNG.normal(0, 1e6, 6_000)),
    "tiny": even(RNG.normal(0, 1e-12, 6_000)),
    "huge": even(RNG.normal(0, 1e200, 5_000)),
    "irregular": irregular(5_000),
    "decades apart": Samples(np.array([0, FULL_US], np.int64), np.array([50.0, 51.0])),
    "before 1970": Samples(np.arange(-800, 0, dtype=np.int64) * DAY_US, np.arange(800.0)),
    "flag": even(np.arange(4000) % 2),
}


def search(signals: dict[str, Samples], group: Group, method: str) -> None:
    found = find(signals, group, method)
    assert found.samples_analyzed == sum(len(samples) for samples in signals.values())
    for one in found.anomalies:
        assert one.start_us <= one.end_us
        assert one.severity in ("info", "warning", "critical")
        assert np.isfinite(one.score)


@pytest.mark.parametrize("group", [BMS, PCS, BESS])
@pytest.mark.parametrize("kind", ODD)
def test_odd_signals_alone_and_all_alike_are_survived(kind: str, group: Group) -> None:
    for fields in (group.fields, group.fields[:1], group.fields[2:4]):
        search(dict.fromkeys(fields, ODD[kind]), group, "auto")


@pytest.mark.parametrize("kind", ODD)
def test_odd_signals_are_survived_by_the_forest(kind: str) -> None:
    search(dict.fromkeys(PCS.fields, ODD[kind]), PCS, "iforest")


@pytest.mark.parametrize("group", [BMS, PCS, BESS])
def test_odd_signals_beside_each_other_are_survived(group: Group) -> None:
    for shift in range(len(ODD)):
        kinds = list(ODD.values())[shift:] + list(ODD.values())[:shift]
        signals = {field: kinds[n % len(kinds)] for n, field in enumerate(group.fields)}
        search(signals, group, "auto")
        if shift % 5 == 0:
            search(signals, group, "iforest")


def test_no_signals_give_nothing() -> None:
    for method in METHODS:
        found = find({}, BMS, method)
        assert (found.samples_analyzed, found.anomalies) == (0, ())


@pytest.mark.parametrize("missing", BMS.fields)
def test_missing_relative_leaves_the_rest_quiet(missing: str) -> None:
    recorded = simulate(0, 4, seed=502)
    signals = {s.field: recorded[s.name] for s in BMS.signals if s.field != missing}
    assert not [one for one in find(signals, BMS, "auto").anomalies if one.severity == "critical"]
    assert len(find(signals, BMS, "auto").anomalies) <= 2


def test_fields_of_other_groups_are_left_out() -> None:
    assert find({"dc_voltage": ODD["noise"]}, BMS, "auto").samples_analyzed == 0


def test_signals_are_not_changed() -> None:
    recorded = simulate(0, 3, seed=503)
    signals = {signal.field: recorded[signal.name] for signal in BMS.signals}
    before = {field: samples.values.copy() for field, samples in signals.items()}
    find(signals, BMS, "auto")
    for field, values in before.items():
        assert np.array_equal(values, signals[field].values, equal_nan=True)
