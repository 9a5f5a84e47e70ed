"""Forecasts of generated systems: each method and ``auto`` against last value and seasonal naive.

The systems are of seeds that nothing was tuned on. Every origin is a full forecast 24 hours ahead
from the 90 days before it, compared with the quarter hours that came; origins lie apart by more
than a horizon, at different times of day. The error of ``auto`` has to be below that of the
seasonal naive forecast for every signal.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.forecast import METHODS, Forecast, forecast
from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.simulation import simulate

SIGNALS: Mapping[str, tuple[str, str]] = {
    "bms1_soc": ("soc", "%"),
    "bms1_cell_ave_t": ("cell_avg_temp", "deg C"),
    "pcs1_ap": ("apparent_power", "kW"),
}
FIRST_SEED = 888_000
HISTORY_DAYS = 90
APART_US = DAY_US + 5 * HOUR_US
QUARTER_US = 15 * 60 * 1_000_000
LAST_VALUE = "last value"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Numbers = dict[tuple[str, str], list[float]]


def actual(samples: Samples, at_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the quarter hour around each time."""
    known = samples.without_nulls()
    sums = np.concatenate([[0.0], np.cumsum(known.values)])
    begin = np.searchsorted(known.at_us, at_us - QUARTER_US // 2)
    end = np.searchsorted(known.at_us, at_us + QUARTER_US // 2)
    counts = (end - begin).astype(np.float64)
    return np.divide(
        sums[end] - sums[begin], counts, out=np.full(len(counts), np.nan), where=counts > 0
    )


def one_system(seed: int, *, origins: int) -> tuple[Numbers, Numbers, Numbers]:
    """Return errors, coverage and seconds by signal and method."""
    days = HISTORY_DAYS + origins * APART_US / DAY_US + 1
    recorded = simulate(0, days, seed=seed)
    errors, covered, seconds = (defaultdict(list) for _ in range(3))
    for name, (field, _) in SIGNALS.items():
        samples = recorded[name]
        end = int(samples.at_us[-1])
        for number in range(origins):
            as_of = end - DAY_US - number * APART_US
            for method in METHODS:
                began = time.perf_counter()
                found = forecast(samples, field=field, as_of_us=as_of, method=method)
                seconds[field, method].append(time.perf_counter() - began)
                judge(found, samples, (field, method), errors, covered)
            last = samples.between(None, as_of + 1).without_nulls().values[-1]
            at_us = np.array([point.at_us for point in found.points])
            errors[field, LAST_VALUE].extend(np.abs(actual(samples, at_us) - last))
    return dict(errors), dict(covered), dict(seconds)


def judge(
    found: Forecast, samples: Samples, key: tuple[str, str], errors: Numbers, covered: Numbers
) -> None:
    """Add what came of one forecast."""
    points = found.points
    came = actual(samples, np.array([point.at_us for point in points]))
    value, lower, upper = np.array([(p.value, p.lower, p.upper) for p in points]).T
    errors[key].extend(np.abs(came - value))
    covered[key].extend(((came >= lower) & (came <= upper))[~np.isnan(came)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--systems", type=int, default=4)
    parser.add_argument("--origins", type=int, default=4)
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    errors, covered, seconds = (defaultdict(list) for _ in range(3))
    seeds = range(FIRST_SEED, FIRST_SEED + options.systems)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for found in pool.map(partial(one_system, origins=options.origins), seeds):
            for total, part in zip((errors, covered, seconds), found, strict=True):
                for key, numbers in part.items():
                    total[key].extend(numbers)
    print(f"24 hours ahead, {options.systems} systems, {options.origins} origins each, "
          f"{HISTORY_DAYS} days of history")  # fmt: skip
    for field, unit in SIGNALS.values():
        naive = float(np.nanmean(errors[field, "seasonal_naive"]))
        print(f"{field} ({unit})")
        for method in (LAST_VALUE, *METHODS[1:], METHODS[0]):
            mae = float(np.nanmean(errors[field, method]))
            text = f"  {method:15} error {mae:7.3f}, ratio to seasonal naive {mae / naive:5.2f}"
            if method != LAST_VALUE:
                text += (
                    f", band holds {np.mean(covered[field, method]):6.1%} (nominal 90 %), "
                    f"{np.median(seconds[field, method]):5.2f} s"
                )
            print(text)
        assert np.nanmean(errors[field, "auto"]) < naive, f"{field}: no better than naive"


if __name__ == "__main__":
    main()
