"""The search for anomalies in the signals of one system."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US, finely_recorded, means, occupied
from benchwire.domains.battery.anomalies.departing import departing, is_fine_enough
from benchwire.domains.battery.anomalies.findings import Anomaly, Found, join
from benchwire.domains.battery.anomalies.forest import unusual_hours
from benchwire.domains.battery.anomalies.gaps import gaps
from benchwire.domains.battery.anomalies.limits import out_of_range
from benchwire.domains.battery.anomalies.relations import Departure, agreed, departures
from benchwire.domains.battery.anomalies.spikes import spikes
from benchwire.domains.battery.anomalies.stuck import left_behind, still
from benchwire.domains.battery.errors import QueryInvalid
from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.signals import Group, Signal

METHODS = ("auto", "limits", "spike", "stuck", "step", "imbalance", "drift", "gap", "iforest")


def find(
    signals: Mapping[str, Samples],
    group: Group,
    method: str,
    *,
    metrics: Sequence[str] | None = None,
) -> Found:
    """Return what is wrong with the signals of a group.

    ``auto`` runs every detector that suits a signal except the isolation forest, which names hours
    rather than faults. A signal that is related to others is judged with their help, also when
    they are not among the metrics asked for.

    Parameters
    ----------
    signals
        By field of the group; those of other fields are left out.
    metrics
        The fields to judge; None for all.

    Raises
    ------
    QueryInvalid
        There is no such method or metric.
    """
    if method not in METHODS:
        raise QueryInvalid(
            f"There is no method '{method[:40]}'; choose one of {', '.join(METHODS)}"
        )
    for metric in metrics or ():
        if metric not in group.by_field:
            raise QueryInvalid(f"{group.name.upper()} has no metric '{metric[:40]}'")
    wanted = [
        field for field in group.fields if field in signals and (not metrics or field in metrics)
    ]
    search = _Search(signals, group)
    chosen = [group.by_field[field] for field in wanted]
    if method == "iforest":
        found = search.unusual_hours(chosen)
    else:
        found = [one for signal in chosen for one in search.of(signal, method)]
    return Found(sum(len(signals[field]) for field in wanted), join(found))


class _Search:
    """The signals of one system, and what several detectors need of them, worked out once."""

    def __init__(self, signals: Mapping[str, Samples], group: Group) -> None:
        self._known = {
            signal.name: signals[signal.field].without_nulls()
            for signal in group.signals
            if signal.field in signals
        }
        self._group = group
        self._until_us = max((int(s.at_us[-1]) for s in self._known.values() if len(s)), default=0)

    def of(self, signal: Signal, method: str) -> list[Anomaly]:
        """Return the anomalies of one signal by one method, or by all."""
        known = self._known[signal.name]
        if method == "limits":
            return out_of_range(signal, known)[0]
        if method == "gap":
            return gaps(signal, known, until_us=self._until_us)
        if method == "spike":
            return [one for one in self._alone[signal.name][0] if one.type == "spike"]
        found = list(self._alone[signal.name][0])
        related = self._related(signal)
        if related:
            stuck = left_behind(
                signal, self._alone[signal.name][1], bins=self._bins,
                means=self._means[signal.name], found=related,
            )  # fmt: skip
            found += stuck
            if method != "stuck":
                found += self._departing(signal, related, stuck)
        if method == "auto":
            found += gaps(signal, known, until_us=self._until_us)
        return [one for one in found if method in ("auto", one.type)]

    def unusual_hours(self, wanted: list[Signal]) -> list[Anomaly]:
        """Return hours unlike the others, judged by the wanted signals."""
        related = {signal.name: self._related(signal) for signal in wanted}
        away = {name: agreed(found) for name, found in related.items() if found}
        return unusual_hours(
            {signal.name: signal for signal in wanted}, away, bins=self._bins, means=self._means
        )

    def _related(self, signal: Signal) -> tuple[Departure, ...]:
        if signal.name not in self._means:
            return ()
        return departures(signal.name, self._means, self._bins)

    def _departing(
        self, signal: Signal, related: tuple[Departure, ...], stuck: list[Anomaly]
    ) -> list[Anomaly]:
        """Return steps, drifts and imbalances; that a stuck signal departs is told already."""
        departure = agreed(related)
        away = departure.away.copy()
        for one in stuck:
            lo, hi = np.searchsorted(self._bins, np.array([one.start_us, one.end_us]) // BIN_US)
            away[lo : hi + 1] = np.nan
        return departing(
            signal,
            Departure(away, departure.scale),
            bins=self._bins,
            means=self._means[signal.name],
        )

    @cached_property
    def _alone(self) -> dict[str, tuple[list[Anomaly], Samples]]:
        """What each signal shows by itself, and its samples without that."""
        found = {}
        for signal in self._group.signals:
            if signal.name in self._known:
                found[signal.name] = _alone(signal, self._known[signal.name])
        return found

    @cached_property
    def _bins(self) -> NDArray[np.int64]:
        return occupied(samples for _, samples in self._alone.values())

    @cached_property
    def _means(self) -> dict[str, NDArray[np.float64]]:
        return {
            name: means(samples, self._bins)
            for name, (_, samples) in self._alone.items()
            if is_fine_enough(name, samples)
        }


def _alone(signal: Signal, known: Samples) -> tuple[list[Anomaly], Samples]:
    """Return what a signal shows without the others, and its samples without these events."""
    outside, is_outside = out_of_range(signal, known)
    inside = finely_recorded(_without(known, is_outside))
    peaks, is_peak = spikes(signal, inside)
    usual = _without(inside, is_peak)
    still_ones = still(signal, usual)
    is_still = np.zeros(len(usual), np.bool_)
    for one in still_ones:
        lo, hi = np.searchsorted(usual.at_us, [one.start_us, one.end_us])
        is_still[lo : hi + 1] = True
    return outside + peaks + still_ones, _without(usual, is_still)


def _without(samples: Samples, left_out: NDArray[np.bool_]) -> Samples:
    if not left_out.any():
        return samples
    return Samples(samples.at_us[~left_out], samples.values[~left_out])
