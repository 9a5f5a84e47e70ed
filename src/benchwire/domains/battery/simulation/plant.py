"""The physics of a storage system of lithium iron phosphate cells, on a regular grid of time.

A day follows the sun and the tariff: it charges around midday, as the weather allows, and
discharges in the evening. The state of charge is the integral of the current over the capacity
(coulomb counting), the terminal voltage the open-circuit voltage and the drop over an ohmic and a
relaxing resistance (first-order equivalent circuit: G. L. Plett, Battery Management Systems,
vol. 1, Artech House 2015, ch. 2), temperatures follow losses and surroundings with one time
constant.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.signals import CELLS_PER_STACK, STACKS

Curve = NDArray[np.float64]

GRID_S = 15
DAY_S = 86_400
_N_CELLS = STACKS * CELLS_PER_STACK
# Open-circuit voltage of such a cell: flat in between, steep at both ends.
_SOC = np.array([0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100.0])
_OCV = np.array([2.80, 3.05, 3.18, 3.23, 3.26, 3.28, 3.29, 3.30, 3.315, 3.33, 3.335, 3.345, 3.42])


@dataclass(frozen=True, slots=True)
class Plant:
    """One system's parameters; amperes are positive while charging."""

    capacity_ah: float
    coulombic_efficiency: float
    cell_resistance_ohm: float
    cell_soc_offsets: Curve
    cell_resistance_offsets: Curve
    cell_temperature_offsets: Curve
    converter_efficiency: float
    standby_kw: float
    idle_a: float
    heating_k_per_a2: float
    thermal_hours: float
    room_c: float
    outside_c: float
    soh: float
    soh_per_day: float
    phase_current: Curve
    phase_voltage: Curve
    noise: float
    coarse_days: float
    evening_hour: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Plant":
        """Return one of the plants that may be."""
        return cls(
            capacity_ah=rng.uniform(200, 320),
            coulombic_efficiency=rng.uniform(0.985, 0.998),
            cell_resistance_ohm=rng.uniform(0.25e-3, 0.6e-3),
            cell_soc_offsets=rng.normal(0, rng.uniform(0.3, 0.9), _N_CELLS).clip(-3, 3),
            cell_resistance_offsets=rng.normal(0, 0.06, _N_CELLS).clip(-0.2, 0.2),
            cell_temperature_offsets=rng.normal(0, rng.uniform(0.4, 0.8), _N_CELLS),
            converter_efficiency=rng.uniform(0.955, 0.985),
            standby_kw=rng.uniform(0.2, 0.8),
            idle_a=rng.uniform(0.1, 0.5),
            heating_k_per_a2=rng.uniform(0.6e-3, 1.3e-3),
            thermal_hours=rng.uniform(1.5, 3.5),
            room_c=rng.uniform(21, 26),
            outside_c=rng.uniform(7, 12),
            soh=rng.uniform(95, 100),
            soh_per_day=rng.uniform(0.004, 0.012),
            phase_current=rng.normal(1, 0.008, 3),
            phase_voltage=rng.normal(1, 0.003, 3),
            noise=rng.uniform(0.6, 1.6),
            coarse_days=float(rng.choice([0.0, 0.0, 0.0, 2.0])),
            evening_hour=rng.uniform(16.5, 18.5),
        )


def course(
    plant: Plant, days: float, *, day_of_year: int, rng: np.random.Generator
) -> dict[str, Curve]:
    """Return what every signal truly is, before it is sampled, every `GRID_S` seconds.

    Returns
    -------
    dict of (N,) float64
        By the name of the signal's file; V, A, kW, %, degrees C, bar. Under ``cell slope`` and
        ``cell drop`` what single cells are made of, see `cell_voltages`.
    """
    n = round(days * DAY_S / GRID_S)
    clock_h: Curve = np.arange(n, dtype=np.float64) * (GRID_S / 3600)
    found = _electrical(plant, *_current(plant, clock_h, rng))
    _converter(found, plant, clock_h, rng)
    _temperatures(found, plant, clock_h, day_of_year=day_of_year, rng=rng)
    age = clock_h / 24
    found["bms1_soh"] = plant.soh - plant.soh_per_day * age
    return found


