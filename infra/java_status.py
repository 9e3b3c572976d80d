"""What a server of Java programs is doing, asked of the system and of the server itself."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from infra.java_program import load_client
from infra.java_server import JavaServer


@dataclass(frozen=True)
class ProgramStatus:
    """One program.

    Attributes
    ----------
    ports : list of int
    pid : int or None
        None when it doesn't run.
    heap_mib, memory_mib : int
        The most its heap may take, and what it takes in all. [MiB]
    log : str
        Path.
    """

    name: str
    up: bool
    ports: list[int]
    pid: int | None
    heap_mib: int
    memory_mib: int | None
    log: str


@dataclass(frozen=True)
class ServerStatus:
    """A server.

    Attributes
    ----------
    state : str
        ``stopped``, ``partly``, ``running``, or ``silent``: all programs run but it doesn't do what it is for.
    answer_ms : int or None
        Time that a write and its read took. [ms]
    problem : str or None
        What the server said instead.
    disk_bytes : int
        Of its whole folder, as the disk counts.
    """

    state: str
    url: str
    folder: str
    answer_ms: int | None
    problem: str | None
    disk_bytes: int
    programs: list[ProgramStatus]


def server_status(server: JavaServer) -> ServerStatus:
    """Look at the programs, and write and read something when all run."""
    programs = [
        ProgramStatus(p.name, (pid := p.pid) is not None, list(p.ports), pid, p.heap_mib, _memory(pid), str(p.log))
        for p in server.programs
    ]
    running = sum(program.up for program in programs)
    state = {0: "stopped", len(programs): "running"}.get(running, "partly")
    answer_ms = problem = None
    if state == "running":
        load_client(server.service, *server.client)
        began = time.monotonic()
        try:
            server.probe()
            answer_ms = round(1000 * (time.monotonic() - began))
        except Exception as refused:  # clients raise all sorts of errors when a server doesn't work
            state, problem = "silent", f"{type(refused).__name__}: {refused}"
    return ServerStatus(
        state, server.url, str(server.folder), answer_ms, problem, disk_bytes(server.folder), programs
    )


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


def _memory(pid: int | None) -> int | None:
    """Memory of a program, None where the system doesn't tell. [MiB]"""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
