"""The balances of the bench: what they show, and what was weighed."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from benchwire.foundation.catalogue import Notice
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.transport import LinkLost, Transport
from benchwire.foundation.streams import Hub, json_event
from benchwire_balance import driver
from benchwire_balance.errors import (
    BalanceUnknown,
    LabelRefused,
    NotStable,
    Overload,
    Underload,
)
from benchwire_balance.polling import Poller
from benchwire_balance.store import Weighing, WeighingStore

T = TypeVar("T")

TOPIC = "balance"
PAGE = "/balance"
# Beyond the wait for a stable weight, which what is ahead in the queue may take.
_EXCHANGE_SECONDS = 15.0
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Shown:
    """What a balance shows: ``state`` is stable, moving, overload, underload, busy or offline."""

    state: str = "offline"
    grams: Decimal | None = None
    at: datetime | None = None
    error: str | None = None


class Balance:
    """One balance: its port, and what it showed when last looked at.

    Parameters
    ----------
    stable_seconds
        Longest wait for a stable weight.
    on_change
        Called when it shows something else.
    """

    def __init__(
        self,
        name: str,
        port: str,
        clock: Clock,
        *,
        open_port: Callable[[], Transport],
        interval: float,
        stable_seconds: float,
        on_change: Callable[["Balance"], None],
    ) -> None:
        self.name, self.port = name, port
        self.identity: driver.Identity | None = None
        self.shown = Shown()
        self._clock = clock
        self._stable_seconds = stable_seconds
        self._on_change = on_change
        self._link = Link(name, open_port, clock, on_open=self._greet)
        self._poller = Poller(name, self._look, interval, clock)
        self._poller.start()

    def close(self) -> None:
        """Let the port go."""
        self._poller.close()
        self._link.close()

    def as_json(self) -> dict[str, Any]:
        """Return the balance for clients."""
        shown, identity = self.shown, self.identity
        return {
            "name": self.name,
            "port": self.port,
            "connected": shown.state != "offline",
            "state": shown.state,
            "grams": None if shown.grams is None else float(shown.grams),
            "at": None if shown.at is None else utc_text(shown.at),
            "model": None if identity is None else identity.model,
            "serial_number": None if identity is None else identity.serial_number,
            "last_error": shown.error,
        }

    def weigh(self) -> tuple[Decimal, Decimal, datetime]:
        """Return a stable net weight (g), the tare (g), and when it was.

        Raises
        ------
        NotStable, Overload, Underload, LinkLost
            There is none.
        """

        def work(transport: Transport, _seconds: float) -> tuple[Decimal, Decimal, datetime]:
            grams = driver.stable(transport).grams
            return grams, driver.tare_value(transport), self._clock.now()

        return self._at_rest(work)

    def tare(self) -> Decimal:
        """Take what is on the pan as tare, and return it in g."""
        return self._at_rest(driver.tare)

    def clear_tare(self) -> None:
        """Forget the tare."""
        self._done(self._link.run(driver.clear_tare))

    def zero(self) -> None:
        """Take what is on the pan as zero."""
        self._at_rest(driver.zero)

    def _at_rest(self, work: Callable[[Transport, float], T]) -> T:
        """Do what needs a load at rest, and ask again for as long as it may take.

        Between two tries the poller goes on showing the weight. The work is told how many seconds
        are left.
        """
        deadline = self._clock.monotonic() + self._stable_seconds

        def in_time(transport: Transport) -> T:
            return work(transport, max(0.0, deadline - self._clock.monotonic()))

        while True:
            try:
                return self._done(self._link.run(in_time))
            except NotStable:
                if self._clock.monotonic() > deadline:
                    raise
                self._clock.sleep(_AGAIN_SECONDS)

    def _done(self, promise: Future[T]) -> T:
        """Return what a promise brings; what has not begun in time is not done at all."""
        seconds = self._stable_seconds + _EXCHANGE_SECONDS
        try:
            return promise.result(seconds)
        except TimeoutError as error:
            if promise.cancel():
                raise LinkLost("The balance is busy with something else") from error
        # It has begun meanwhile, and whoever asked has to know how it ended.
        return promise.result(seconds)

    def _greet(self, transport: Transport) -> None:
        self.identity = driver.greet(transport)

    def _look(self) -> None:
        self._show(self._looked())

    def _looked(self) -> Shown:
        try:
            weight = self._done(self._link.run(driver.look))
        except (Overload, Underload, NotStable) as error:
            state = {Overload: "overload", Underload: "underload"}.get(type(error), "busy")
            return Shown(state, None, self._clock.now(), error.message)
        except BenchwireError as error:
            return replace(self.shown, state="offline", error=error.message)
        state = "stable" if weight.is_stable else "moving"
        return Shown(state, weight.grams, self._clock.now())

    def _show(self, shown: Shown) -> None:
        before, self.shown = self.shown, shown
        if (shown.state, shown.grams, shown.error) != (before.state, before.grams, before.error):
            self._on_change(self)


class Balances:
    """All balances by name, and the weighings.

    Parameters
    ----------
    ports
        One balance each, called ``balance1`` and so on.
    open_port
        Opens a serial port by its path.
    """

    def __init__(
        self,
        store: WeighingStore,
        clock: Clock,
        hub: Hub,
        *,
        ports: Sequence[str],
        open_port: Callable[[str], Transport],
        interval: float,
        stable_seconds: float,
    ) -> None:
        self.hub = hub
        self.store = store
        self._clock = clock
        self._ports = tuple(dict.fromkeys(ports))
        self._open_port = open_port
        self._interval = interval
        self._stable_seconds = stable_seconds
        self._balances: dict[str, Balance] = {}

    def start(self) -> None:
        """Take up every port."""
        for number, port in enumerate(self._ports, 1):
            name = f"balance{number}"
            self._balances[name] = Balance(
                name,
                port,
                self._clock,
                open_port=lambda port=port: self._open_port(port),  # type: ignore[misc]
                interval=self._interval,
                stable_seconds=self._stable_seconds,
                on_change=self._tell,
            )

    def close(self) -> None:
        """Let every port go."""
        closing = [threading.Thread(target=balance.close) for balance in self.all()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def all(self) -> list[Balance]:
        """Return every balance."""
        return list(self._balances.values())

    def balance(self, name: str) -> Balance:
        """Return one.

        Raises
        ------
        BalanceUnknown
            There is none of that name.
        """
        try:
            return self._balances[name]
        except KeyError:
            names = ", ".join(self._balances) or "none"
            raise BalanceUnknown(
                f"There is no balance called {name!r:.60}", hint=f"There are: {names}"
            ) from None

    def weigh(self, name: str, label: str = "") -> Weighing:
        """Wait for a stable weight and keep it; it is on the disk when this returns.

        Raises
        ------
        LabelRefused, BalanceUnknown, NotStable, Overload, Underload, LinkLost
            Nothing was kept.
        """
        if not _is_storable(label):
            raise LabelRefused
        balance = self.balance(name)
        grams, tare_grams, at = balance.weigh()
        identity = balance.identity
        return self.store.add(
            at,
            name,
            None if identity is None else identity.serial_number,
            grams=grams,
            tare_grams=tare_grams,
            label=label,
        )

    def notices(self) -> list[Notice]:
        """Return a warning for each balance that the settings name and nobody finds."""
        return [
            Notice("warning", f"{balance.name}: {balance.shown.error}", PAGE)
            for balance in self.all()
            if balance.shown.state == "offline" and balance.shown.error is not None
        ]

    def greeting(self) -> bytes:
        """Return what every balance shows, as events for somebody who begins to listen."""
        return b"".join(json_event("balance", balance.as_json()) for balance in self.all())

    def _tell(self, balance: Balance) -> None:
        self.hub.publish(TOPIC, json_event("balance", balance.as_json()))


def _is_storable(text: str) -> bool:
    """Whether any database can keep a text: whole characters, and none of them NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
