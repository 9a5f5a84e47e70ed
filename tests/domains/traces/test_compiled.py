"""Machine code does what NumPy does, or is not used."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchwire.domains.traces import compiled
from benchwire.domains.traces.compiled import accelerate
from benchwire.domains.traces.kinetics import GeneExpression, Maturation, MaturationKinetic
from benchwire.domains.traces.models import Model
from benchwire.domains.traces.problem import Problem, Traces


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    compiled._compiled.cache_clear()
    yield
    compiled._compiled.cache_clear()


def problem_of(model: Model) -> Problem:
    return Problem(model, {}, bounds={}, fixed={})


@pytest.mark.parametrize("model", [MaturationKinetic(), GeneExpression()], ids=lambda m: m.name)
def test_the_state_is_that_of_numpy_for_any_trace(model: Model) -> None:
    pytest.importorskip("numba")
    problem = problem_of(model)
    assert accelerate(problem)
    generator = np.random.default_rng(6)
    inner = generator.uniform(problem.low, problem.high, (200, len(problem.low)))
    # Equal rates, and ends of the ranges.
    inner[:20] = problem.first
    inner[20:40] = problem.low
    inner[40:60] = problem.high
    if model.name == "gene_expression":
        inner[60:80, 1] = inner[60:80, 2]
    time = np.linspace(0, 30, 50)[None, :]
    weight = (generator.random((200, 50)) > 0.2).astype(float)
    data = 1e3 * problem.shapes(time, inner) * generator.uniform(-1, 2, (200, 1))
    data = (data + generator.normal(size=data.shape)) * weight
    traces = Traces(time, data, weight, weight.sum(axis=1))
    found, expected = problem.state(traces, inner), problem.state_by_numpy(traces, inner)
    np.testing.assert_allclose(found.cost, expected.cost, rtol=1e-6)
    size = np.abs(expected.normal).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(
        found.normal / (size + 1e-6), expected.normal / (size + 1e-6), atol=1e-4
    )
    own = Traces(np.tile(time, (200, 1)), data, weight, traces.count)
    np.testing.assert_array_equal(problem.state(own, inner).cost, found.cost)


def test_a_model_without_a_point_is_left_to_numpy() -> None:
    problem = problem_of(Maturation())
    assert not accelerate(problem)
    assert problem.faster is None


def test_without_numba_numpy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    problem = problem_of(MaturationKinetic())
    assert not accelerate(problem)
    assert problem.faster is None


def test_machine_code_that_differs_is_told_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("numba")

    class Wrong(MaturationKinetic):
        @staticmethod
        def point(time: float, values: Any, found: Any) -> bool:
            found[:] = time
            return True

    class Broken(MaturationKinetic):
        @staticmethod
        def point(time: float, values: Any, found: Any) -> bool:
            return bool(found.nothing_like_it)

    for model in (Wrong(), Broken()):
        caplog.clear()
        problem = problem_of(model)
        assert not accelerate(problem)
        assert problem.faster is None
        assert model.name in caplog.text
