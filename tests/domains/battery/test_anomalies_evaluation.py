"""How much is found of what was injected, on plants of their own."""

from benchwire.domains.battery.anomalies import Found, find
from benchwire.domains.battery.signals import BMS, PCS
from benchwire.domains.battery.simulation import Fault, inject, simulate

SEEDS = (901, 902)
DAYS = 7
TOLERANCE_US = 300_000_000


def searched(seed: int) -> tuple[tuple[Fault, ...], tuple[Found, ...]]:
    signals, faults = inject(simulate(0, DAYS, seed=seed), seed, faults_per_day=4)
    found = tuple(
        find({signal.field: signals[signal.name] for signal in group.signals}, group, "auto")
        for group in (BMS, PCS)
    )
    return faults, found


def test_nine_of_ten_faults_are_found_at_one_false_event_a_day_or_fewer() -> None:
    labels = hits = false = 0
    for seed in SEEDS:
        faults, found = searched(seed)
        events = [one for group in found for one in group.anomalies]

        def meets(number: int, fault: Fault, events: list = events) -> bool:  # type: ignore[type-arg]
            event = events[number]
            return bool(
                event.metric == fault.field
                and event.start_us - TOLERANCE_US <= fault.end_us
                and fault.start_us - TOLERANCE_US <= event.end_us
            )

        labels += len(faults)
        hits += sum(any(meets(n, fault) for n in range(len(events))) for fault in faults)
        false += sum(not any(meets(n, fault) for fault in faults) for n in range(len(events)))
    assert labels > 50
    assert hits / labels >= 0.9
    assert false / (len(SEEDS) * DAYS) <= 1


def test_same_recording_gives_the_same_answer() -> None:
    assert searched(SEEDS[0]) == searched(SEEDS[0])
