"""Bulk loads of meter-days that are wide already."""

from __future__ import annotations

import numpy as np
import pytest

from batch.parquet_store import ParquetStore, bucket_of
from batch.wide import to_wide
from domain.errors import StoreError
from domain.readings import make_readings

METERS = [f"home-{n}" for n in range(20)]


def a_day(day: int, bucket: int):
    """Half-hourly readings of a bucket's meters on one UTC day."""
    mine = [meter for meter in METERS if bucket_of(meter, 4) == bucket]
    slots = np.tile(np.arange(48) + day * 48, len(mine))
    return make_readings([m for m in mine for _ in range(48)], slots, slots % 1000, interval_minutes=30)


def test_a_loaded_bucket_reads_as_if_it_had_been_appended(tmp_path):
    loaded, appended = (ParquetStore(tmp_path / name, buckets=4) for name in ("loaded", "appended"))
    loaded.load_bucket(2, 30, (to_wide(a_day(day, 2)) for day in (100, 101)))
    appended.append([a_day(100, 2), a_day(101, 2)])
    slots = np.arange(100 * 48, 102 * 48)[None]
    one, other = (store.read_slots(slots, 30, 2) for store in (loaded, appended))
    assert len(one.meters) > 0
    assert one.meters.tolist() == other.meters.tolist()
    assert np.array_equal(one.wh, other.wh)


@pytest.mark.parametrize(
    ("days", "bucket", "problem"),
    [((100,), 3, "belongs in bucket 2, not 3"), ((101, 100), 2, "day 100 is loaded out of order")],
)
def test_a_load_of_the_wrong_meters_or_order_adds_nothing(tmp_path, days, bucket, problem):
    store = ParquetStore(tmp_path / "store", buckets=4)
    with pytest.raises(StoreError, match=problem):
        store.load_bucket(bucket, 30, [to_wide(a_day(day, 2)) for day in days])
    assert store.meters(30) == []
