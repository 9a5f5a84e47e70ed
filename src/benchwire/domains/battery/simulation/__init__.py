"""A generated fleet of storage systems, with faults whose place is known."""

from benchwire.domains.battery.simulation.faults import Fault, inject, signal_groups
from benchwire.domains.battery.simulation.fleet import Truth, make_fleet
from benchwire.domains.battery.simulation.habits import FAULT_KINDS, FaultKind
from benchwire.domains.battery.simulation.recording import FIRST_DAY_US, simulate

__all__ = [
    "FAULT_KINDS",
    "FIRST_DAY_US",
    "Fault",
    "FaultKind",
    "Truth",
    "inject",
    "make_fleet",
    "signal_groups",
    "simulate",
]
