"""A Spark cluster on this machine: a standalone master, its workers, and a Connect server that runs on them.

Everything comes with the Python package pyspark; the programs listen on the loopback interface alone. Who can log in
to this machine can run jobs on them: on a machine of many users, guard it as Spark's page on security says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.daemons import (
    ServiceError,
    alone,
    find_daemon,
    free_ports,
    has_ended,
    port_is_free,
    start_daemon,
    stop_daemon,
    tail,
    wait_until,
)
from infra.spark_commands import HOST, connect_answers, connect_command, main_class, master_command, worker_command

CLUSTER_FILE = "cluster.json"
_READY_SECONDS = 180.0
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SparkCluster:
    """Master, workers and Connect server, and what they are given.

    Attributes
    ----------
    folder : Path
        Absolute; holds ``cluster.json``, a log a program, and the workers' working directories.
    ports : dict of str to int
        Of ``master``, ``page`` (the master's page about itself), ``worker-1`` … and ``connect``, if there is one.
    cores : int
        Tasks that a worker runs at once, over all applications.
    memory_mb : int
        What a worker lends to executors. [MiB]
    executor_mb : int
        Java heap of one executor of the Connect server. [MiB]
    python : str
        The Python that the Connect server's executors start.
    """

    folder: Path
    ports: dict[str, int]
    cores: int
    memory_mb: int
    executor_mb: int
    python: str

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        port: int | None = None,
        connect_port: int | None = None,
        workers: int = 2,
        cores: int = 2,
        memory_mb: int = 1536,
        executor_mb: int = 512,
        connect: bool = True,
        python: Path | None = None,
    ) -> SparkCluster:
        """Write down a new cluster; `up` starts it.

        Parameters
        ----------
        port, connect_port : int, optional
            Of the master and of the Connect server; default: free ones, kept from then on.
        workers, cores, memory_mb, executor_mb
            See the class. The Connect server takes half of the cores, so that other sessions find some too.
        connect : bool
            Whether there is a Connect server.
        python : Path, optional
            Default: this one.

        Raises
        ------
        ServiceError
            The folder holds a cluster already.
        """
        folder = folder.resolve()
        if (folder / CLUSTER_FILE).exists():
            raise ServiceError(f"{folder} holds a Spark cluster already: start that, or erase it first")
        names = ["master", "page", *(f"worker-{n}" for n in range(1, workers + 1)), *(["connect"] if connect else [])]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        ports |= {"master": port} if port else {}
        ports |= {"connect": connect_port} if connect and connect_port else {}
        cluster = cls(folder, ports, cores, memory_mb, executor_mb, str(python or sys.executable))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / CLUSTER_FILE).write_text(json.dumps(asdict(cluster) | {"folder": str(folder)}, indent=2) + "\n")
        return cluster

    @classmethod
    def load(cls, folder: Path) -> SparkCluster:
        """Read the cluster that a folder holds.

        Raises
        ------
        ServiceError
            It holds none, or its file is broken.
        """
        path = folder.resolve() / CLUSTER_FILE
        try:
            return cls(**json.loads(path.read_text()) | {"folder": path.parent})
        except FileNotFoundError as absent:
            raise ServiceError(f"no Spark cluster in {folder}: start one with `negawatt stack up spark`") from absent
        except (ValueError, TypeError) as broken:
            raise ServiceError(f"{path} can't be read ({broken}): restore it, or remove {folder}") from broken

    @property
    def address(self) -> str:
        """Host and port of the master."""
        return f"{HOST}:{self.ports['master']}"

    @property
    def url(self) -> str:
        """What sessions name as their master."""
        return f"spark://{self.address}"

    @property
    def connect_url(self) -> str:
        """What sessions of Spark Connect name.

        Raises
        ------
        ServiceError
            The cluster was made without a Connect server.
        """
        if "connect" not in self.ports:
            raise ServiceError(f"the Spark cluster in {self.folder} was made without a Connect server")
        return f"sc://{HOST}:{self.ports['connect']}"

    @property
    def parts(self) -> list[str]:
        """Names of the programs, in the order in which they start."""
        return [name for name in self.ports if name != "page"]

    def pid(self, part: str) -> int | None:
        """Process id of a program, None when it doesn't run."""
        return find_daemon(self._words(part))

    def up(self, progress: Progress = lambda *_: None, say: Callable[[str], None] = lambda _: None) -> list[str]:
        """Start the programs that don't run, and wait until the master has its workers and Connect answers.

        Returns
        -------
        list of str
            Names of those that were started.

        Raises
        ------
        ServiceError
            A port is taken, a program ended, or something isn't ready in time; with the tail of its log.
        """
        with alone(
            _lock_of(self.folder), lambda: say("another process starts or stops this cluster; waiting for it")
        ):
            missing = [part for part in self.parts if self.pid(part) is None]
            progress("start Spark", 0, len(self.parts))
            if "master" in missing:  # who asks before it listens asks again only ten seconds later
                self._await("master", self._launch("master"))
            started = {part: self._launch(part) for part in missing if part != "master"}
            for done, part in enumerate(self.parts):
                self._await(part, started.get(part))
                progress("start Spark", done, len(self.parts))
            progress("start Spark", len(self.parts), len(self.parts))
        return missing

    def down(self, *, erase: bool = False) -> list[str]:
        """Stop the programs, the master last; returns those that ran.

        Parameters
        ----------
        erase : bool
            Delete the folder too.
        """
        with alone(_lock_of(self.folder)):
            stopped = [part for part in reversed(self.parts) if stop_daemon(self._words(part))]
            if erase:
                shutil.rmtree(self.folder, ignore_errors=True)
        return stopped

    def kill(self, part: str) -> bool:
        """Kill a program and all that it started, at once, as the loss of its machine would.

        Returns
        -------
        bool
            Whether it ran.
        """
        pid = self.pid(part)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):  # an executor is in its worker's group
            os.killpg(pid, signal.SIGKILL)
        stop_daemon(self._words(part), hard=True)
        return True

    def workers_alive(self) -> int:
        """Workers that the master knows to work; 0 when it doesn't answer."""
        page = f"http://{HOST}:{self.ports['page']}/json/"
        try:
            with urllib.request.urlopen(page, timeout=5) as answer:
                return int(json.load(answer)["aliveworkers"])
        except (OSError, ValueError, KeyError):
            return 0

    def log(self, part: str) -> Path:
        """Where a program writes its log."""
        return self.folder / f"{part}.log"

    def _words(self, part: str) -> list[str]:
        """Words that are in this program's command line and in no other's."""
        if part not in self.parts:
            raise ServiceError(f"no {part!r} in this Spark cluster: there are {', '.join(self.parts)}")
        if part == "connect":
            return ["--conf", f"spark.connect.grpc.binding.port={self.ports[part]}"]
        return [main_class(part), "--host", HOST, "--port", str(self.ports[part])]

    def _launch(self, part: str) -> int:
        if not port_is_free(self.ports[part]):
            raise ServiceError(
                f"port {self.ports[part]} of Spark's {part} is taken by another program: stop that, or put another "
                f"port into {self.folder / CLUSTER_FILE}"
            )
        own, words = self.folder / part, self._words(part)
        own.mkdir(exist_ok=True)
        if part == "master":
            argv = master_command(own, words, page=self.ports["page"])
        elif part == "connect":
            workers = len([name for name in self.parts if name.startswith("worker")])
            half = max(workers, workers * self.cores // 2)
            argv = connect_command(own, words, self.url, half, self.executor_mb, self.python)
        else:
            argv = worker_command(own, words, self.url, self.cores, self.memory_mb)
        return start_daemon(argv, self.log(part))

    def _await(self, part: str, pid: int | None) -> None:
        """Wait until a program does its work; ``pid`` is given when we have just started it."""
        gone = False

        def settled() -> bool:
            nonlocal gone
            gone = pid is not None and has_ended(pid)
            return gone or self._works(part)

        in_time = wait_until(settled, _READY_SECONDS)
        if gone or not in_time:
            what = "ended as soon as it was started" if gone else f"isn't ready within {_READY_SECONDS:g} s"
            log = self.log(part)
            raise ServiceError(f"Spark's {part} {what}; the end of {log}:\n{tail(log)}")

    def _works(self, part: str) -> bool:
        if part == "master":
            return not port_is_free(self.ports[part])
        if part == "connect":
            return connect_answers(self.connect_url)
        number = int(part.rpartition("-")[2])
        return self.workers_alive() >= min(number, len(self.parts))


def _lock_of(folder: Path) -> Path:
    """File that is locked while the cluster's programs change; beside the folder, since that can be erased."""
    return folder.with_name(f".{folder.name}.lock")
