"""One meter: big live values, charts, charges, alarms, and how it is to work."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from nicegui import run, ui

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.charging import Session
from benchwire.domains.powermeter.errors import MeterUnknown
from benchwire.domains.powermeter.meter import event_json, session_json
from benchwire.domains.powermeter.pages import values
from benchwire.domains.powermeter.pages.desk import Desk
from benchwire.domains.powermeter.pages.form import ConfigForm
from benchwire.domains.powermeter.protocol import SCREENS
from benchwire.domains.powermeter.service import SESSION_ITEM, PowerMeters
from benchwire.foundation.web.item_links import NamedSample, crate_url, draw_samples
from benchwire.foundation.web.shell import act, download
from benchwire.foundation.web.states import empty, failure, second, section
from benchwire.foundation.web.tables import table
from benchwire.foundation.web.watch import Watch

Entry = TypeVar("Entry")

PERIODS = {
    "1m": "1 min", "5m": "5 min", "15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "1 day",
    "168h": "7 days", "720h": "30 days",
}  # fmt: skip
_BIG = (("voltage", "Voltage", "V"), ("current", "Current", "A"), ("power", "Power", "W"))
_SMALL = (
    ("temperature", "Temperature", "°C"), ("resistance", "Resistance", "Ω"),
    ("mah_g0", "Group 0", "mAh"), ("mwh_g0", "Group 0", "mWh"),
    ("mah_g1", "Group 1", "mAh"), ("mwh_g1", "Group 1", "mWh"),
    ("d_plus", "D+", "V"), ("d_minus", "D-", "V"),
)  # fmt: skip
_UNITS = {key: unit for key, _, unit in (*_BIG, *_SMALL[:1])}
_SESSION_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left", "sortable": True}
    for key, label in (
        ("start", "Begun"), ("duration", "Lasted"), ("wh", "Wh"), ("mah", "mAh"),
        ("meter", "Meter's own Wh / mAh"), ("reason", "Ended by"), ("crate", "RO-Crate"),
    )
]  # fmt: skip
_EVENT_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left", "sortable": True}
    for key, label in (
        ("utc", "When"), ("kind", "Alarm"), ("what", "What"), ("value", "Value"),
        ("threshold", "Limit"),
    )
]  # fmt: skip
_FACTS = (
    ("product", "Product"), ("version", "Firmware"), ("serial", "Serial number"),
    ("runs", "Power-ups"), ("port", "Port"), ("reconnects", "Reconnects"),
    ("frame_errors", "Damaged answers"), ("missed_polls", "Missed polls"),
    ("last_read_ms", "Last read / ms"), ("data_count", "Readings kept"),
    ("waiting_readings", "Not yet on the disk"), ("clock_ahead_s", "Ahead of the clock / s"),
    ("last_error", "Last error"),
)  # fmt: skip


async def draw(desk: Desk, name: str | None, path: str) -> None:
    """Draw the page of a meter, or of the first."""
    meters = desk.meters
    ui.add_head_html(values.STYLE)
    try:
        name = meters.meter(name).name
    except MeterUnknown as error:
        failure(error.message, error.hint)
        return
    watches = desk.watches(name)
    for watch in (watches.sessions, watches.alarms, watches.status):
        await watch.ready()
    samples = await run.io_bound(meters.samples_of, name) or ()
    with ui.column().classes("w-full gap-4") as root:
        _draw_head(meters, name, path, samples)
        _draw_values()
        drawn = _draw_charts(root, name)
    values.watch(root, name, f"/api/live?meter={quote(name)}", drawn, period="5m")
    with ui.element("div").classes("bw-columns"):
        with ui.column().classes("w-full gap-4"):
            _draw_sessions(watches.sessions, name)
            _draw_events(watches.alarms)
        with ui.column().classes("w-full gap-4"):
            ConfigForm(meters, name).draw()
            _draw_meter(meters, watches.status, name)


def _draw_head(meters: PowerMeters, name: str, path: str, samples: Sequence[NamedSample]) -> None:
    names = [meter.name for meter in meters.all()]
    with ui.row().classes("w-full items-center gap-3"):
        if len(names) > 1:
            ui.select(
                names,
                value=name,
                label="Meter",
                on_change=lambda event: ui.navigate.to(f"{path}/{quote(event.value)}"),
            ).props("dense outlined").mark("meter")
        else:
            ui.label(name).classes("text-xl font-medium")
        values.chip()
        values.live("age", "bw-small bw-muted", "").mark("age")
        values.live("session", "bw-small", "")
        values.live("last_error", "bw-small bw-bad", "").mark("last-error")
    draw_samples(samples)
    alarms = ui.row().classes("pm-alarm w-full items-center gap-2 bw-bad").props("role=alert")
    with alarms.mark("alarms"):
        ui.icon("warning")
        values.live("alarms", "font-medium", "")


def _draw_values() -> None:
    with ui.element("div").classes("bw-grid"):
        for key, title, unit in _BIG:
            with ui.card().classes("gap-0"):
                ui.label(title).classes("bw-muted")
                with ui.row().classes("items-baseline gap-2 no-wrap"):
                    values.live(key, "pm-big").mark(f"value-{key}")
                    ui.label(unit).classes("text-xl bw-muted")
    with ui.card().classes("w-full"), ui.row().classes("w-full gap-6"):
        for key, title, unit in _SMALL:
            with ui.column().classes("gap-0"):
                ui.label(title).classes("bw-small bw-muted")
                with ui.row().classes("items-baseline gap-1"):
                    values.live(key)
                    ui.label(unit).classes("bw-small bw-muted")


def _draw_charts(root: ui.element, name: str) -> ui.element:
    with section("Readings"):
        with ui.row().classes("w-full items-center gap-3 justify-between"):
            ui.toggle(PERIODS, value="5m", on_change=lambda event: choose(event.value)).props(
                "dense no-caps unelevated"
            ).mark("period")
            links = ui.row().classes("gap-1")
        with ui.element("div").classes("w-full overflow-x-auto"):
            _draw_figures()
        drawn = values.chart("30rem", f"Voltage, current and power of {name} over time")

    def show_links(period: str) -> None:
        links.clear()
        with links:
            for suffix, title in (("csv", "CSV"), ("parquet", "Parquet")):
                download(title, f"/api/export/{period}.{suffix}?meter={quote(name)}")

    def choose(period: str) -> None:
        show_links(period)
        ui.run_javascript(f"powermeter.choose({json.dumps(root.html_id)}, {json.dumps(period)})")

    show_links("5m")
    return drawn


def _draw_figures() -> None:
    with (
        ui.element("div")
        .classes("grid gap-x-6 text-sm")
        .style("grid-template-columns: repeat(4, max-content)")
    ):
        for title in ("", "min", "mean", "max"):
            ui.label(title).classes("bw-muted")
        for key, title, unit in _BIG:
            ui.label(f"{title} / {unit}")
            for figure in ("min", "avg", "max"):
                values.live(f"{key}-{figure}").mark(f"{key}-{figure}")


def _draw_sessions(sessions: Watch[list[tuple[Session, bool]]], name: str) -> None:
    _draw_table(
        "Charges",
        ("No charge so far.", "One begins when the current exceeds what is set on the right."),
        _SESSION_COLUMNS,
        sessions,
        lambda found: _session_rows(found, name),
    )


def _draw_table(
    title: str,
    nothing: tuple[str, str],
    columns: list[dict[str, Any]],
    watched: Watch[list[Entry]],
    rows: Callable[[Sequence[Entry]], list[dict[str, Any]]],
) -> None:
    """Draw a table that is kept up to date, or words while it has no row."""
    with section(title):
        with ui.element("div") as note:
            empty(*nothing)
        downloads = "crate" if columns is _SESSION_COLUMNS else ""
        shown = table(columns, name=title, row_key="key", downloads=downloads, pagination=8)
        shown.mark(title.lower())

        def show(found: list[Entry]) -> None:
            shown.rows = rows(found)
            shown.set_visibility(bool(found))
            note.set_visibility(not found)

        watched.follow(show)


def _session_rows(sessions: Sequence[tuple[Session, bool]], name: str) -> list[dict[str, Any]]:
    rows = []
    for charge, is_kept in sessions:
        session = session_json(charge, name)
        minutes, seconds = divmod(round(session["duration_s"]), 60)
        rows.append(
            {
                "key": session["start_utc"],
                "start": second(session["start_utc"]),
                "duration": f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
                "wh": f"{session['wh']:.3f}",
                "mah": f"{session['mah']:.1f}",
                "meter": f"{session['meter_wh']:.3f} / {session['meter_mah']:.0f}",
                "reason": session["reason"] or "going on",
                "crate": crate_url(SESSION_ITEM, session["id"]) if is_kept else "",
            }
        )
    return rows


def _draw_events(alarms: Watch[list[AlarmEvent]]) -> None:
    nothing = ("No alarm so far.", "Limits are set under Configuration.")
    _draw_table("Alarms", nothing, _EVENT_COLUMNS, alarms, _event_rows)


def _event_rows(events: Sequence[AlarmEvent]) -> list[dict[str, Any]]:
    rows = []
    for number, event in enumerate(map(event_json, events)):
        unit = _UNITS.get(event["kind"].partition("_")[0], "")
        rows.append(
            {
                "key": number,
                "utc": second(event["utc"]),
                "kind": event["kind"].replace("_", " "),
                "what": "raised" if event["raised"] else "cleared",
                "value": "" if event["value"] is None else f"{event['value']:g} {unit}",
                "threshold": (
                    "" if event["threshold"] is None else f"{event['threshold']:g} {unit}"
                ),
            }
        )
    return rows


def _draw_meter(meters: PowerMeters, status: Watch[dict[str, Any]], name: str) -> None:
    with section("The meter itself"):
        with ui.row().classes("items-center gap-2"):
            ui.label("Screen")
            for action in SCREENS:
                ui.button(
                    action, on_click=lambda action=action: act(meters.turn_screen, action, name)
                ).props("dense outline no-caps").mark(f"screen-{action}")
        with ui.row().classes("items-center gap-1"):
            ui.label("Its own recording")
            for kind in ("csv", "json"):
                download(kind.upper(), f"/api/recording?format={kind}&meter={quote(name)}")
        facts = ui.element("div").classes("grid gap-x-6 bw-small w-full")
        facts.style("grid-template-columns: max-content 1fr")
        labels: dict[str, ui.label] = {}
        with facts:
            for key, title in _FACTS:
                ui.label(title).classes("bw-muted")
                labels[key] = ui.label("").classes("break-all").mark(f"fact-{key}")

        def show(found: dict[str, Any]) -> None:
            for key, label in labels.items():
                value = found.get(key)
                text = "-" if value is None else str(value)
                label.set_text(f"{value:.1f}" if isinstance(value, float) else text)

        status.follow(show)
