"""The stand-in for HeavyDB on this machine: one program, reached by the protocol of HeavyDB."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from infra.daemons import ServiceError, port_is_free
from infra.heavydb.password import PASSWORD_FILE, password_of
from infra.local_program import CommandProgram
from infra.local_server import LocalServer, Progress, Say

HOST = "127.0.0.1"
USER, DATABASE = "admin", "heavyai"
BESIDE_MIB = 200
"""What the program takes beside the memory of its queries: Python and its libraries. [MiB]"""
_ANSWER_MS = 10_000


@dataclass(frozen=True)
class HeavyDBServer(LocalServer[CommandProgram]):
    """The stand-in.

    Attributes
    ----------
    port : int
        Of Thrift's binary protocol.
    memory_mib : int
        What queries may hold; more goes to disk. [MiB]
    """

    memory_mib: int = 1024
    service: ClassVar[str] = "heavydb"
    packages: ClassVar[tuple[tuple[str, str], ...]] = (
        ("heavydb", "heavyai"),
        ("thrift", "heavyai"),
        ("sqlglot", "sqlglot"),
    )
    ready_seconds: ClassVar[float] = 60.0
    changeable: ClassVar[str] = "port and memory"

    @property
    def programs(self) -> tuple[CommandProgram, ...]:
        """The one."""
        return (
            CommandProgram(
                name="heavydb",
                folder=self.folder,
                ports=(self.port,),
                before=(sys.executable, "-m"),
                own_words=("infra.heavydb", "--folder", str(self.folder)),
                after=("--port", str(self.port), "--memory-mib", str(self.memory_mib)),
            ),
        )

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
        return self.programs[0].log

    @property
    def pid(self) -> int | None:
        """Process id, None when it doesn't run."""
        return self.programs[0].pid

    @property
    def memory_to_start_mib(self) -> int:
        """Memory that starting it may take; 0 when it runs. [MiB]"""
        return 0 if self.pid is not None else self.memory_mib + BESIDE_MIB

    def probe(self) -> None:
        """Connect and have a sum worked out."""
        from heavydb.thrift.Heavy import Client  # noqa: PLC0415  from an extra
        from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated  # noqa: PLC0415
        from thrift.transport.TSocket import TSocket  # noqa: PLC0415
        from thrift.transport.TTransport import TBufferedTransport  # noqa: PLC0415

        if port_is_free(self.port):  # thrift would complain on our terminal
            raise ServiceError(f"nothing listens at {self.address}")
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
            raise ServiceError(f"heavydb at {self.address} can't add: {column.data}")

    def _furnish(self) -> None:
        password_of(self.folder)

    def _launcher(self, progress: Progress, say: Say) -> Callable[[CommandProgram], int]:
        say("heavydb is a stand-in for development and tests, on DuckDB; it is not HeavyDB")
        return lambda program: program.start()
