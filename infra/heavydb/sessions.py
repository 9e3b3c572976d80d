"""Who is connected: sessions begin with a password and end at disconnect, or after long silence."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.heavydb.errors import StatementError
from infra.heavydb.queries import DATABASE
from infra.heavydb.shared_memory import SharedSegments

IDLE_SECONDS = 3600.0
"""After so long without a call a session ends. [s]"""
USER = "admin"


@dataclass
class Session:
    """One client's.

    Attributes
    ----------
    seen : float
        When it last called. [s, monotonic]
    """

    user: str
    seen: float
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    segments: SharedSegments = field(default_factory=SharedSegments)


class Sessions:
    """Sessions by their ids, which nobody can guess.

    Parameters
    ----------
    password : str
        Of the one user there is.
    clock : callable
        Seconds that never go back. [s]
    """

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._password, self._clock = password, clock
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, user: str, password: str, database: str) -> str:
        """Begin a session; returns its id.

        Raises
        ------
        StatementError
            Unknown user, wrong password, unknown database.
        """
        right = hmac.compare_digest((password or "").encode(), self._password.encode())
        if not right or user != USER:
            raise StatementError("Authentication failure")
        if database not in ("", None, DATABASE):
            raise StatementError(f"Database {database} does not exist.")
        name = secrets.token_hex(16)
        with self._lock:
            self._end_silent()
            self._open[name] = Session(user, self._clock())
        return name

    def get(self, name: str) -> Session:
        """The session of an id. Raises StatementError when it has ended, or never began."""
        with self._lock:
            self._end_silent()
            session = self._open.get(name)
            if session is None:
                raise StatementError("Session not valid.")
            session.seen = self._clock()
            return session

    def end(self, name: str) -> None:
        """End a session."""
        self.get(name)
        with self._lock:
            ended = self._open.pop(name, None)
        if ended is not None:
            ended.segments.free_all()

    def end_all(self) -> None:
        """End every session."""
        with self._lock:
            ended, self._open = list(self._open.values()), {}
        for session in ended:
            session.segments.free_all()

    def _end_silent(self) -> None:
        before = self._clock() - IDLE_SECONDS
        for name in [name for name, session in self._open.items() if session.seen < before]:
            self._open.pop(name).segments.free_all()
