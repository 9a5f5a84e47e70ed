r"""An electrochemical cell to measure on when there is none: a Randles cell with one redox couple.

A series resistance :math:`R_s` leads to a double layer :math:`C_{dl}` in parallel with the couple
O + e = R. Its current follows Butler-Volmer kinetics (Bard and Faulkner, Electrochemical Methods,
2nd ed., eq. 3.3.11), its surface concentrations the semi-integral of the current (ibid., eq.
6.2.8): planar diffusion with equal diffusion coefficients.

The semi-integral, :math:`s^{-1/2}` in the Laplace domain, is a sum of first-order poles 0.7 decades
apart, from the trapezoid rule on
:math:`s^{-1/2} = \frac1\pi\int_{-\infty}^{\infty}\frac{e^{u/2}}{s + e^u}\,du`; its relative
error at a frequency within the poles is about :math:`2e^{-\pi^2/(0.7\ln 10)}`, 0.4 %. The lowest
pole bounds diffusion, so that the cell recovers between runs.
"""

import cmath
import math
from dataclasses import dataclass
from operator import mul

import numpy as np
from numpy.typing import NDArray

TICK = 0.00036
"""Seconds the output is held."""

THERMAL_VOLTAGE = 0.025693
"""RT/F at 25 degC, V."""

_FARADAY = 96485.33
_SPACING = 0.7 * math.log(10)
_POLES = tuple(math.exp(_SPACING * number) for number in range(-6, 8))
_MAX_EXPONENT = 40.0


@dataclass(frozen=True, slots=True)
class CellConstants:
    """What the cell is made of.

    Resistances in ohm, capacitance in F, ``area`` in cm2, ``diffusion`` in cm2/s, ``rate`` (the
    standard rate constant) in cm/s, concentrations in mol/cm3, ``formal_potential`` in V.
    """

    series_resistance: float = 100.0
    capacitance: float = 40e-6
    area: float = 1.0
    diffusion: float = 7e-6
    rate: float = 0.004
    oxidised: float = 4e-7
    reduced: float = 8e-7
    formal_potential: float = 0.3
    transfer: float = 0.5


