"""A server made of Java programs, in a folder of its own: started, found again, asked, stopped, killed.

`infra.kafka_server` and `infra.hbase_server` say what is particular to each.
"""

from __future__ import annotations

import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from infra.daemons import (
    ServiceError,
    alone,
    has_ended,
    lock_of,
    port_is_free,
    stop_daemon,
    tail,
    wait_until,
)
from infra.jars import jars
from infra.java import find_java, require_memory
from infra.java_program import BESIDE_HEAP_MIB, Program, claim_ports, load_client, run_java

SERVER_FILE = "server.json"
READY_SECONDS = 120.0
_PAUSE_SECONDS = 0.2
"""Between two questions to a server that starts, which needs the processor more than we do."""
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class JavaServer(ABC):
    """A server on this machine, for this machine alone.

    A subclass adds ports and heaps as fields, which are kept in `SERVER_FILE`: ports may be changed there, and heaps,
    while it is stopped.

    Attributes
    ----------
    folder : Path
        Absolute; settings, logs and data.
    port : int
        Where our clients connect.
    """

    folder: Path
    port: int
    service: ClassVar[str]
    client: ClassVar[tuple[str, str]]
    """Python module that it is asked by, and the package that has it."""

    @property
    @abstractmethod
    def programs(self) -> tuple[Program, ...]:
        """Its programs, in the order in which they start."""

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Address for settings."""
        return f"{self.service}://{self.address}"

    @abstractmethod
    def probe(self) -> None:
        """Write something and read it back.

        Raises
        ------
        Exception
            It doesn't work yet.
        """

    @abstractmethod
    def _configure(self) -> None:
        """Write the files that its programs read."""

    def _prepare(self, java: Path, classpath: str) -> None:  # noqa: B027  not all servers need it
        """What has to be done before the first start."""

    def _classpath(self, folder: Path) -> str:
        return f"{folder}/*"

    @property
    def stopped_programs(self) -> list[Program]:
        """Programs that don't run."""
        return [program for program in self.programs if program.pid is None]

    @property
    def memory_to_start_mib(self) -> int:
        """Memory that the programs which don't run take at most. [MiB]"""
        return sum(program.heap_mib + BESIDE_HEAP_MIB for program in self.stopped_programs)

    @classmethod
    def create(cls, folder: Path, *, port: int | None = None) -> Self:
        """Make a server's folder; `up` starts it.

        Parameters
        ----------
        port : int, optional
            Of clients; default: a free one.

        Raises
        ------
        ServiceError
            The folder exists.
        """
        folder = folder.resolve()
        with alone(lock_of(folder)):
            if folder.exists():
                raise ServiceError(
                    f"{folder} exists: start it, or erase it with `negawatt stack reset {cls.service}`"
                )
            names = cls._port_names()
            server = cls(folder=folder, **dict(zip(names, claim_ports(len(names), port), strict=True)))
            server._save()
        return server

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The server that a folder holds.

        Raises
        ------
        ServiceError
            It holds none, or its file is broken.
        """
        folder = folder.resolve()
        path = folder / SERVER_FILE
        try:
            values: dict[str, Any] = json.loads(path.read_text())
            if not all(type(value) is int for value in values.values()):
                raise ValueError("ports and heaps are whole numbers")
            return cls(folder=folder, **values)
        except FileNotFoundError as absent:
            raise ServiceError(
                f"no {cls.service} in {folder}: start one with `negawatt stack up {cls.service}`"
            ) from absent
        except (ValueError, TypeError, AttributeError) as broken:
            raise ServiceError(
                f"{path} can't be read ({broken}): correct it, or erase the folder to begin anew"
            ) from broken

    @classmethod
    def without_ports(cls, folder: Path) -> Self:
        """A server that is not made, to ask what a new one would take."""
        return cls(folder=folder.resolve(), **dict.fromkeys(cls._port_names(), 0))

    @classmethod
    def _port_names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name.endswith("port")]

    def _save(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}
        draft = self.folder / f".{SERVER_FILE}"
        draft.write_text(json.dumps(values, indent=2) + "\n")
        draft.replace(self.folder / SERVER_FILE)

    def changed(self, **values: int) -> Self:
        """The same server with other ports or heaps, which it keeps.

        Raises
        ------
        ServiceError
            It runs, and something would change.
        """
        changes: dict[str, Any] = {name: value for name, value in values.items() if getattr(self, name) != value}
        if not changes:
            return self
        with alone(lock_of(self.folder)):
            if any(program.pid is not None for program in self.programs):
                raise ServiceError(
                    f"{self.service} runs, so its ports and heaps can't change: "
                    f"first `negawatt stack down {self.service}`"
                )
            (server := replace(self, **changes))._save()
        return server

    def up(self, progress: Progress = lambda *_: None, say: Say = lambda _: None) -> list[str]:
        """Start the programs that don't run, and wait until the server does what it is for.

        Returns
        -------
        list of str
            Names of the programs that were started.

        Raises
        ------
        ServiceError
            Java, Maven or memory is missing, a port is taken, or a program doesn't work in time; the sentence ends
            with the tail of its log.
        """
        step = f"start {self.service}"
        with alone(
            lock_of(self.folder), lambda: say(f"another process starts or stops {self.service}; waiting for it")
        ):
            absent = self.stopped_programs
            started: dict[str, int] = {}
            load_client(self.service, *self.client)
            if absent:
                java = find_java()
                require_memory(self.memory_to_start_mib, f"{self.service} (heaps: {self.folder / SERVER_FILE})")
                self._refuse_taken_ports(absent)
                classpath = self._classpath(jars(self.service, progress, say))
                steps = len(absent) + 2
                progress(step, 0, steps)
                self._configure()
                self._prepare(java, classpath)
                for done, program in enumerate(absent, 1):
                    started[program.name] = program.start(java, classpath)
                    progress(step, done, steps)
                self.wait_until_ready(started=started)
                progress(step, steps, steps)
            else:
                self.wait_until_ready()
        return list(started)

    def wait_until_ready(self, seconds: float = READY_SECONDS, *, started: dict[str, int] | None = None) -> None:
        """Wait until `probe` succeeds.

        Parameters
        ----------
        seconds : float
            How long at most. [s]
        started : dict of str to int, optional
            Process ids of programs that this process started: it is told at once when one of them ends.

        Raises
        ------
        ServiceError
            A program ended, or the time is up; what was wrong last, and the tail of the log.
        """
        problem: list[str] = ["not asked yet"]
        gone: list[Program] = []

        def settled() -> bool:
            gone[:] = [p for p in self.programs if p.name in (started or {}) and has_ended((started or {})[p.name])]
            if gone:
                return True
            try:
                self.probe()
            except Exception as refused:  # clients raise all sorts of errors before a server is up
                problem[:] = [f"{type(refused).__name__}: {refused}"]
                time.sleep(_PAUSE_SECONDS)
                return False
            return True

        in_time = wait_until(settled, seconds)
        for program in gone:
            raise ServiceError(
                f"{program.name} ended as soon as it was started; the end of {program.log}:\n{tail(program.log)}"
            )
        if not in_time:
            logs = "\n".join(f"the end of {p.log}:\n{tail(p.log, 6)}" for p in self.programs)
            raise ServiceError(f"{self.service} doesn't work after {seconds:g} s ({problem[0]}); {logs}")

    def down(self, *, erase: bool = False) -> list[str]:
        """Stop the programs, the last started first.

        Parameters
        ----------
        erase : bool
            Delete the folder too, with all data.

        Returns
        -------
        list of str
            Names of the programs that ran.
        """
        with alone(lock_of(self.folder)):
            stopped = [p.name for p in reversed(self.programs) if stop_daemon(p.words, hard=erase)]
            if erase:
                shutil.rmtree(self.folder)
        return stopped

    def kill(self, *names: str) -> list[str]:
        """Kill programs as a crash would, all unless some are named; returns the names of those that ran."""
        return [
            p.name
            for p in reversed(self.programs)
            if (not names or p.name in names) and stop_daemon(p.words, hard=True)
        ]

    def run(self, main: str, arguments: Sequence[str], *, seconds: float = 120.0) -> str:
        """Run a tool of the server's own, in a Java with its jars and settings.

        Parameters
        ----------
        main : str
            Class to run, e.g. ``org.apache.hadoop.hbase.util.RegionSplitter``.
        seconds : float
            How long it may take. [s]

        Returns
        -------
        str
            What it printed.

        Raises
        ------
        ServiceError
            It failed, or took too long.
        """
        return run_java(find_java(), self._classpath(jars(self.service)), main, arguments, seconds=seconds)

    def _refuse_taken_ports(self, programs: Sequence[Program]) -> None:
        for program in programs:
            for port in program.ports:
                if not port_is_free(port):
                    raise ServiceError(
                        f"port {port} of {program.name} is taken by another program: stop that, or put another port "
                        f"into {self.folder / SERVER_FILE}"
                    )