def cell_voltages(course: dict[str, Curve], plant: Plant, cell: int) -> Curve:
    """Return the voltage of one cell, V."""
    voltage: Curve = (
        course["bms1_cell_ave_v"]
        + plant.cell_soc_offsets[cell] * course["cell slope"]
        + plant.cell_resistance_offsets[cell] * course["cell drop"]
    )
    return voltage


def _current(plant: Plant, clock_h: Curve, rng: np.random.Generator) -> tuple[Curve, Curve]:
    """Return the pack current (A) and the state of charge (%)."""
    current = np.full(len(clock_h), -plant.idle_a)
    first = soc = rng.uniform(25, 45)
    idle_per_day = plant.idle_a * 24 / plant.capacity_ah * 100
    sun = rng.uniform(0.4, 1)
    for day in range(int(np.ceil(clock_h[-1] / 24)) if len(clock_h) else 0):
        weekend = day % 7 in (5, 6)
        sun = float(np.clip(0.5 * sun + 0.5 * rng.uniform(0.2, 1.1), 0.25, 1))
        top, bottom = 58 + 38 * sun + rng.normal(0, 1), rng.uniform(12, 28) + 15 * weekend
        soc -= idle_per_day
        if rng.random() < 0.03:
            continue
        for share, hour, hours, noisy in (
            (max(top - soc, 0), 9.8 + rng.normal(0, 0.4), rng.uniform(3.2, 5), 1 - sun),
            (-max(top - bottom, 0), plant.evening_hour + weekend + rng.normal(0, 0.3),
             rng.uniform(3, 4.8), 0.35),
        ):  # fmt: skip
            start, length = (round(h * 3600 / GRID_S) for h in (24 * day + hour, hours))
            shape = _session(length, rough=noisy, rng=rng)
            ampere_hours = share / 100 * plant.capacity_ah
            if share > 0:
                ampere_hours /= plant.coulombic_efficiency
            shape *= ampere_hours / (shape.sum() * GRID_S / 3600)
            current[start : start + length] += shape[: max(len(current) - start, 0)]
        soc = min(soc, bottom) if top <= soc else bottom
    charge = np.where(current > 0, current * plant.coulombic_efficiency, current)
    passed = np.cumsum(charge) * (GRID_S / 3600 / plant.capacity_ah * 100)
    return current, (first + passed).clip(1, 99.8)


