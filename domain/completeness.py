"""Whether an event's readings are in, and what to do while they are not: certify, wait, or refuse."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.programmes import AtDeadline, ReadingsRule


class Decision(StrEnum):
    """What to do about an event by what has come in of its readings."""

    CERTIFY = "certify"
    WAIT = "wait"
    CERTIFY_AT_DEADLINE = "certify_at_deadline"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Completeness:
    """How many of an event's readings are there.

    Attributes
    ----------
    event : str
    end : datetime
        Of the event; aware.
    rule : ReadingsRule
    participants : int
    expected_intervals : int
        Intervals of event and adjustment window, of all participants; at least 1.
    present_intervals : int
        Those of them that have a reading which the programme accepts.
    missing_meters : int
        Participants that lack at least one.
    first_missing : tuple of str
        Some of those, in order.
    """

    event: str
    end: datetime
    rule: ReadingsRule
    participants: int
    expected_intervals: int
    present_intervals: int
    missing_meters: int
    first_missing: tuple[str, ...]

    @property
    def deadline(self) -> datetime:
        """From when on nobody waits for readings."""
        return self.end + timedelta(hours=self.rule.deadline_hours)

    @property
    def pct(self) -> Decimal:
        """Share of the intervals that are there, rounded down to hundredths: only all of them are 100.00. [%]"""
        return Decimal(10_000 * self.present_intervals // self.expected_intervals).scaleb(-2)

    @property
    def complete(self) -> bool:
        """Whether the share, unrounded, is what the programme asks for."""
        return 100 * self.present_intervals >= self.rule.complete_pct * self.expected_intervals

    def document(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "event": self.event,
            "end": self.end.isoformat(),
            "participants": self.participants,
            "expected_intervals": self.expected_intervals,
            "present_intervals": self.present_intervals,
            "pct": float(self.pct),
            "complete_pct": self.rule.complete_pct,
            "complete": self.complete,
            "missing_meters": self.missing_meters,
            "first_missing": list(self.first_missing),
            "deadline": self.deadline.isoformat(),
            "at_deadline": self.rule.at_deadline.value,
        }


def decide(found: Completeness, now: datetime) -> Decision:
    """What to do at a moment.

    Complete readings are certified whenever they are, also after the deadline; before the event's end nothing is.

    >>> from datetime import UTC
    >>> end = datetime(2025, 6, 11, 9, tzinfo=UTC)
    >>> some = Completeness("e1", end, ReadingsRule(), 10, 20, 19, 1, ("home-7",))
    >>> [decide(some, end + timedelta(hours=hours)).value for hours in (23, 24)]
    ['wait', 'certify_at_deadline']
    """
    if now < found.end:
        return Decision.WAIT
    if found.complete:
        return Decision.CERTIFY
    if now < found.deadline:
        return Decision.WAIT
    return Decision.REFUSE if found.rule.at_deadline is AtDeadline.REFUSE else Decision.CERTIFY_AT_DEADLINE
