"""What a server of Java programs is doing, asked of the system and of the server itself."""

from __future__ import annotations

from dataclasses import dataclass

from infra.java_server import JavaServer
from infra.server_status import condition_of, disk_bytes, memory_taken_mib


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
        ProgramStatus(
            p.name, (pid := p.pid) is not None, list(p.ports), pid, p.heap_mib, memory_taken_mib(pid), str(p.log)
        )
        for p in server.programs
    ]
    state, answer_ms, problem = condition_of(server)
    return ServerStatus(
        state, server.url, str(server.folder), answer_ms, problem, disk_bytes(server.folder), programs
    )
