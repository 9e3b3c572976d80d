"""HeavyDB taken away in the middle of things: nothing is lost, nothing counts twice, and it is said when it can't."""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from cutting_proxy import a_cutting_proxy
from heavydb_desk import a_heavydb
from heavydb_layer import an_empty_store
from stores import ACTUAL, FIRST, Row, a_batch

from domain.errors import StoreError
from domain.readings import Readings, Register
from speed.heavydb_store import HeavyDBStore
from speed.heavydb_url import HeavyDBAddress

pytestmark = pytest.mark.stack

HOMES = 1000
METERS = np.array([f"home-{n:04d}" for n in range(HOMES)], dtype=object)


@pytest.fixture
def proxy(heavydb):
    parts = urlsplit(heavydb)
    with a_cutting_proxy(parts.hostname, parts.port) as proxy:
        yield proxy


@pytest.fixture
def store(heavydb, proxy):
    an_empty_store(heavydb).close()
    store = through(proxy, heavydb)
    yield store
    store.close()


def through(proxy, url, **options):
    own = urlsplit(url)
    return HeavyDBStore(HeavyDBAddress.parse(url.replace(f":{own.port}/", f":{proxy.port}/")), **options)


def hours(first, count, wh=5, revision=0):
    """A batch of every home at `count` hours; 100 hours are some 2 MB."""
    slot = np.repeat(np.arange(FIRST + first, FIRST + first + count, dtype=np.int64), HOMES)
    meter = np.tile(np.arange(HOMES, dtype=np.int32), count)
    n = len(slot)
    return Readings(
        60,
        Register.IMPORT,
        METERS,
        meter,
        slot,
        np.full(n, wh, dtype=np.int32),
        np.full(n, ACTUAL, dtype=np.int8),
        np.full(n, revision, dtype=np.int16),
    )


def totals(store):
    """Readings reported, and their energy."""
    row = store.query("SELECT SUM(n) AS n, SUM(wh) AS wh FROM readings_import_60").to_pylist()[0]
    twice = store.query("SELECT meter FROM readings_import_60 GROUP BY meter, ts HAVING SUM(n) <> 1")
    assert len(twice) == 0
    return row["n"], row["wh"]


@pytest.mark.parametrize("how", ["cut_after", "lose_answer_after"])
def test_a_batch_whose_connection_is_cut_is_there_once(store, proxy, how):
    store.append(hours(0, 10))
    getattr(proxy, how)(500_000)
    done = store.append(hours(10, 100))
    assert proxy.cuts == 1
    assert (done.new, done.replaced, done.unchanged) == (100 * HOMES, 0, 0)
    assert totals(store) == (110 * HOMES, 110 * HOMES * 5)


@pytest.mark.parametrize("how", ["cut_after", "lose_answer_after"])
def test_corrections_whose_connection_is_cut_count_once(store, proxy, how):
    store.append(hours(0, 100))
    getattr(proxy, how)(500_000)
    done = store.append(hours(50, 100, wh=3, revision=1))
    assert proxy.cuts == 1
    assert (done.new, done.replaced) == (50 * HOMES, 50 * HOMES)
    assert totals(store) == (150 * HOMES, 50 * HOMES * 5 + 100 * HOMES * 3)


@pytest.mark.parametrize("how", ["cut_after", "lose_answer_after"])
@pytest.mark.parametrize("limit", [0, 500, 1000, 1500, 2000, 2500, 3000, 10_000, 30_000, 50_000])
def test_a_first_batch_that_is_cut_anywhere_gives_every_meter_one_number(heavydb, proxy, how, limit):
    an_empty_store(heavydb).close()
    store = through(proxy, heavydb)
    getattr(proxy, how)(limit)
    store.append(hours(0, 3))
    assert totals(store) == (3 * HOMES, 3 * HOMES * 5)
    numbers = store.query("SELECT id, name FROM meters")
    assert len(set(numbers["id"].to_pylist())) == len(set(numbers["name"].to_pylist())) == len(numbers) == HOMES
    store.close()


def test_a_session_that_the_server_has_ended_is_begun_anew(store):
    store.append(hours(0, 1))
    ended = []
    store._client.call("end it", lambda connection: ended.append(connection._client.disconnect(connection._session)))
    store.append(hours(1, 1))
    assert totals(store) == (2 * HOMES, 2 * HOMES * 5)
    assert len(ended) == 1


def test_rows_of_any_table_are_replaced_once_when_the_answer_is_lost(store, proxy):
    store.create("kept", {"n": "INTEGER"})
    rows = pa.table({"n": pa.array(range(300_000), pa.int32())})
    for how in ("cut_after", "lose_answer_after"):
        getattr(proxy, how)(500_000)
        store.replace("kept", rows, "n >= 0")
        assert store.query("SELECT COUNT(*) AS rows_, SUM(n) AS total FROM kept").to_pylist() == [
            {"rows_": 300_000, "total": 299_999 * 150_000}
        ]
    assert proxy.cuts == 2


