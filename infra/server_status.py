"""What a server is doing, asked of the system and of the server itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from infra.local_server import LocalServer, ProgramT


class Condition(NamedTuple):
    """How a server is.

    Attributes
    ----------
    state : str
        ``stopped``, ``partly``, ``running``, or ``silent``: all programs run but it doesn't do what it is for.
    answer_ms : int or None
        Time that doing it took. [ms]
    problem : str or None
        What the server said instead.
    """

    state: str
    answer_ms: int | None
    problem: str | None


def condition_of(server: LocalServer[ProgramT]) -> Condition:
    """Look at the programs, and have the server do what it is for when all run.

    Raises
    ------
    ServiceError
        They run, and a package that asks them is missing.
    """
    absent = len(server.stopped_programs)
    if absent:
        return Condition("stopped" if absent == len(server.programs) else "partly", None, None)
    server.require_packages()
    began = time.monotonic()
    try:
        server.probe()
    except Exception as refused:  # clients raise all sorts of errors when a server doesn't work
        return Condition("silent", None, f"{type(refused).__name__}: {refused}")
    return Condition("running", round(1000 * (time.monotonic() - began)), None)


def disk_bytes(folder: Path) -> int:
    """What a folder takes on disk; files may come and go meanwhile."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name), follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def memory_taken_mib(pid: int | None) -> int | None:
    """Memory of a program, None where the system doesn't tell. [MiB]"""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
