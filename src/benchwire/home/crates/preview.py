"""The page of a crate for people: one file, no script, nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from benchwire.foundation.catalogue import Bundle
from benchwire.foundation.clock import utc_text
from benchwire.foundation.samples.names import SampleLink
from benchwire.home.crates.metadata import Described, Terms, by_sample, licence_text
from benchwire.home.crates.names import entity_id
from benchwire.home.crates.record import flat
from benchwire.home.crates.software import Application

_SHOWN_TYPES = frozenset(["image/png", "image/jpeg", "image/webp", "image/gif"])
_MOST_PLOTS = 24
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin-bottom:2rem}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #ccc}th{white-space:nowrap}td{overflow-wrap:anywhere}"
    "figure{display:inline-block;margin:0 1rem 1rem 0;max-width:30rem}img{max-width:100%}"
    "code{font-size:.8rem}"
)


def page(
    bundle: Bundle,
    links: Sequence[SampleLink],
    files: Sequence[Described],
    *,
    terms: Terms,
    software: Sequence[Application],
) -> bytes:
    """Return the page as HTML."""
    item = bundle.item
    title = escape(item.title or f"{item.kind} {item.id}")
    facts = [
        ("What", f"{item.kind} {item.id}"),
        ("Details", item.detail),
        ("State", item.state or ""),
        ("Started", "" if bundle.started is None else utc_text(bundle.started)),
        ("Ended", "" if bundle.ended is None else utc_text(bundle.ended)),
        ("Asked for by", bundle.requested_by),
        ("Software", ", ".join(f"{one.name} {one.version}" for one in software)),
        *(("Instrument", _instrument(*one)) for one in _instruments(bundle)),
        *(("Sample", _sample(*one)) for one in by_sample(links).items()),
        ("Author", terms.author),
        ("Publisher", terms.publisher),
        ("Licence", licence_text(terms)),
    ]
    plots = [file for file in files if file.role == "plot" and file.media_type in _SHOWN_TYPES]
    body = "".join(
        [
            f"<h1>{title}</h1>",
            _table([], ((escape(name), escape(text)) for name, text in facts if text)),
            *(_figure(file) for file in plots[:_MOST_PLOTS]),
            "<h2>Files</h2>",
            _table(["Name", "What it is", "Bytes", "SHA-256"], map(_row, files)),
            "<h2>Parameters</h2>" if bundle.parameters else "",
            _table([], ((escape(name), escape(str(x))) for name, x in flat(bundle.parameters))),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src 'self' file:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    ).encode("utf-8", "replace")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    titles = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not lines:
        return ""
    return f"<table>{f'<thead><tr>{titles}</tr></thead>' if head else ''}{lines}</table>"


def _row(file: Described) -> tuple[str, ...]:
    link = f'<a href="{escape(entity_id(file.name))}">{escape(file.name)}</a>'
    checksum = f"<code>{file.sha256}</code>" if file.sha256 else ""
    return link, escape(file.description), f"{file.size:,}", checksum


def _figure(file: Described) -> str:
    source, caption = escape(entity_id(file.name)), escape(file.description or file.name)
    return (
        f'<figure><img src="{source}" alt="{caption}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _instruments(bundle: Bundle) -> list[tuple[str, str | None, str | None]]:
    return [(one.name, one.model, one.serial_number) for one in bundle.instruments]


def _instrument(name: str, model: str | None, serial_number: str | None) -> str:
    facts = [name, model, serial_number and f"serial number {serial_number}"]
    return ", ".join(fact for fact in facts if fact)


def _sample(sample: str, links: Sequence[SampleLink]) -> str:
    parts = ", ".join(link.part for link in links if link.part)
    return f"{sample} ({parts})" if parts else sample
