"""The metadata of a crate: RO-Crate 1.1 with the Process Run Crate profile, as JSON-LD.

The profile is written for RO-Crate 1.1, and its validator refuses it on any later version.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from benchwire.foundation.catalogue import Bundle, Instrument
from benchwire.foundation.samples.names import SampleLink
from benchwire.home.crates.names import entity_id
from benchwire.home.crates.record import flat, iso_time
from benchwire.home.crates.software import URL, Application

METADATA_NAME = "ro-crate-metadata.json"
PREVIEW_NAME = "ro-crate-preview.html"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
# RO-Crate 1.1 was written before schema.org had a word for checksums.
_CONTEXT = [f"{_CRATE}/context", {"sha256": "http://schema.org/sha256"}]
_UNSUCCESSFUL = frozenset(
    ["failed", "error", "cancelled", "canceled", "aborted", "stopped", "interrupted", "timeout"]
)
_NO_LICENCE = "No licence was chosen for these data: ask those who made them before you use them."
_NAMED = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<url>https?://[^\s<>\"{}|\\^`]+)>")

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What whoever exports a crate says of it.

    Each is a name, a web address, or both as ``Name <https://...>``; ORCID and ROR have addresses
    for persons and institutions, SPDX for licences.
    """

    license: str = ""
    author: str = ""
    publisher: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """A file of the crate.

    Parameters
    ----------
    name
        Its path in the crate.
    original
        The name it had before, where that could not be used.
    sha256
        None for the list of checksums, which cannot hold its own.
    """

    name: str
    original: str
    description: str
    media_type: str
    role: str
    size: int
    sha256: str | None


def document(
    bundle: Bundle,
    links: Sequence[SampleLink],
    files: Sequence[Described],
    *,
    terms: Terms,
    made_at: datetime,
    software: Sequence[Application],
) -> Entity:
    """Return the metadata of a crate.

    Parameters
    ----------
    software
        The server itself, then what its results depend on.
    """
    return {
        "@context": _CONTEXT,
        "@graph": list(_graph(bundle, links, files, terms, made_at, software)),
    }


def by_sample(links: Sequence[SampleLink]) -> dict[str, list[SampleLink]]:
    """Return the links of each sample, in their order."""
    grouped: dict[str, list[SampleLink]] = {}
    for link in links:
        grouped.setdefault(link.sample, []).append(link)
    return grouped


def licence_text(terms: Terms) -> str:
    """Return the terms of use as a sentence for people."""
    return terms.license or _NO_LICENCE


# -- entities ---------------------------------------------------------------------------------


def _graph(
    bundle: Bundle,
    links: Sequence[SampleLink],
    files: Sequence[Described],
    terms: Terms,
    made_at: datetime,
    software: Sequence[Application],
) -> Iterator[Entity]:
    described = [_file(file) for file in files]
    licence = _licence(terms.license)
    publisher = _party("Organization", terms.publisher, "Who makes these data public")
    author = _party("Person", terms.author, "Who made these data")
    agent = _party(
        "Person", bundle.requested_by, "Who asked for the work, as the server knows them"
    )
    if author is not None and publisher is not None:
        author["affiliation"] = _ref(publisher)
    samples = list(_samples(links))
    things = [entity for entity in samples if entity["@type"] != "PropertyValue"]
    values = [_parameter(name, value) for name, value in flat(bundle.parameters)]
    devices = [_instrument(at, item) for at, item in enumerate(bundle.instruments, 1)]
    server, *libraries = _software(software)
    actions = _actions(
        bundle,
        server=server,
        devices=devices,
        agent=agent or author,
        inputs=[
            entity for entity, file in zip(described, files, strict=True) if file.role == "input"
        ],
        results=[
            entity
            for entity, file in zip(described, files, strict=True)
            if file.role not in {"input", "checksums"}
        ],
        values=values,
    )
    item = bundle.item
    yield {
        "@id": METADATA_NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }
    yield {
        "@id": PREVIEW_NAME,
        "@type": "CreativeWork",
        "name": "What is in the crate, for people",
        "encodingFormat": "text/html",
        "about": {"@id": "./"},
    }
    yield _known(
        {
            "@id": "./",
            "@type": "Dataset",
            "name": item.title or f"{item.kind} {item.id}",
            "description": _sentence(bundle),
            "identifier": f"{item.kind}/{item.id}",
            "datePublished": iso_time(made_at),
            "dateCreated": iso_time(bundle.ended or item.at),
            "conformsTo": {"@id": _PROFILE},
            "license": _ref(licence),
            "author": author and _ref(author),
            "publisher": publisher and _ref(publisher),
            "hasPart": _refs(described),
            "about": _refs(things),
            "mentions": _refs(actions),
        }
    )
    yield {
        "@id": _PROFILE,
        "@type": "CreativeWork",
        "name": "Process Run Crate",
        "version": "0.5",
    }
    yield licence
    yield from described
    yield from actions
    yield server
    yield from libraries
    yield from _once(entity for entity in (agent, author, publisher) if entity is not None)
    yield from devices
    yield from samples
    yield from values


