"""Airflow's REST interface, as far as starting and watching it needs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from infra.daemons import ServiceError

PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_ANSWER_SECONDS = 30.0
_PAGE = 100


class Api:
    """An Airflow, asked by one of its users.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:PORT``.

    Raises
    ------
    OSError
        Nobody answers, or the user isn't let in; also of all methods.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self._token = url, ""
        self._token = self.call("POST", "/auth/token", {"username": user, "password": password})["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask for something; returns the answer's JSON."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310  our own address
        with urllib.request.urlopen(asked, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            return dict(json.load(answer))

    def require_health(self, since: dict[str, float]) -> None:
        """Check that all its parts report themselves well.

        Parameters
        ----------
        since : dict of str to float
            Of some parts, when they were started, in seconds since 1970: an older report isn't theirs. [s]

        Raises
        ------
        ServiceError
            One doesn't.
        """
        told = self.call("GET", "/api/v2/monitor/health")
        for part in PARTS:
            seen = told.get(part) or {}
            if seen.get("status") != "healthy":
                raise ServiceError(f"airflow's {part.replace('_', ' ')} is {seen.get('status') or 'not there yet'}")
            beat = seen.get(f"latest_{part}_heartbeat")
            if beat and datetime.fromisoformat(beat).timestamp() < since.get(part, 0.0):
                raise ServiceError(f"airflow's {part.replace('_', ' ')} has not reported since its start")
        # What tasks ask. The first question takes many seconds, which a task would not wait for.
        with urllib.request.urlopen(f"{self.url}/execution/health", timeout=_ANSWER_SECONDS):  # noqa: S310
            pass

    def dag_files(self) -> dict[str, list[str]]:
        """DAGs of each file that was read, by the file's path."""
        found: dict[str, list[str]] = {}
        for dag in self._all("/api/v2/dags?", "dags"):
            found.setdefault(dag["fileloc"], []).append(dag["dag_id"])
        return found

    def import_errors(self) -> dict[str, str]:
        """What is wrong with files that can't be read, by the file's name within the folder of DAGs."""
        return {e["filename"]: e["stack_trace"] for e in self._all("/api/v2/importErrors?", "import_errors")}

    def set_pools(self, pools: dict[str, dict[str, Any]]) -> None:
        """Make pools, or make them what they should be."""
        there = {pool["name"] for pool in self._all("/api/v2/pools?", "pools")}
        for name, values in pools.items():
            body = {"name": name, **values}
            if name in there:
                self.call("PATCH", f"/api/v2/pools/{name}", body)
            else:
                self.call("POST", "/api/v2/pools", body)

    def _all(self, path: str, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"{path}limit={_PAGE}&offset={len(rows)}")
            rows += page[name]
            if len(page[name]) < _PAGE:
                return rows