def test_rows_loaded_as_they_are_may_be_there_when_the_answer_is_lost_and_that_is_said(store, proxy):
    store.create("kept", {"n": "INTEGER"})
    proxy.lose_answer_after(500_000)
    with pytest.raises(StoreError, match="all of them, or none"):
        store.load("kept", pa.table({"n": pa.array(range(300_000), pa.int32())}))


def test_a_server_that_is_away_too_long_is_said_and_the_same_batch_is_taken_later(heavydb, proxy):
    an_empty_store(heavydb).close()
    store = through(proxy, heavydb, patience=1.0)
    store.append(hours(0, 10))
    proxy.away = True
    store.close()  # what idles is lost with the server
    with pytest.raises(StoreError, match=r"tried for 1 s.*do it again"):
        store.append(hours(10, 10))
    with pytest.raises(StoreError, match="Is the server up"):
        store.query("SELECT 1 AS n")
    proxy.away = False
    assert store.append(hours(10, 10)).new == 10 * HOMES
    assert store.append(hours(10, 10)).unchanged == 10 * HOMES
    assert totals(store) == (20 * HOMES, 20 * HOMES * 5)
    store.close()


def test_a_wrong_password_is_refused_at_once_and_shown_nowhere(heavydb, caplog):
    address = HeavyDBAddress.parse(heavydb)
    wrong = HeavyDBAddress(address.host, address.port, address.database, address.user, "not-the-Passw0rd")
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreError, match="lets user 'admin' not into") as told:
        HeavyDBStore(wrong, patience=30)
    assert "not-the-Passw0rd" not in str(told.value) + caplog.text


def test_the_store_shows_no_password(heavydb, store):
    password = HeavyDBAddress.parse(heavydb).password
    assert password not in store.url
    assert password not in repr(store)
    with pytest.raises(StoreError) as told:
        store.query(f"SELECT nothing FROM nowhere WHERE said = '{password}'")
    assert password not in str(told.value)


def test_two_workers_who_meet_new_meters_at_once_give_no_number_twice(heavydb):
    an_empty_store(heavydb).close()
    failed = []

    def work(worker):
        try:
            store = HeavyDBStore(HeavyDBAddress.parse(heavydb))
            for n in range(8):
                store.append(a_batch([Row(f"{worker}-{n}-{k}", FIRST + n, worker + 1) for k in range(5)]))
            store.close()
        except BaseException as wrong:
            failed.append(wrong)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    store = HeavyDBStore(HeavyDBAddress.parse(heavydb))
    numbers = store.query("SELECT id, name FROM meters")
    assert len(set(numbers["id"].to_pylist())) == len(set(numbers["name"].to_pylist())) == 4 * 8 * 5
    by_worker = {}
    for row in store.query("SELECT meter, wh FROM import_60").to_pylist():
        by_worker.setdefault(row["meter"][0], []).append(row["wh"])
    assert by_worker == {str(worker): [worker + 1] * 40 for worker in range(4)}
    store.close()


def test_another_worker_s_meters_are_taken_over_without_counting_twice(heavydb):
    an_empty_store(heavydb).close()
    one, other = (HeavyDBStore(HeavyDBAddress.parse(heavydb)) for _ in range(2))
    one.append(hours(0, 3))
    other.append(hours(0, 3))
    one.append(hours(3, 3))
    assert other.append(hours(3, 3)).unchanged == 3 * HOMES  # messages that the first had not committed come again
    assert other.append(hours(6, 3)).new == 3 * HOMES
    assert one.append(hours(5, 5)).new == HOMES
    assert totals(one) == (10 * HOMES, 10 * HOMES * 5)
    one.close()
    other.close()


def test_a_server_killed_again_and_again_loses_and_doubles_nothing(tmp_path):
    with a_heavydb(tmp_path / "heavydb") as server:
        store = HeavyDBStore(HeavyDBAddress.parse(server.client_url), patience=120)
        stop, kills = threading.Event(), []

        def kill():
            while not stop.wait(0.5):
                server.kill()
                kills.append(time.monotonic())
                server.up()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            batches = 0
            while len(kills) < 2 or batches < 3:
                store.append(hours(100 * batches, 100))
                store.append(hours(100 * batches + 50, 50, wh=4, revision=1))
                batches += 1
        finally:
            stop.set()
            killer.join()
        assert totals(store) == (batches * 100 * HOMES, batches * 50 * HOMES * (5 + 4))
        store.close()
