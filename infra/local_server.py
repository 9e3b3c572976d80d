"""A server made of programs, in a folder of its own: started, found again, asked, stopped, killed.

`infra.kafka_server`, `infra.hbase_server`, `infra.heavydb_server` and `infra.airflow_server` say what is particular
to each.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from infra.daemons import (
    ServiceError,
    alone,
    free_ports,
    has_ended,
    lock_of,
    port_is_free,
    tail,
    wait_until,
)
from infra.local_program import Program, write_file

SERVER_FILE = "server.json"
_PAUSE_SECONDS = 0.2
"""Between two questions to a server that starts, which needs the processor more than we do."""
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


ProgramT = TypeVar("ProgramT", bound=Program)


@dataclass(frozen=True)
class LocalServer(ABC, Generic[ProgramT]):
    """A server on this machine, for this machine alone.

    A subclass adds ports, memory and the like as fields, whole numbers or text, which are kept in `SERVER_FILE`: they
    may be changed there while the server is stopped. Fields whose names end with ``port`` are ports of its own.

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
    packages: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Python modules that it needs, or is asked by, and the packages that have them, as pip names them."""
    ready_seconds: ClassVar[float] = 120.0
    changeable: ClassVar[str] = "ports and memory"
    """What can be changed while it is stopped, in words."""

    @property
    @abstractmethod
    def programs(self) -> tuple[ProgramT, ...]:
        """Its programs, in the order in which they start."""

    @property
    @abstractmethod
    def memory_to_start_mib(self) -> int:
        """Memory that the programs which don't run take at most. [MiB]"""

    @property
    @abstractmethod
    def url(self) -> str:
        """Address for settings, without secrets."""

    @abstractmethod
    def probe(self) -> None:
        """Have it do what it is for.

        Raises
        ------
        Exception
            It doesn't work yet.
        """

    @abstractmethod
    def _launcher(self, progress: Progress, say: Say) -> Callable[[ProgramT], int]:
        """Make ready what the programs need; returns what starts one of them and gives its process id."""

    def _furnish(self) -> None:
        """Put into a new folder what a server keeps beside its file: a password."""

    def _stop_what_cannot_go_on(self) -> None:
        """Stop programs that run, but have lost what they can't go on without: `up` starts them anew."""

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def stopped_programs(self) -> list[ProgramT]:
        """Programs that don't run."""
        return [program for program in self.programs if program.pid is None]

    @classmethod
    def create(cls, folder: Path, *, port: int | None = None, **values: Any) -> Self:
        """Make a server's folder; `up` starts it.

        Parameters
        ----------
        port : int, optional
            Of clients; default: a free one, kept from then on.
        values
            Other fields, in place of their defaults.

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
            ports = dict(zip(names, _claim_ports(len(names), port), strict=True))
            server = cls(folder=folder, **(ports | values))
            folder.mkdir(mode=0o700, parents=True)
            server._furnish()
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
        types = {field.name: field.type for field in fields(cls)}
        try:
            values: dict[str, Any] = json.loads(path.read_text())
            for name, value in values.items():
                if name in types and type(value).__name__ != types[name]:
                    what = {"int": "a whole number", "str": "text"}.get(str(types[name]), "kept elsewhere")
                    raise ValueError(f"{name} is {what}")
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
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}
        write_file(self.folder / SERVER_FILE, json.dumps(values, indent=2) + "\n")

    def changed(self, **values: Any) -> Self:
        """The same server with other ports or memory, which it keeps.

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
                    f"{self.service} runs, so its {self.changeable} can't change: "
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
            Something that it needs is missing, a port is taken, or a program doesn't work in time; the sentence ends
            with the tail of its log.
        """
        step = f"start {self.service}"
        with alone(
            lock_of(self.folder), lambda: say(f"another process starts or stops {self.service}; waiting for it")
        ):
            self.require_packages()
            self._stop_what_cannot_go_on()
            absent = self.stopped_programs
            started: dict[str, int] = {}
            if absent:
                self._refuse_taken_ports(absent)
                launch = self._launcher(progress, say)
                steps = len(absent) + 2
                progress(step, 0, steps)
                for done, program in enumerate(absent, 1):
                    started[program.name] = launch(program)
                    progress(step, done, steps)
                self.wait_until_ready(started=started)
                progress(step, steps, steps)
            else:
                self.wait_until_ready()
        return list(started)

    def wait_until_ready(self, seconds: float | None = None, *, started: dict[str, int] | None = None) -> None:
        """Wait until `probe` succeeds.

        Parameters
        ----------
        seconds : float, optional
            How long at most; default: what such a server may take. [s]
        started : dict of str to int, optional
            Process ids of programs that this process started: it is told at once when one of them ends.

        Raises
        ------
        ServiceError
            A program ended, or the time is up; what was wrong last, and the tail of the log.
        """
        seconds = self.ready_seconds if seconds is None else seconds
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
            stopped = [p.name for p in reversed(self.programs) if p.stop(hard=erase)]
            if erase:
                self._erase()
        return stopped

    def kill(self, *names: str) -> list[str]:
        """Kill programs as a crash would, all unless some are named; returns the names of those that ran."""
        return [p.name for p in reversed(self.programs) if (not names or p.name in names) and p.stop(hard=True)]

    def require_packages(self) -> None:
        """Import the modules that it needs or is asked by; infra itself loads without them.

        Raises
        ------
        ServiceError
            One isn't installed.
        """
        for module, package in self.packages:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as absent:
                raise ServiceError(
                    f"the Python package {package} is missing, which {self.service} needs: "
                    f"pip install 'negawatt[{self.service}]'"
                ) from absent

    def _erase(self) -> None:
        shutil.rmtree(self.folder)

    def _refuse_taken_ports(self, programs: Sequence[ProgramT]) -> None:
        for program in programs:
            for port in program.ports:
                if not port_is_free(port):
                    raise ServiceError(
                        f"port {port} of {program.name} is taken by another program: stop that, or put another port "
                        f"into {self.folder / SERVER_FILE}"
                    )


def _claim_ports(count: int, given: int | None) -> list[int]:
    """Ports for a new server: the given one first, then free ones."""
    if given is None:
        return free_ports(count)
    return [given, *[port for port in free_ports(count) if port != given][: count - 1]]
