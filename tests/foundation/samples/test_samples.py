"""Samples and what was measured on them, on SQLite and PostgreSQL."""

from datetime import UTC, datetime

import pytest

from benchwire.foundation.db import Database
from benchwire.foundation.samples.names import Sample, SampleInvalid, by_part, names_of
from benchwire.foundation.samples.store import LinkNotFound, Samples
from tests.support.clock import ManualClock


@pytest.fixture
def samples(database: Database) -> Samples:
    made = Samples(database, ManualClock())

    def find(plate: str, label: str) -> tuple[str, str] | None:
        if not label[:1].isalpha() or not label[1:].isdigit():
            return None
        if plate != "P1" or label.upper() not in {"A1", "A2"}:
            raise SampleInvalid("There is no such well")
        return plate, label.upper()

    made.find_wells_by(find)
    return made


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (" S-17 ", Sample("S-17")),
        ("P1/a1", Sample("P1/A1", "P1", "A1")),
        ({"plate": "P1", "well": "a2"}, Sample("P1/A2", "P1", "A2")),
        ("batch/seven", Sample("batch/seven")),
        ("/A1", Sample("/A1")),
        ("<img onerror=x>", Sample("<img onerror=x>")),
        ("Größe 3 µm", Sample("Größe 3 µm")),
    ],
)
def test_read_gives_well_or_free_id(samples: Samples, named: object, expected: Sample) -> None:
    assert samples.read(named) == expected


@pytest.mark.parametrize(
    "named",
    [
        "", "  ", "x" * 201, "a\nb", "a\0b", "\ud800", 7, None, ["A1"], True,
        "P1/H12", "P2/A1",
        {"plate": "P1"}, {"plate": "P1", "well": "A1", "drop": 1}, {"plate": "P1", "well": "top"},
        {"plate": "P1", "well": 1}, {"plate": "", "well": "A1"},
    ],
)  # fmt: skip
def test_read_refuses_what_names_nothing(samples: Samples, named: object) -> None:
    with pytest.raises(SampleInvalid):
        samples.read(named)


def test_a_slash_is_part_of_the_id_where_no_inventory_is(database: Database) -> None:
    samples = Samples(database, ManualClock())
    assert samples.read("P1/A1") == Sample("P1/A1")
    with pytest.raises(SampleInvalid):
        samples.read({"plate": "P1", "well": "A1"})


def test_link_twice_is_one_link(samples: Samples) -> None:
    first = samples.link(Sample("S-1"), "run", "r1", part="slot01", by="me")
    again = samples.link(Sample("S-1"), "run", "r1", part="slot01", by="you")
    other = samples.link(Sample("S-1"), "run", "r1", part="slot02")
    assert again == first
    assert first.named_by == "me"
    assert [link.id for link in samples.of_item("run", "r1")] == [first.id, other.id]


def test_of_sample_is_newest_first_and_over_all_kinds(samples: Samples) -> None:
    well = samples.read("P1/A1")
    for kind in ("run", "workflow", "session"):
        samples.link(well, kind, "x")
    samples.link(Sample("S-1"), "run", "x")
    assert [link.kind for link in samples.of_sample("P1/A1")] == ["session", "workflow", "run"]
    assert samples.of_plate("P1") == {"A1": 3}
    assert samples.of_plate("P2") == {}


def test_links_of_a_transaction_that_fails_are_not_there(
    samples: Samples, database: Database
) -> None:
    given = samples.given(by_part("S-1", {"slot01": "P1/A1"}))
    assert given == [("", Sample("S-1")), ("slot01", Sample("P1/A1", "P1", "A1"))]

    def work(connection: object) -> None:
        samples.linker(given, "run", "r1", "me")(connection)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.write(work)
    assert samples.of_item("run", "r1") == []
    database.write(samples.linker(given, "run", "r1", "me"))
    assert [(link.part, link.sample) for link in samples.of_item("run", "r1")] == [
        ("", "S-1"), ("slot01", "P1/A1"),
    ]  # fmt: skip


