"""The VEE job over a store: edits back as readings, by precedence, and certificates that say so."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import PROGRAMMES, an_event
from stores import Row, a_batch
from vee_desk import FIRST_DAY, plain_days, some_reads, the_rules

from batch.certify import certify_bucket
from batch.edit_log import EditLog, edits_table
from batch.parquet_store import ParquetStore, bucket_of
from batch.vee import VeePlan, from_message, not_in_force, run_vee, to_message, vee_bucket
from domain.certification import EVIDENCE, Finding
from domain.plans import make_plan
from domain.programmes import parse_programme
from domain.readings import Quality, Register
from domain.registers import spans_between
from domain.validation import Check

ACTUAL, ESTIMATED = Quality.ACTUAL, Quality.ESTIMATED
HOMES = [f"home {n}" for n in range(12)]
TODAY = 28
START = FIRST_DAY * 24
GAP = range(START + TODAY * 24 + 10, START + TODAY * 24 + 13)
SPIKE = START + TODAY * 24 + 3
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(missing=(), changed=None):
    days = plain_days(days=30)[0].reshape(-1)
    changed = changed or {}
    return [
        Row(home, START + hour, int(changed.get((home, START + hour), days[hour])))
        for home in HOMES
        for hour in range(len(days))
        if (home, START + hour) not in missing
    ]


def a_store(folder, some=None) -> ParquetStore:
    """Home 0 has a gap, home 1 a spike, the others nothing wrong."""
    store = ParquetStore(folder / "store", buckets=4)
    gap = {(HOMES[0], slot) for slot in GAP}
    store.append([a_batch(some or rows(gap, {(HOMES[1], SPIKE): 9_000}))])
    return store


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


def the_plan(*, meters=None, reads=None, confirmed=None, days=1, rules=None) -> VeePlan:
    rules = rules or the_rules()
    spans = spans_between(reads or some_reads(), rules.register, 25_000)
    first = START + TODAY * 24
    return VeePlan(60, first, first + 24 * days, rules, meters, spans, confirmed or {})


def put(store, result):
    return store.append([result.edits.readings(60)])


def at(store, home, slots):
    """Wh and whether estimated, of one home's slots."""
    block = store.read_slots(
        np.array([list(slots)]), 60, bucket_of(home, store.buckets), np.array([home], dtype=object)
    )
    flags = [False] * block.wh.shape[2] if block.estimated is None else block.estimated[0, 0].tolist()
    return block.wh[0, 0].tolist(), flags


def test_a_job_finds_and_estimates_what_is_wrong(store):
    result = run_vee(store, the_plan())
    assert result.meters.tolist() == sorted(HOMES)
    assert (result.expected, int(result.actual.sum()), int(result.missing.sum())) == (24, 12 * 24 - 3, 3)
    put(store, result)
    assert at(store, HOMES[0], GAP) == ([510, 511, 512], [True] * 3)
    assert at(store, HOMES[1], [SPIKE]) == ([503], [True])


def test_doing_it_again_adds_nothing(store):
    put(store, run_vee(store, the_plan()))
    again = run_vee(store, the_plan())
    assert len(again.edits) == 0
    assert int(again.estimated.sum()) == 4


def test_adding_the_same_edits_twice_changes_nothing(store):
    result = run_vee(store, the_plan())
    put(store, result)
    done = put(store, result)
    assert (done.new, done.replaced, done.unchanged) == (0, 0, 4)


def test_a_late_actual_reading_wins_over_the_estimate_of_its_gap(store):
    put(store, run_vee(store, the_plan()))
    store.append([a_batch([Row(HOMES[0], GAP[0], 1)])])
    assert at(store, HOMES[0], GAP) == ([1, 511, 512], [False, True, True])


