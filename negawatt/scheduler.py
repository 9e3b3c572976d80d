"""The Airflow that runs the scheduled work, by its REST API: one run an event, never two."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from domain.errors import InvalidEventError, NegawattError
from domain.events import DREvent
from negawatt.settings import Settings
from negawatt.workspace import Workspace

CERTIFICATION, SETTLEMENT = "certification", "settlement"
"""DAGs of an event."""
_SECONDS = 30.0
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_SAME_END = 1000
"""Events that may end at the same instant."""
_AIRFLOWS_OWN = tuple(
    f"{kind}__"
    for kind in ("backfill", "scheduled", "operator_triggered", "asset_triggered", "asset_materialization")
)
"""What the ids of runs begin with that Airflow starts by itself; it refuses them to others."""


class SchedulerError(NegawattError):
    """Airflow is away, or refused; the sentence says what."""

    retry_may_help = True


class RefusedError(SchedulerError):
    """Airflow is there and refused this one thing."""


@dataclass(frozen=True)
class Run:
    """An event's run of a DAG: its state by Airflow, and whether this call started it."""

    dag: str
    event: str
    state: str
    is_new: bool
    url: str

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded or failed."""
        return self.state in ("success", "failed")


class Scheduler:
    """An Airflow, asked as one of its users.

    Parameters
    ----------
    url : str
        ``http://host:port`` or ``https://…``.
    user, password : str
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._user, self._password, self._token = user, password, ""
        self._session = requests.Session()
        self._session.auth = _as_it_is  # else a ~/.netrc would take the place of our token
        self._session.trust_env = urlsplit(url).hostname not in _THIS_MACHINE  # no proxy sees what stays here

    def start(self, event: DREvent) -> Run:
        """Start the certification of an event, which hands over to its settlement.

        The run's id is the event's, so an event that was started already is not started again. Its logical date is
        the event's end: what waits for the same resources goes in order of these.

        Raises
        ------
        InvalidEventError
            Airflow takes no run of the event's id.
        SchedulerError
        """
        check_run_id(event.id)
        own = zlib.crc32(event.id.encode())
        for more in range(_SAME_END):  # Airflow wants each logical date once; most find theirs at once
            body = {
                "dag_run_id": event.id,
                "logical_date": (event.end + timedelta(microseconds=(own + more) % 1_000_000)).isoformat(),
                "conf": {"event": event.id},
            }
            answer = self._call("POST", f"dags/{CERTIFICATION}/dagRuns", body, expected=(200, 409))
            if answer.status_code == requests.codes.ok:
                return self._run(event.id, answer.json()["state"], is_new=True)
            if (found := self.run(event.id)) is not None:
                return found
        raise SchedulerError(f"event {event.id!r}: {_SAME_END} other events end at {event.end.isoformat()}")

    def run(self, event_id: str, dag: str = CERTIFICATION) -> Run | None:
        """An event's run; None where there is none."""
        answer = self._call("GET", f"dags/{dag}/dagRuns/{quote(event_id, safe='')}", expected=(200, 404))
        if answer.status_code != requests.codes.ok:
            return None
        return self._run(event_id, answer.json()["state"], dag)

    def runs(self, event_ids: list[str], dag: str = CERTIFICATION) -> dict[str, Run]:
        """Runs of some events, by event."""
        wanted, found = set(event_ids), dict[str, Run]()
        for offset in range(0, 100_000, 100):
            asked = f"dags/{dag}/dagRuns?limit=100&offset={offset}&order_by=-id"
            rows = self._call("GET", asked, expected=(200, 404)).json().get("dag_runs", [])
            for row in rows:
                if row["dag_run_id"] in wanted:
                    found[row["dag_run_id"]] = self._run(row["dag_run_id"], row["state"], dag)
            if len(rows) < 100 or len(found) == len(wanted):
                break
        return found

    def task(self, event_id: str, dag: str, task: str) -> dict[str, Any]:
        """What Airflow knows of a run's task, such as ``state``, ``start_date`` and ``end_date``; empty for none."""
        path = f"dags/{dag}/dagRuns/{quote(event_id, safe='')}/taskInstances/{quote(task)}"
        answer = self._call("GET", path, expected=(200, 404))
        return dict(answer.json()) if answer.status_code == requests.codes.ok else {}

    def again(self, event_id: str) -> Run:
        """Go on with an event's run that failed: its failed tasks, and what should have come after them.

        Raises
        ------
        SchedulerError
            There is no such run, or nothing of it failed.
        """
        for dag in (SETTLEMENT, CERTIFICATION):
            run = self.run(event_id, dag)
            if run is not None and run.state == "failed":
                body = {
                    "dag_run_id": event_id, "only_failed": True, "include_downstream": True,
                    "reset_dag_runs": True, "dry_run": False,
                }  # fmt: skip
                self._call("POST", f"dags/{dag}/clearTaskInstances", body)
                return self._run(event_id, "queued", dag)
        raise SchedulerError(f"event {event_id!r}: no run of it has failed")

    def _run(self, event_id: str, state: str, dag: str = CERTIFICATION, *, is_new: bool = False) -> Run:
        return Run(dag, event_id, state, is_new, f"{self.url}/dags/{dag}/runs/{quote(event_id, safe='')}")

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, expected: tuple[int, ...] = (200,)
    ) -> requests.Response:
        if not self._token:
            self._log_in()
        answer = self._ask(method, f"/api/v2/{path}", body, {"Authorization": f"Bearer {self._token}"})
        if answer.status_code in (401, 403):  # the token has run out; 403 also when the server's key was changed
            self._log_in()
            answer = self._ask(method, f"/api/v2/{path}", body, {"Authorization": f"Bearer {self._token}"})
        if answer.status_code not in expected:
            raise RefusedError(f"airflow at {self.url} refused {method} {path}: {_said(answer)}")
        return answer

    def _log_in(self) -> None:
        answer = self._ask("POST", "/auth/token", {"username": self._user, "password": self._password}, {})
        if answer.status_code not in (200, 201):
            raise SchedulerError(
                f"airflow at {self.url} doesn't let user {self._user!r} in ({answer.status_code}): check the user in "
                "the setting scheduler, and scheduler_password_file"
            )
        self._token = answer.json()["access_token"]

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> requests.Response:
        try:
            return self._session.request(method, self.url + path, json=body, headers=headers, timeout=_SECONDS)
        except requests.RequestException as away:
            raise SchedulerError(
                f"airflow doesn't answer at {self.url} ({type(away).__name__}): start it, e.g. "
                "`negawatt stack up airflow`"
            ) from away


