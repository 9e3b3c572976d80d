"""The workspace's ``alerts.jsonl``: every alert, a line each, and by that the memory of what was said already."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_LOCK_S = 60.0


class AlertLog:
    """``alerts.jsonl``, held by this process alone: who looks and then adds a line is sure that nobody else did."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines

    def of(self, kind: str, once: str) -> list[dict[str, Any]]:
        """Lines of this kind about this occasion, oldest first. A line that a crash cut off counts for nothing."""
        self._lines.seek(0)
        found = []
        for line in self._lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and (said.get("kind"), said.get("once")) == (kind, once):
                found.append(said)
        return found

    def add(self, said: dict[str, Any]) -> None:
        """Add a line; it is on disk when this returns."""
        end = self._lines.seek(0, os.SEEK_END)
        if end:
            self._lines.seek(end - 1)
            if self._lines.read(1) != b"\n":
                self._lines.write(b"\n")
        self._lines.write(json.dumps(said, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())


@contextmanager
def open_alert_log(workspace: Path) -> Iterator[AlertLog]:
    """Open the workspace's ``alerts.jsonl`` and wait until nobody else has it, for a minute at most.

    Raises
    ------
    OSError
        The file can't be opened, or others kept it for too long (TimeoutError).
    """
    workspace.mkdir(parents=True, exist_ok=True)
    with (workspace / "alerts.jsonl").open("a+b") as lines:
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"{lines.name} was in use for {_LOCK_S:g} s") from None
                time.sleep(0.05)
        yield AlertLog(lines)