class Cell:
    """The cell's state, advanced tick by tick in plain floats."""

    def __init__(self, constants: CellConstants | None = None) -> None:
        self.constants = constants = constants or CellConstants()
        weights = [_SPACING / math.pi * math.sqrt(pole) for pole in _POLES]
        self._diffusion_scale = 1.0 / (_FARADAY * constants.area * math.sqrt(constants.diffusion))
        self._decay = [math.exp(-pole * TICK) for pole in _POLES]
        self._gain = [
            weight * (1 - decay) / pole
            for weight, pole, decay in zip(weights, _POLES, self._decay, strict=True)
        ]
        self._weights = weights
        # Kinetics see the surface as it is in the middle of the tick.
        self._half_decay = [math.exp(-pole * TICK / 2) for pole in _POLES]
        self._own_share = self._diffusion_scale * sum(
            weight * (1 - decay) / pole
            for weight, pole, decay in zip(weights, _POLES, self._half_decay, strict=True)
        )
        self._states = [0.0] * len(_POLES)
        self._forward = _FARADAY * constants.area * constants.rate
        self.double_layer = self.rest_potential

    @property
    def rest_potential(self) -> float:
        """The Nernst potential of the bulk in V."""
        constants = self.constants
        ratio = constants.oxidised / constants.reduced
        return constants.formal_potential + THERMAL_VOLTAGE * math.log(ratio)

    def step(self, applied: float) -> float:
        """Hold a potential (V) for a tick and return the current (A) at its end.

        Anodic current is positive. The kinetic current is made linear in the double layer's
        voltage, whose equation then has an exact exponential solution over the tick.
        """
        resistance = self.constants.series_resistance
        voltage = self.double_layer
        current, slope = self._kinetic(voltage)
        conductance = 1.0 / resistance + slope
        final = (applied / resistance - current + slope * voltage) / conductance
        decay = math.exp(-TICK * conductance / self.constants.capacitance)
        self.double_layer = after = final + (voltage - final) * decay
        # What drives diffusion is the mean of the kinetic current over the tick.
        mean = final + (voltage - final) * (1 - decay) * self.constants.capacitance / (
            TICK * conductance
        )
        self._diffuse(current + slope * (mean - voltage))
        return (applied - after) / resistance

    def step_current(self, applied: float) -> tuple[float, float]:
        """Force a current (A) for a tick and return it and the potential (V) at the tick's end."""
        voltage = self.double_layer
        current, slope = self._kinetic(voltage)
        capacitance = self.constants.capacitance
        if slope * TICK / capacitance > 1e-9:
            final = voltage + (applied - current) / slope
            decay = math.exp(-TICK * slope / capacitance)
            self.double_layer = final + (voltage - final) * decay
        else:
            self.double_layer = voltage + (applied - current) * TICK / capacitance
        mean = current + slope * (self.double_layer - voltage) / 2
        self._diffuse(mean)
        return applied, self.double_layer + applied * self.constants.series_resistance

    def rest(self) -> float:
        """Leave the cell open for a tick and return its potential (V)."""
        return self.step_current(0.0)[1]

    def idle(self, seconds: float) -> None:
        """Leave the cell open for a while, in one step: diffusion evens out what was used up."""
        if seconds < TICK:
            return
        self._states = [
            state * math.exp(-pole * seconds)
            for state, pole in zip(self._states, _POLES, strict=True)
        ]
        semi = self._diffusion_scale * sum(self._states)
        oxidised = max(self.constants.oxidised + semi, self.constants.reduced * 1e-6)
        reduced = max(self.constants.reduced - semi, self.constants.oxidised * 1e-6)
        at_surface = self.constants.formal_potential + THERMAL_VOLTAGE * math.log(
            oxidised / reduced
        )
        # The double layer follows within its own time constant, far below a second.
        self.double_layer += (at_surface - self.double_layer) * (1 - math.exp(-seconds / 0.02))

    def impedance(
        self, frequencies: NDArray[np.float64], potential: float | None = None
    ) -> NDArray[np.complex128]:
        """Return the closed form of this cell's impedance at a steady potential.

        Parameters
        ----------
        frequencies
            (n,) float64, Hz.
        potential
            Applied potential in V; the rest potential if not given.
        """
        voltage, current = self._steady(potential)
        constants = self.constants
        semi = self._semi_integral_at_rest(current)
        oxidised = constants.oxidised + semi
        reduced = constants.reduced - semi
        exponent = (voltage - constants.formal_potential) / THERMAL_VOLTAGE
        anodic = self._forward * math.exp((1 - constants.transfer) * exponent)
        cathodic = self._forward * math.exp(-constants.transfer * exponent)
        slope = (
            (1 - constants.transfer) * anodic * reduced + constants.transfer * cathodic * oxidised
        ) / THERMAL_VOLTAGE
        found = []
        for frequency in frequencies.tolist():
            s = 2j * cmath.pi * frequency
            semi_integral = sum(
                weight / (s + pole) for weight, pole in zip(self._weights, _POLES, strict=True)
            )
            # i = g v - (k_a + k_c) m(s) i, with m the change of concentration per current.
            diffusion = (anodic + cathodic) * self._diffusion_scale * semi_integral
            faradaic = slope / (1 + diffusion)
            found.append(constants.series_resistance + 1 / (s * constants.capacitance + faradaic))
        return np.array(found, dtype=np.complex128)

    def _kinetic(self, voltage: float) -> tuple[float, float]:
        """Return the kinetic current (A) and its slope with the voltage (A/V)."""
        constants = self.constants
        semi = self._diffusion_scale * sum(map(mul, self._states, self._half_decay))
        exponent = (voltage - constants.formal_potential) / THERMAL_VOLTAGE
        exponent = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, exponent))
        transfer = constants.transfer
        anodic = self._forward * math.exp((1 - transfer) * exponent)
        cathodic = self._forward * math.exp(-transfer * exponent)
        # Implicit in this tick's own share of diffusion, which keeps fast kinetics stable.
        damping = 1 + (anodic + cathodic) * self._own_share
        reduced = constants.reduced - semi
        oxidised = constants.oxidised + semi
        current = (anodic * reduced - cathodic * oxidised) / damping
        slope = ((1 - transfer) * anodic * reduced + transfer * cathodic * oxidised) / (
            THERMAL_VOLTAGE * damping
        )
        return current, max(slope, 0.0)

    def _diffuse(self, current: float) -> None:
        self._states = [
            state * decay + current * gain
            for state, decay, gain in zip(self._states, self._decay, self._gain, strict=True)
        ]

    def _semi_integral_at_rest(self, current: float) -> float:
        total = sum(weight / pole for weight, pole in zip(self._weights, _POLES, strict=True))
        return self._diffusion_scale * total * current

    def _steady(self, potential: float | None) -> tuple[float, float]:
        """Return the double layer's voltage and the current after infinite time, by bisection."""
        if potential is None:
            return self.rest_potential, 0.0
        constants = self.constants
        low, high = sorted((potential, self.rest_potential))
        if low == high:
            return low, 0.0
        for _ in range(200):
            voltage = (low + high) / 2
            through = (potential - voltage) / constants.series_resistance
            semi = self._semi_integral_at_rest(through)
            exponent = (voltage - constants.formal_potential) / THERMAL_VOLTAGE
            exponent = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, exponent))
            kinetic = self._forward * (
                math.exp((1 - constants.transfer) * exponent) * (constants.reduced - semi)
                - math.exp(-constants.transfer * exponent) * (constants.oxidised + semi)
            )
            if kinetic > through:
                high = voltage
            else:
                low = voltage
        return voltage, (potential - voltage) / constants.series_resistance