def test_pass_on_names_an_item_like_another(samples: Samples, database: Database) -> None:
    samples.link(samples.read("P1/A1"), "meter", "meter1", by="me")
    for _ in range(2):
        database.write(lambda c: samples.pass_on(c, ("meter", "meter1"), ("session", "s1")))
    (link,) = samples.of_item("session", "s1")
    assert (link.sample, link.plate, link.well, link.named_by) == ("P1/A1", "P1", "A1", "me")


def test_unlink_takes_back_one(samples: Samples) -> None:
    kept = samples.link(Sample("S-1"), "run", "r1")
    gone = samples.link(Sample("S-1"), "run", "r2")
    samples.unlink(gone.id)
    assert [link.id for link in samples.of_sample("S-1")] == [kept.id]
    with pytest.raises(LinkNotFound):
        samples.unlink(gone.id)


def test_all_lists_samples_by_their_last_link(samples: Samples, database: Database) -> None:
    clock = ManualClock()
    ticking = Samples(database, clock)
    for name in ("10 % NaCl", "10_NaCl", "Other"):
        clock.wind(1)
        ticking.link(Sample(name), "run", "r1")
    ticking.link(Sample("Other"), "run", "r2")
    assert [(item.sample, item.items) for item in ticking.all()] == [
        ("Other", 2), ("10_NaCl", 1), ("10 % NaCl", 1),
    ]  # fmt: skip
    assert [item.sample for item in ticking.all("10 %")] == ["10 % NaCl"]
    assert [item.sample for item in ticking.all("_NACL")] == ["10_NaCl"]
    assert [item.sample for item in ticking.all(limit=1, offset=1)] == ["10_NaCl"]
    assert ticking.all()[0].named_at > datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("item_id", "part"), [("x" * 1001, ""), ("r1", "x" * 81)])
def test_link_refuses_what_is_too_long(samples: Samples, item_id: str, part: str) -> None:
    with pytest.raises(SampleInvalid):
        samples.link(Sample("S-1"), "run", item_id, part=part)


def test_what_was_measured_on_a_sample_is_given_in_pages(samples: Samples) -> None:
    for number in range(5):
        samples.link(Sample("S-1"), "run", f"r{number}")
    assert [one.item_id for one in samples.of_sample("S-1", limit=2)] == ["r4", "r3"]
    assert [one.item_id for one in samples.of_sample("S-1", limit=2, offset=3)] == ["r1", "r0"]
    assert len(samples.of_sample("S-1")) == 5


def test_a_renamed_plate_is_renamed_as_sample_and_as_item(
    samples: Samples, database: Database
) -> None:
    samples.link(Sample("P1/A1", "P1", "A1"), "run", "r1")
    samples.link(Sample("p1/A1", "p1", "A1"), "run", "r1")
    samples.link(Sample("P1"), "run", "r1")
    for kind, item_id in [
        ("plate", "P1"), ("plate", "P10"), ("well", "P1/A2"), ("well", "p1/A2"), ("run", "P1"),
    ]:  # fmt: skip
        samples.link(Sample("S-1"), kind, item_id)
    database.write(lambda c: samples.rename_plate(c, "P1", "New 100 %"))
    assert [(link.sample, link.plate, link.well) for link in samples.of_item("run", "r1")] == [
        ("New 100 %/A1", "New 100 %", "A1"), ("p1/A1", "p1", "A1"), ("P1", None, None),
    ]  # fmt: skip
    assert {(link.kind, link.item_id) for link in samples.of_sample("S-1")} == {
        ("plate", "New 100 %"), ("plate", "P10"), ("well", "New 100 %/A2"), ("well", "p1/A2"),
        ("run", "P1"),
    }  # fmt: skip


def test_linked_gives_what_is_linked_now_though_no_such_well_is_there(samples: Samples) -> None:
    gone = Sample("Gone/A1", "Gone", "A1")
    samples.link(Sample("S-1"), "run", "r1")
    samples.link(gone, "run", "r1", part="slot01")
    given = samples.linked("run", "r1")
    assert given == [("", Sample("S-1")), ("slot01", gone)]
    assert names_of(given) == {"sample": "S-1", "samples": {"slot01": "Gone/A1"}}
    assert names_of([]) == {"sample": None, "samples": None}
