"""Whether an event's readings are in: counted in the batch store, over the participants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from builders import PROGRAMMES, a_plan, an_event, some_resources
from stores import ESTIMATED, Row, a_batch

from domain.errors import EventNotOverError, NoParticipantsError, UnknownEventError
from negawatt.event_readings import check_ended, completeness, readiness
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole

EVENT, PLAN = an_event(), a_plan()  # an hour from 08:00 UTC in two intervals, six more before it, of half an hour
OF_EVENT = PLAN.slots[0].tolist()
SETTINGS = Settings(buckets=4)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Three homes that take part in an event; no readings."""
    place = Workspace(tmp_path)
    place.add_resources(some_resources(3).values())
    place.add_event(EVENT)
    return place


def store(workspace: Workspace, *homes: str, but: tuple[str, int] | None = None, quality: int = 2) -> None:
    """Readings at all slots that the event's day needs, but for one."""
    rows = [Row(home, slot, 0, quality) for home in homes for slot in OF_EVENT if (home, slot) != but]
    batch_store(workspace, SETTINGS).append([a_batch(rows, 30)])


def test_all_readings_of_event_and_adjustment_window_make_it_complete(workspace):
    store(workspace, "home-0000", "home-0001", "home-0002")
    found = completeness(workspace, SETTINGS, EVENT)
    assert len(OF_EVENT) == 2 + 6
    assert (found.participants, found.expected_intervals, found.present_intervals) == (3, 24, 24)
    assert (found.complete, found.missing_meters, found.first_missing) == (True, 0, ())
    assert found.deadline == datetime(2025, 6, 12, 9, tzinfo=UTC)


@pytest.mark.parametrize("slot", [OF_EVENT[0], OF_EVENT[-1]])
def test_one_missing_interval_is_told_with_its_meter(workspace, slot):
    store(workspace, "home-0000", "home-0001", "home-0002", but=("home-0001", slot))
    found = completeness(workspace, SETTINGS, EVENT)
    assert (found.present_intervals, found.complete, str(found.pct)) == (23, False, "95.83")  # 23 of 24
    assert (found.missing_meters, found.first_missing) == (1, ("home-0001",))


def test_a_meter_that_never_reported_lacks_all_and_a_stranger_counts_for_nothing(workspace):
    store(workspace, "home-0000", "home-0002", "stranger")
    found = completeness(workspace, SETTINGS, EVENT)
    assert (found.expected_intervals, found.present_intervals, found.first_missing) == (24, 16, ("home-0001",))


def test_readings_of_other_times_count_for_nothing(workspace):
    others = np.setdiff1d(np.unique(PLAN.slots), PLAN.slots[0])
    rows = [Row(home, slot, 1) for home in some_resources(3) for slot in others.tolist()]
    batch_store(workspace, SETTINGS).append([a_batch(rows, 30)])
    assert completeness(workspace, SETTINGS, EVENT).present_intervals == 0


def test_only_the_first_names_are_told(workspace):
    workspace.add_resources(some_resources(20).values())
    store(workspace, "home-0000")
    found = completeness(workspace, SETTINGS, EVENT)
    assert (found.missing_meters, found.first_missing) == (19, tuple(f"home-{n:04d}" for n in range(1, 6)))


def test_estimates_count_where_the_programme_accepts_them(workspace):
    store(workspace, "home-0000", "home-0001", "home-0002", quality=ESTIMATED)
    assert completeness(workspace, SETTINGS, EVENT).complete
    strict_programme(workspace)
    found = completeness(workspace, SETTINGS, EVENT)
    assert (found.present_intervals, found.missing_meters) == (0, 3)


def strict_programme(workspace: Workspace) -> None:
    """The built-in programme, but estimates don't count and nobody waits."""
    text = (PROGRAMMES / "kpx-max-4-of-5.toml").read_text()
    text = text.replace("accept_estimated = true", "accept_estimated = false")
    text = text.replace("deadline_hours = 24", "deadline_hours = 0").replace('"certify"', '"refuse"')
    write_whole(workspace.folder / "programmes" / "kpx-max-4-of-5.toml", text.encode())


def test_looking_does_not_fix_who_takes_part(workspace):
    store(workspace, "home-0000")
    completeness(workspace, SETTINGS, EVENT)
    assert not (workspace.folder / "participants").exists()
    workspace.add_resources(some_resources(4).values())
    assert completeness(workspace, SETTINGS, EVENT).participants == 4
    workspace.participants(EVENT)
    workspace.add_resources(some_resources(5).values())
    assert completeness(workspace, SETTINGS, EVENT).participants == 4


def test_what_to_do_follows_from_the_programme_and_the_moment(workspace):
    store(workspace, "home-0000", "home-0001")
    said = readiness(workspace, SETTINGS, EVENT, EVENT.end)
    assert (said["decision"], said["pct"], said["deadline"]) == ("wait", 66.66, "2025-06-12T09:00:00+00:00")
    day_later = EVENT.end + timedelta(hours=24)
    assert readiness(workspace, SETTINGS, EVENT, day_later)["decision"] == "certify_at_deadline"
    strict_programme(workspace)
    assert readiness(workspace, SETTINGS, EVENT, EVENT.end)["decision"] == "refuse"
    store(workspace, "home-0002")
    assert readiness(workspace, SETTINGS, EVENT, EVENT.end)["decision"] == "certify"


def test_what_can_be_wrong_is_told_apart(workspace, tmp_path):
    with pytest.raises(UnknownEventError, match="event 'e2': unknown; known: e1"):
        workspace.event("e2")
    with pytest.raises(EventNotOverError, match=r"it ends at 2025-06-11T09:00:00\+00:00") as early:
        readiness(workspace, SETTINGS, EVENT, EVENT.end - timedelta(seconds=1))
    assert early.value.end == EVENT.end
    check_ended(EVENT, EVENT.end)
    assert completeness(workspace, SETTINGS, EVENT).pct == 0, "the first readings of all may still come"
    with pytest.raises(NoParticipantsError, match="negawatt ingest --resources"):
        completeness(Workspace(tmp_path / "other"), SETTINGS, EVENT)
    workspace.set_participants(EVENT, [], {})
    with pytest.raises(NoParticipantsError, match="all homes stayed out"):
        completeness(workspace, SETTINGS, EVENT)
