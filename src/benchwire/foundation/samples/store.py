"""Which measurement was made on which sample: said at its start or at any time later."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from benchwire.foundation.clock import Clock
from benchwire.foundation.db import Database
from benchwire.foundation.errors import NotFound
from benchwire.foundation.samples.names import (
    Sample,
    SampleInvalid,
    SampleLink,
    SampleOverview,
    plain,
)
from benchwire.foundation.samples.tables import links

Given = Sequence[tuple[str, Sample]]
"""Samples as a request gives them, each with the part it is given for."""

_LONGEST_ID, _LONGEST_PART = 1000, 80
# What a plate and a well are called as items; their ids are written as those of samples.
_PLATE_ITEM, _WELL_ITEM = "plate", "well"


class LinkNotFound(NotFound):
    """There is no such link."""

    code = "samples.link_not_found"


class Samples:
    """All links between samples and what was measured on them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._find_well: Callable[[str, str], tuple[str, str] | None] | None = None

    def find_wells_by(self, find: Callable[[str, str], tuple[str, str] | None]) -> None:
        """Have wells looked up in an inventory.

        Parameters
        ----------
        find
            Takes barcode and label and returns both as the inventory writes them; None where the
            label is none of a well. It raises `SampleInvalid` where there is no such plate or well.
        """
        self._find_well = find

    # -- naming -----------------------------------------------------------------------------

    def read(self, named: object) -> Sample:
        """Return the sample that a request names.

        A text is an id of the lab's own, except that ``<barcode>/<label>`` means a well.

        Raises
        ------
        SampleInvalid
            The name cannot be used, or there is no such well.
        """
        if isinstance(named, BaseModel):
            named = named.model_dump()
        if isinstance(named, Mapping):
            if set(named) != {"plate", "well"}:
                raise SampleInvalid("A well is named by `plate` and `well`, and nothing else")
            plate, label = plain(named["plate"], "plate"), plain(named["well"], "well")
            found = self._well(plate, label)
            if found is None:
                raise SampleInvalid(f"{label:.40} is no label of a well", hint="Such as A1, A1-2.")
            return found
        text = plain(named, "sample")
        plate, slash, label = text.rpartition("/")
        found = self._well(plate, label) if slash and plate and label else None
        return found or Sample(text)

    def id_of(self, named: str) -> str:
        """Return the id a sample is kept under, also that of a well that is not there any more."""
        try:
            return self.read(named).id
        except SampleInvalid:
            return named.strip()

    def _well(self, plate: str, label: str) -> Sample | None:
        if self._find_well is None:
            return None
        found = self._find_well(plate, label)
        return None if found is None else Sample("/".join(found), *found)

    def given(self, named: Sequence[tuple[str, Any]]) -> Given:
        """Return what a request names for its parts; nothing is stored."""
        return [(part, self.read(name)) for part, name in named]

    # -- linking ----------------------------------------------------------------------------

    def link(
        self, sample: Sample, kind: str, item_id: str, *, part: str = "", by: str = ""
    ) -> SampleLink:
        """Say what was measured on a sample; saying it twice changes nothing."""
        if len(item_id) > _LONGEST_ID or len(part) > _LONGEST_PART:
            raise SampleInvalid("The id or the part is too long")

        def work(connection: sa.Connection) -> SampleLink:
            self.link_within(connection, [(part, sample)], kind, item_id, by)
            row = connection.execute(links.select().where(_is(sample, kind, item_id, part))).one()
            return SampleLink(**row._asdict())

        return self._database.write(work)

    def link_within(
        self, connection: sa.Connection, given: Given, kind: str, item_id: str, by: str
    ) -> None:
        """Store what a request has named, within a transaction of the caller."""
        for part, sample in given:
            known = sa.select(links.c.id).where(_is(sample, kind, item_id, part))
            if connection.execute(known).first() is None:
                connection.execute(
                    links.insert().values(
                        sample=sample.id,
                        plate=sample.plate,
                        well=sample.well,
                        kind=kind,
                        item_id=item_id,
                        part=part,
                        named_at=self._clock.now(),
                        named_by=by,
                    )
                )

    def linker(
        self, given: Given, kind: str, item_id: str, by: str
    ) -> Callable[[sa.Connection], None]:
        """Return what stores a request's samples together with the work it begins."""
        return lambda connection: self.link_within(connection, given, kind, item_id, by)

    def pass_on(
        self, connection: sa.Connection, source: tuple[str, str], target: tuple[str, str]
    ) -> None:
        """Name an item with the samples of another, as what lies on an instrument just now."""
        rows = connection.execute(
            links.select().where(links.c.kind == source[0], links.c.item_id == source[1])
        ).all()
        for row in rows:
            sample = Sample(row.sample, row.plate, row.well)
            self.link_within(connection, [(row.part, sample)], *target, row.named_by)

    def rename_plate(self, connection: sa.Connection, old: str, new: str) -> None:
        """Have all links name a plate and its wells anew, within a transaction of the caller.

        They are renamed as samples and as items that something else is a sample of.

        Parameters
        ----------
        new
            A name that no link has yet.
        """
        connection.execute(
            links.update()
            .where(links.c.plate == old)
            .values(plate=new, sample=sa.literal(f"{new}/") + links.c.well)
        )
        connection.execute(
            links.update()
            .where(links.c.kind == _PLATE_ITEM, links.c.item_id == old)
            .values(item_id=new)
        )
        # Not LIKE, which takes small letters for capitals on SQLite.
        label = sa.func.substr(links.c.item_id, len(old) + 2)
        connection.execute(
            links.update()
            .where(links.c.kind == _WELL_ITEM, links.c.item_id == sa.literal(f"{old}/") + label)
            .values(item_id=sa.literal(f"{new}/") + label)
        )

    def unlink(self, link_id: int) -> None:
        """Take back a link.

        Raises
        ------
        LinkNotFound
            There is none of that id.
        """
        count = self._database.write(
            lambda connection: (
                connection.execute(links.delete().where(links.c.id == link_id)).rowcount
            )
        )
        if not count:
            raise LinkNotFound(f"There is no link {link_id}")

    # -- reading ----------------------------------------------------------------------------

    def of_item(self, kind: str, item_id: str) -> list[SampleLink]:
        """Return what an item was measured on, in the order of its parts."""
        found = self._read(
            links.select()
            .where(links.c.kind == kind, links.c.item_id == item_id)
            .order_by(links.c.part, links.c.id)
        )
        return [SampleLink(**row._asdict()) for row in found]

    def linked(self, kind: str, item_id: str) -> Given:
        """Return what an item is linked to now, as a request for the same would give it."""
        return [
            (link.part, Sample(link.sample, link.plate, link.well))
            for link in self.of_item(kind, item_id)
        ]

    def of_sample(
        self, sample_id: str, *, limit: int | None = None, offset: int = 0
    ) -> list[SampleLink]:
        """Return what was measured on a sample, named last first; all of it without a limit."""
        found = self._read(
            links.select()
            .where(links.c.sample == sample_id)
            .order_by(links.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        return [SampleLink(**row._asdict()) for row in found]

    def of_plate(self, barcode: str) -> dict[str, int]:
        """Return how much was measured on each well of a plate, by label."""
        query = (
            sa.select(links.c.well, sa.func.count().label("total"))
            .where(links.c.plate == barcode)
            .group_by(links.c.well)
        )
        return {row.well: row.total for row in self._read(query)}

    def all(self, search: str = "", *, limit: int = 100, offset: int = 0) -> list[SampleOverview]:
        """Return the samples a text occurs in, those named last first."""
        newest = sa.func.max(links.c.named_at).label("named_at")
        query = (
            sa.select(
                links.c.sample,
                links.c.plate,
                links.c.well,
                sa.func.count().label("items"),
                newest,
            )
            .group_by(links.c.sample, links.c.plate, links.c.well)
            .order_by(newest.desc(), links.c.sample)
            .limit(limit)
            .offset(offset)
        )
        if search:
            query = query.where(links.c.sample.icontains(search, autoescape=True))
        return [SampleOverview(**row._asdict()) for row in self._read(query)]

    def _read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self._database.read() as connection:
            return connection.execute(query).all()


def _is(sample: Sample, kind: str, item_id: str, part: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        links.c.sample == sample.id,
        links.c.kind == kind,
        links.c.item_id == item_id,
        links.c.part == part,
    )
