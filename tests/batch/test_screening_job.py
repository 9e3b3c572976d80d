"""The screening job over a store: by Spark, in this process and bucket by bucket, always the same."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest
from builders import a_programme
from stores import ESTIMATED, Row, a_batch

from batch.parquet_store import ParquetStore
from batch.screening import from_message, read_bucket, run_screening, to_message
from domain.errors import StoreError
from domain.screening import Screened, ScreeningFinding, screen
from domain.screening_plan import Window, find_candidates, make_screening_plan
from domain.screening_rules import ScreeningRules

HOMES = [f"home {n}" for n in range(12)]
FRIDAY = date(2025, 9, 26)
RULES = ScreeningRules("test", "for tests", limit_pct=20, bias_limit_pct=10, days=8, min_days=4)


def the_plan(first_day: date = date(2025, 1, 1)):
    programme = a_programme()
    rule = programme.terms[0].baselines[0]
    candidates = find_candidates(programme, rule, [a_programme("kpx-mid-6-of-10")], FRIDAY, 60)
    return make_screening_plan(
        programme, candidates, Window(time(17), 60), 60, RULES, first_day=first_day, last_day=FRIDAY
    )


PLAN = the_plan()


def rows():
    """Homes of every fit: the higher the number, the more their usage varies; some gaps, some estimates."""
    random = np.random.default_rng(5)
    return [
        Row(home, slot, 500 + int(random.integers(0, 60 * n + 1)), ESTIMATED if random.random() < 0.05 else 2)
        for n, home in enumerate(HOMES)
        for slot in PLAN.slots.tolist()
        if random.random() < 0.998
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ParquetStore(tmp_path_factory.mktemp("screening") / "store", buckets=8)
    readings = rows()
    store.append([a_batch(readings[::2])])
    store.append([a_batch(readings[1::2])])
    return store


def assert_equal_screenings(one: Screened, other: Screened) -> None:
    for name in Screened.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def one_by_one(store, meters) -> Screened:
    """Each meter read and screened by itself."""
    parts = [
        screen(PLAN, read_bucket(store, PLAN, bucket, np.array([meter], dtype=object)))
        for meter in meters
        for bucket in range(store.buckets)
        if bucket == bucket_that_holds(store, meter)
    ]
    return Screened(*(np.concatenate([getattr(p, name) for p in parts]) for name in Screened.__dataclass_fields__))


def bucket_that_holds(store, meter) -> int:
    from batch.parquet_store import bucket_of

    return bucket_of(meter, store.buckets)


@pytest.mark.stack
def test_spark_and_this_process_say_the_same(spark, store):
    wanted = [*reversed(HOMES), "nobody"]
    assert_equal_screenings(run_screening(store, PLAN, wanted, session=spark), run_screening(store, PLAN, wanted))
    assert_equal_screenings(run_screening(store, PLAN, session=spark), run_screening(store, PLAN))


@pytest.mark.stack
def test_a_task_that_cannot_read_the_store_says_so(spark, tmp_path):
    store = ParquetStore(tmp_path / "store", buckets=2)
    store.append([a_batch(rows()[:50])])
    path = sorted(store.folder.glob("*/b*/*.parquet"))[0]
    path.unlink()
    with pytest.raises(StoreError, match=f"^{path} is lost"):
        run_screening(store, PLAN, session=spark)


def test_a_bucket_at_a_time_or_a_meter_at_a_time_is_the_same(store):
    whole = run_screening(store, PLAN)
    assert whole.meters.tolist() == sorted(HOMES)
    assert_equal_screenings(whole, one_by_one(store, sorted(HOMES)))
    assert whole.fits[0].all()  # home 0 is always the same
    assert not whole.fits.all()


def test_resources_get_a_row_each_whether_they_have_readings_or_not(store):
    found = run_screening(store, PLAN, ["nobody", HOMES[3]])
    assert found.meters.tolist() == [HOMES[3], "nobody"]
    assert found.findings[1] == ScreeningFinding.FEW_DAYS
    assert found.own_days[1].tolist() == [0, 0, 0, 0]


def test_an_empty_store_and_a_plan_without_days_are_screened_as_nobody_and_as_nothing(store, tmp_path):
    empty = ParquetStore(tmp_path / "empty", buckets=2)
    assert len(run_screening(empty, PLAN)) == 0
    without_days = the_plan(first_day=date(2025, 9, 27))
    assert run_screening(store, without_days, HOMES[:2]).findings.tolist() == [ScreeningFinding.FEW_DAYS] * 2


def test_progress_counts_buckets_and_reaches_their_number(store):
    calls: list[tuple[int, int]] = []
    run_screening(store, PLAN, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 8) for n in range(1, 9)]


def test_a_message_carries_everything(store):
    found = run_screening(store, PLAN, [*HOMES, "nobody"])
    assert_equal_screenings(from_message(to_message(found)), found)
