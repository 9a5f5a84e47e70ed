"""One meter: big live values, charts, charges, alarms, and how it is to work."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from nicegui import run, ui

from benchwire.domains.powermeter.errors import MeterUnknown
from benchwire.domains.powermeter.meter import event_json, session_json
from benchwire.domains.powermeter.pages import values
from benchwire.domains.powermeter.pages.form import ConfigForm
from benchwire.domains.powermeter.protocol import SCREENS
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.web.shell import act, download

REFRESH_SECONDS = 2.0
SHOWN_SESSIONS = 50
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
_SESSION_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left"}
    for key, label in (
        ("start", "Begun (UTC)"), ("duration", "Lasted"), ("wh", "Wh"), ("mah", "mAh"),
        ("meter", "Meter's own Wh / mAh"), ("reason", "Ended by"),
    )
]  # fmt: skip
_EVENT_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": "left"}
    for key, label in (
        ("utc", "When (UTC)"), ("kind", "Alarm"), ("what", ""), ("value", "Value"),
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


def draw(meters: PowerMeters, name: str | None, path: str) -> None:
    """Draw the page of a meter, or of the first."""
    ui.add_head_html(values.STYLE)
    try:
        name = meters.meter(name).name
    except MeterUnknown as error:
        ui.label(f"{error.message}. {error.hint}")
        return
    with ui.column().classes("w-full gap-4") as root:
        _draw_head(meters, name, path)
        _draw_values()
        drawn = _draw_charts(root, name)
    values.watch(root, name, f"/api/live?meter={quote(name)}", drawn, period="5m")
    with ui.element("div").classes("w-full grid grid-cols-1 lg:grid-cols-2 gap-4 items-start"):
        with ui.column().classes("w-full gap-4"):
            _draw_sessions(meters, name)
            _draw_events(meters, name)
        with ui.column().classes("w-full gap-4"):
            ConfigForm(meters, name).draw()
            _draw_meter(meters, name)


def _draw_head(meters: PowerMeters, name: str, path: str) -> None:
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
        values.live("age", "text-sm opacity-70", "").mark("age")
        values.live("session", "text-sm", "")
        values.live("last_error", "text-sm text-negative", "").mark("last-error")
    with ui.row().classes("pm-alarm w-full items-center gap-2 text-negative").mark("alarms"):
        ui.icon("warning")
        values.live("alarms", "font-medium", "")


def _draw_values() -> None:
    with ui.element("div").classes("bw-grid"):
        for key, title, unit in _BIG:
            with ui.card().classes("gap-0"):
                ui.label(title).classes("opacity-70")
                with ui.row().classes("items-baseline gap-2 no-wrap"):
                    values.live(key, "pm-big").mark(f"value-{key}")
                    ui.label(unit).classes("text-xl opacity-70")
    with ui.card().classes("w-full"), ui.row().classes("w-full gap-6"):
        for key, title, unit in _SMALL:
            with ui.column().classes("gap-0"):
                ui.label(title).classes("text-xs opacity-70")
                with ui.row().classes("items-baseline gap-1"):
                    values.live(key)
                    ui.label(unit).classes("text-xs opacity-70")


def _draw_charts(root: ui.element, name: str) -> ui.echart:
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center gap-3 justify-between"):
            ui.toggle(PERIODS, value="5m", on_change=lambda event: choose(event.value)).props(
                "dense no-caps flat"
            ).mark("period")
            links = ui.row().classes("gap-1")
        with ui.element("div").classes("w-full overflow-x-auto"):
            _draw_figures()
        drawn = values.chart("30rem")

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
            ui.label(title).classes("opacity-70")
        for key, title, unit in _BIG:
            ui.label(f"{title} / {unit}")
            for figure in ("min", "avg", "max"):
                values.live(f"{key}-{figure}").mark(f"{key}-{figure}")


def _draw_sessions(meters: PowerMeters, name: str) -> None:
    _draw_table(
        "Charges", "No charge so far.", _SESSION_COLUMNS, lambda: _session_rows(meters, name)
    )


def _draw_table(
    title: str,
    empty: str,
    columns: list[dict[str, Any]],
    rows: Callable[[], list[dict[str, Any]]],
) -> None:
    """Draw a table that is kept up to date, or a sentence while it has no row."""
    with ui.card().classes("w-full"):
        ui.label(title).classes("text-lg font-medium")
        note = ui.label(empty).classes("opacity-70")
        table = ui.table(columns=columns, rows=[], row_key="key", pagination=8)
        table.classes("w-full").props("flat dense").mark(title.lower())
        table.set_visibility(False)

        async def refresh() -> None:
            found = await run.io_bound(rows)
            if found is not None and found != table.rows:
                table.rows = found
                table.set_visibility(bool(found))
                note.set_visibility(not found)

        ui.timer(REFRESH_SECONDS, refresh)


def _session_rows(meters: PowerMeters, name: str) -> list[dict[str, Any]]:
    rows = []
    for session in map(session_json, meters.sessions(SHOWN_SESSIONS, name)):
        minutes, seconds = divmod(round(session["duration_s"]), 60)
        rows.append(
            {
                "key": session["start_utc"],
                "start": session["start_utc"][:19].replace("T", " "),
                "duration": f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
                "wh": f"{session['wh']:.3f}",
                "mah": f"{session['mah']:.1f}",
                "meter": f"{session['meter_wh']:.3f} / {session['meter_mah']:.0f}",
                "reason": session["reason"] or "going on",
            }
        )
    return rows


def _draw_events(meters: PowerMeters, name: str) -> None:
    _draw_table("Alarms", "No alarm so far.", _EVENT_COLUMNS, lambda: _event_rows(meters, name))


def _event_rows(meters: PowerMeters, name: str) -> list[dict[str, Any]]:
    rows = []
    for number, event in enumerate(map(event_json, meters.alarms(SHOWN_SESSIONS, name))):
        rows.append(
            {
                "key": number,
                "utc": event["utc"][:19].replace("T", " "),
                "kind": event["kind"].replace("_", " "),
                "what": "raised" if event["raised"] else "cleared",
                "value": "" if event["value"] is None else f"{event['value']:g}",
                "threshold": "" if event["threshold"] is None else f"{event['threshold']:g}",
            }
        )
    return rows


def _draw_meter(meters: PowerMeters, name: str) -> None:
    with ui.card().classes("w-full"):
        ui.label("The meter itself").classes("text-lg font-medium")
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
        facts = ui.element("div").classes("grid gap-x-6 text-sm w-full")
        facts.style("grid-template-columns: max-content 1fr")
        labels: dict[str, ui.label] = {}
        with facts:
            for key, title in _FACTS:
                ui.label(title).classes("opacity-70")
                labels[key] = ui.label("").classes("break-all").mark(f"fact-{key}")

        async def refresh() -> None:
            status = await run.io_bound(meters.status, name)
            for key, label in labels.items():
                value = (status or {}).get(key)
                text = "-" if value is None else str(value)
                label.set_text(f"{value:.1f}" if isinstance(value, float) else text)

        ui.timer(REFRESH_SECONDS, refresh)
