"""The stand-in for HeavyDB on this machine: one program in a folder, started, found again, asked, stopped."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from infra.daemons import (
    ServiceError,
    alone,
    find_daemon,
    free_ports,
    has_ended,
    lock_of,
    port_is_free,
    start_daemon,
    stop_daemon,
    tail,
    wait_until,
)
from infra.heavydb.password import PASSWORD_FILE, password_of

SERVER_FILE = "server.json"
HOST = "127.0.0.1"
USER, DATABASE = "admin", "heavyai"
BESIDE_MIB = 200
"""What the program takes beside the memory of its queries: Python and its libraries. [MiB]"""
_READY_SECONDS = 60.0
_ANSWER_MS = 10_000
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class HeavyDBServer:
    """A server for this machine alone.

    Attributes
    ----------
    folder : Path
        Absolute; settings, password, data and log.
    port : int
        Of Thrift's binary protocol.
    memory_mib : int
        What queries may hold; more goes to disk. [MiB]
    """

    folder: Path
    port: int
    memory_mib: int = 1024

    @classmethod
    def create(cls, folder: Path, *, port: int | None = None, memory_mib: int = 1024) -> HeavyDBServer:
        """Make a server's folder and its password; `up` starts it.

        Parameters
        ----------
        port : int, optional
            Default: a free one, kept from then on.

        Raises
        ------
        ServiceError
            The folder exists.
        """
        folder = folder.resolve()
        with alone(lock_of(folder)):
            if folder.exists():
                raise ServiceError(f"{folder} exists: start it, or erase it with `negawatt stack reset heavydb`")
            server = cls(folder, port or free_ports(1)[0], memory_mib)
            folder.mkdir(mode=0o700, parents=True)
            password_of(folder)
            server._save()
        return server

    @classmethod
    def load(cls, folder: Path) -> HeavyDBServer:
        """The server that a folder holds.

        Raises
        ------
        ServiceError
            It holds none, or its file is broken.
        """
        path = folder.resolve() / SERVER_FILE
        try:
            values = json.loads(path.read_text())
            if not all(type(value) is int for value in values.values()):
                raise ValueError("port and memory are whole numbers")
            return cls(path.parent, **values)
        except FileNotFoundError as absent:
            raise ServiceError(f"no HeavyDB in {folder}: start one with `negawatt stack up heavydb`") from absent
        except (ValueError, TypeError, AttributeError) as broken:
            raise ServiceError(
                f"{path} can't be read ({broken}): correct it, or erase the folder to begin anew"
            ) from broken

    @property
    def url(self) -> str:
        """Address without the password."""
        return f"heavydb://{USER}@{HOST}:{self.port}/{DATABASE}"

    @property
    def client_url(self) -> str:
        """Address with the password, for a client of this process: not to be shown or kept."""
        return f"heavydb://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def password(self) -> str:
        """The password of its one user."""
        return password_of(self.folder)

    @property
    def password_file(self) -> Path:
        """Where the password is, readable by its owner alone."""
        return self.folder / PASSWORD_FILE

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "heavydb.log"

    @property
    def pid(self) -> int | None:
        """Process id, None when it doesn't run."""
        return find_daemon(self._words)

    @property
    def memory_to_start_mib(self) -> int:
        """Memory that starting it may take; 0 when it runs. [MiB]"""
        return 0 if self.pid is not None else self.memory_mib + BESIDE_MIB

    @property
    def memory_taken_mib(self) -> int | None:
        """Memory that it takes now, None where the system doesn't tell. [MiB]"""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

    @property
    def _words(self) -> list[str]:
        """Part of its command line that no other program has."""
        return ["infra.heavydb", "--folder", str(self.folder)]

    def changed(self, *, port: int | None = None, memory_mib: int | None = None) -> HeavyDBServer:
        """The same server with another port or memory, which it keeps.

        Raises
        ------
        ServiceError
            It runs, and something would change.
        """
        server = replace(self, port=port or self.port, memory_mib=memory_mib or self.memory_mib)
        if server == self:
            return self
        with alone(lock_of(self.folder)):
            if self.pid is not None:
                raise ServiceError("heavydb runs, so it can't change: first `negawatt stack down heavydb`")
            server._save()
        return server

    def up(self, progress: Progress = lambda *_: None, say: Say = lambda _: None) -> list[str]:
        """Start it if it doesn't run, and wait until it answers a query.

        Returns
        -------
        list of str
            Names of the programs that were started.

        Raises
        ------
        ServiceError
            A package is missing, the port is taken, or it doesn't answer in time; with the tail of its log.
        """
        step = "start heavydb"
        with alone(lock_of(self.folder), lambda: say("another process starts or stops heavydb; waiting for it")):
            _require_packages()
            progress(step, 0, 2)
            started: int | None = None
            if self.pid is None:
                if not port_is_free(self.port):
                    raise ServiceError(
                        f"port {self.port} of heavydb is taken by another program: stop that, or put another port "
                        f"into {self.folder / SERVER_FILE}"
                    )
                words = [*self._words, "--port", str(self.port), "--memory-mib", str(self.memory_mib)]
                started = start_daemon([sys.executable, "-m", *words], self.log)
            progress(step, 1, 2)
            self._wait_until_ready(started)
            progress(step, 2, 2)
        if started is not None:
            say("heavydb is a stand-in for development and tests, on DuckDB; it is not HeavyDB")
        return ["heavydb"] if started is not None else []

    def probe(self) -> int:
        """Connect and have a sum worked out; returns the time that it took. [ms]

        Raises
        ------
        Exception
            It doesn't answer.
        """
        from heavydb.thrift.Heavy import Client  # noqa: PLC0415  from an extra
        from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated  # noqa: PLC0415
        from thrift.transport.TSocket import TSocket  # noqa: PLC0415
        from thrift.transport.TTransport import TBufferedTransport  # noqa: PLC0415

        if port_is_free(self.port):  # thrift would complain on our terminal
            raise ServiceError(f"nothing listens at {HOST}:{self.port}")
        began = time.monotonic()
        peer = TSocket(HOST, self.port)
        peer.setTimeout(_ANSWER_MS)
        transport = TBufferedTransport(peer)
        transport.open()
        try:
            client = Client(TBinaryProtocolAccelerated(transport))
            session = client.connect(USER, self.password, DATABASE)
            answer = client.sql_execute(session, "SELECT 19 + 23", True, None, -1, -1)
            client.disconnect(session)
        finally:
            transport.close()
        (column,) = answer.row_set.columns
        if column.data.int_col != [42]:
            raise ServiceError(f"heavydb at {HOST}:{self.port} can't add: {column.data}")
        return round(1000 * (time.monotonic() - began))

    def down(self, *, erase: bool = False) -> list[str]:
        """Stop it; returns the names of the programs that ran.

        Parameters
        ----------
        erase : bool
            Delete the folder too, with all data.
        """
        with alone(lock_of(self.folder)):
            stopped = stop_daemon(self._words, hard=erase)
            if erase:
                shutil.rmtree(self.folder)
        return ["heavydb"] if stopped else []

    def kill(self) -> bool:
        """Kill it as a crash would; returns whether it ran."""
        return stop_daemon(self._words, hard=True)

    def _save(self) -> None:
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        draft = self.folder / f".{SERVER_FILE}"
        draft.write_text(json.dumps(values, indent=2) + "\n")
        draft.replace(self.folder / SERVER_FILE)

    def _wait_until_ready(self, started: int | None) -> None:
        problem, gone = "not asked yet", False

        def settled() -> bool:
            nonlocal problem, gone
            gone = started is not None and has_ended(started)
            if gone:
                return True
            try:
                self.probe()
            except Exception as refused:  # clients raise all sorts of errors before a server is up
                problem = f"{type(refused).__name__}: {refused}"
                return False
            return True

        in_time = wait_until(settled, _READY_SECONDS)
        if gone or not in_time:
            what = (
                "ended as soon as it was started" if gone else f"doesn't answer in {_READY_SECONDS:g} s ({problem})"
            )
            raise ServiceError(f"heavydb {what}; the end of {self.log}:\n{tail(self.log)}")


def _require_packages() -> None:
    for module, package in (("heavydb", "heavyai"), ("thrift", "heavyai"), ("sqlglot", "sqlglot")):
        try:
            __import__(module)
        except ModuleNotFoundError as absent:
            raise ServiceError(
                f"the Python package {package} is missing, which heavydb needs: pip install 'negawatt[heavydb]'"
            ) from absent
