import itertools
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from domain_builders import NEW_YORK, ROOT, SEOUL, an_event

from domain.errors import IllegalTransitionError, InvalidEventError
from domain.events import DREvent, EventState, advance, state_by_clock

LEGAL = {
    (EventState.NONE, EventState.ISSUED),
    (EventState.ISSUED, EventState.ACTIVE),
    (EventState.ISSUED, EventState.CANCELLED),
    (EventState.ACTIVE, EventState.ENDED),
    (EventState.ENDED, EventState.CERTIFIED),
    (EventState.CERTIFIED, EventState.FINAL),
    (EventState.CERTIFIED, EventState.ENDED),  # taken back in the dispute window
    (EventState.FINAL, EventState.PAID),
    (EventState.FINAL, EventState.CLOSED),  # the rest was never claimed
    (EventState.PAID, EventState.CLOSED),
}
ILLEGAL = sorted(set(itertools.product(EventState, EventState)) - LEGAL)
T = datetime(2025, 7, 9, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("have", "want"), sorted(LEGAL))
def test_every_legal_step_is_taken(have, want):
    assert advance("e1", have, want) is want


@pytest.mark.parametrize(("have", "want"), ILLEGAL)
def test_every_other_step_is_refused(have, want):
    with pytest.raises(IllegalTransitionError) as refused:
        advance("e1", have, want)
    error = refused.value
    assert (error.event, error.have, error.want) == ("e1", have.name.lower(), want.name.lower())
    assert set(error.allowed) == {then.name.lower() for now, then in LEGAL if now is have}


def test_a_refusal_says_what_may_come_next():
    with pytest.raises(IllegalTransitionError, match="after issued comes active, cancelled"):
        advance("e1", EventState.ISSUED, EventState.PAID)
    with pytest.raises(IllegalTransitionError, match="nothing: it is final"):
        advance("e1", EventState.CLOSED, EventState.PAID)


def test_the_contract_numbers_the_states_alike():
    source = (ROOT / "contracts" / "src" / "DemandResponse.sol").read_text("utf-8")
    body = re.search(r"enum State \{([^}]*)\}", source)
    assert body is not None
    names = [name.strip().upper() for name in body[1].split(",")]
    assert names == [state.name for state in EventState]


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (T - timedelta(microseconds=1), EventState.ISSUED),
        (T, EventState.ACTIVE),
        (T + HOUR - timedelta(microseconds=1), EventState.ACTIVE),
        (T + HOUR, EventState.ENDED),
    ],
)
def test_the_window_includes_its_start_and_not_its_end(now, state):
    assert state_by_clock(T, T + HOUR, now) is state


def test_times_are_kept_in_utc():
    event = an_event("2025-07-09 17:00", zone=SEOUL)
    assert (event.start, event.end) == (T, T + HOUR)
    assert event.start.tzinfo is UTC
    assert event == DREvent("e1", "test", T, T + HOUR)


@pytest.mark.parametrize("event_id", ["", " ", "a b", "a/b", "é", "x" * 65, "..", "a\n", "a:1", "a.toml"])
def test_unusable_ids_are_refused(event_id):
    with pytest.raises(InvalidEventError, match="1 to 64 characters"):
        DREvent(event_id, "test", T, T + HOUR)


@pytest.mark.parametrize("event_id", ["a", "2025-07-09_17.00", "a.toml.b", "x" * 64])
def test_usable_ids_are_kept(event_id):
    assert DREvent(event_id, "test", T, T + HOUR).id == event_id


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (T.replace(tzinfo=None), T + HOUR, "start .* has no UTC offset"),
        (T, (T + HOUR).replace(tzinfo=None), "end .* has no UTC offset"),
        (T, T, "not after its start"),
        (T + HOUR, T, "not after its start"),
        (T, T + timedelta(days=1, seconds=1), "longer than a day"),
        (datetime(9999, 12, 31, 22, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC), "from 1970 to 9998"),
        (datetime(1, 1, 1, tzinfo=ZoneInfo(SEOUL)), datetime(1, 1, 1, 9, tzinfo=UTC), "from 1970 to 9998"),
        (datetime(1970, 1, 1, tzinfo=ZoneInfo(SEOUL)), datetime(1970, 1, 1, 9, tzinfo=UTC), "from 1970 to 9998"),
    ],
)
def test_impossible_windows_are_refused(start, end, problem):
    with pytest.raises(InvalidEventError, match=problem):
        DREvent("e1", "test", start, end)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
@pytest.mark.parametrize("start", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, tzinfo=UTC)])
def test_the_first_and_the_last_event_have_local_dates_everywhere(start, zone):
    assert DREvent("e1", "test", start, start + HOUR).local_dates(ZoneInfo(zone))


def test_an_event_may_last_a_whole_day():
    assert len(DREvent("e1", "test", T, T + timedelta(days=1)).slots(60)) == 24


def test_slots_are_half_open():
    event = an_event("2025-07-09 17:00", hours=1.5)
    # 2025-07-09 is day 20,089 + 189 = 20,278 since 1970; 08:00Z is half-hour 16.
    assert list(event.slots(30)) == [20_278 * 48 + n for n in (16, 17, 18)]


@pytest.mark.parametrize(("start", "hours"), [("2025-07-09 17:07", 1), ("2025-07-09 17:00", 0.9)])
def test_a_window_off_the_metering_grid_is_refused(start, hours):
    with pytest.raises(InvalidEventError, match="not on the 15-minute grid"):
        an_event(start, hours=hours).slots(15)


@pytest.mark.parametrize(
    ("start", "hours", "dates"),
    [
        ("2025-07-09 17:00", 1, [date(2025, 7, 9)]),
        ("2025-07-09 23:00", 2, [date(2025, 7, 9), date(2025, 7, 10)]),
        ("2025-07-09 23:00", 1, [date(2025, 7, 9)]),  # midnight itself is outside
        ("2025-07-09 00:00", 24, [date(2025, 7, 9)]),
        ("2025-12-31 23:30", 1, [date(2025, 12, 31), date(2026, 1, 1)]),
    ],
)
def test_an_event_touches_the_local_dates_of_its_window(start, hours, dates):
    assert list(an_event(start, hours=hours).local_dates(ZoneInfo(SEOUL))) == dates


def test_local_dates_depend_on_the_zone():
    event = an_event("2025-07-09 20:00", hours=2, zone=NEW_YORK)
    assert list(event.local_dates(ZoneInfo(SEOUL))) == [date(2025, 7, 10)]
