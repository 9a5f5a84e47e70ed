"""The balances' page, and their part of the home page."""

from collections.abc import Callable

from nicegui import run, ui

from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web import states
from benchwire.foundation.web.shell import NavigationEntry, Shell, act
from benchwire_balance.service import PAGE, Balance, Balances
from benchwire_balance.store import Weighing

REFRESH_SECONDS = 0.5
SHOWN_WEIGHINGS = 50
_COLUMNS = [
    {"name": key, "label": label, "field": key, "align": align}
    for key, label, align in (
        ("at", "When (UTC)", "left"), ("label", "Label", "left"), ("balance", "Balance", "left"),
        ("grams", "Net / g", "right"), ("tare", "Tare / g", "right"),
    )
]  # fmt: skip


def register(shell: Shell, balances: Balances) -> Dashboard:
    """Register the page in the dashboard's frame."""

    @ui.page(PAGE)
    def page() -> None:
        with shell.page("Balances"):
            _draw(balances)

    def card() -> None:
        with states.section("Balances", link=("Open", PAGE)):
            _draw_shown(balances)

    return Dashboard(navigation=(NavigationEntry("Balances", PAGE, "scale"),), card=card)


def _draw(balances: Balances) -> None:
    if not balances.all():
        states.empty(
            "No balance is set up",
            "Name its port in [balance] ports, or start the server with --emulate balance=1.",
        )
        return
    for balance in balances.all():
        _BalanceCard(balances, balance)
    with states.section("Weighings"):
        table = ui.table(columns=_COLUMNS, rows=[], row_key="id", pagination=10)
        table.classes("w-full").props("flat dense").mark("weighings")

        async def refresh() -> None:
            found = await run.io_bound(balances.store.newest, SHOWN_WEIGHINGS)
            if found is not None:
                table.rows = [_row(weighing) for weighing in found]

        ui.timer(REFRESH_SECONDS, refresh)


def _draw_shown(balances: Balances) -> None:
    if not balances.all():
        states.empty("No balance is set up")
    for balance in balances.all():
        with ui.row().classes("items-baseline gap-3"):
            ui.label(balance.name).classes("font-medium")
            _keep_shown(balance, ui.label("").classes("text-lg"))


class _BalanceCard:
    """One balance: its weight, and what can be done with it."""

    def __init__(self, balances: Balances, balance: Balance) -> None:
        self._balances, self._balance = balances, balance
        with states.section(balance.name):
            weight = ui.label("").classes("text-4xl").mark(f"weight-{balance.name}")
            _keep_shown(balance, weight)
            with ui.row().classes("items-center gap-2"):
                self._label = ui.input("Label").props("dense outlined maxlength=200").mark("label")
                self._button("Weigh", self._weigh)
                self._button("Tare", balance.tare)
                self._button("Zero", balance.zero)

    def _button(self, title: str, work: Callable[[], object]) -> None:
        async def do() -> None:
            button.disable()
            await act(work)
            button.enable()

        button = ui.button(title, on_click=do).props("outline no-caps").mark(title.lower())

    def _weigh(self) -> Weighing:
        return self._balances.weigh(self._balance.name, str(self._label.value or ""))


def _keep_shown(balance: Balance, label: ui.label) -> None:
    def show() -> None:
        shown = balance.shown
        weight = "-" if shown.grams is None else f"{shown.grams} g"
        label.set_text(weight if shown.state == "stable" else f"{weight} ({shown.state})")

    show()
    ui.timer(REFRESH_SECONDS, show)


def _row(weighing: Weighing) -> dict[str, object]:
    return {
        "id": weighing.id,
        "at": f"{weighing.at:%Y-%m-%d %H:%M:%S}",
        "label": weighing.label,
        "balance": weighing.balance,
        "grams": str(weighing.grams),
        "tare": str(weighing.tare_grams),
    }
