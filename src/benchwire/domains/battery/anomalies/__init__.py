"""Where a recording is not what it should be, and in what way."""

from benchwire.domains.battery.anomalies.finding import METHODS, find
from benchwire.domains.battery.anomalies.findings import (
    JOIN_US,
    TYPES,
    Anomaly,
    AnomalyType,
    Found,
    Severity,
)
from benchwire.domains.battery.anomalies.limits import LIMITS, Limits

__all__ = [
    "JOIN_US",
    "LIMITS",
    "METHODS",
    "TYPES",
    "Anomaly",
    "AnomalyType",
    "Found",
    "Limits",
    "Severity",
    "find",
]
