"""Provisional against batch: why each home changed, and sums that are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from builders import SALT, a_plan, a_wallet
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.certificates import Resource, issue_certificates
from domain.certification import LoadBlock, certify
from domain.errors import NegawattError
from domain.plans import EventPlan
from domain.readings import MISSING
from speed.reconciliation import PARTS, Source, from_bytes, keep, reconcile, result_of, to_bytes
from speed.reconciliation_sql import REASONS
from speed.stores import open_speed_store

PLAN = a_plan(interval_minutes=15)  # an hour in four intervals, from 08:00 UTC
MADE = datetime(2025, 6, 11, 9, tzinfo=UTC)
DAYS = len(PLAN.days)


@pytest.fixture
def store():
    store = open_speed_store("duckdb://")
    yield store
    store.close()


class Home:
    """A home's readings: 500 Wh an interval on days of history, and what it used in the event."""

    def __init__(
        self, event: Sequence[int | None] = (300,) * 4, *, usual: int = 500, days: int = DAYS, guessed: bool = False
    ) -> None:
        self.wh = np.full(PLAN.slots.shape, usual, dtype=np.int32)
        self.wh[1 + days :] = MISSING
        self.wh[0, :4] = [MISSING if wh is None else wh for wh in event]
        self.guessed = np.zeros(self.wh.shape, dtype=bool)
        self.guessed[0, 0] = guessed


def result(homes: dict[str, Home], source: Source, plan: EventPlan = PLAN, traded: dict[str, int] | None = None):
    block = LoadBlock(
        np.array(sorted(homes), dtype=object),
        np.stack([homes[name].wh for name in sorted(homes)]),
        np.stack([homes[name].guessed for name in sorted(homes)]),
    )
    reductions = certify(plan, block)
    resources = {name: Resource(name, 1000, a_wallet(n)) for n, name in enumerate(sorted(homes))}
    certificates = issue_certificates(plan, reductions, resources, SALT, traded)
    return result_of(plan, reductions, certificates, source, MADE)


def compare(store, before: dict[str, Home], after: dict[str, Home], plan: EventPlan = PLAN):
    keep(store, result(before, Source.PROVISIONAL))
    keep(store, result(after, Source.BATCH, plan))
    return reconcile(store, "e1")


def only(found):
    (change,) = found.largest
    return change


def test_the_same_results_change_nothing(store):
    homes = {"a": Home(), "b": Home([600, 500, 500, 500])}
    found = compare(store, homes, homes)
    assert found.provisional == found.batch
    # a saved 4 x 200 Wh; b used 100 Wh more, which counts as zero in the total
    assert (found.batch.reduction_wh, found.batch.counted_wh) == (700, 800)
    assert {reason: facts["homes"] for reason, facts in found.reasons.items()} == {"unchanged": 2}
    assert found.largest == ()


def test_a_late_reading_is_told_with_its_interval(store):
    # With 90 % of the event needed, one of four may not be missing; so say that the programme takes 75 %.
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=75))
    keep(store, result({"a": Home([300, None, 300, 300])}, Source.PROVISIONAL, plan))
    keep(store, result({"a": Home([300, 120, 300, 300])}, Source.BATCH, plan))
    change = only(reconcile(store, "e1"))
    assert (change.reason, change.reduction_wh) == ("late", (600, 980))
    assert change.parts_wh == {"late_wh": 380, "lost_wh": 0, "revised_wh": 0, "history_wh": 0, "status_wh": 0}
    (at,) = change.intervals
    assert at == {
        "interval_start": "2025-06-11T08:15:00+00:00",
        "provisional_baseline_wh": 500,
        "batch_baseline_wh": 500,
        "provisional_actual_wh": None,
        "batch_actual_wh": 120,
    }
    assert change.findings == (("event.unmeasured",), ())


def test_a_reading_that_the_batch_layer_lacks_is_lost(store):
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=75))
    keep(store, result({"a": Home()}, Source.PROVISIONAL, plan))
    keep(store, result({"a": Home([300, 300, 300, None])}, Source.BATCH, plan))
    change = only(reconcile(store, "e1"))
    assert (change.reason, change.parts_wh["lost_wh"]) == ("lost", -200)
    assert [at["interval_start"][11:16] for at in change.intervals] == ["08:45"]


