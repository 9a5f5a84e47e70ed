"""Readings in blocks and rows, on both databases: exact, complete, and quick to sum up."""

import numpy as np
import pytest

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.blocks import BlockDamaged, pack, unpack
from benchwire.domains.powermeter.integration import steps
from benchwire.domains.powermeter.periods import Window
from benchwire.domains.powermeter.readings import Reading, Readings, Totals, of
from benchwire.domains.powermeter.store import PowerStore
from benchwire.foundation.db import Database

START = 1_750_000_000_000_000
METER = 1


def series(count: int, *, repeats: int = 5, step: int = 100_000) -> Readings:
    """Return readings 0.1 s apart in which each value comes some times in a row."""
    generator = np.random.default_rng(7)
    at = START + np.arange(count) * step + generator.integers(0, 900, count)
    values = generator.integers(0, 500_000, (count // repeats + 1, 11))
    values[:, 4] -= 250_000
    values[:, 5:9] = np.arange(len(values))[:, None]
    codes = np.repeat(values, repeats, axis=0)[:count]
    follows_gap = generator.random(count) < 0.01
    totals = np.cumsum(steps(at, codes, follows_gap), axis=0)
    return Readings(at, codes, follows_gap, totals)


def single(readings: Readings) -> list[Reading]:
    return [readings.reading(index) for index in range(len(readings))]


def assert_same(found: Readings, expected: Readings) -> None:
    np.testing.assert_array_equal(found.at, expected.at)
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.follows_gap, expected.follows_gap)
    np.testing.assert_allclose(found.totals, expected.totals, rtol=1e-12)


@pytest.fixture(scope="module")
def readings() -> Readings:
    return series(70_000)


@pytest.fixture
def store(database: Database, readings: Readings) -> PowerStore:
    opened = PowerStore(database)
    for first in range(0, len(readings), 10_000):
        opened.append_later(METER, single(readings[first : first + 10_000])).result()
    return opened


@pytest.mark.parametrize("count", [1, 2, 1024])
def test_block_gives_back_what_was_put_in(count: int) -> None:
    expected = series(count)
    assert_same(unpack(pack(expected), Totals(*expected.totals[0])), expected)


def test_repeats_take_little_room() -> None:
    assert len(pack(series(1000, repeats=5))) < 11 * 8 * 1000 / 5
    assert len(pack(series(1000, repeats=1000))) < 3000


def test_damaged_block_is_told() -> None:
    data = pack(series(50))
    for damaged in (b"", data[:-5], b"\x02" + data[1:], data[:1] + bytes(1) + data[2:]):
        with pytest.raises(BlockDamaged):
            unpack(damaged, Totals())


@pytest.mark.parametrize(
    ("first", "last"), [(0, 69_999), (5, 5), (1023, 1024), (30_000, 69_990), (100, 60_000)]
)
def test_window_figures_and_ends_are_exact(
    store: PowerStore, readings: Readings, first: int, last: int
) -> None:
    expected = readings[first : last + 1]
    window = Window(int(expected.at[0]), int(expected.at[-1]))
    assert_same(store.window(METER, window), expected)
    figures = store.figures(METER, window)
    codes = expected.codes[:, :3]
    assert figures.count == len(expected)
    assert figures.low == tuple(codes.min(axis=0))
    assert figures.high == tuple(codes.max(axis=0))
    assert figures.total == tuple(codes.sum(axis=0))
    ends = store.ends_of(METER, window)
    assert ends is not None
    assert (ends[0].at, ends[1].at) == (window.start, window.end)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_chart_keeps_every_extreme(store: PowerStore, readings: Readings, count: int) -> None:
    window = Window(int(readings.at[0]), int(readings.at[-1]))
    buckets = store.buckets(METER, window, count)
    assert len(buckets.at) <= count + 1
    assert buckets.count.sum() == len(readings)
    codes = readings.codes[:, :3]
    np.testing.assert_array_equal(buckets.low.min(axis=0), codes.min(axis=0))
    np.testing.assert_array_equal(buckets.high.max(axis=0), codes.max(axis=0))
    np.testing.assert_array_equal(buckets.total.sum(axis=0), codes.sum(axis=0))
    assert (np.diff(buckets.at) > 0).all()


def test_purge_keeps_what_is_young(store: PowerStore, readings: Readings) -> None:
    cut = int(readings.at[40_000])
    store.purge_later(METER, cut).result()
    young = Window(cut, int(readings.at[-1]))
    assert_same(store.window(METER, young), readings[40_000:])
    assert store.figures(METER, young).count == 30_000
    assert len(store.window(METER, Window(0, cut - 1))) < 1024


def test_newest_is_found_in_rows_and_in_blocks(database: Database) -> None:
    store = PowerStore(database)
    assert store.newest(METER) is None
    assert store.ends_of(METER, Window(0, 2**62)) is None
    expected = single(series(1024))
    store.append_later(METER, expected[:1000]).result()
    assert store.newest(METER) == expected[999]
    store.append_later(METER, expected[1000:]).result()
    newest = store.newest(METER)
    assert newest is not None
    assert newest.at == expected[-1].at


@pytest.mark.parametrize("exchanges", [[1], [500], [700, 701, 1500]], ids=str)
def test_totals_go_on_from_block_to_block_where_meters_were_exchanged(
    database: Database, exchanges: list[int]
) -> None:
    """The new one's counters stand elsewhere, and that adds nothing."""
    store = PowerStore(database)
    expected = series(2500)
    for place in exchanges:
        expected.follows_gap[place] = True
        expected.codes[place:, 5:9] += 2
    added = steps(expected.at, expected.codes, expected.follows_gap)
    added[exchanges, 4:] = 0
    expected.totals[:] = np.cumsum(added, axis=0)
    for part in (slice(0, 1020), slice(1020, 2500)):
        store.append_later(METER, single(expected[part])).result()
    everything = Window(0, 2**62)
    assert_same(store.window(METER, everything), expected)
    assert store.figures(METER, everything).count == len(expected)


def test_series_of_nothing_is_empty() -> None:
    assert len(of(())) == 0


@pytest.mark.parametrize("count", [31, 32, 33])
def test_walk_ends_where_the_last_block_ends(database: Database, count: int) -> None:
    store = PowerStore(database)
    expected = series(count * 1024)
    store.append_later(METER, single(expected)).result()
    assert_same(store.window(METER, Window(0, int(expected.at[-1]))), expected)


def test_figures_agree_with_the_data_after_a_purge_within_a_block(database: Database) -> None:
    store = PowerStore(database)
    readings = series(2048, step=1_000_000)
    store.append_later(METER, single(readings)).result()
    store.purge_later(METER, int(readings.at[-1]) - 600_000_000).result()
    whole = Window(START, int(readings.at[-1]))
    left = store.window(METER, whole)
    assert store.figures(METER, whole).count == len(left)
    assert int(store.buckets(METER, whole, 10).count.sum()) == len(left)


def test_the_newest_reading_is_never_purged(database: Database) -> None:
    store = PowerStore(database)
    for count in (5, 1024, 1030):
        readings = series(count)
        store.append_later(METER, single(readings)).result()
        store.purge_later(METER, 2**62).result()
        newest = store.newest(METER)
        assert newest is not None
        assert newest.at == int(readings.at[-1])
        store.remove_meter(METER)


def test_a_batch_that_may_be_there_already_is_stored_once(database: Database) -> None:
    store = PowerStore(database)
    items = single(series(1500))
    event = AlarmEvent("voltage_high", True, START, 6.0, 5.5)
    store.append_later(METER, items[:1200], (), [event]).result()
    store.append_later(METER, items, (), [event], again=True).result()
    assert len(store.window(METER, Window(0, 2**62))) == 1500
    assert store.newest_events(METER, 10) == [event]


def test_old_alarms_make_room_for_new_ones(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchwire.domains.powermeter.store.MOST_EVENTS", 3)
    store = PowerStore(database)
    events = [AlarmEvent("power_high", n % 2 == 0, START + n, 1.0, 2.0) for n in range(8)]
    store.append_later(METER, single(series(2)), (), events).result()
    store.purge_later(METER, START).result()
    assert store.newest_events(METER, 10) == events[:-4:-1]


@pytest.mark.parametrize("count", [3, 40, 1000])
def test_a_chart_of_short_steps_is_the_same_from_many_blocks(
    store: PowerStore, readings: Readings, count: int
) -> None:
    window = Window(int(readings.at[100]), int(readings.at[-1] // 60 * 60))
    window = Window(window.start, window.start + 50 * count * 1_000_000)
    inside = readings.between(window.start, window.end)
    found = store.buckets(METER, window, count)
    assert int(found.count.sum()) == len(inside)
    assert (np.diff(found.at) > 0).all()
    assert found.high[:, 0].max() == inside.codes[:, 0].max()


def test_a_new_meter_has_nothing_of_one_that_had_its_number(database: Database) -> None:
    store = PowerStore(database)
    removed = store.add_meter("old", None, {}).id
    store.remove_meter(removed)
    store.append_later(removed, [Reading(START, (0,) * 11, True, Totals())]).result()
    for name in ("first", "second"):
        assert store.newest(store.add_meter(name, None, {}).id) is None
