"""Whether the readings that an event is certified by are in yet: asked before it is certified by schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from batch.buckets import by_bucket
from domain.completeness import Completeness, decide
from domain.errors import EventNotOverError, NoParticipantsError
from domain.events import DREvent
from domain.kernel import accepted
from domain.readings import MISSING
from negawatt.pipeline import batch_store, plan_event
from negawatt.settings import Settings
from negawatt.workspace import Workspace

SHOWN_METERS = 5


def check_ended(event: DREvent, now: datetime) -> None:
    """See that an event is over.

    Raises
    ------
    EventNotOverError
        It ends later; says when.
    """
    if now < event.end:
        raise EventNotOverError(event.id, event.end)


def readiness(workspace: Workspace, settings: Settings, event: DREvent, now: datetime) -> dict[str, Any]:
    """How complete an event's readings are, and what its programme says to do at a moment, as plain JSON values.

    Returns
    -------
    dict
        Of `Completeness.document`, with ``decision``.

    Raises
    ------
    NegawattError
        As `check_ended` and `completeness`.
    """
    check_ended(event, now)
    found = completeness(workspace, settings, event)
    return found.document() | {"decision": decide(found, now).value}


def completeness(workspace: Workspace, settings: Settings, event: DREvent) -> Completeness:
    """Count the readings that the batch store has of an event and its adjustment window.

    Those slots alone are read, bucket by bucket, in this process; days of history are not looked at. An estimate
    counts where the programme accepts it. Participants that are not fixed yet are not fixed by this.

    Raises
    ------
    NoParticipantsError
        Nobody takes part.
    StoreError
        The store has readings of several intervals, or can't be read.
    InvalidEventError
        The programme has no rule for the event.
    """
    people = workspace.participants(event, keep=False)
    if not people:
        raise NoParticipantsError(event.id, "nobody takes part: by the chain all homes stayed out")
    store = batch_store(workspace, settings)
    if not store.intervals():  # the first readings of all are still to come
        programme = workspace.programme(event.programme)
        rule = programme.terms_of(event).readings
        homes, some = len(people), tuple(sorted(people)[:SHOWN_METERS])
        return Completeness(event.id, event.end, rule, homes, homes, 0, homes, some)
    plan = plan_event(workspace, store, event)
    slots = plan.slots[:1]
    present, lacking = 0, list[str]()
    for bucket, meters in sorted(by_bucket(people, store.buckets).items()):
        block = store.read_slots(slots, plan.interval_minutes, bucket, meters)
        wh, _ = accepted(plan, block.wh, block.estimated)
        there = (wh[:, 0] != MISSING).sum(axis=1)
        present += int(there.sum())
        lacking += block.meters[there < slots.shape[1]].tolist()
    return Completeness(
        event=event.id,
        end=event.end,
        rule=plan.terms.readings,
        participants=len(people),
        expected_intervals=len(people) * slots.shape[1],
        present_intervals=present,
        missing_meters=len(lacking),
        first_missing=tuple(sorted(lacking)[:SHOWN_METERS]),
    )