def test_a_revision_is_told_with_its_intervals(store):
    change = only(compare(store, {"a": Home()}, {"a": Home([300, 310, 300, 250])}))
    assert (change.reason, change.reduction_wh, change.parts_wh["revised_wh"]) == ("revised", (800, 840), 40)
    assert [at["interval_start"][11:16] for at in change.intervals] == ["08:15", "08:45"]


def test_another_history_moves_the_baseline(store):
    change = only(compare(store, {"a": Home()}, {"a": Home(usual=510)}))
    assert (change.reason, change.reduction_wh, change.parts_wh["history_wh"]) == ("history", (800, 840), 40)
    assert len(change.intervals) == 4


def test_late_and_history_at_once_are_told_apart_in_watt_hours(store):
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=75))
    keep(store, result({"a": Home([300, None, 300, 300])}, Source.PROVISIONAL, plan))
    keep(store, result({"a": Home([300, 300, 290, 300], usual=520)}, Source.BATCH, plan))
    change = only(reconcile(store, "e1"))
    # Late: 520 - 300. Revised: 300 - 290. History: 20 in each of the three that were measured before.
    assert change.reason == "late"
    assert change.parts_wh == {"late_wh": 220, "lost_wh": 0, "revised_wh": 10, "history_wh": 60, "status_wh": 0}


def test_a_home_that_only_one_result_certifies_changes_by_all_of_its_reduction(store):
    late = only(compare(store, {"a": Home([None, None, 300, 300])}, {"a": Home()}))
    assert (late.reason, late.reduction_wh, late.parts_wh["status_wh"]) == ("late", (0, 800), 800)
    history = only(compare(store, {"a": Home(days=2)}, {"a": Home()}))
    assert (history.reason, history.parts_wh["status_wh"], history.intervals) == ("history", 800, ())


def test_homes_that_joined_or_left_are_told(store):
    found = compare(store, {"a": Home(), "gone": Home()}, {"a": Home(), "new": Home([100] * 4)})
    assert {change.meter: change.reason for change in found.largest} == {"gone": "left", "new": "joined"}
    assert {change.meter: change.reduction_wh for change in found.largest} == {"gone": (800, 0), "new": (0, 1600)}


def test_an_estimate_that_became_actual_changes_the_findings_alone(store):
    change = only(compare(store, {"a": Home(guessed=True)}, {"a": Home()}))
    assert (change.reason, change.reduction_wh) == ("findings", (800, 800))
    assert change.findings == (("readings.estimated",), ())


def test_other_terms_are_told_before_anything_else(store):
    dearer = replace(PLAN.terms, payment=replace(PLAN.terms.payment, rate_per_kwh=Fraction(260_000)))
    change = only(compare(store, {"a": Home()}, {"a": Home([100] * 4)}, replace(PLAN, terms=dearer)))
    assert change.reason == "rule"
    assert change.payment[1] > change.payment[0]


def test_a_payment_alone_changes_by_traded_obligations(store):
    homes = {"a": Home(), "b": Home([500] * 4)}
    keep(store, result(homes, Source.PROVISIONAL))
    keep(store, result(homes, Source.BATCH, traded={"a": 100, "b": -100}))
    found = reconcile(store, "e1")
    assert {reason: facts["homes"] for reason, facts in found.reasons.items()} == {"payment": 1, "unchanged": 1}


def test_a_result_that_is_kept_again_replaces_and_adds_nothing(store):
    keep(store, result({"a": Home(), "b": Home()}, Source.PROVISIONAL))
    for _ in range(2):
        keep(store, result({"a": Home()}, Source.PROVISIONAL))
    found = reconcile(store, "e1")
    assert (found.provisional.homes, found.batch, found.reasons) == (1, None, {})
    (rows,) = store.query("SELECT COUNT(*) AS n FROM certified_intervals").column(0).to_pylist()
    assert rows == 4


def test_events_are_compared_apart(store):
    other = replace(PLAN, event=replace(PLAN.event, id="e2"))
    keep(store, result({"a": Home()}, Source.PROVISIONAL))
    keep(store, result({"a": Home([100] * 4)}, Source.BATCH, other))
    assert reconcile(store, "e1").batch is None
    assert reconcile(store, "e2").provisional is None
    assert reconcile(store, "e2").batch.reduction_wh == 1600