def test_a_wrong_reading_that_is_delivered_again_does_not_undo_its_edit_and_a_correction_does(store):
    put(store, run_vee(store, the_plan()))
    store.append([a_batch([Row(HOMES[1], SPIKE, 9_000)])])
    assert at(store, HOMES[1], [SPIKE]) == ([503], [True])
    store.append([a_batch([Row(HOMES[1], SPIKE, 450, ACTUAL, 1)])])
    assert at(store, HOMES[1], [SPIKE]) == ([450], [False])


def test_a_reading_that_its_source_has_confirmed_is_not_edited(store):
    store.append([a_batch([Row(HOMES[1], SPIKE, 9_000, ACTUAL, 1)])])
    result = run_vee(store, the_plan())
    put(store, result)
    refused = not_in_force(store, the_plan(), result.edits.meters, result.edits.slot)
    assert result.edits.take(refused).slot.tolist() == [SPIKE]
    assert at(store, HOMES[1], [SPIKE]) == ([9_000], [False])
    confirmed = {HOMES[1]: frozenset({SPIKE})}
    assert len(run_vee(store, the_plan(confirmed=confirmed)).edits) == 0


def test_meters_without_a_reading_are_counted_when_they_are_named(store):
    result = run_vee(store, the_plan(meters=dict.fromkeys([*HOMES[:2], "nobody"], 0)))
    assert result.meters.tolist() == ["home 0", "home 1", "nobody"]
    assert result.missing.tolist() == [3, 0, 24]


def test_the_contracted_capacity_raises_the_limit(tmp_path):
    high = rows(changed={(home, SPIKE): 26_000 for home in HOMES[:2]})
    store = a_store(tmp_path, high)
    rules = the_rules(spike={"median_pct": 100_000})
    result = run_vee(store, the_plan(meters={HOMES[0]: 0, HOMES[1]: 2_600}, rules=rules))
    assert (result.findings.meters.tolist(), result.findings.check.tolist()) == ([HOMES[0]], [Check.LIMIT])


def test_an_estimated_gap_is_what_the_register_counted(store):
    whole = int(plain_days()[0, TODAY].sum())
    begin = TODAY * 24
    reads = some_reads((begin, 7), (begin + 24, 7 + whole + 90), meter=HOMES[0])
    put(store, run_vee(store, the_plan(reads=reads)))
    wh, flags = at(store, HOMES[0], range(START + begin, START + begin + 24))
    assert (sum(wh), sum(flags)) == (whole + 90, 3)


def test_a_register_read_long_before_brings_its_days_along(store):
    begin = TODAY * 24
    whole = int(plain_days()[0, : TODAY + 1].sum()) - int(plain_days()[0, :10].sum())
    reads = some_reads((240, 0), (begin + 24, whole + 90), meter=HOMES[0])
    plan = the_plan(reads=reads)
    assert set(range(FIRST_DAY + 10, FIRST_DAY + TODAY + 1)) <= set(plan.days.tolist())
    put(store, run_vee(store, plan))
    wh, _ = at(store, HOMES[0], GAP)
    assert sum(wh) == 510 + 511 + 512 + 90


def test_results_survive_their_message(store):
    result = run_vee(store, the_plan())
    back = from_message(to_message(result), the_plan())
    for part in ("edits", "findings"):
        for name, column in vars(getattr(result, part)).items():
            other = getattr(getattr(back, part), name)
            assert (other.dtype, other.tolist()) == (column.dtype, column.tolist())
    assert (back.meters.tolist(), back.missing.tolist()) == (result.meters.tolist(), result.missing.tolist())


def test_an_empty_bucket_is_nobody(store):
    result = vee_bucket(store, the_plan(meters={}), 0)
    assert (len(result.meters), len(result.edits), result.expected) == (0, 0, 24)


@pytest.mark.stack
def test_a_job_by_spark_equals_the_one_in_this_process(spark, store):
    here, calls = run_vee(store, the_plan()), list[tuple[int, int]]()
    there = run_vee(store, the_plan(), session=spark, progress=lambda *call: calls.append(call))
    assert to_message(there) == to_message(here)
    assert calls[-1][0] == calls[-1][1]


# --- the log -----------------------------------------------------------------------------------------------


