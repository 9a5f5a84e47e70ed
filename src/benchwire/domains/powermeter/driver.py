"""A TC66 or TC66C on its port: readings, its own recording, its screen.

Not tested on a real meter; what is known of its timing comes from others' reports.
"""

import contextlib
import time
from collections.abc import Iterator

from benchwire.domains.powermeter.errors import FrameDamaged, MeterSilent, MeterUnusable
from benchwire.domains.powermeter.protocol import (
    BOOTLOADER,
    FRAME_BYTES,
    MOST_RECORDS,
    NORMAL,
    QUERY,
    READ,
    RECORD_BYTES,
    RECORDING,
    SCREENS,
    Frame,
    decode,
    decode_recording,
)
from benchwire.foundation.clock import Clock
from benchwire.foundation.instruments.transport import Transport

BAUDRATE = 115_200
ANSWER_SECONDS = 1.0
# Once an answer has begun the rest follows at once; what is missing by then was lost.
REST_SECONDS = 0.3
# An answer that has not come so long after the meter was found silent never will.
LATEST_ANSWER_SECONDS = 5.0
# A recording has no length and no end mark: it is over when the meter falls silent.
SILENCE_SECONDS = 1.0
RECORDING_SECONDS = 15.0


class Silence:
    """Lets a silent meter be until nothing late can come from it.

    An answer does not say what was asked: one that comes late would pass for the answer to the next
    question, and a reading would be stored at a moment at which it was not taken.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = float("-inf")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Ask the meter within a block, unless it still owes an answer.

        Raises
        ------
        MeterSilent
            It does, or does not answer within the block.
        """
        if self._clock.monotonic() < self._until:
            raise MeterSilent
        try:
            yield
        except MeterSilent:
            self._until = self._clock.monotonic() + LATEST_ANSWER_SECONDS
            raise


def greet(transport: Transport) -> None:
    """Make sure that a meter is there and measures.

    Raises
    ------
    MeterSilent
        Nothing answers.
    MeterUnusable
        Something else answers, or the meter waits for new firmware.
    """
    answer = _ask(transport, QUERY, len(NORMAL))
    if answer == BOOTLOADER:
        raise MeterUnusable(
            "The meter is in its bootloader and measures nothing", hint="Switch it off and on."
        )
    if answer != NORMAL:
        raise MeterUnusable("What is at this port does not answer as a TC66")


def look(transport: Transport) -> None:
    """Notice an unplug without asking the meter anything."""
    transport.discard_input()


def read(transport: Transport) -> Frame:
    """Return a reading.

    Raises
    ------
    MeterSilent
        Nothing came.
    FrameDamaged
        What came is cut short or changed; the next reading is asked for on a clean line.
    """
    return decode(_ask(transport, READ, FRAME_BYTES))


def recording(transport: Transport) -> list[tuple[float, float]]:
    """Return what the meter recorded by itself: voltage (V) and current (A) of each record.

    The interval was chosen on the meter, which does not say it. Empty when nothing was recorded.
    """
    transport.discard_input()
    transport.write(RECORDING)
    received = b""
    most = MOST_RECORDS * RECORD_BYTES
    deadline = time.monotonic() + RECORDING_SECONDS
    while len(received) <= most and (more := transport.read(1, SILENCE_SECONDS)):
        received += more + transport.read(most - len(received), 0.0)
        if time.monotonic() > deadline:
            raise FrameDamaged("The meter sends its recording without end")
    if not received:
        # Nothing recorded and nobody there are both silence.
        greet(transport)
    return decode_recording(received)


def turn_screen(transport: Transport, action: str) -> None:
    """Show the previous or next page on the meter's screen, or rotate it; no answer is sent."""
    transport.discard_input()
    transport.write(SCREENS[action])


def _ask(transport: Transport, command: bytes, size: int) -> bytes:
    # Whatever is left of an earlier answer would shift this one.
    transport.discard_input()
    transport.write(command)
    first = transport.read(1, ANSWER_SECONDS)
    if not first:
        raise MeterSilent
    return first + transport.read(size - 1, REST_SECONDS)
