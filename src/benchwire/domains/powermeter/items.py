"""Meters and charges as lists over all domains show them, and what needs looking at."""

import json
from pathlib import Path
from urllib.parse import quote

from benchwire.domains.powermeter import exports
from benchwire.domains.powermeter.charging import Session, Setup, session_id
from benchwire.domains.powermeter.errors import SessionReadingsGone, SessionUnfinished
from benchwire.domains.powermeter.meter import Meter, session_json
from benchwire.domains.powermeter.service import METER_ITEM, SESSION_ITEM, PowerMeters
from benchwire.foundation.catalogue import Bundle, BundledFile, Instrument, Item, Notice
from benchwire.foundation.clock import moment
from benchwire.foundation.exports import write
from benchwire.foundation.jobs.states import JobRecord

PAGE = "/powermeter"
# So many of a meter's newest charges are looked through.
_SEARCHED_SESSIONS = 1000


class MeterItems:
    """Meters and their charges."""

    kinds: tuple[str, ...] = (METER_ITEM, SESSION_ITEM)
    bundled: tuple[str, ...] = (SESSION_ITEM,)

    def __init__(self, meters: PowerMeters) -> None:
        self._meters = meters

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the meters and charges that a text occurs in."""
        wanted = text.lower()
        found = []
        for meter in self._meters.all():
            item, oldest = _meter_item(meter), self._meters.oldest_reading(meter)
            if wanted in f"{meter.name} {meter.config.port} {item.detail}".lower():
                found.append(item)
            sessions = (
                _session_item(meter, session, oldest)
                for session in self._meters.sessions(_SEARCHED_SESSIONS, meter.name)
            )
            found += [item for item in sessions if wanted in f"{item.id} {item.title}".lower()]
        return found[:limit]

    def item(self, kind: str, item_id: str) -> Item:
        """Return a meter or a charge."""
        if kind == METER_ITEM:
            return _meter_item(self._meters.meter(item_id))
        meter, session = self._meters.session(item_id)
        return _session_item(meter, session, self._meters.oldest_reading(meter))

    def of_job(self, _: JobRecord) -> Item | None:
        """Return nothing: meters have no jobs."""
        return None

    def bundle(self, _: str, item_id: str) -> Bundle:
        """Return the readings of a charge that has ended, and what flowed."""
        meter, session = self._meters.session(item_id)
        if session.reason is None:
            raise SessionUnfinished("The charge is still under way", hint="Wait for its end.")
        item = _session_item(meter, session, self._meters.oldest_reading(meter))
        if not item.is_whole:
            raise SessionReadingsGone
        facts = session_json(session, meter.name)

        def readings_csv(path: Path) -> None:
            write(path, exports.csv(self._meters.session_readings(meter, session)))

        def readings_parquet(path: Path) -> None:
            parts = self._meters.session_readings(meter, session)
            write(path, exports.parquet(parts, meter.name))

        return Bundle(
            item=item,
            files=[
                BundledFile(
                    "readings.csv", "All readings of the charge; units are in the column names",
                    "text/csv", make=readings_csv,
                ),
                BundledFile(
                    "readings.parquet", "The same readings with a unit in each field's metadata",
                    "application/vnd.apache.parquet", make=readings_parquet,
                ),
                BundledFile(
                    "session.json", "Start, end, energy in Wh and charge in mAh",
                    "application/json",
                    make=lambda path: write(path, [json.dumps(facts, indent=1).encode()]),
                ),
            ],
            parameters=_parameters(session.setup),
            started=moment(session.started_at),
            ended=moment(session.active_at),
            instruments=[_instrument(meter, session.setup)],
            packages=("numpy", "pyarrow"),
        )  # fmt: skip

    def notices(self) -> list[Notice]:
        """Return the alarms that stand."""
        found = []
        for meter in self._meters.all():
            page = f"{PAGE}/{quote(meter.name, safe='')}"
            for event in meter.standing_alarms:
                what = event.kind.replace("_", " ")
                why = f": {meter.last_error}" if meter.last_error else ""
                found.append(Notice("error", f"{meter.name}: {what}{why}", page))
        return found


def _parameters(setup: Setup | None) -> dict[str, float]:
    """Return by what a charge was told to be one; another configuration may be in force by now."""
    if setup is None:
        return {}
    return {"session_threshold_a": setup.threshold, "session_end_delay_s": setup.end_delay}


def _instrument(meter: Meter, setup: Setup | None) -> Instrument:
    """Return what measured a charge; another meter may be at the port by now."""
    if setup is None:
        return Instrument(f"Power meter {meter.name}")
    return Instrument(f"Power meter {meter.name}", str(setup.serial), setup.product)


def _meter_item(meter: Meter) -> Item:
    identity = meter.identity
    return Item(
        kind=METER_ITEM,
        id=meter.name,
        title=f"Power meter {meter.name}",
        page=f"{PAGE}/{quote(meter.name, safe='')}",
        api=f"/api/status?meter={quote(meter.name, safe='')}",
        state=meter.condition,
        detail="" if identity is None else f"{identity.product}, serial number {identity.serial}",
        parts=(),
    )


def _session_item(meter: Meter, session: Session, oldest: int | None) -> Item:
    """Return a charge as an item; ``oldest`` is when its meter's oldest reading was taken."""
    began, gained = moment(session.started_at), session.gained
    return Item(
        kind=SESSION_ITEM,
        id=session_id(meter.name, session.started_at),
        title=f"Charge on {meter.name}, {began:%Y-%m-%d %H:%M} UTC",
        page=f"{PAGE}/{quote(meter.name, safe='')}",
        api=f"/api/sessions?meter={quote(meter.name, safe='')}",
        at=began,
        state=session.reason or "under way",
        detail=f"{gained.energy_ws / 3600:.3f} Wh, {gained.charge_as / 3.6:.1f} mAh",
        parts=(),
        has_bundle=session.is_kept(oldest),
    )
