"""What ``negawatt announce``, ``live`` and ``retention`` do in the speed store, as functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from domain.errors import InvalidEventError, StoreError
from domain.events import DREvent
from domain.plans import EventPlan
from domain.readings import Register
from negawatt import pipeline
from negawatt.settings import Settings
from negawatt.workspace import Workspace
from speed import live, quarantine
from speed.live_sql import (
    Scope,
    event_sql,
    feeder_sql,
    lateness_sql,
    resource_sql,
    text_literal,
    unknown_sql,
)
from speed.provisional import reading_intervals
from speed.rollups import Retained, retain

if TYPE_CHECKING:
    from speed.stores import SpeedStore

Row = dict[str, Any]


def prepare(workspace: Workspace, settings: Settings, event: DREvent) -> live.Prepared:
    """Store the baselines of an event that is issued, from the readings that there are by now.

    Raises
    ------
    NegawattError
        No readings, no resources, or the speed store can't be had.
    """
    with LiveEvent.open(workspace, settings, event) as following:
        return following.refresh()


class LiveEvent:
    """One event as the speed store sees it.

    Parameters
    ----------
    workspace : Workspace
    store : SpeedStore
    plan : EventPlan
    """

    def __init__(self, workspace: Workspace, store: SpeedStore, plan: EventPlan) -> None:
        self._store, self.plan = store, plan
        self._people = workspace.participants(plan.event)
        live.create_tables(store)
        store.create(quarantine.TABLE, quarantine.COLUMNS)
        live.store_resources(store, workspace.resources() | self._people)

    @classmethod
    @contextmanager
    def open(cls, workspace: Workspace, settings: Settings, event: DREvent) -> Iterator[LiveEvent]:
        """Open the workspace's speed store for an event."""
        store = pipeline.speed_store(workspace, settings)
        try:
            batch = pipeline.batch_store(workspace, settings)
            yield cls(workspace, store, pipeline.plan_event(workspace, batch, event, store))
        finally:
            store.close()

    def refresh(self) -> live.Prepared:
        """Bring the stored baselines up to date; quick while the readings behind them are the same."""
        return live.prepare_event(self._store, self.plan, self._people)

    def views(self, now: datetime) -> None:
        """Make the views for SQL anew, as of ``now``."""
        live.create_live_views(self._store, now, self.plan.interval_minutes)

    def look(self, now: datetime, *, feeder: str | None = None, least: int = 10) -> Row:
        """The event at a time: totals, feeders, the homes that reduce least, and how late the readings are.

        Parameters
        ----------
        now : datetime
            What ends later is left out.
        feeder : str, optional
            This feeder alone.
        least : int
            Homes to list.

        Raises
        ------
        InvalidEventError
            Nobody on that feeder takes part.
        """
        scope = live.scope_of(self._store, self.plan, now)
        feeders = self._rows(f"SELECT * FROM ({feeder_sql(scope)}) f ORDER BY feeder")  # noqa: S608  checked parts
        lateness = self._rows(f"SELECT * FROM ({lateness_sql(scope)}) l ORDER BY feeder")  # noqa: S608
        if feeder is not None:
            known = ", ".join(row["feeder"] for row in feeders if row["feeder"])
            feeders = [row for row in feeders if row["feeder"] == feeder]
            lateness = [row for row in lateness if row["feeder"] == feeder]
            if not feeders:
                raise InvalidEventError(
                    self.plan.event.id, f"nobody on feeder {feeder!r} takes part; feeders: {known or 'none'}"
                )
            total, late = feeders[0], lateness[0]
        else:
            (total,) = self._rows(event_sql(scope))
            (late,) = self._rows(lateness_sql(scope, by_feeder=False))
        unknown = self._rows(unknown_sql(self.plan.interval_minutes))
        return {
            "event": self.plan.event.id,
            "programme": self.plan.programme.id,
            "start": self.plan.event.start.isoformat(),
            "end": self.plan.event.end.isoformat(),
            "as_of": now.astimezone(UTC).isoformat(timespec="seconds"),
            "interval_minutes": self.plan.interval_minutes,
            "total": total,
            "feeders": feeders,
            "least": self._least(scope, feeder, least),
            "statuses": self._statuses(scope),
            "lateness": late,
            "lateness_by_feeder": lateness,
            "unknown_meters": {
                "meters": len(unknown),
                "readings": sum(row["readings"] for row in unknown),
                "energy_wh": sum(row["energy_wh"] for row in unknown),
            },
            "quarantined": self._rows(f"SELECT COUNT(*) AS n FROM {quarantine.TABLE}")[0]["n"],  # noqa: S608
        }

    def _least(self, scope: Scope, feeder: str | None, count: int) -> list[Row]:
        of_feeder = "" if feeder is None else f"AND feeder = {text_literal(feeder)}"
        return self._rows(
            f"""SELECT * FROM ({resource_sql(scope)}) r WHERE share_pct IS NOT NULL {of_feeder}
            ORDER BY share_pct, meter LIMIT {int(count)}"""  # noqa: S608  checked parts
        )

    def _statuses(self, scope: Scope) -> dict[str, int]:
        rows = self._rows(
            f"""SELECT status, COUNT(*) AS homes FROM event_resources p WHERE {scope.of_event("p")}
            GROUP BY status ORDER BY status"""  # noqa: S608
        )
        return {row["status"]: row["homes"] for row in rows}

    def _rows(self, sql: str) -> list[Row]:
        return [{name: _plain(value) for name, value in row.items()} for row in self._store.query(sql).to_pylist()]


def retention(workspace: Workspace, settings: Settings, today: date) -> dict[str, Any]:
    """Roll up and drop old readings of every register and interval that there are readings of.

    Raises
    ------
    StoreError
        A baseline of the workspace's programmes looks further back than readings are kept.
    """
    needed = _days_needed(workspace)
    if settings.retention_days < needed:
        raise StoreError(
            f"retention_days is {settings.retention_days}: baselines of this workspace's events look back "
            f"{needed} days; keep at least {needed + 1}"
        )
    store = pipeline.speed_store(workspace, settings)
    done: list[tuple[Register, int, Retained]] = []
    try:
        for minutes in reading_intervals(store):
            for register in Register:
                done.append((register, minutes, retain(store, minutes, settings.retention_days, today, register)))
    finally:
        store.close()
    return {
        "today": today.isoformat(),
        "retention_days": settings.retention_days,
        "registers": [
            {"register": register.value, "interval_minutes": minutes, **asdict(result)}
            for register, minutes, result in done
        ],
    }


def _days_needed(workspace: Workspace) -> int:
    """How far back a baseline of any event of the workspace may look. [days]"""
    needed = 0
    for event in workspace.events():
        programme = workspace.programme(event.programme)
        with suppress(InvalidEventError):  # an event that no terms cover has no baseline
            needed = max([needed, *(rule.look_back_days for rule in programme.terms_of(event).baselines)])
    return needed


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it; times in UTC."""
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value