def _session(length: int, *, rough: float, rng: np.random.Generator) -> Curve:
    """Return the form of one charge or discharge: ramps at both ends, clouds or loads between."""
    levels = 1 - rough * rng.random(length // 40 + 2)
    shape = np.repeat(levels, 40)[:length]
    position = np.linspace(0, 1, length)
    shape = shape * np.sqrt(np.sin(np.pi * position).clip(0.02, 1))
    smooth: Curve = np.convolve(shape, np.ones(6) / 6, "same")
    return smooth


def _electrical(plant: Plant, current: Curve, soc: Curve) -> dict[str, Curve]:
    drop = current * plant.cell_resistance_ohm
    relaxing = _lagged(current, 300) * (0.5 * plant.cell_resistance_ohm)
    slope = np.interp(soc, (_SOC[1:] + _SOC[:-1]) / 2, np.diff(_OCV) / np.diff(_SOC))
    mean = np.interp(soc, _SOC, _OCV) + drop + relaxing
    found = {
        "bms1_soc": soc, "bms1_c": current, "bms1_cell_ave_v": mean,
        "bms1_v": _N_CELLS * mean + 0.004 * current, "cell slope": slope, "cell drop": drop,
    }  # fmt: skip
    highest, lowest = np.full(len(soc), -np.inf), np.full(len(soc), np.inf)
    for cell in range(_N_CELLS):
        voltage = cell_voltages(found, plant, cell)
        np.maximum(highest, voltage, out=highest)
        np.minimum(lowest, voltage, out=lowest)
    found |= {
        "bms1_cell_max_v": highest,
        "bms1_cell_min_v": lowest,
        "bms1_cell_v_diff": highest - lowest,
    }
    return found


def _converter(
    found: dict[str, Curve], plant: Plant, clock_h: Curve, rng: np.random.Generator
) -> None:
    """Add the converter: its current and power are positive while the battery gives."""
    found["pcs1_dcc"] = -found["bms1_c"]
    found["pcs1_dcv"] = found["bms1_v"] - 0.01 * found["pcs1_dcc"] - 0.5
    dc_kw = found["pcs1_dcc"] * found["pcs1_dcv"] / 1e3
    efficiency = plant.converter_efficiency
    active = np.where(dc_kw > 0, dc_kw * efficiency, dc_kw / efficiency) - plant.standby_kw
    reactive = 0.05 * np.abs(active) + 0.3
    found["pcs1_ap"] = np.sign(active) * np.hypot(active, reactive)
    grid = 400 * (
        1 + 0.008 * np.cos(2 * np.pi * (clock_h - 4) / 24) + 0.003 * _wander(clock_h, 2, rng)
    )
    per_phase = np.abs(found["pcs1_ap"]) * 1e3 / (np.sqrt(3) * grid)
    for phase, (amps, volts) in enumerate((("ia", "uab"), ("ib", "ubc"), ("ic", "uca"))):
        found[f"pcs1_{amps}"] = per_phase * plant.phase_current[phase]
        found[f"pcs1_{volts}"] = grid * plant.phase_voltage[phase]


def _temperatures(
    found: dict[str, Curve],
    plant: Plant,
    clock_h: Curve,
    *,
    day_of_year: int,
    rng: np.random.Generator,
) -> None:
    season = 9 * np.cos(2 * np.pi * (clock_h / 24 + day_of_year - 200) / 365.25)
    daily = 4.5 * np.cos(2 * np.pi * (clock_h - 15) / 24)
    outside = plant.outside_c + season + daily + 3 * _wander(clock_h, 40, rng)
    room = plant.room_c + 0.25 * _lagged(outside - 10, 5400) + 0.5 * _wander(clock_h, 5, rng)
    losses = _lagged(found["bms1_c"] ** 2, plant.thermal_hours * 3600) * plant.heating_k_per_a2
    cell = _lagged(room, plant.thermal_hours * 3600) + losses + 1
    spread = 1 + 0.08 * losses
    offsets = plant.cell_temperature_offsets
    power = np.abs(found["pcs1_ap"])
    found |= {
        "bms1_cell_ave_t": cell,
        "bms1_cell_max_t": cell + offsets.max() * spread,
        "bms1_cell_min_t": cell + offsets.min() * spread,
        "bms1_cell_t_diff": np.ptp(offsets) * spread,
        "pcs1_t_env": room + 2 + 0.03 * _lagged(power, 1800),
        "pcs1_t_a": room + 4 + 0.06 * _lagged(power, 1800),
        "pcs1_t_igbt": room + 6 + 0.32 * _lagged(power, 600),
        "ac1_outside_t": outside,
        "ac1_outwater_t": 16 + 0.15 * (cell - 25) + 0.8 * _wander(clock_h, 1, rng),
        "ac1_rtnwater_pre": 2.2 + 0.05 * _wander(clock_h, 30, rng),
        "dh1_temp": room,
        "dh1_humi": (48 - 1.2 * (room - 24) + 6 * _wander(clock_h, 20, rng)).clip(22, 84),
        "aux_m_ap": 1.2
        + 0.12 * (cell - 20).clip(0) * (1 + np.sign(np.sin(2 * np.pi * clock_h * 2.2))),
        "fa1_SmokeFlag": np.zeros(len(clock_h)),
    }


def _lagged(curve: Curve, seconds: float) -> Curve:
    """Return a curve after a first-order lag that starts settled."""
    from scipy.signal import lfilter

    if not len(curve):
        return curve
    keep = np.exp(-GRID_S / seconds)
    followed, _ = lfilter([1 - keep], [1, -keep], curve, zi=[keep * curve[0]])
    lagged: Curve = np.asarray(followed, np.float64)
    return lagged


def _wander(clock_h: Curve, hours: float, rng: np.random.Generator) -> Curve:
    """Return a smooth curve that varies by about 1 within some hours."""
    if not len(clock_h):
        return clock_h
    knots = np.arange(0, clock_h[-1] + 2 * hours, hours)
    curve: Curve = np.interp(clock_h, knots, rng.normal(0, 1, len(knots)))
    return curve