def _actions(
    bundle: Bundle,
    *,
    server: Entity,
    devices: Sequence[Entity],
    agent: Entity | None,
    inputs: Sequence[Entity],
    results: Sequence[Entity],
    values: Sequence[Entity],
) -> list[Entity]:
    """Return what was done: the work by the software, and the use of the instruments by it.

    They are two since the profile wants every ``instrument`` of a `CreateAction` to be software.
    """
    item = bundle.item
    is_failed = (item.state or "").lower() in _UNSUCCESSFUL
    common: Entity = {
        "agent": agent and _ref(agent),
        "startTime": iso_time(bundle.started),
        "endTime": iso_time(bundle.ended),
        "result": _refs(results),
        "actionStatus": f"http://schema.org/{'Failed' if is_failed else 'Completed'}ActionStatus",
    }
    made: Entity = {
        "@id": "#work",
        "@type": "CreateAction",
        "name": f"{item.kind.capitalize()} {item.id}",
        "description": _sentence(bundle),
        "instrument": _ref(server),
        "object": _refs([*inputs, *values]),
        "error": f"It ended as {item.state}" if is_failed else None,
    }
    used: Entity = {
        "@id": "#measurement",
        "@type": "UseAction",
        "name": f"Measurement of {item.kind} {item.id}",
        "description": "What the instruments did at the bidding of the software",
        "instrument": _refs(devices),
    }
    return [_known({**made, **common}), *([_known({**used, **common})] if devices else [])]


def _file(file: Described) -> Entity:
    return _known(
        {
            "@id": entity_id(file.name),
            "@type": "File",
            "name": file.name.rpartition("/")[2],
            "alternateName": file.original if file.original != file.name else None,
            "description": file.description or file.name,
            "encodingFormat": file.media_type,
            "contentSize": str(file.size),
            "sha256": file.sha256,
        }
    )


def _software(software: Sequence[Application]) -> list[Entity]:
    server, *libraries = [_application(one) for one in software]
    return [_known({**server, "softwareRequirements": _refs(libraries)}), *libraries]


def _application(one: Application) -> Entity:
    tag = f"#{_tag(one.name)}-{_tag(one.version)}"
    return _known(
        {
            "@id": f"{one.url}{tag}" if one.url and "#" not in one.url else tag,
            "@type": "SoftwareApplication",
            "name": one.name,
            "description": one.description,
            "softwareVersion": one.version,
            "url": one.url,
        }
    )


def _instrument(number: int, instrument: Instrument) -> Entity:
    facts = [
        fact
        for fact in (
            instrument.model and f"model {instrument.model}",
            instrument.serial_number and f"serial number {instrument.serial_number}",
        )
        if fact
    ]
    return _known(
        {
            "@id": f"#instrument/{number}",
            "@type": "IndividualProduct",
            "name": instrument.name,
            "description": ", ".join(["Instrument that measured", *facts]),
            "serialNumber": instrument.serial_number,
            "model": instrument.model,
        }
    )


def _samples(links: Sequence[SampleLink]) -> Iterator[Entity]:
    """Yield each sample and, as values of it, the parts of the work it was named for."""
    for sample, named in by_sample(links).items():
        tag = _tag(sample)
        parts = [
            {
                "@id": f"#sample/{tag}/part/{_tag(part)}",
                "@type": "PropertyValue",
                "name": "part",
                "description": "The part of the work that was measured on the sample",
                "value": part,
            }
            for part in dict.fromkeys(link.part for link in named if link.part)
        ]
        where = named[0]
        yield _known(
            {
                "@id": f"#sample/{tag}",
                "@type": "Thing",
                "additionalType": "https://bioschemas.org/Sample",
                "name": sample,
                "identifier": sample,
                "description": f"Well {where.well} of plate {where.plate}"
                if where.plate
                else "Sample that was measured",
                "additionalProperty": _refs(parts),
            }
        )
        yield from parts


def _parameter(name: str, value: str | float) -> Entity:
    return {
        "@id": f"#parameter/{_tag(name)}",
        "@type": "PropertyValue",
        "name": name,
        "description": f"Parameter {name} of the work",
        "value": value,
    }


def _licence(text: str) -> Entity:
    if not text:
        return {
            "@id": "#license",
            "@type": "CreativeWork",
            "name": "No licence chosen",
            "description": _NO_LICENCE,
        }
    name, url = _named(text)
    return {
        "@id": url or "#license",
        "@type": "CreativeWork",
        "name": name,
        "description": f"Terms of use of these data: {text}",
    }


def _party(kind: str, text: str, description: str) -> Entity | None:
    """Return a person or an organisation; None where nobody is named."""
    name, url = _named(text)
    if not name:
        return None
    return _known(
        {
            "@id": url or f"#{kind.lower()}/{_tag(name)}",
            "@type": kind,
            "name": name,
            "description": description,
            "url": url,
        }
    )


def _named(text: str) -> tuple[str, str | None]:
    """Return the name and the address in ``Name <https://...>``, of which either may lack."""
    text = " ".join(text.split())
    if URL.fullmatch(text):
        last = text.rstrip("/").rpartition("/")[2]
        return last.removesuffix(".html") or text, text
    if match := _NAMED.fullmatch(text):
        return match["name"] or match["url"], match["url"]
    return text, None


# -- pieces of them ---------------------------------------------------------------------------


def _sentence(bundle: Bundle) -> str:
    item = bundle.item
    return ". ".join(part for part in (f"{item.kind.capitalize()} {item.id}", item.detail) if part)


def _tag(text: str) -> str:
    """Return text as a part of an ``@id``."""
    return quote(text, safe="", errors="replace")


def _ref(entity: Entity) -> Entity:
    return {"@id": entity["@id"]}


def _refs(entities: Sequence[Entity]) -> Any:
    """Return references as compacted JSON-LD has them: none, one, or a list."""
    if len(entities) == 1:
        return _ref(entities[0])
    return [_ref(entity) for entity in entities] or None


def _known(entity: Entity) -> Entity:
    return {key: value for key, value in entity.items() if value is not None}


def _once(entities: Iterator[Entity]) -> Iterator[Entity]:
    """Yield entities, those of one id as one."""
    found: dict[str, Entity] = {}
    for entity in entities:
        found[entity["@id"]] = {**found.get(entity["@id"], {}), **entity}
    yield from found.values()
