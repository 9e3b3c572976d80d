"""VEE over HBase comes to what it comes to over Parquet, and edits win there by the same rule."""

from __future__ import annotations

import numpy as np
import pytest
from hbase_layer import an_empty_store, give_back
from stores import Row, a_batch
from vee_desk import FIRST_DAY, plain_days, some_reads, the_rules

from batch.parquet_store import ParquetStore, bucket_of
from batch.vee import VeePlan, run_vee, to_message
from domain.readings import Quality
from domain.registers import spans_between

pytestmark = pytest.mark.stack

HOMES = [f"home {n}" for n in range(6)]
TODAY = (FIRST_DAY + 28) * 24
GAP, SPIKE = range(TODAY + 10, TODAY + 13), TODAY + 3


def readings():
    hours = plain_days(days=30)[0].reshape(-1)
    rows = [Row(home, FIRST_DAY * 24 + n, int(wh)) for home in HOMES for n, wh in enumerate(hours)]
    rows = [row for row in rows if row.meter != HOMES[0] or row.slot not in GAP]
    return [row._replace(wh=9_000) if (row.meter, row.slot) == (HOMES[1], SPIKE) else row for row in rows]


def the_plan() -> VeePlan:
    rules = the_rules()
    spans = spans_between(some_reads(), rules.register, 25_000)
    return VeePlan(60, TODAY, TODAY + 24, rules, dict.fromkeys(HOMES, 0), spans)


@pytest.fixture
def stores(hbase, tmp_path):
    """The same readings in HBase and in Parquet."""
    far = an_empty_store(hbase.url)
    near = ParquetStore(tmp_path / "store", buckets=4)
    for store in (far, near):
        store.append([a_batch(readings())])
    yield far, near
    give_back(far)


def at(store, home, slots):
    bucket = bucket_of(home, store.buckets)
    block = store.read_slots(np.array([list(slots)]), 60, bucket, np.array([home], dtype=object))
    estimated = np.zeros(block.wh.shape, bool) if block.estimated is None else block.estimated
    return block.wh[0, 0].tolist(), estimated[0, 0].tolist()


def test_hbase_and_parquet_come_to_the_same(stores):
    far, near = (run_vee(store, the_plan()) for store in stores)
    assert to_message(far) == to_message(near)
    for store in stores:
        store.append([far.edits.readings(60)])
        assert len(run_vee(store, the_plan()).edits) == 0
        assert at(store, HOMES[0], GAP) == ([510, 511, 512], [True] * 3)
        assert at(store, HOMES[1], [SPIKE]) == ([503], [True])


def test_what_the_source_says_late_wins_in_hbase_too(stores):
    store, _ = stores
    store.append([run_vee(store, the_plan()).edits.readings(60)])
    late = [Row(HOMES[0], GAP[0], 1), Row(HOMES[1], SPIKE, 9_000), Row(HOMES[1], SPIKE, 450, Quality.ACTUAL, 1)]
    store.append([a_batch(late[:2])])
    assert at(store, HOMES[0], GAP) == ([1, 511, 512], [False, True, True])
    assert at(store, HOMES[1], [SPIKE]) == ([503], [True])
    store.append([a_batch(late[2:])])
    assert at(store, HOMES[1], [SPIKE]) == ([450], [False])


def test_spark_tasks_read_hbase_for_vee(spark, stores):
    far, near = stores
    assert to_message(run_vee(far, the_plan(), session=spark)) == to_message(run_vee(near, the_plan()))
