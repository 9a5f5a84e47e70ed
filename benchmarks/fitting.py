"""Fits of traces: our own, all at once, against SciPy's ``least_squares`` trace by trace.

One core, both sides in one run, times of the processor. SciPy gets the plain formula of each model,
the same bounds and the model's own start values.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchwire.domains.traces import fitting
from benchwire.domains.traces.fitting import fit
from benchwire.domains.traces.kinetics import GeneExpression, Maturation, MaturationKinetic, Trivial
from benchwire.domains.traces.models import Model

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TIME = np.linspace(0, 30, 60)
MODELS: tuple[Model, ...] = (Maturation(), MaturationKinetic(), Trivial(), GeneExpression())
# Much wider than cells are.
RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "maturation": {"amplitude": (1e3, 1e6), "rate": (0.02, 3), "offset": (-1e3, 1e5)},
    "maturation_kinetic": {
        "t0": (-1, 1), "ktl": (1e3, 1e6), "delta": (1e-3, 3), "offset": (-1e3, 1e5),
    },
    "trivial": {"amplitude": (0.1, 9), "offset": (0, 0)},
    "gene_expression": {
        "t0": (0.5, 10), "ktl": (10, 1e4), "delta": (0.01, 2), "beta": (1e-3, 0.5),
        "offset": (-100, 1000),
    },
}  # fmt: skip


def maturation(t: Any, amplitude: Any, rate: Any, offset: Any) -> Any:
    return amplitude * (1 - np.exp(-rate * t)) + offset


def maturation_kinetic(t: Any, t0: Any, ktl: Any, delta: Any, offset: Any) -> Any:
    km, beta = 1.28, 5.22e-3
    s = np.maximum(t - t0, 0)
    d = beta - delta
    g = (
        np.exp(-(beta + km) * s) / (d + km)
        - np.exp(-beta * s) / d
        + km / (d * (d + km)) * np.exp(-delta * s)
    )
    return ktl * np.where(t > t0, g, 0) + offset


def trivial(t: Any, amplitude: Any, offset: Any) -> Any:
    return amplitude + offset + 0 * t


def gene_expression(t: Any, t0: Any, ktl: Any, delta: Any, beta: Any, offset: Any) -> Any:
    s = np.maximum(t - t0, 0)
    return offset + ktl / (delta - beta) * (1 - np.exp(-(delta - beta) * s)) * np.exp(-beta * s)


CURVES: Mapping[str, Callable[..., Any]] = {
    "maturation": maturation, "maturation_kinetic": maturation_kinetic, "trivial": trivial,
    "gene_expression": gene_expression,
}  # fmt: skip


def traces(model: Model, count: int, *, noise: float, missing: float) -> Any:
    generator = np.random.default_rng(7)
    truth = {}
    for name, (low, high) in RANGES[model.name].items():
        if low > 0 and high / low > 50:
            truth[name] = np.exp(generator.uniform(np.log(low), np.log(high), (count, 1)))
        else:
            truth[name] = generator.uniform(low, high, (count, 1))
    values = CURVES[model.name](TIME, **truth) + np.zeros(len(TIME))
    spread = values.std(axis=1, keepdims=True) + 1e-3
    values = values + generator.normal(size=values.shape) * spread * noise
    values[generator.random(values.shape) < missing] = np.nan
    return values


def scipy_residual(model: Model, values: Any) -> float:
    known = np.isfinite(values)
    t, y, curve = TIME[known], values[known], CURVES[model.name]
    found = least_squares(
        lambda x: curve(t, *x) - y,
        [item.default for item in model.parameters],
        bounds=([item.low for item in model.parameters], [item.high for item in model.parameters]),
    )
    return float(2 * found.cost)


def compare(
    model: Model, kind: str, *, noise: float, missing: float, reference: int, own: int
) -> None:
    values = traces(model, own, noise=noise, missing=missing)
    few = values[:reference]
    began = time.process_time()
    expected = np.array([scipy_residual(model, row) for row in few])
    theirs = reference / (time.process_time() - began)
    fit(model, TIME, values[:64])
    began = time.process_time()
    fit(model, TIME, values)
    ours = own / (time.process_time() - began)
    found = fit(model, TIME, few)
    spread = np.nansum((few - np.nanmean(few, axis=1, keepdims=True)) ** 2, axis=1)
    # What is left of clean traces is rounding, on which either stops somewhere.
    slack = 1e-6 * expected + 1e-10 * spread + 1e-12
    is_worse = found.residual > expected + slack
    is_better = found.residual < expected - 1e-5 * spread - 1e-12
    differing = np.abs(found.residual - expected) / np.maximum(spread, 1e-300)
    same = differing[~is_worse & ~is_better & (spread > 1e-20 * np.nansum(few**2, axis=1))]
    print(
        f"  {model.name:<19} {kind:<6} {ours:9.0f} fits/s, SciPy {theirs:5.0f},"
        f" ratio {ours / theirs:6.0f}   worse {is_worse.mean():.2%},"
        f" R2 better {is_better.mean():.1%}, max dR2 elsewhere {same.max(initial=0):.0e},"
        f" failed {(~found.success).sum()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=int, default=300, help="traces that SciPy fits too")
    parser.add_argument("--traces", type=int, default=100_000, help="traces of the large run")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # The number of threads was read when NumPy was loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    for model in MODELS:
        for kind, noise, missing in (("clean", 0, 0), ("usual", 0.05, 0), ("hard", 0.3, 0.15)):
            compare(
                model, kind, noise=noise, missing=missing, reference=options.reference, own=4096
            )
    for model in MODELS:
        values = traces(model, options.traces, noise=0.05, missing=0.02)
        for way, worth in (("NumPy", len(values) + 1), ("numba", 1)):
            if way == "numba" and not hasattr(model, "point"):
                continue
            fitting.WORTH_COMPILING = worth
            began = time.perf_counter()
            share = fit(model, TIME, values).success.mean()
            took = time.perf_counter() - began
            print(
                f"  {model.name:<19} {len(values)} traces in {took:5.1f} s by {way},"
                f" {share:.2%} fitted"
            )


if __name__ == "__main__":
    main()
