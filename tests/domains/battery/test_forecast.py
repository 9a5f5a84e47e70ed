"""Forecasts keep the contract's rules, and beat what they have to beat."""

from functools import cache

import numpy as np
import pytest

from benchwire.domains.battery import work
from benchwire.domains.battery.errors import QueryInvalid, TooLittleData
from benchwire.domains.battery.forecast import METHODS, Forecast, forecast
from benchwire.domains.battery.forecast.history import read_history
from benchwire.domains.battery.forecast.scoring import calibrate, make_trial
from benchwire.domains.battery.forecast.seasonal import last_value, seasonal_naive
from benchwire.domains.battery.samples import DAY_US, HOUR_US, MICROSECONDS, Samples
from benchwire.domains.battery.series import SignalSource
from tests.domains.battery.square_waves import MIDNIGHT, none

MINUTE_US = 60 * MICROSECONDS
STEP_US = 15 * MINUTE_US


def daily(days: float, *, every_s: int = 450, noise: float = 4.0) -> Samples:
    """Return a day's pattern whose height differs a little from day to day, with noise."""
    generator = np.random.default_rng(1)
    seconds = np.arange(0, days * 86_400, every_s)
    height = generator.uniform(24, 26, int(days) + 1)[(seconds // 86_400).astype(int)]
    values = 50 + height * np.sin(seconds / 86_400 * 2 * np.pi)
    values += generator.normal(0, noise, len(seconds))
    return Samples(MIDNIGHT + seconds.astype(np.int64) * MICROSECONDS, values)


MONTH = daily(30)
NINE_DAYS = daily(9, every_s=600)


@cache
def on_month(method: str) -> Forecast:
    return soc(MONTH, method=method)


def soc(samples: Samples, **more: object) -> Forecast:
    return forecast(samples, field="soc", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "step"),
    [*((method, 15) for method in METHODS), *(("ets", step) for step in (1, 7, 60, 120))],
)
def test_points_are_the_step_boundaries_after_the_last_sample(method: str, step: int):
    found = soc(NINE_DAYS, step_minutes=step, horizon_hours=6, method=method)
    step_us = step * MINUTE_US
    last_us = found.trained_on.end_us
    at_us = [point.at_us for point in found.points]
    assert all(at % step_us == 0 for at in at_us)
    assert last_us < at_us[0] <= last_us + step_us
    assert np.all(np.diff(at_us) == step_us)
    assert len(at_us) == 360 // step
    assert at_us[-1] <= last_us + 6 * HOUR_US


def test_last_sample_on_a_boundary_begins_at_the_next():
    at_us = MIDNIGHT + np.arange(100, dtype=np.int64) * STEP_US
    found = soc(Samples(at_us, np.full(100, 50.0)))
    assert found.points[0].at_us == int(at_us[-1]) + STEP_US


@pytest.mark.parametrize("method", METHODS)
def test_band_holds_the_value_and_percentages_stay_in_their_bounds(method: str):
    high = Samples(MONTH.at_us, (MONTH.values * 1.4).clip(0, 100))
    found = soc(high, method=method, horizon_hours=12)
    for point in found.points:
        assert 0 <= point.lower <= point.value <= point.upper <= 100
    assert any(point.upper == 100 for point in found.points)


@pytest.mark.parametrize("method", METHODS)
def test_as_of_gives_the_same_as_if_later_samples_were_not_there(method: str):
    as_of = MIDNIGHT + 9 * DAY_US + 5 * HOUR_US + 1
    removed = Samples(MONTH.at_us[MONTH.at_us <= as_of], MONTH.values[MONTH.at_us <= as_of])
    assert soc(MONTH, as_of_us=as_of, method=method) == soc(removed, method=method)


def test_signals_without_bounds_are_not_bounded():
    high = Samples(MONTH.at_us, MONTH.values * 1.4)
    found = forecast(high, field="voltage", method="seasonal_naive")
    assert any(point.upper > 100 for point in found.points)


def test_as_of_includes_the_sample_at_that_moment():
    found = soc(MONTH, as_of_us=int(MONTH.at_us[5000]), method="seasonal_naive")
    assert found.trained_on.end_us == MONTH.at_us[5000]
    assert found.trained_on.start_us == MONTH.at_us[0]
    assert found.trained_on.samples == 5001


@pytest.mark.parametrize("method", METHODS)
def test_every_method_beats_the_last_value_on_a_daily_pattern(method: str):
    as_of = MIDNIGHT + 28 * DAY_US + 5 * HOUR_US
    found = soc(MONTH, as_of_us=as_of, method=method)
    at_us = np.array([point.at_us for point in found.points])
    actual = np.interp(at_us, MONTH.at_us, MONTH.values)
    error = np.abs([point.value for point in found.points] - actual).mean()
    last = MONTH.between(None, as_of + 1).values[-1]
    assert error < 0.5 * np.abs(last - actual).mean()
    if method != "auto":
        assert found.method == method


@pytest.mark.parametrize("method", METHODS)
def test_backtest_tells_errors_and_true_coverage(method: str):
    backtest = on_month(method).backtest
    assert backtest.mae is not None
    assert backtest.rmse is not None
    assert backtest.baseline_mae is not None
    assert backtest.coverage is not None
    assert 0 < backtest.mae <= backtest.rmse
    assert backtest.origins > 50
    assert 0.8 <= backtest.coverage <= 1
    if method == "seasonal_naive":
        assert backtest.mae == backtest.baseline_mae
    else:
        assert backtest.mae < backtest.baseline_mae


def test_auto_takes_the_method_with_the_least_error():
    found = on_month("auto")
    alone = {method: on_month(method).backtest.mae or 0.0 for method in METHODS[1:]}
    assert alone[found.method] == min(alone.values())


def test_short_history_falls_back():
    assert soc(daily(7.5)).method == "seasonal_naive"
    assert soc(daily(7.5), method="gbdt").method == "seasonal_naive"
    assert soc(daily(3), method="ets").method == "seasonal_naive"
    assert soc(daily(5), method="ets").method == "ets"
    hours = soc(daily(0.5))
    assert hours.method == "last_value"
    assert hours.backtest.origins == 0
    assert hours.backtest.mae is None


def test_last_value_has_a_wide_band():
    half_day = daily(0.5)
    found = forecast(half_day, field="voltage")
    width = half_day.values.max() - half_day.values.min()
    assert all(point.upper - point.lower > 1.5 * width for point in found.points)
    assert len({round(point.value, 9) for point in found.points}) == 1


def test_one_sample_is_repeated():
    found = soc(Samples(np.array([MIDNIGHT]), np.array([40.0])))
    assert {point.value for point in found.points} == {40}
    assert all(point.lower < 40 < point.upper for point in found.points)


@pytest.mark.parametrize("method", METHODS)
def test_no_value_is_too_little(method: str):
    nulls = Samples(MONTH.at_us, np.full(len(MONTH), np.nan))
    for samples in (nulls, none()):
        with pytest.raises(TooLittleData):
            soc(samples, method=method)
    with pytest.raises(TooLittleData):
        soc(MONTH, as_of_us=MIDNIGHT - 1, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_constant_signal_stays_constant(method: str):
    found = soc(Samples(MONTH.at_us, np.full(len(MONTH), 42.0)), method=method)
    assert [point.value for point in found.points] == pytest.approx([42] * 96)
    assert [point.upper - point.lower for point in found.points] == pytest.approx([0] * 96)
    assert found.backtest.coverage == 1


@pytest.mark.parametrize("method", METHODS)
def test_irregular_samples_nulls_and_gaps_are_forecast(method: str):
    generator = np.random.default_rng(4)
    kept = np.sort(generator.choice(len(MONTH), len(MONTH) // 3, replace=False))
    jitter = generator.integers(0, 200 * MICROSECONDS, len(kept))
    values = MONTH.values[kept].copy()
    values[::9] = np.nan
    at_us = MONTH.at_us[kept] + jitter
    gap = (at_us > MIDNIGHT + 12 * DAY_US) & (at_us < MIDNIGHT + 14 * DAY_US)
    found = soc(Samples(at_us[~gap], values[~gap]), method=method)
    expected = 50 + 25 * np.sin([p.at_us / DAY_US * 2 * np.pi for p in found.points])
    assert np.abs([p.value for p in found.points] - expected).mean() < 6
    assert np.isfinite([(p.lower, p.upper) for p in found.points]).all()


@pytest.mark.parametrize("method", METHODS)
def test_long_outage_just_before_the_end_is_survived(method: str):
    outage = (MONTH.at_us > MIDNIGHT + 3 * DAY_US) & (MONTH.at_us < MIDNIGHT + 29.9 * DAY_US)
    found = soc(Samples(MONTH.at_us[~outage], MONTH.values[~outage]), method=method)
    assert found.method == "seasonal_naive"
    assert all(point.lower <= point.value <= point.upper for point in found.points)


@pytest.mark.parametrize("method", METHODS)
def test_hourly_samples_are_forecast(method: str):
    found = soc(daily(30, every_s=3600, noise=0.1), method=method)
    expected = 50 + 25 * np.sin([p.at_us / DAY_US * 2 * np.pi for p in found.points])
    assert np.abs([p.value for p in found.points] - expected).mean() < 8
    assert method in (found.method, "auto")


def test_week_in_steps_of_a_minute_has_all_points():
    found = soc(MONTH, horizon_hours=168, step_minutes=1, method="seasonal_naive")
    assert len(found.points) == 10_080


def measured_until(days: float, *, then_nulls: float) -> SignalSource:
    """Return a daily pattern for some days, and only nulls for some days after that."""
    known = daily(days, every_s=3600)
    count = int(then_nulls * 24)
    later = int(known.at_us[-1]) + (1 + np.arange(count, dtype=np.int64)) * HOUR_US
    return SignalSource(
        tail=Samples(np.append(known.at_us, later), np.append(known.values, np.full(count, np.nan)))
    )


@pytest.mark.parametrize("nulls", [30, 99, 400])
@pytest.mark.parametrize("as_of_days", [None, 120, 10_000])
def test_history_is_counted_back_from_the_last_value(nulls: float, as_of_days: int | None):
    source = measured_until(98, then_nulls=nulls)
    as_of_us = None if as_of_days is None else MIDNIGHT + as_of_days * DAY_US
    found = work.forecast(None, source, "soc", 24.0, 60.0, as_of_us, "seasonal_naive")  # type: ignore[arg-type]
    assert found.trained_on.end_us == source.tail.at_us[98 * 24 - 1]
    assert found.trained_on.samples == 90 * 24


def test_source_without_a_value_before_a_moment_is_too_little():
    source = measured_until(2, then_nulls=1)
    nulls = SignalSource(tail=Samples(source.tail.at_us, np.full(len(source.tail), np.nan)))
    for empty, as_of_us in ((nulls, None), (SignalSource(), None), (source, MIDNIGHT - 1)):
        with pytest.raises(TooLittleData):
            work.forecast(None, empty, "soc", 24.0, 60.0, as_of_us, "auto")  # type: ignore[arg-type]


def test_bad_queries_are_refused():
    for bad in (
        {"method": "magic"}, {"horizon_hours": 0}, {"horizon_hours": 169}, {"step_minutes": 0.5},
        {"step_minutes": 121}, {"horizon_hours": float("nan")}, {"step_minutes": float("nan")},
    ):  # fmt: skip
        with pytest.raises(QueryInvalid):
            soc(MONTH, **bad)


def test_history_is_cut_at_90_days_and_ends_with_the_last_sample():
    history = read_history(daily(100, every_s=900), as_of_us=None)
    assert len(history.values) == 90 * 96
    assert history.end_us == MIDNIGHT + 100 * DAY_US - 900 * MICROSECONDS


@pytest.mark.parametrize("predict", [seasonal_naive, last_value])
def test_backtest_sees_nothing_after_its_origins(predict: object):
    trial = make_trial(read_history(MONTH, as_of_us=None), 96, least_days=1)
    assert callable(predict)
    usual = predict(trial.history, trial.origins[:3], 96)
    for name in ("values", "held"):
        getattr(trial.history, name)[int(trial.origins[2]) + 1 :] = 1e9
    assert np.array_equal(usual, predict(trial.history, trial.origins[:3], 96))


def test_band_of_times_never_tried_is_that_of_the_nearest_or_wider():
    residuals = np.full((60, 192), np.nan)
    residuals[:, 12:96] = np.random.default_rng(2).normal(0, 5, (60, 84))
    band = calibrate(residuals)
    lower, upper = band.around(np.zeros(192), np.ones(192))
    assert upper[0] == upper[15]
    assert upper[150] > upper[70]
    assert lower[150] < lower[70]


def test_calibrated_band_holds_nine_tenths_of_new_residuals():
    generator = np.random.default_rng(2)
    band = calibrate(generator.normal(3, 5, (120, 96)))
    lower, upper = band.around(np.zeros((500, 96)), np.ones((500, 96)))
    new = generator.normal(3, 5, (500, 96))
    assert 0.89 < ((new >= lower) & (new <= upper)).mean() < 0.95
