"""The built-in kinetic models."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from benchwire.domains.traces.models import Array, Parameter

# Nearer than this two rates are the same to a quotient of differences.
_SAME_RATE = 1e-12
# Nearer than this a quotient of differences loses more digits than a straight line between two
# points this far apart is wrong by; what a derivative may be wrong by is far more.
_NEAR_RATE, _NEAR_RATE_OF_SLOPE = 1e-4, 1e-5
_LARGEST_EXPONENT = 600.0


class Maturation:
    """A first-order rise: ``A (1 - e^(-k t)) + B``."""

    name = "maturation"
    description = "First-order rise to a plateau"
    equation = "amplitude * (1 - exp(-rate * t)) + offset"
    parameters = (
        Parameter("amplitude", 1.0, 0.0, 1e9),
        Parameter("rate", 0.1, 1e-4, 100.0),
        Parameter("offset", 0.0, -1e9, 1e9),
    )
    fixed: ClassVar[Mapping[str, float]] = {}
    gain, offset = "amplitude", "offset"

    def shape(self, time: Array, values: Mapping[str, Array]) -> Array:
        """Return ``1 - e^(-k t)``."""
        return -np.expm1(np.minimum(-values["rate"] * time, _LARGEST_EXPONENT))

    def shape_and_slopes(
        self, time: Array, values: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return it and its derivative, ``t e^(-k t)``."""
        shape = self.shape(time, values)
        return shape, {"rate": time * (1.0 - shape)}


