"""The lists over all domains: what can be found, what is under way, what needs looking at."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchwire.foundation.catalogue import Bundle, Item, Notice, Shelf
from benchwire.foundation.domain import Domain
from benchwire.foundation.errors import BenchwireError, NotFound
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.lab import Lab
from benchwire.foundation.samples.names import SampleInvalid, SampleLink, plain

logger = logging.getLogger(__name__)

MOST_ITEMS = 200
LOW_DISK = 0.1
"""The free part of the disk below which a person is told."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ItemNotFound(NotFound):
    """No domain knows such an item."""

    code = "catalogue.not_found"


class PartUnknown(SampleInvalid):
    """An item has no such part."""

    status = 422
    code = "samples.part_unknown"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sample is linked to; ``item`` is None where it is not here any more."""

    link: SampleLink
    item: Item | None

    def as_json(self) -> dict[str, Any]:
        """Return both for clients."""
        return {**self.link.as_json(), "item": self.item and self.item.as_json()}


class Catalogue:
    """Everything the domains keep, in common lists.

    A domain that fails in any way is left out of them, and the others answer.

    Parameters
    ----------
    notices
        What the app itself has to tell, asked each time.
    """

    def __init__(
        self,
        lab: Lab,
        domains: Sequence[Domain],
        notices: Callable[[], Sequence[Notice]] = tuple,
    ) -> None:
        self._domains = {domain.name: domain for domain in domains}
        self._notices = notices
        self._jobs = lab.jobs
        self._samples = lab.samples
        self._data_dir = lab.data_dir
        self._without_notices: set[str] = set()
        self._shelves: dict[str, Shelf] = {}
        for domain in domains:
            if domain.shelf is not None:
                self._shelves |= dict.fromkeys(domain.shelf.kinds, domain.shelf)

    @property
    def kinds(self) -> list[str]:
        """All kinds of item, sorted."""
        return sorted(self._shelves)

    @property
    def domains(self) -> dict[str, str]:
        """The titles of the domains by name."""
        return {name: domain.title for name, domain in self._domains.items()}

    def can_export(self, item: Item) -> bool:
        """Whether everything of an item can be had as one bundle now."""
        shelf = self._shelves.get(item.kind)
        return shelf is not None and item.kind in shelf.bundled and item.is_whole

    # -- items ------------------------------------------------------------------------------

    def search(self, text: str, kinds: Sequence[str] | None = None, limit: int = 50) -> list[Item]:
        """Return the items that a text occurs in, newest first, those without a time last."""
        text = text.strip()
        if not text:
            return []
        limit = min(limit, MOST_ITEMS)
        found: list[Item] = []
        for shelf in {id(shelf): shelf for shelf in self._shelves.values()}.values():
            if kinds is not None and not set(kinds) & set(shelf.kinds):
                continue
            try:
                found += shelf.find(text, limit)
            except BenchwireError as error:
                logger.warning("search in %s failed: %s", shelf.kinds, error.message)
            except Exception:
                logger.exception("search in %s failed", shelf.kinds)
        wanted = [item for item in found if kinds is None or item.kind in kinds]
        return sorted(wanted, key=lambda item: item.at or _LONG_AGO, reverse=True)[:limit]

    def item(self, kind: str, item_id: str) -> Item:
        """Return one item.

        Raises
        ------
        ItemNotFound, NotFound
            There is none, or no such kind.
        """
        return self._shelf(kind).item(kind, item_id)

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Return everything of one finished item.

        Raises
        ------
        ItemNotFound, NotFound, Conflict
            There is none, it cannot be exported, or it is not finished.
        """
        shelf = self._shelf(kind)
        if kind not in shelf.bundled:
            raise ItemNotFound(f"There is no export of {kind!r:.60}")
        return shelf.bundle(kind, item_id)

    def _shelf(self, kind: str) -> Shelf:
        if kind not in self._shelves:
            raise ItemNotFound(
                f"There is no kind of item called {kind!r:.60}",
                hint=f"There are {', '.join(self.kinds)}.",
            )
        return self._shelves[kind]

    # -- samples ----------------------------------------------------------------------------

    def measured_on(self, sample_id: str, limit: int, offset: int = 0) -> list[Measured]:
        """Return what was measured on a sample, named last first."""
        return [
            Measured(link, self.known(link.kind, link.item_id))
            for link in self._samples.of_sample(sample_id, limit=limit, offset=offset)
        ]

    def name_sample(
        self, named: object, kind: str, item_id: str, *, part: str = "", by: str = ""
    ) -> SampleLink:
        """Say what an item was measured on.

        Raises
        ------
        SampleInvalid, PartUnknown, ItemNotFound, NotFound
            The name or the part cannot be used, or there is no such item.
        """
        sample = self._samples.read(named)
        item = self.item(kind, item_id)
        part = plain(part, "part") if part else ""
        if part and item.parts is not None and part not in item.parts:
            hint = f"It has {', '.join(item.parts)}." if item.parts else "Leave the part empty."
            raise PartUnknown(f"The {kind} has no part {part!r}", hint=hint)
        return self._samples.link(sample, kind, item.id, part=part, by=by)

    def known(self, kind: str, item_id: str) -> Item | None:
        """Return an item, None if it is not here any more."""
        try:
            return self.item(kind, item_id)
        except BenchwireError:
            return None
        except Exception:
            logger.exception("the %s %r cannot be shown", kind, item_id)
            return None

    # -- work -------------------------------------------------------------------------------

    def domain_of(self, record: JobRecord) -> str:
        """Return the name of the domain a job belongs to."""
        return record.kind.partition(".")[0]

    def of_job(self, record: JobRecord) -> Item | None:
        """Return what a job works on or has made, None where nothing is there of it."""
        domain = self._domains.get(self.domain_of(record))
        if domain is None or domain.shelf is None:
            return None
        try:
            return domain.shelf.of_job(record)
        except BenchwireError:
            return None
        except Exception:
            logger.exception("what the job %s works on cannot be shown", record.id)
            return None

    def jobs(
        self,
        states: Sequence[JobState] | None = None,
        domain: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[JobRecord]:
        """Return jobs, newest first.

        Parameters
        ----------
        before
            The id of the last job of the page before.

        Raises
        ------
        JobNotFound
            There is no job of that id.
        """
        return self._jobs.listed(
            limit,
            states=states,
            kinds=None if domain is None else self._jobs.kinds_of(domain),
            before=None if before is None else self._jobs.get(before),
        )

    def work_json(self, record: JobRecord) -> dict[str, Any]:
        """Return a job for clients, with what it made and what can be done with it."""
        item = self.of_job(record)
        return {
            **record.as_json(),
            "domain": self.domain_of(record),
            "item": item and item.as_json(),
            "can_cancel": not record.state.is_final,
            "can_retry": self._jobs.can_repeat(record),
        }

    # -- notices ----------------------------------------------------------------------------

    def notices(self) -> list[Notice]:
        """Return what a person should look at now, errors first."""
        found = [*self._notices(), *self._low_disk()]
        for domain in self._domains.values():
            found += self._notices_of(domain)
        return sorted(found, key=lambda notice: notice.level != "error")

    def _notices_of(self, domain: Domain) -> Sequence[Notice]:
        try:
            found = domain.notices()
        except BenchwireError as error:
            return [Notice("error", f"{domain.title}: {error.message}")]
        except Exception:
            # Every open page asks again within seconds; the log tells once that it began.
            if domain.name not in self._without_notices:
                self._without_notices.add(domain.name)
                logger.exception("%s cannot say what needs attention", domain.title)
            return [Notice("error", f"{domain.title}: an unforeseen error; the log has it")]
        self._without_notices.discard(domain.name)
        return found

    def _low_disk(self) -> list[Notice]:
        try:
            disk = shutil.disk_usage(self._data_dir)
        except OSError as error:
            return [Notice("error", f"The data folder cannot be looked at: {error.strerror}")]
        if disk.free >= LOW_DISK * disk.total:
            return []
        part = disk.free / disk.total
        return [
            Notice(
                "warning",
                f"{disk.free / 1e9:.1f} GB ({part:.0%}) are free on the disk of the data folder",
            )
        ]
