"""Models against their formulas, how they are found, and what a user may set."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchwire.domains.traces.errors import ModelUnknown, ParametersInvalid
from benchwire.domains.traces.kinetics import GeneExpression, Maturation, MaturationKinetic, Trivial
from benchwire.domains.traces.models import (
    ENTRY_POINTS,
    Choice,
    Model,
    check_choice,
    checked_choice,
    load_models,
)

TIME = np.linspace(0, 30, 61)
MODELS: tuple[Model, ...] = (Maturation(), MaturationKinetic(), Trivial(), GeneExpression())
BY_NAME = {model.name: model for model in MODELS}


def curve(model: Model, time: Any, values: Mapping[str, Any]) -> Any:
    held = {name: np.array(value) for name, value in model.fixed.items()}
    given = {name: np.asarray(value, float)[..., None] for name, value in values.items()}
    shape = model.shape(np.asarray(time), {**held, **given})
    return held.get("scale", 1.0) * (given[model.gain] * shape + given[model.offset])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_is_described_and_its_defaults_fit_its_bounds(model: Model) -> None:
    assert model.name
    assert model.description
    assert model.equation
    names = [item.name for item in model.parameters]
    assert model.gain in names
    assert model.offset in names
    for item in model.parameters:
        assert item.low <= item.default <= item.high


def test_the_rise_is_its_formula() -> None:
    found = curve(BY_NAME["maturation"], TIME, {"amplitude": 3, "rate": 0.2, "offset": 1})
    np.testing.assert_allclose(found, 3 * (1 - np.exp(-0.2 * TIME)) + 1, rtol=1e-13)


@pytest.mark.parametrize("delta", [1e-5, 0.01, 0.3, 11.0])
@pytest.mark.parametrize("t0", [-1.0, 0.0, 0.7])
def test_the_kinetic_model_is_its_formula(delta: float, t0: float) -> None:
    km, beta = 1.28, 5.22e-3
    s = np.maximum(TIME - t0, 0)
    d = beta - delta
    g = (np.exp(-(beta + km) * s) / (d + km) - np.exp(-beta * s) / d
         + km * np.exp(-delta * s) / (d * (d + km)))  # fmt: skip
    values = {"t0": t0, "ktl": 2.0, "delta": delta, "offset": 5.0}
    found = curve(BY_NAME["maturation_kinetic"], TIME, values)
    np.testing.assert_allclose(found, 2 * np.where(t0 < TIME, g, 0) + 5, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["maturation_kinetic", "gene_expression"])
@pytest.mark.parametrize("away", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_equal_rates_are_no_special_case(name: str, away: float) -> None:
    model = BY_NAME[name]
    values = {item.name: item.default for item in model.parameters}
    beta = model.fixed.get("beta", values.get("beta", 0.0))
    km = model.fixed.get("km", 0.0)
    for delta in (beta, beta + km):
        near = curve(model, TIME, {**values, "delta": delta + away})
        there = curve(model, TIME, {**values, "delta": delta})
        assert np.isfinite(near).all()
        np.testing.assert_allclose(near, there, rtol=60 * away + 1e-8)


@pytest.mark.parametrize("name", ["maturation_kinetic", "gene_expression"])
def test_a_shape_is_the_same_whatever_others_are_asked_for_with_it(name: str) -> None:
    model = BY_NAME[name]
    lost = model.fixed.get("beta", 0.04) + model.fixed.get("km", 0.0)
    deltas = np.array([lost, lost + 9e-5, lost - 2e-4, 1e-5, 0.5, 11.0])[:, None]
    held = {item.name: np.array(item.default) for item in model.parameters}
    held |= {name: np.array(value) for name, value in model.fixed.items()}
    held["beta"] = np.full_like(deltas, model.fixed.get("beta", 0.04))
    time = np.linspace(0.0, 500.0, 101)[None, :]
    together = model.shape(time, {**held, "delta": deltas})
    for row, delta in zip(together, deltas, strict=True):
        values = {**held, "beta": held["beta"][:1], "delta": delta[None]}
        np.testing.assert_array_equal(row, model.shape(time, values)[0])
    assert np.isfinite(together).all()


@pytest.mark.parametrize("s", [0.0, 1e-6, 0.3, 7.0])
def test_gene_expression_is_its_formula(s: float) -> None:
    values = {"t0": 2.0, "ktl": 20.0, "delta": 0.07, "beta": 0.04, "offset": 3.0}
    found = curve(BY_NAME["gene_expression"], [1.0, 2.0 + s], values)
    expected = 3 + 20 / 0.03 * (1 - np.exp(-0.03 * s)) * np.exp(-0.04 * s)
    np.testing.assert_allclose(found, [3.0, expected], rtol=1e-12)


@pytest.mark.parametrize("delta", [1e-5, 5.22e-3, 0.4, 1.285, 1.28522, 11.0])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_slopes_are_those_of_the_shape(model: Model, delta: float) -> None:
    if not hasattr(model, "shape_and_slopes"):
        assert model.name == "trivial"
        return
    values = {item.name: np.array([[item.default]]) for item in model.parameters}
    values |= {name: np.array(value) for name, value in model.fixed.items()}
    if "delta" in values:
        values["delta"] = np.array([[delta]])
    values["t0"] = np.array([[0.123]])
    shape, slopes = model.shape_and_slopes(TIME[None, :], values)
    np.testing.assert_allclose(shape, model.shape(TIME[None, :], values), rtol=1e-9)
    for name, slope in slopes.items():
        step = 1e-5 * np.maximum(values[name], 1e-2)
        ahead, behind = ({**values, name: values[name] + way * step} for way in (1, -1))
        expected = (model.shape(TIME[None, :], ahead) - model.shape(TIME[None, :], behind)) / (
            2 * step
        )
        np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-3 * np.abs(slope).max())


@pytest.mark.parametrize("beside", [5.22e-3, 5.22e-3 + 1e-6, 1.28522])
@pytest.mark.parametrize("model", [MaturationKinetic(), GeneExpression()], ids=lambda m: m.name)
def test_a_trace_beside_one_whose_rates_meet_keeps_every_bit(model: Model, beside: float) -> None:
    for delta in (0.4, 5.25e-3, 1.28524):
        rows = {item.name: np.full((2, 1), item.default) for item in model.parameters}
        rows |= {name: np.array(value) for name, value in model.fixed.items()}
        rows["delta"] = np.array([[delta], [beside]])
        alone = {name: value[:1] if value.ndim else value for name, value in rows.items()}
        both = np.broadcast_to(TIME, (2, len(TIME)))
        found, _ = model.shape_and_slopes(both, rows)
        expected, _ = model.shape_and_slopes(both[:1], alone)
        assert found[0].tobytes() == expected[0].tobytes()


def test_no_rate_and_no_time_make_a_shape_infinite() -> None:
    time = np.array([[-1e6, -1.0, 0.0, 1.0, 1e6]])
    for model in MODELS:
        for end in ("low", "high"):
            values = {item.name: np.array([[getattr(item, end)]]) for item in model.parameters}
            values |= {name: np.array(value) for name, value in model.fixed.items()}
            with np.errstate(all="raise", under="ignore"):
                assert np.isfinite(model.shape(time, values)).all()


# -- finding --------------------------------------------------------------------------------------


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: str) -> None:
    """Put a distribution with entry points and its module on the path."""
    info = folder / "plug_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{entries}")
    (folder / "plug_in_models.py").write_text(
        "import numpy as np\n"
        "from benchwire.domains.traces.models import Parameter\n"
        "class Hill:\n"
        "    name, description, equation = 'Hill', 'Hill', 'v t^n / (k^n + t^n)'\n"
        "    parameters = (Parameter('v', 1.0, 0.0, 10.0), Parameter('k', 1.0, 0.1, 99.0))\n"
        "    fixed, gain, offset = {'n': 2.0}, 'v', None\n"
        "    def shape(self, time, values):\n"
        "        return time**2 / (values['k']**2 + time**2)\n"
        "class Wrong(Hill):\n"
        "    name, gain = 'wrong', 'nothing'\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "plug_in_models", raising=False)


def test_the_built_in_models_are_found() -> None:
    assert {model.name for model in MODELS} <= set(load_models())


def test_a_plug_in_is_found_and_broken_ones_are_left_out_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(
        tmp_path, monkeypatch,
        "hill = plug_in_models:Hill\nwrong = plug_in_models:Wrong\ngone = plug_in_models:Gone\n",
    )  # fmt: skip
    with caplog.at_level(logging.ERROR):
        models = load_models()
    assert models["hill"].name == "Hill"
    assert "wrong" not in models
    assert "gone" not in models
    assert {record.args[0] for record in caplog.records if record.args} >= {"wrong", "gone"}
    assert checked_choice(" HILL ", {"K": 3, "n": 1}).start == {"k": 3.0}


# -- choosing -------------------------------------------------------------------------------------


def test_names_are_found_whatever_their_case_and_fixed_ones_are_set() -> None:
    chosen = check_choice(BY_NAME["maturation_kinetic"], {"KTL": 5, "Km": 2}, {"Delta": [1, 2.5]})
    assert chosen == Choice("maturation_kinetic", {"ktl": 5.0}, {"delta": (1.0, 2.5)}, {"km": 2.0})
    assert Choice.from_json(chosen.as_json()) == chosen


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ({"speed": 1}, {}), ({"rate": "1"}, {}), ({"rate": None}, {}), ({"rate": True}, {}),
        ({"rate": float("nan")}, {}), ({"rate": float("inf")}, {}), ({"rate": 10**400}, {}),
        ({}, {"speed": [0, 1]}), ({}, {"rate": [1, 1]}), ({}, {"rate": [2, 1]}),
        ({}, {"rate": [1]}), ({}, {"rate": [1, 2, 3]}), ({}, {"rate": "12"}), ({}, {"rate": 3}),
        ({}, {"rate": [0, float("inf")]}), ({}, {"rate": [None, 1]}),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_name(
    values: dict[str, Any], bounds: dict[str, Any]
) -> None:
    with pytest.raises(ParametersInvalid) as refused:
        check_choice(BY_NAME["maturation"], values, bounds)
    assert next(iter(values or bounds)) in str(refused.value)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelUnknown):
        checked_choice("nothing_like_it")
