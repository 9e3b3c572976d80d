"""The end of an event: its certification is started at the scheduler, by hand or as the bus tells of events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from domain.errors import InvalidProgrammeError, NegawattError, NoParticipantsError
from domain.events import DREvent
from negawatt.event_readings import check_ended
from negawatt.scheduler import CERTIFICATION, SETTLEMENT, RefusedError, Run, Scheduler, SchedulerError
from negawatt.workspace import Workspace

RETRY_SECONDS = 10.0
"""Between two tries to reach a scheduler that is away."""


def end_event(workspace: Workspace, scheduler: Scheduler, event: DREvent, now: datetime) -> Run:
    """Start the run that certifies and settles an event; a repeat finds the run that there is.

    Raises
    ------
    EventNotOverError, NoParticipantsError
    SchedulerError
    """
    check_ended(event, now)
    if not workspace.participants(event):
        raise NoParticipantsError(event.id, "nobody takes part: by the chain all homes stayed out")
    return scheduler.start(event)


def standing(workspace: Workspace, scheduler: Scheduler | None, now: datetime) -> list[dict[str, Any]]:
    """Every event of the workspace with what came of it, the latest first, as plain JSON values."""
    events = sorted(workspace.events(), key=lambda event: (event.end, event.id), reverse=True)
    ids = [event.id for event in events]
    runs = {dag: scheduler.runs(ids, dag) for dag in (CERTIFICATION, SETTLEMENT)} if scheduler and ids else {}
    return [
        {
            "event": event.id,
            "programme": event.programme,
            "start": event.start.isoformat(),
            "end": event.end.isoformat(),
            "state": _state(workspace, event, now),
            **{dag: found[event.id].state if event.id in found else None for dag, found in runs.items()},
        }
        for event in events
    ]


def _state(workspace: Workspace, event: DREvent, now: datetime) -> str:
    if workspace.settlement(event.id).exists():
        return "settled"
    if workspace.certificates(event.id).exists():
        return "certified"
    if now < event.start:
        return "to come"
    return "running" if now < event.end else "over"


class EventFollower:
    """Keeps the events that the bus tells of, and starts each one's run when it is over.

    Parameters
    ----------
    workspace : Workspace
    scheduler : Scheduler
    say : callable
        Told in a sentence what happens.
    """

    def __init__(self, workspace: Workspace, scheduler: Scheduler, say: Callable[[str], None]) -> None:
        self._workspace, self._scheduler, self._say = workspace, scheduler, say
        self._pending: dict[str, DREvent] = {}
        self._next_try = 0.0
        self.started = self.known = self.refused = 0

    def take(self, said: DREvent | str) -> None:
        """Take an event, or a sentence about a message that holds none; what is refused is kept with its reason."""
        if isinstance(said, str):
            self._refuse(said)
            return
        try:
            self._workspace.programme(said.programme).terms_of(said)
            self._workspace.add_event(said)
        except InvalidProgrammeError as wrong:
            self._refuse(f"event {said.id!r}: {wrong}")
            return
        except NegawattError as wrong:
            self._refuse(str(wrong))
            return
        self._pending[said.id] = said

    def start_what_is_over(self, now: datetime) -> None:
        """Start the runs of events that are over, in order of their ends. While the scheduler is away, they wait."""
        if time.monotonic() < self._next_try:
            return
        due = sorted((e for e in self._pending.values() if e.end <= now), key=lambda e: (e.end, e.id))
        for event in due:
            try:
                run = end_event(self._workspace, self._scheduler, event, now)
            except RefusedError as refused:  # the others may fare better; this one is tried again
                self._say(f"event {event.id}: {refused}")
                self._next_try = time.monotonic() + RETRY_SECONDS
                continue
            except SchedulerError as away:
                self._say(str(away))
                self._next_try = time.monotonic() + RETRY_SECONDS
                return
            except NegawattError as wrong:
                self._refuse(str(wrong))
            else:
                self.started, self.known = self.started + run.is_new, self.known + (not run.is_new)
                if run.is_new:
                    self._say(f"event {event.id} is over: {run.dag} started, {run.url}")
            del self._pending[event.id]

    def is_idle(self, now: datetime) -> bool:
        """Whether nothing that is over waits to be started."""
        return all(event.end > now for event in self._pending.values())

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self._say(f"refused: {reason}")
        path = self._workspace.folder / "rejects" / "events.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        said = f'"reason": {json.dumps(reason)}}}'
        with path.open("a+") as lines:  # the topic is read from its beginning at each start
            lines.seek(0)
            if not any(line.rstrip().endswith(said) for line in lines):
                lines.write(f'{{"time": "{datetime.now(UTC).isoformat()}", {said}\n')
