"""DR events: the window that a programme calls, and the states an event goes through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

from domain.errors import IllegalTransitionError, InvalidEventError, NegawattError
from domain.intervals import slot_of

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Slots count from the first; some time after the last, dates of some zones can't be told."""


class EventState(IntEnum):
    """Where an event is in its life. The contract reports the same numbers."""

    NONE = 0
    ISSUED = 1
    ACTIVE = 2
    ENDED = 3
    CERTIFIED = 4
    FINAL = 5
    PAID = 6
    CLOSED = 7
    CANCELLED = 8


_NEXT: dict[EventState, tuple[EventState, ...]] = {
    EventState.NONE: (EventState.ISSUED,),
    EventState.ISSUED: (EventState.ACTIVE, EventState.CANCELLED),
    EventState.ACTIVE: (EventState.ENDED,),
    EventState.ENDED: (EventState.CERTIFIED,),
    # Back to ended: a certification may be taken back until it is final.
    EventState.CERTIFIED: (EventState.FINAL, EventState.ENDED),
    # Closed without being paid in full: what nobody claimed in time went back.
    EventState.FINAL: (EventState.PAID, EventState.CLOSED),
    EventState.PAID: (EventState.CLOSED,),
    EventState.CLOSED: (),
    EventState.CANCELLED: (),
}


def advance(event: str, have: EventState, want: EventState) -> EventState:
    """Take one step in an event's life.

    Raises
    ------
    IllegalTransitionError
        ``want`` doesn't follow ``have``. No state is ever skipped.

    >>> advance("e1", EventState.ENDED, EventState.CERTIFIED).name
    'CERTIFIED'
    """
    if want not in _NEXT[have]:
        allowed = tuple(state.name.lower() for state in _NEXT[have])
        raise IllegalTransitionError(event, have.name.lower(), want.name.lower(), allowed)
    return want


def state_by_clock(start: datetime, end: datetime, now: datetime) -> EventState:
    """State of an issued event that nobody has acted on: issued, active or ended.

    >>> t = datetime(2025, 7, 1, 8, tzinfo=UTC)
    >>> state_by_clock(t, t + timedelta(hours=1), t).name
    'ACTIVE'
    """
    if now < start:
        return EventState.ISSUED
    return EventState.ACTIVE if now < end else EventState.ENDED


@dataclass(frozen=True)
class DREvent:
    """A DR event: a half-open window in which a programme's resources are to use less.

    Attributes
    ----------
    id : str
        Name of the event, unique within the operator. 1 to 64 characters of ``a-z A-Z 0-9 . _ -``,
        without ``.toml`` at the end.
    programme : str
        The programme that defines baseline and payment.
    start, end : datetime
        Window ``[start, end)``, time-zone aware, kept in UTC.

    Raises
    ------
    InvalidEventError
        Times without zone or outside 1970 to 9998, an empty window, one longer than a day, or an unusable id.
    """

    id: str
    programme: str
    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        usable = self.id.replace("-", "").replace("_", "").replace(".", "")
        if not (usable.isascii() and usable.isalnum() and len(self.id) <= 64) or self.id.endswith(".toml"):
            raise InvalidEventError(
                self.id, "an id has 1 to 64 characters of a-z A-Z 0-9 . _ - and doesn't end in .toml, as files do"
            )
        for name in ("start", "end"):
            instant = getattr(self, name)
            if instant.tzinfo is None:
                raise InvalidEventError(self.id, f"{name} {instant.isoformat()} has no UTC offset")
            if not _FIRST <= instant <= _LAST:
                raise InvalidEventError(self.id, f"{name} {instant.isoformat()}: expected a time from 1970 to 9998")
            object.__setattr__(self, name, instant.astimezone(UTC))
        if not self.start < self.end:
            raise InvalidEventError(self.id, f"it ends at {self.end.isoformat()}, not after its start")
        if self.end - self.start > timedelta(days=1):
            raise InvalidEventError(self.id, "it lasts longer than a day")

    def slots(self, interval_minutes: int) -> range:
        """Interval numbers of the window.

        Raises
        ------
        InvalidEventError
            The window doesn't start and end on the metering grid.
        """
        try:
            return range(slot_of(self.start, interval_minutes), slot_of(self.end, interval_minutes))
        except NegawattError as off_grid:
            raise InvalidEventError(self.id, str(off_grid)) from off_grid

    def local_dates(self, zone: ZoneInfo) -> tuple[date, ...]:
        """Local dates that the window touches."""
        first = self.start.astimezone(zone).date()
        last = (self.end - timedelta(microseconds=1)).astimezone(zone).date()
        return tuple(first + timedelta(days=n) for n in range((last - first).days + 1))