def test_a_result_survives_the_file_in_which_it_waits_for_the_store(store):
    waiting = from_bytes(to_bytes(result({"a": Home()}, Source.BATCH)))
    keep(store, waiting)
    assert reconcile(store, "e1").batch.reduction_wh == 800


def test_a_meter_has_one_number_for_readings_and_results(store):
    before = store.meter_ids(np.array(["z", "a"], dtype=object)).tolist()
    keep(store, result({"a": Home(), "z": Home()}, Source.BATCH))
    rows = store.query("SELECT meter, name FROM reconciliation ORDER BY name").to_pylist()
    assert [(row["name"], row["meter"]) for row in rows] == [("a", before[1]), ("z", before[0])]


def test_payments_beyond_64_bits_are_refused_and_not_cut(store):
    coins = replace(PLAN.terms, payment=replace(PLAN.terms.payment, rate_per_kwh=Fraction(10**19)))
    with pytest.raises(NegawattError, match="minor units don't fit"):
        result({"a": Home()}, Source.BATCH, replace(PLAN, terms=coins))


def test_intervals_without_a_reading_are_null_and_not_zero(store):
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=75))
    keep(store, result({"a": Home([None, 0, 0, 0])}, Source.BATCH, plan))
    rows = store.query("SELECT actual_wh FROM certified_intervals ORDER BY ts").column(0).to_pylist()
    assert rows == [None, 0, 0, 0]


HOMES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        Home,
        st.lists(st.sampled_from([None, 0, 300, 500, 900]), min_size=4, max_size=4),
        usual=st.sampled_from([400, 500, 501]),
        days=st.sampled_from([1, DAYS]),
        guessed=st.booleans(),
    ),
    min_size=1,
)


@settings(max_examples=10)
@given(HOMES, HOMES)
def test_reasons_and_parts_add_up_to_what_the_event_changed_by(before, after):
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=50))
    early, late = (result(h, s, plan) for h, s in ((before, Source.PROVISIONAL), (after, Source.BATCH)))
    store = open_speed_store("duckdb://")
    try:
        keep(store, early)
        keep(store, late)
        found = reconcile(store, "e1", largest=100)
    finally:
        store.close()

    def total(kept, column):
        return sum(kept.homes[column].to_pylist())

    assert found.provisional.reduction_wh == total(early, "reduction_wh")
    assert found.batch.payment == total(late, "payment")
    facts = found.reasons.values()
    assert sum(f["homes"] for f in facts) == len(before | after)
    assert sum(f["change_wh"] for f in facts) == total(late, "reduction_wh") - total(early, "reduction_wh")
    assert sum(f["change_payment"] for f in facts) == total(late, "payment") - total(early, "payment")
    for one in facts:
        assert sum(one["parts_wh"].values()) == one["change_wh"]
    for change in found.largest:
        assert sum(change.parts_wh[part] for part in PARTS) == change.reduction_wh[1] - change.reduction_wh[0]
        assert change.reason in REASONS


@pytest.mark.stack
def test_heavydb_compares_as_duckdb_does(heavydb, store):
    plan = replace(PLAN, terms=replace(PLAN.terms, min_event_completeness_pct=50))
    random = np.random.default_rng(7)

    def some_homes(of: str) -> dict[str, Home]:
        choices = [None, 0, 300, 500, 900]
        return {
            name: Home(
                [choices[n] for n in random.integers(0, 5, 4)],
                usual=int(random.choice([400, 500])),
                days=int(random.choice([1, DAYS])),
                guessed=bool(random.integers(0, 2)),
            )
            for name in of
        }

    before, after = some_homes("abcdefghijkl"), some_homes("bcdefghijklm")
    before["same"] = after["same"] = Home()
    other = open_speed_store(heavydb)
    try:
        for place in (store, other):
            keep(place, result(before, Source.PROVISIONAL, plan))
            keep(place, result(after, Source.BATCH, plan))
            keep(place, result(after, Source.BATCH, plan))
        assert reconcile(other, "e1", largest=20) == reconcile(store, "e1", largest=20)
    finally:
        other.close()
