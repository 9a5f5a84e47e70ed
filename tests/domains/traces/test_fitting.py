"""Fits against the truth and against SciPy."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import least_squares

from benchwire.domains.traces.fitting import fit
from benchwire.domains.traces.kinetics import GeneExpression, Maturation, MaturationKinetic, Trivial
from benchwire.domains.traces.models import Model, Parameter

MODELS: tuple[Model, ...] = (Maturation(), MaturationKinetic(), Trivial(), GeneExpression())
TIME = np.linspace(0, 30, 61)
BY_NAME = {model.name: model for model in MODELS}
# Parameters as cells have them.
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


def curve(model: Model, time: Any, values: Mapping[str, Any]) -> Any:
    held = {name: np.array(value) for name, value in model.fixed.items()}
    given = {name: np.asarray(value, float)[..., None] for name, value in values.items()}
    shape = model.shape(np.asarray(time), {**held, **given})
    return held.get("scale", 1.0) * (given[model.gain] * shape + given[model.offset])


def traces(
    model: Model, count: int, *, noise: float = 0.0, missing: float = 0.0
) -> tuple[dict[str, Any], Any]:
    """Return true parameters and traces with noise and missing points."""
    generator = np.random.default_rng(11)
    truth = {}
    for name, (low, high) in RANGES[model.name].items():
        if low > 0 and high / low > 50:
            truth[name] = np.exp(generator.uniform(np.log(low), np.log(high), count))
        else:
            truth[name] = generator.uniform(low, high, count)
    values = np.broadcast_to(curve(model, TIME, truth), (count, len(TIME))).copy()
    spread = values.std(axis=1, keepdims=True) + 1e-3
    values += generator.normal(size=values.shape) * spread * noise
    values[generator.random(values.shape) < missing] = np.nan
    return truth, values


def scipy_residual(model: Model, values: Any) -> float:
    names = [item.name for item in model.parameters]
    low = [item.low for item in model.parameters]
    high = [item.high for item in model.parameters]
    known = np.isfinite(values)
    start = np.clip([item.default for item in model.parameters], low, high)
    found = least_squares(
        lambda x: curve(model, TIME[known], dict(zip(names, x, strict=True))) - values[known],
        start,
        bounds=(low, high),
    )
    return float(2 * found.cost)


# -- fits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["maturation", "maturation_kinetic"])
def test_clean_traces_give_back_the_truth(name: str) -> None:
    model = BY_NAME[name]
    truth, values = traces(model, 200)
    found = fit(model, TIME, values)
    assert found.success.all()
    assert (found.r_squared > 1 - 1e-9).all()
    for column, item in enumerate(model.parameters):
        error = np.abs(found.parameters[:, column] - truth[item.name])
        assert np.quantile(error / np.maximum(np.abs(truth[item.name]), 1e-2), 0.9) < 1e-3


@pytest.mark.parametrize(("noise", "missing"), [(0.0, 0.0), (0.05, 0.0), (0.3, 0.15)])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_no_residual_is_above_scipys(model: Model, noise: float, missing: float) -> None:
    _, values = traces(model, 60, noise=noise, missing=missing)
    found = fit(model, TIME, values)
    expected = np.array([scipy_residual(model, row) for row in values])
    spread = np.nansum((values - np.nanmean(values, axis=1, keepdims=True)) ** 2, axis=1)
    assert found.success.all()
    # The second part is what is left of clean traces, on which SciPy stops anywhere near 0.
    assert (found.residual <= expected * (1 + 1e-6) + 1e-10 * spread + 1e-12).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_no_trace_depends_on_another(model: Model) -> None:
    _, values = traces(model, 40, noise=0.1, missing=0.1)
    together = fit(model, TIME, values)
    order = np.random.default_rng(3).permutation(len(values))
    shuffled = fit(model, TIME, values[order])
    np.testing.assert_allclose(shuffled.residual, together.residual[order], rtol=1e-7)
    alone = fit(model, TIME, values[7:8])
    np.testing.assert_allclose(alone.r_squared[0], together.r_squared[7], atol=1e-7)


def test_a_trace_whose_rates_are_equal_makes_no_other_fail() -> None:
    model = BY_NAME["maturation_kinetic"]
    time = np.linspace(0, 100, 101)
    deltas = (model.fixed["km"] + model.fixed["beta"], 8.0, 10.5, 0.3)
    values = np.array([
        curve(model, time, {"t0": 0.4, "ktl": 1e5, "delta": delta, "offset": 10.0})
        for delta in deltas
    ])  # fmt: skip
    found = fit(model, time, values)
    assert found.success.all()
    assert (found.r_squared > 1 - 1e-9).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parameters_stay_within_their_bounds(model: Model) -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(50, len(TIME))) * 10.0 ** generator.integers(-3, 8, (50, 1))
    found = fit(model, TIME, values)
    assert np.isfinite(found.parameters).all()
    for column, item in enumerate(model.parameters):
        assert (found.parameters[:, column] >= item.low).all()
        assert (found.parameters[:, column] <= item.high).all()
    assert ((found.r_squared >= 0) & (found.r_squared <= 1)).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_too_few_points_are_a_failure_that_says_so(model: Model) -> None:
    values = np.full((3, len(TIME)), np.nan)
    values[1, : len(model.parameters) - 1] = 1.0
    values[2] = 4.0
    found = fit(model, TIME, values)
    assert not found.success[:2].any()
    starts = [item.default for item in model.parameters]
    np.testing.assert_array_equal(found.parameters[:2], [starts, starts])
    # A constant has nothing to explain.
    assert found.success[2]
    assert (found.r_squared == 0).all()


def test_own_starts_bounds_and_fixed_values_count() -> None:
    model = BY_NAME["maturation"]
    _, values = traces(model, 20)
    found = fit(model, TIME, values, bounds={"rate": (0.5, 0.6)}, start={"rate": 99.0})
    assert ((found.parameters[:, 1] >= 0.5) & (found.parameters[:, 1] <= 0.6)).all()
    kinetic = BY_NAME["maturation_kinetic"]
    truth, values = traces(kinetic, 20)
    doubled = fit(kinetic, TIME, 2 * values, fixed={"scale": 2.0})
    np.testing.assert_allclose(np.median(doubled.parameters[:, 1] / truth["ktl"]), 1, rtol=1e-3)
    nothing = fit(model, TIME, np.zeros((0, len(TIME))))
    assert len(nothing.success) == 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_odd_traces_give_numbers_and_no_warnings(model: Model) -> None:
    generator = np.random.default_rng(2)
    count = len(TIME)
    noise = generator.normal(size=count)
    odd = np.stack([
        np.full(count, 7.0), np.zeros(count), np.full(count, np.nan), np.full(count, np.inf),
        np.full(count, 1e12), 1e12 * noise, 1e-12 * noise, 1e-300 * noise, 1e200 * noise,
        np.where(np.arange(count) == 5, -np.inf, TIME), np.full(count, -5e9), 1e9 + 1e-3 * noise,
    ])  # fmt: skip
    found = fit(model, TIME, odd)
    assert np.isfinite(found.parameters).all()
    assert ((found.r_squared >= 0) & (found.r_squared <= 1)).all()
    assert not found.success[[2, 3]].any()
    assert found.success[[0, 1, 4, 5, 6, 9, 10]].all()
    assert np.isfinite(found.residual[found.success]).all()
    for times in (TIME * 1000, TIME / 1000, TIME - 50):
        assert np.isfinite(fit(model, times, odd).parameters).all()


def test_only_the_sum_of_a_constant_is_fitted_and_the_offset_stays_where_it_began() -> None:
    values = np.random.default_rng(1).normal(4.0, 0.1, (3, len(TIME)))
    found = fit(Trivial(), TIME, values, start={"offset": 1.5})
    np.testing.assert_array_equal(found.parameters[:, 1], 1.5)
    np.testing.assert_allclose(found.parameters.sum(axis=1), values.mean(axis=1))
    clamped = fit(Trivial(), TIME, values, start={"offset": 99.0}, bounds={"offset": (-1, 2)})
    np.testing.assert_array_equal(clamped.parameters[:, 1], 2.0)


@pytest.mark.parametrize("name", ["maturation", "maturation_kinetic", "gene_expression"])
def test_traces_may_each_have_their_own_times(name: str) -> None:
    model = BY_NAME[name]
    _, values = traces(model, 12, noise=0.1, missing=0.1)
    shared = fit(model, TIME, values)
    same = fit(model, np.tile(TIME, (12, 1)), values)
    np.testing.assert_array_equal(same.parameters, shared.parameters)
    # Each with its points alone, the rest of its row unused.
    own_time = np.full(values.shape, np.nan)
    own_values = np.full(values.shape, np.nan)
    for row, trace in enumerate(values):
        known = np.isfinite(trace)
        own_time[row, : known.sum()] = TIME[known]
        own_values[row, : known.sum()] = trace[known]
    own = fit(model, own_time, own_values)
    assert own.success.all()
    np.testing.assert_allclose(own.residual, shared.residual, rtol=1e-6)


def test_progress_is_told_and_may_end_the_fit() -> None:
    model = BY_NAME["maturation"]
    _, values = traces(model, 5000)
    told: list[int] = []
    fit(model, TIME, values, on_progress=told.append)
    assert told[-1] == len(values)
    assert told == sorted(set(told))
    assert len(told) > 1

    def stop(_done: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(model, TIME, values, on_progress=stop)


class Gompertz:
    """A user's model of which only the gain is named, without derivatives."""

    name = description = "gompertz"
    equation = "a exp(-b exp(-c t))"
    parameters = (
        Parameter("a", 1.0, 0.0, 1e6),
        Parameter("b", 5.0, 0.1, 100.0),
        Parameter("c", 0.5, 0.01, 10.0),
    )
    fixed: ClassVar[Mapping[str, float]] = {}
    gain: ClassVar[str | None] = "a"
    offset: ClassVar[str | None] = None

    def shape(self, time: Any, values: Mapping[str, Any]) -> Any:
        return np.exp(-values["b"] * np.exp(-values["c"] * time))


