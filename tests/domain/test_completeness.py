"""What to do about an event by the readings that are in, at every edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.completeness import Completeness, Decision, decide
from domain.programmes import AtDeadline, ReadingsRule

END = datetime(2025, 6, 11, 9, tzinfo=UTC)
DEADLINE = END + timedelta(hours=24)
SECOND = timedelta(seconds=1)


def found(present: int, expected: int = 1000, **rule: object) -> Completeness:
    return Completeness("e1", END, ReadingsRule(**rule), 100, expected, present, expected - present, ("home-7",))


@pytest.mark.parametrize(
    ("present", "at", "decision"),
    [
        (1000, END - SECOND, Decision.WAIT),  # readings of a time that has not come
        (1000, END, Decision.CERTIFY),
        (999, END, Decision.WAIT),
        (999, DEADLINE - SECOND, Decision.WAIT),
        (999, DEADLINE, Decision.CERTIFY_AT_DEADLINE),
        (0, DEADLINE + SECOND, Decision.CERTIFY_AT_DEADLINE),
        (1000, DEADLINE, Decision.CERTIFY),
    ],
)
def test_an_event_waits_for_all_readings_until_its_deadline(present, at, decision):
    assert decide(found(present), at) is decision


@pytest.mark.parametrize(
    ("present", "decision"), [(979, Decision.WAIT), (980, Decision.CERTIFY), (981, Decision.CERTIFY)]
)
def test_the_share_asked_for_is_enough(present, decision):
    assert decide(found(present, complete_pct=98), END) is decision


def test_a_share_is_compared_unrounded():
    lacking_one = found(98 * 10_000_000 - 1, 1_000_000_000, complete_pct=98)  # 97.9999999 %
    assert (lacking_one.pct, lacking_one.complete) == (Decimal("97.99"), False)


@pytest.mark.parametrize(
    ("present", "expected", "pct"),
    [(0, 3, "0.00"), (1, 3, "33.33"), (2, 3, "66.66"), (99_999, 100_000, "99.99"), (3, 3, "100.00")],
)
def test_the_share_that_is_shown_is_rounded_down(present, expected, pct):
    assert str(found(present, expected).pct) == pct


def test_a_programme_may_refuse_at_the_deadline():
    some = found(999, at_deadline=AtDeadline.REFUSE)
    assert decide(some, DEADLINE - SECOND) is Decision.WAIT
    assert decide(some, DEADLINE) is Decision.REFUSE
    assert decide(found(1000, at_deadline=AtDeadline.REFUSE), DEADLINE) is Decision.CERTIFY


def test_without_a_deadline_nobody_waits():
    assert decide(found(1, deadline_hours=0), END) is Decision.CERTIFY_AT_DEADLINE


def test_a_moment_of_another_zone_is_the_same_moment():
    seoul = DEADLINE.astimezone(tz=datetime.fromisoformat("2025-01-01T00:00+09:00").tzinfo)
    assert decide(found(999), seoul) is Decision.CERTIFY_AT_DEADLINE


def test_its_document_says_all_of_it():
    assert found(999, complete_pct=99, deadline_hours=6).document() == {
        "event": "e1",
        "end": "2025-06-11T09:00:00+00:00",
        "participants": 100,
        "expected_intervals": 1000,
        "present_intervals": 999,
        "pct": 99.9,
        "complete_pct": 99,
        "complete": True,
        "missing_meters": 1,
        "first_missing": ["home-7"],
        "deadline": "2025-06-11T15:00:00+00:00",
        "at_deadline": "certify",
    }