class MaturationKinetic:
    """Translation from mRNA delivered at ``t0``, and maturation of the protein.

    ``scale (ktl g(t - t0) + offset)`` with, for s > 0 and ``d = beta - delta``,
    ``g(s) = e^(-(beta+km)s)/(d+km) - e^(-beta s)/d + km e^(-delta s)/(d(d+km))``; g is 0 before.
    """

    name = "maturation_kinetic"
    description = "Translation of delivered mRNA with maturation"
    equation = "scale * (ktl * g(t - t0; delta, beta, km) + offset)"
    parameters = (
        Parameter("t0", 0.0, -1.0, 1.0),
        Parameter("ktl", 1e3, 1.0, 5e8),
        Parameter("delta", 1e-2, 1e-5, 11.0),
        Parameter("offset", 0.0, -1e6, 1e6),
    )
    fixed: ClassVar[Mapping[str, float]] = {"km": 1.28, "beta": 5.22e-3, "scale": 1.0}
    gain, offset = "ktl", "offset"

    def shape(self, time: Array, values: Mapping[str, Array]) -> Array:
        """Return g.

        With the product ``p(delta)`` of mRNA that decays with delta, it is the quotient of
        differences ``km (p(delta) - p(beta + km)) / (beta + km - delta)``.
        """
        since = np.maximum(time - values["t0"], 0.0)
        beta, km, delta = values["beta"], values["km"], values["delta"]
        lost = beta + km
        apart = lost - delta
        is_near = np.abs(apart) < _NEAR_RATE
        of_lost = _product(since, beta, lost)
        shape = km * (_product(since, beta, delta) - of_lost) / np.where(is_near, _NEAR_RATE, apart)
        if not is_near.any():
            return shape
        # Where the two rates meet the derivative lies on a line between its neighbours.
        far = (_product(since, beta, lost - _NEAR_RATE) - of_lost) / _NEAR_RATE
        near = (_product(since, beta, lost + _NEAR_RATE) - of_lost) / -_NEAR_RATE
        share = (apart / _NEAR_RATE + 1) / 2
        return np.where(is_near, km * (share * far + (1 - share) * near), shape)

    def shape_and_slopes(
        self, time: Array, values: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return g and its derivatives; those are taken a little beside where two rates meet."""
        since = np.maximum(time - values["t0"], 0.0)
        beta, km = values["beta"], values["km"]
        lost = beta + km
        delta = _beside(_beside(values["delta"], beta), lost)
        of_beta, of_delta = np.exp(-beta * since), np.exp(-delta * since)
        product = (of_delta - of_beta) / (beta - delta)
        apart = lost - delta
        shape = (km * product - of_beta + np.exp(-lost * since)) / apart
        by_delta = (product - since * of_delta) / (beta - delta)
        slopes = {
            "t0": np.where(since > 0, lost * shape - km * product, 0.0),
            "delta": (km * by_delta + shape) / apart,
        }
        # Those rows alone: what a trace gives must not depend on those beside it.
        rows = np.nonzero(np.broadcast_to(delta != values["delta"], (len(shape), 1)))[0]
        if len(rows):
            beside = {
                name: np.broadcast_to(value, (len(shape), 1))[rows]
                for name, value in values.items()
            }
            shape[rows] = self.shape(np.broadcast_to(time, shape.shape)[rows], beside)
        return shape, slopes

    @staticmethod
    def point(time: float, values: Array, found: Array) -> bool:
        """Find the same at one time (`compiled`)."""
        t0, delta, km, beta = values[0], values[1], values[2], values[3]
        since, lost = time - t0, beta + km
        if abs(beta - delta) < _NEAR_RATE_OF_SLOPE or abs(lost - delta) < _NEAR_RATE:
            return False
        if since <= 0:
            found[:] = 0.0
            return True
        of_beta, of_delta = math.exp(-beta * since), math.exp(-delta * since)
        product = (of_delta - of_beta) / (beta - delta)
        shape = (km * product - of_beta + math.exp(-lost * since)) / (lost - delta)
        found[0] = shape
        found[1] = lost * shape - km * product
        found[2] = (km * (product - since * of_delta) / (beta - delta) + shape) / (lost - delta)
        return True


class Trivial:
    """A constant."""

    name = "trivial"
    description = "Constant"
    equation = "amplitude + offset"
    parameters = (Parameter("amplitude", 1.0, 0.0, 10.0), Parameter("offset", 0.0, -5.0, 5.0))
    fixed: ClassVar[Mapping[str, float]] = {}
    gain, offset = "amplitude", "offset"

    def shape(self, time: Array, values: Mapping[str, Array]) -> Array:
        """Return ones; amplitude and offset are one and the same to the data."""
        return np.ones_like(time)


class GeneExpression:
    """Translation of mRNA delivered at ``t0``; it decays with ``delta``, the protein with ``beta``.

    ``offset + ktl/(delta-beta) (1 - e^(-(delta-beta) s)) e^(-beta s)`` for ``s = t - t0 > 0``.
    """

    name = "gene_expression"
    description = "Translation of delivered mRNA without maturation"
    equation = "offset + ktl / (delta - beta) * (1 - exp(-(delta - beta) s)) * exp(-beta s)"
    parameters = (
        Parameter("t0", 2.0, 0.0, 30.0),
        Parameter("ktl", 20.0, 1.0, 1e6),
        Parameter("delta", 0.07, 1e-5, 10.1),
        Parameter("beta", 0.0436275356035, 1e-5, 10.0),
        Parameter("offset", 0.0, -1e6, 1e6),
    )
    fixed: ClassVar[Mapping[str, float]] = {}
    gain, offset, onset = "ktl", "offset", "t0"

    def shape(self, time: Array, values: Mapping[str, Array]) -> Array:
        """Return what is left of the product; ``delta = beta`` is no special case."""
        since = np.maximum(time - values["t0"], 0.0)
        return _product(since, values["beta"], values["delta"])

    def shape_and_slopes(
        self, time: Array, values: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return it and its derivatives; those are taken a little beside where the rates meet."""
        since = np.maximum(time - values["t0"], 0.0)
        beta = values["beta"]
        delta = _beside(values["delta"], beta)
        apart = beta - delta
        of_beta, of_delta = np.exp(-beta * since), np.exp(-delta * since)
        product = (of_delta - of_beta) / apart
        slopes = {
            "t0": np.where(since > 0, beta * product - of_delta, 0.0),
            "delta": (product - since * of_delta) / apart,
            "beta": (since * of_beta - product) / apart,
        }
        rows = np.nonzero(delta != values["delta"])[0]
        product[rows] = _product(since[rows], beta[rows], values["delta"][rows])
        return product, slopes

    @staticmethod
    def point(time: float, values: Array, found: Array) -> bool:
        """Find the same at one time (`compiled`)."""
        t0, delta, beta = values[0], values[1], values[2]
        since, apart = time - t0, beta - delta
        if abs(apart) < _NEAR_RATE_OF_SLOPE:
            return False
        if since <= 0:
            found[:] = 0.0
            return True
        of_beta, of_delta = math.exp(-beta * since), math.exp(-delta * since)
        product = (of_delta - of_beta) / apart
        found[0] = product
        found[1] = beta * product - of_delta
        found[2] = (product - since * of_delta) / apart
        found[3] = (since * of_beta - product) / apart
        return True


def _product(since: Array, beta: Array, delta: Array) -> Array:
    """Return ``(e^(-delta s) - e^(-beta s)) / (beta - delta)`` without loss of digits."""
    apart = np.maximum(np.abs(beta - delta), _SAME_RATE)
    return np.exp(-np.minimum(beta, delta) * since) * np.expm1(-apart * since) / -apart


def _beside(rate: Array, other: Array) -> Array:
    """Return a rate that keeps a distance from another."""
    apart = rate - other
    return np.where(
        np.abs(apart) < _NEAR_RATE_OF_SLOPE,
        other + np.where(apart < 0, -_NEAR_RATE_OF_SLOPE, _NEAR_RATE_OF_SLOPE),
        rate,
    )
