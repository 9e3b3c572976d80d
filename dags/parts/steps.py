"""How tasks are made here: each opens the workspace, calls one function of the project, and may wait.

`step` makes a task of a function, as ``airflow.sdk.task`` does. Beyond that

- a function that returns a `negawatt.waiting.Waiting` is put off until that moment and then called again; no worker
  is held meanwhile;
- an error that a retry can't mend (bad input) fails the task at once, with the sentence that the command line shows.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Param, get_current_context
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.timetables.trigger import CronTriggerTimetable

from dags.parts.alerts import on_failure
from domain.errors import NegawattError
from negawatt.settings import Settings, load_settings
from negawatt.waiting import Waiting

if TYPE_CHECKING:
    from domain.events import DREvent
    from negawatt.workspace import Workspace

START = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any reading: of a run by hand that is due before its DAG's start Airflow makes no task, and says success."""
DEFAULTS: dict[str, Any] = {
    "owner": "negawatt",
    "retries": 8,  # waits of 60 to 75 minutes in all: a store or a node that is started anew is back by then
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
    "execution_timeout": timedelta(hours=4),
    "on_failure_callback": on_failure,
}
EVENT_DEFAULTS = DEFAULTS | {"priority_weight": 10, "weight_rule": "upstream"}
"""Events go before nightly work, and what has come far goes before what begins: of many, the first end first."""
OPTIONS: dict[str, Any] = {
    "start_date": START,
    "catchup": False,
    "max_active_runs": 1,
    "default_args": DEFAULTS,
    "on_failure_callback": on_failure,
}
"""Of every DAG that is scheduled."""
EVENT_OPTIONS = OPTIONS | {
    "schedule": None,
    "start_date": None,  # a run is due at its event's end, however long ago that was
    "is_paused_upon_creation": False,
    "max_active_runs": 1000,  # most of them wait, and hold no worker
    "default_args": EVENT_DEFAULTS,
    "tags": ["event"],
    "params": {"event": Param(None, type=["null", "string"], title="Event", description="Default: the run's id.")},
}
"""Of the DAGs of an event."""
LOG = logging.getLogger("airflow.task")
_SOON = timedelta(seconds=1)


class StepOperator(DecoratedOperator, PythonOperator):
    """A task of a function; see the module."""

    custom_operator_name = "@step"
    template_fields = ("templates_dict", "op_args", "op_kwargs")

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any, op_kwargs: Any, **kwargs: Any) -> None:
        call = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(kwargs_to_upstream=call, **call, **kwargs)

    def execute(self, context: Any, event: Any = None) -> Any:
        """Call the function; after a wait this is called again, with what the trigger says as ``event``."""
        try:
            found = super().execute(context)
        except NegawattError as error:
            if error.retry_may_help:
                raise
            raise AirflowFailException(str(error)) from error
        if isinstance(found, Waiting):
            moment = max(found.until, datetime.now(UTC) + _SOON)
            LOG.info("Waiting until %s: %s", moment.isoformat(timespec="seconds"), found.reason)
            self.defer(trigger=DateTimeTrigger(moment=moment), method_name="execute")
        return found


step: Callable[..., Callable[[Callable[..., Any]], Any]] = functools.partial(
    task_decorator_factory, decorated_operator_class=StepOperator
)


def daily(hour: int, minute: int = 0, *, weekday: str = "*") -> CronTriggerTimetable:
    """Every day, or every week on a day, at a local time of the workspace's zone."""
    return CronTriggerTimetable(f"{minute} {hour} * * {weekday}", timezone=_settings().zone)


def every(minutes: int) -> CronTriggerTimetable:
    """Every so many minutes, counted from the hour."""
    return CronTriggerTimetable(f"*/{minutes} * * * *", timezone=_settings().zone)


def a_day(title: str) -> Param:
    """A form's field for a local day; empty for the one that the schedule means."""
    return Param(None, type=["null", "string"], format="date", title=title)


def longest(table: str, key: str, default: float) -> float:
    """The largest value of a key in the terms of the workspace's own programmes, or in a table there."""
    found = [default]
    for path in (_folder() / "programmes").glob("*.toml"):
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            for terms in tomllib.loads(path.read_text()).get("terms", ()):
                found.append(float((terms.get(table, {}) if table else terms).get(key, default)))
    return max(found)


def require_file(path: Path) -> None:
    """Skip the step where a file isn't there: what it is about isn't configured."""
    if not path.exists():
        raise AirflowSkipException(f"there is no {path}")


def opened() -> tuple[Workspace, Settings]:
    """The workspace that the tasks work in, and its settings."""
    from negawatt.workspace import Workspace  # noqa: PLC0415  heavy imports wait until a task runs

    logging.getLogger("py4j").setLevel(logging.ERROR)
    workspace = Workspace(_folder())
    return workspace, load_settings(workspace.settings_file)


def local_now(zone: str = "") -> datetime:
    """When this run was due, in a zone, by default the workspace's: the schedule's time, or now for a run by hand."""
    run = get_current_context()["dag_run"]
    moment: datetime = run.logical_date or run.run_after
    return moment.astimezone(ZoneInfo(zone or _settings().zone))


def day_asked(days_after: int, zone: str = "") -> date:
    """The local day that the form names, else the one so many days after the run's (negative: before)."""
    given = get_current_context()["params"].get("day")
    return date.fromisoformat(given) if given else local_now(zone).date() + timedelta(days=days_after)


def event_asked(workspace: Workspace) -> DREvent:
    """The event that a run is about: the one that it is given, else the one whose id is the run's.

    Raises
    ------
    InvalidEventError
        The workspace has no such event.
    """
    context = get_current_context()
    event_id = str(context["params"].get("event") or context["dag_run"].run_id)
    # A name with a slash or of a file would be read from there, by whoever may fill in a form.
    if "/" in event_id or event_id.endswith(".toml"):
        from domain.errors import InvalidEventError  # noqa: PLC0415

        raise InvalidEventError(event_id, "expected an event's id; `negawatt events end FILE` adds one from a file")
    return workspace.event(event_id)


class LoggedProgress:
    """Writes a step's progress to the task's log at every tenth of it."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def __call__(self, step_name: str, done: int, total: int) -> None:
        """Take note that so many units of a step are done."""
        tenths = 10 * done // max(total, 1)
        if tenths > self._said.get(step_name, -1):
            self._said[step_name] = tenths
            LOG.info("%s: %s of %s", step_name, f"{done:,}", f"{total:,}")


def tell(document: Mapping[str, Any], *names: str) -> None:
    """Write what came of a step to the task's log, a line a fact."""
    for name in names or document:
        LOG.info("%s: %s", name, document[name])


def _folder() -> Path:
    try:
        return Path(os.environ["NEGAWATT_WORKSPACE"])
    except KeyError:
        raise AirflowFailException("NEGAWATT_WORKSPACE names no workspace: set it for all of Airflow") from None


def _settings() -> Settings:
    return load_settings(_folder() / "negawatt.toml")
