"""HBase killed, its Thrift server gone, compactions cut off: each reading is there once, and nothing is stuck."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hbase_layer import an_empty_store, give_back
from stores import ACTUAL, FIRST, Row, a_batch, whole

from batch import hbase_compaction
from batch.hbase_client import HBaseClient
from batch.hbase_store import HBaseStore
from domain.errors import StoreError
from domain.readings import MISSING, Readings, Register
from infra.daemons import wait_until

pytestmark = pytest.mark.stack

HOMES, HOURS = 500, 24
NAMES = np.array([f"home-{n:04d}" for n in range(HOMES)], dtype=object)
SLOTS = np.arange(FIRST, FIRST + HOURS)[None]


@pytest.fixture
def store(hbase):
    store = an_empty_store(hbase.url)
    yield store
    give_back(store)


def an_interval(hour, wh):
    """One reading of every home."""
    full = np.full(HOMES, FIRST + hour, dtype=np.int64)
    return Readings(
        60, Register.IMPORT, NAMES, np.arange(HOMES, dtype=np.int32), full, wh.astype(np.int32),
        np.full(HOMES, ACTUAL, dtype=np.int8), np.zeros(HOMES, dtype=np.int16),
    )  # fmt: skip


def a_day(random):
    """Energies of every home and hour."""
    return random.integers(0, 1000, (HOURS, HOMES))


def what_is_there(store):
    wh = whole(store, SLOTS).wh
    return int((wh != MISSING).sum()), int(wh[wh != MISSING].sum())


def test_hbase_killed_during_a_load_loses_and_doubles_nothing(hbase, store):
    sent = a_day(np.random.default_rng(1))
    writer = HBaseStore(store.url, patience=120)
    half, failed = threading.Event(), []

    def load():
        try:
            for hour in range(HOURS):
                if hour == HOURS // 2:
                    half.set()
                writer.append([an_interval(hour, sent[hour])])
                if hour % 5 == 4:
                    writer.compact()
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=load)
    thread.start()
    assert half.wait(60)
    hbase.kill()
    assert thread.is_alive()
    hbase.up()
    thread.join(120)
    assert not thread.is_alive()
    assert failed == []
    assert what_is_there(store) == (HOMES * HOURS, int(sent.sum()))
    store.compact()
    assert what_is_there(store) == (HOMES * HOURS, int(sent.sum()))
    writer.close()


def test_without_its_thrift_server_the_error_says_what_to_do_and_then_it_goes_on(hbase, store):
    impatient = HBaseStore(store.url, patience=1)
    hbase.kill("thrift")
    with pytest.raises(StoreError, match=rf"HBase at {hbase.address} can't .* tried for 1 s: .*stack status"):
        impatient.append([a_batch([Row("a", FIRST, 5)])])
    hbase.up()
    assert impatient.append([a_batch([Row("a", FIRST, 5)])]).new == 1
    assert whole(store, np.array([[FIRST]])).wh.tolist() == [[[5]]]
    impatient.close()


def test_a_compaction_cut_off_at_any_write_changes_no_reading(store, monkeypatch):
    random = np.random.default_rng(2)
    expected = np.zeros((HOURS, HOMES), dtype=np.int64)
    sent = 0
    for cut_after in range(4):
        some = a_day(random)
        for hour in range(0, HOURS, 6):
            store.append([an_interval(hour, some[hour])])
            expected[hour] = np.maximum(expected[hour], some[hour])
        sent = HOMES * HOURS // 6
        writes, write = [], HBaseClient.write

        def counted(self, table, cells, writes=writes, write=write, most=cut_after):
            if len(writes) >= most:
                raise KeyboardInterrupt
            writes.append(len(cells))
            write(self, table, cells)

        with monkeypatch.context() as cut:
            cut.setattr(HBaseClient, "write", counted)
            with pytest.raises(KeyboardInterrupt):
                store.compact()
        assert what_is_there(store) == (sent, int(expected.sum()))
    assert store.compact() > 0
    assert what_is_there(store) == (sent, int(expected.sum()))
    assert store.compact() == 0


def test_a_reading_that_comes_during_a_compaction_stays(store, monkeypatch):
    store.append([a_batch([Row("a", FIRST + hour, 1) for hour in range(2)])])
    read = hbase_compaction.read_cells

    def read_then_more(*args, **kwargs):
        cells = read(*args, **kwargs)
        store.append([a_batch([Row("a", FIRST + 1, 7, ACTUAL, 1), Row("a", FIRST + 3, 9)])])
        return cells

    with monkeypatch.context() as late:
        late.setattr(hbase_compaction, "read_cells", read_then_more)
        store.compact()
    slots = np.arange(FIRST, FIRST + 4)[None]
    assert whole(store, slots).wh.tolist() == [[[1, 7, MISSING, 9]]]
    store.compact()
    assert whole(store, slots).wh.tolist() == [[[1, 7, MISSING, 9]]]


def test_writers_and_compactions_at_once_lose_nothing(store):
    sent = a_day(np.random.default_rng(3))
    stop, failed = threading.Event(), []

    def compact():
        other = HBaseStore(store.url)
        while not stop.is_set():
            other.compact(FIRST // 24)
        other.close()

    def write(hours):
        mine = HBaseStore(store.url)
        for hour in hours:
            mine.write([an_interval(hour, sent[hour])])
        mine.close()

    def guarded(work, *args):
        try:
            work(*args)
        except BaseException as error:
            failed.append(error)

    compactors = [threading.Thread(target=guarded, args=(compact,)) for _ in range(2)]
    # Hours are written twice, by two writers that don't know of each other.
    writers = [threading.Thread(target=guarded, args=(write, hours)) for hours in (range(24), range(23, -1, -1))]
    for thread in compactors + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in compactors:
        thread.join()
    assert failed == []
    assert what_is_there(store) == (HOMES * HOURS, int(sent.sum()))


def test_reading_while_compactions_run_always_finds_everything(store):
    sent = a_day(np.random.default_rng(4))
    stop, seen = threading.Event(), []

    def read():
        mine = HBaseStore(store.url)
        while not stop.is_set():
            seen.append(what_is_there(mine))
        mine.close()

    for hour in range(HOURS):
        store.write([an_interval(hour, sent[hour])])
    reader = threading.Thread(target=read)
    reader.start()
    for revision in range(1, 4):
        store.compact()
        again = an_interval(3, sent[3])  # a repeat, so that there is something to fold
        store.write([again, a_batch([Row(f"home-{revision:04d}", FIRST + 4, int(sent[4, revision]))])])
        assert wait_until(lambda enough=revision: len(seen) >= enough, 60)
    stop.set()
    reader.join()
    assert seen
    assert set(seen) == {(HOMES * HOURS, int(sent.sum()))}