class Hill:
    """A user's model of which nothing is named, so that all four are searched for."""

    name = description = "hill"
    equation = "low + a t^n / (k^n + t^n)"
    parameters = (
        Parameter("a", 1.0, 0.1, 100.0),
        Parameter("k", 3.0, 0.1, 100.0),
        Parameter("n", 2.0, 0.5, 8.0),
        Parameter("low", 0.0, -10.0, 10.0),
    )
    fixed: ClassVar[Mapping[str, float]] = {}
    gain: ClassVar[str | None] = None
    offset: ClassVar[str | None] = None

    def shape(self, time: Any, values: Mapping[str, Any]) -> Any:
        raised = np.maximum(time, 1e-9) ** values["n"]
        return values["low"] + values["a"] * raised / (values["k"] ** values["n"] + raised)


@pytest.mark.parametrize("model", [Gompertz(), Hill()], ids=lambda model: model.name)
def test_a_users_model_is_fitted_as_well_as_scipy_does(model: Model) -> None:
    generator = np.random.default_rng(4)
    truth = {
        "a": generator.uniform(2, 90, 25), "b": generator.uniform(1, 20, 25),
        "c": generator.uniform(0.1, 2, 25), "k": generator.uniform(1, 15, 25),
        "n": generator.uniform(1, 4, 25), "low": generator.uniform(-5, 5, 25),
    }  # fmt: skip
    names = [item.name for item in model.parameters]

    def of(given: Mapping[str, Any]) -> Any:
        columns = {name: np.asarray(given[name])[..., None] for name in names}
        return (columns["a"] if model.gain else 1.0) * model.shape(TIME, columns)

    values = of(truth) + generator.normal(size=(25, len(TIME)))
    found = fit(model, TIME, values)
    assert found.success.all()
    for row, trace in enumerate(values):
        other = least_squares(
            lambda x, trace=trace: of(dict(zip(names, x, strict=True))) - trace,
            [item.default for item in model.parameters],
            bounds=([item.low for item in model.parameters],
                    [item.high for item in model.parameters]),
        )  # fmt: skip
        assert found.residual[row] <= 2 * other.cost * (1 + 1e-6)


def test_a_model_that_is_linear_in_all_needs_no_search() -> None:
    class Line(Trivial):
        parameters = (Parameter("amplitude", 0, -9, 9), Parameter("offset", 0, -9, 9))

        def shape(self, time: Any, values: Mapping[str, Any]) -> Any:
            return time

    found = fit(Line(), TIME, (2 * TIME + 1)[None, :])
    np.testing.assert_allclose(found.parameters, [[2, 1]], rtol=1e-12)
