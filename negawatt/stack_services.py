"""The servers that a workspace can have, each behind the same few verbs, and their addresses for settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.stack_airflow import AirflowService
from negawatt.stack_chain import ChainService, shown
from negawatt.stack_heavydb import HeavyDBService
from negawatt.stack_local import LocalService
from negawatt.stack_spark import SparkService
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.hbase_server import HBaseServer
    from infra.kafka_server import KafkaServer

STACK = "stack://"
"""In settings: the workspace's own server."""


class Service(Protocol):
    """One server of a workspace. All but ``up`` are for one that was made, which its folder shows."""

    name: str
    about: str

    def folder(self, workspace: Workspace) -> Path:
        """Where its files are."""

    def memory_to_start_mib(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Memory that starting it takes, as far as we know. [MiB]"""

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make it if there is none and start what doesn't run; returns ``made`` and ``started``."""

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show it to people; returns what it is doing, ``state`` first."""

    def down(self, workspace: Workspace, *, erase: bool) -> list[str]:
        """Stop it; returns the names of the programs that ran."""

    def logs(self, workspace: Workspace) -> dict[str, Path]:
        """Log of each of its programs."""


class JavaService(LocalService["KafkaServer | HBaseServer"]):
    """A server of Java programs: Kafka or HBase."""

    options: ClassVar[Mapping[str, str]] = {"port": "port", "heap_mib": "heap"}

    def __init__(self, name: str, about: str, setting: str) -> None:
        self.name, self.about, self.setting = name, about, setting

    @property
    def kind(self) -> type[KafkaServer | HBaseServer]:
        """Class of the server."""
        from infra.hbase_server import HBaseServer  # noqa: PLC0415  heavy imports wait
        from infra.kafka_server import KafkaServer  # noqa: PLC0415

        return KafkaServer if self.name == "kafka" else HBaseServer

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        return f'{self.setting} = "{STACK}" in negawatt.toml, or {self.load(workspace).url}'

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show its programs; returns what they are doing."""
        from infra.java_status import server_status  # noqa: PLC0415

        seen = server_status(self.load(ctx.workspace))
        ctx.screen.table(
            f"{self.name}: {seen.state}, {seen.url}",
            ("program", "up", "ports", "memory, MiB", "heap at most, MiB"),
            [(p.name, p.up, ", ".join(map(str, p.ports)), shown(p.memory_mib), p.heap_mib) for p in seen.programs],
        )
        disk = f"{seen.disk_bytes / 2**20:,.1f} MiB on disk"
        ctx.screen.say(f"  {disk}" if seen.answer_ms is None else f"  {disk}; wrote and read in {seen.answer_ms} ms")
        self.say_what_to_do(ctx, seen)
        return asdict(seen)


_KAFKA = JavaService("kafka", "the bus: one Kafka broker", "bus")
_HBASE = JavaService("hbase", "the batch store: HBase with its Thrift server", "store")
_HEAVYDB = HeavyDBService()
_AIRFLOW = AirflowService()
SERVICES: dict[str, Service] = {
    service.name: service for service in (ChainService(), _KAFKA, _HBASE, SparkService(), _HEAVYDB, _AIRFLOW)
}


def bus_address(workspace: Workspace) -> str:
    """Address of the workspace's own Kafka, for ``bus = "stack://"``.

    Raises
    ------
    ServiceError
        The workspace has none.
    """
    return _KAFKA.load(workspace).url


def store_address(workspace: Workspace) -> str:
    """Address of the workspace's own HBase, for ``store = "stack://"``.

    Raises
    ------
    ServiceError
        The workspace has none.
    """
    return _HBASE.load(workspace).url


def speed_address(workspace: Workspace) -> str:
    """Address of the workspace's own HeavyDB with its password, for ``speed = "stack://"``: not to be shown.

    Raises
    ------
    ServiceError
        The workspace has none.
    """
    return _HEAVYDB.load(workspace).client_url


def scheduler_address(workspace: Workspace) -> tuple[str, str]:
    """Address of the workspace's own Airflow, for ``scheduler = "stack://"``, and the password of its user.

    Raises
    ------
    ServiceError
        The workspace has none.
    """
    server = _AIRFLOW.load(workspace)
    return f"airflow://{server.user}@{server.address}", server.password
