"""The processes that a program of Airflow's has started, found and ended together.

Airflow's programs fork workers, tasks and parsers. These put themselves into process groups of their own and change
their command lines, and some live on when the program is killed. What they all keep is the environment that they
were started with: each program gets a variable of its own there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from infra.daemons import is_gone, wait_until

MARK = "STACK_PROGRAM"
"""Name of the variable; its value is the program's folder and name."""
_PROC = Path("/proc")
_MIB = 1024
"""KiB, as the system counts memory."""


def processes_of(mark: str) -> list[int]:
    """Process ids of all that were started with this mark and haven't ended; none where the system doesn't tell."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and not is_gone(int(entry.name)):
                found.append(int(entry.name))
    return found


def has_died(pid: int) -> bool:
    """Whether a process has ended but is still listed, until its parent takes note of it."""
    return (_PROC / str(pid)).exists() and is_gone(pid)


def end_all(mark: str) -> list[int]:
    """Kill all that were started with a mark, but not this process; returns the process ids of those there were."""
    ended: set[int] = set()

    def none_left() -> bool:
        left = [pid for pid in processes_of(mark) if pid != os.getpid()]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended.update(left)
        return not left and all(is_gone(pid) for pid in ended)  # until then their ports are held

    wait_until(none_left, 10.0)
    return sorted(ended)


def memory_of_tree_mib(pid: int | None) -> int | None:
    """Memory of a process and all below it, shared pages counted once; None where the system doesn't tell. [MiB]"""
    if pid is None or not _PROC.exists():
        return None
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    tree, total = [pid], 0
    for one in tree:
        tree += children.get(one, [])
        with contextlib.suppress(OSError):
            lines = (_PROC / str(one) / "smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // _MIB or None


def started_at(pid: int) -> float | None:
    """When a process was started, in seconds since 1970; None where the system doesn't tell. [s]"""
    try:
        up = float((_PROC / "uptime").read_text().split()[0])
        ticks = int(_stat(pid)[19])
    except (OSError, IndexError, ValueError):
        return None
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """State, parent and what else the system counts of a process; its name, which may hold anything, is left out."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
