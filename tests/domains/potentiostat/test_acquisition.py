"""Samples on their way from the link's thread to the disk."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchwire.domains.potentiostat import acquisition
from benchwire.domains.potentiostat.acquisition import Measurement, measure
from benchwire.domains.potentiostat.driver import RunLatch, Samples
from benchwire.domains.potentiostat.live import LiveCurve
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.recording import CsvFile, DiskFailed
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.companion import promised


class Sampling:
    """An instrument that samples until nobody takes the samples."""

    reported_period = None

    def __init__(self) -> None:
        self.sent = 0
        self.over = threading.Event()

    def record_open_circuit(
        self, _count: int, *, sink: Callable[[Samples], None], **_: Any
    ) -> None:
        try:
            while self.sent < 1000:
                sink(Samples(self.sent, np.zeros(1), np.zeros(1)))
                self.sent += 1
        finally:
            self.over.set()


def test_disk_that_hangs_ends_the_measuring_while_the_recorder_is_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "MAX_WAITING_BLOCKS", 10)
    disk, device = threading.Event(), Sampling()
    monkeypatch.setattr(CsvFile, "append", lambda *_: disk.wait(30))
    clock = SystemClock()
    task = Measurement(MODES["OCP"], {"duration": 5.0}, tmp_path / "a.csv", 0, None)
    measured = promised(
        lambda: measure(
            task,
            run=lambda work: promised(lambda: work(device)),  # type: ignore[arg-type]
            latch=RunLatch(),
            live=LiveCurve(lambda _: None, clock, {}),
            clock=clock,
        )
    )
    assert device.over.wait(10)
    assert not measured.done()
    assert device.sent in {10, 11}
    disk.set()
    error = measured.exception(10)
    assert isinstance(error, DiskFailed)