def open_scheduler(workspace: Workspace, settings: Settings) -> Scheduler:
    """The Airflow that a workspace's settings name.

    Raises
    ------
    NegawattError
        They name none, or its password isn't there.
    """
    address, secret, file = settings.scheduler, settings.scheduler_password, settings.scheduler_password_file
    if address == "stack://":
        from negawatt import stack_services  # noqa: PLC0415  servers are not always there

        address, secret = stack_services.scheduler_address(workspace)
    if not address:
        raise SchedulerError(
            'no scheduler is set: scheduler = "stack://" in negawatt.toml with `negawatt stack up airflow`, or '
            '"airflow://USER@HOST:PORT"; without one run `negawatt certify EVENT` and `negawatt settle EVENT`'
        )
    parts = urlsplit(address)
    schemes = {"airflow": "http", "airflow+https": "https"}
    if parts.scheme not in schemes or not parts.username or not parts.hostname or parts.password:
        raise SchedulerError(
            f"scheduler {parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()!r}: expected "
            "airflow://USER@HOST:PORT or airflow+https://USER@HOST, without a password"
        )
    if not secret and file:
        secret = _first_line(Path(file))
    if not secret:
        raise SchedulerError(
            f"no password of user {parts.username!r}: set NEGAWATT_SCHEDULER_PASSWORD or scheduler_password_file"
        )
    place = parts.netloc.rpartition("@")[2]
    return Scheduler(f"{schemes[parts.scheme]}://{place}{parts.path}", parts.username, secret)


def check_run_id(event_id: str) -> None:
    """Refuse ids of events that Airflow takes as no run's.

    Raises
    ------
    InvalidEventError
    """
    if ".." in event_id or event_id.startswith(_AIRFLOWS_OWN):
        raise InvalidEventError(
            event_id,
            f"Airflow takes no run of this id: none has '..', or begins with one of {', '.join(_AIRFLOWS_OWN)}; run "
            "`negawatt certify` and `negawatt settle` for this one",
        )


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _first_line(path: Path) -> str:
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise SchedulerError(f"scheduler_password_file {path} can be read by others: chmod 600 it")
        lines = path.read_text().splitlines()
    except OSError as absent:
        raise SchedulerError(f"scheduler_password_file {path}: {absent.strerror}") from absent
    return lines[0].strip() if lines else ""


def _said(answer: requests.Response) -> str:
    try:
        detail = answer.json().get("detail", "")
    except (ValueError, AttributeError):
        detail = answer.text[:200]
    return f"{answer.status_code} {detail}"