def logged(store, folder, *, plan=None):
    plan = plan or the_plan()
    result = run_vee(store, plan)
    log = EditLog(folder / "log")
    return log, log.write(edits_table(result.edits, 60, Register.IMPORT, plan.rules, "someone", NOW)), result


def test_the_log_says_who_did_what_and_why(store, tmp_path):
    _, path, _ = logged(store, tmp_path)
    gap, *_, spike = pq.read_table(path).to_pylist()
    assert gap | {"at": None, "rules": None} == {
        "meter": HOMES[0], "register": "import", "interval_minutes": 60, "slot": GAP[0],
        "interval_start": datetime(2024, 11, 1, 10, tzinfo=UTC), "reason": "gap.missing", "method": "like-days",
        "old_wh": None, "new_wh": 510, "revision": 0, "rules": None, "by": "someone", "at": None, "in_force": True,
    }  # fmt: skip
    assert (spike["meter"], spike["old_wh"], spike["new_wh"], spike["revision"]) == (HOMES[1], 9_000, 503, 1)
    assert gap["rules"].startswith("standard ")


def test_the_same_edits_are_logged_once(store, tmp_path):
    log, path, result = logged(store, tmp_path)
    later = edits_table(result.edits, 60, Register.IMPORT, the_rules(), "another", datetime(2026, 2, 1, tzinfo=UTC))
    assert log.write(later) == path
    assert set(pq.read_table(path).column("by").to_pylist()) == {"someone"}
    assert len(list(log.folder.iterdir())) == 1


def test_the_log_is_read_by_slots_and_knows_what_was_refused(store, tmp_path):
    log, path, result = logged(store, tmp_path)
    assert log.read(GAP[0], GAP[2], 60).column("slot").to_pylist() == list(GAP[:2])
    assert log.read(GAP[0], GAP[2], 30).num_rows == 0
    assert log.confirmed(START, START + 10**4, 60) == {}
    log.mark(path, result.edits.slot == SPIKE)
    assert log.confirmed(START, START + 10**4, 60) == {HOMES[1]: frozenset({SPIKE})}


def test_no_log_is_an_empty_one(tmp_path):
    assert EditLog(tmp_path / "none").read(0, 10, 60).num_rows == 0


# --- certificates ------------------------------------------------------------------------------------------


def a_strict_or_lenient_plan(accept_estimated):
    data = tomllib.loads((PROGRAMMES / "kpx-max-4-of-5.toml").read_text())
    data["terms"][0]["accept_estimated"] = accept_estimated
    return make_plan(an_event(), parse_programme(data), 60)


@pytest.mark.parametrize("accepted", [True, False])
def test_certification_after_vee_counts_estimates_as_the_programme_says(tmp_path, accepted):
    plan = a_strict_or_lenient_plan(accepted)
    event = int(plan.slots[0, 0])
    day = event // 24 * 24
    random = np.random.default_rng(3)
    store = ParquetStore(tmp_path / "store", buckets=1)
    hours = [slot for slot in range(day - 30 * 24, day + 48) if slot != event]  # all but the event's own
    store.append([a_batch([Row("a", slot, int(random.integers(400, 600))) for slot in hours])])
    assert certify_bucket(store, plan, 0).findings[0] & Finding.EVENT_INCOMPLETE

    rules = the_rules()
    result = run_vee(store, VeePlan(60, day, day + 24, rules, None, spans_between(some_reads(), rules.register, 1)))
    assert result.edits.slot.tolist() == [event]
    put(store, result)
    home = certify_bucket(store, plan, 0)
    counts = dict(zip(EVIDENCE, home.evidence[0].tolist(), strict=True))
    if accepted:
        assert home.findings[0] & Finding.READINGS_ESTIMATED
        assert (counts["estimated_intervals"], int(home.actual_wh[0, 0])) == (1, int(result.edits.wh[0]))
    else:
        assert home.findings[0] & Finding.EVENT_INCOMPLETE
        assert counts["missing_intervals"] == 1
