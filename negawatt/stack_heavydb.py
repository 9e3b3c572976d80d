"""The workspace's own stand-in for HeavyDB, as a service of the stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from negawatt.cli_base import Context
from negawatt.stack_local import LocalService
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.heavydb_server import HeavyDBServer


class HeavyDBService(LocalService["HeavyDBServer"]):
    """One program that speaks HeavyDB's protocol over DuckDB, for development and tests."""

    name = "heavydb"
    about = "the speed store: a stand-in for HeavyDB, for development and tests"
    options: ClassVar[Mapping[str, str]] = {"port": "port", "memory_mib": "memory"}

    @property
    def kind(self) -> type[HeavyDBServer]:
        """Class of the server."""
        from infra.heavydb_server import HeavyDBServer  # noqa: PLC0415  heavy imports wait

        return HeavyDBServer

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        server = self.load(workspace)
        return f'speed = "stack://" in negawatt.toml, or {server.url} with the password in {server.password_file}'

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show it; returns what it is doing."""
        from infra.server_status import condition_of, disk_bytes, memory_taken_mib  # noqa: PLC0415

        server = self.load(ctx.workspace)
        seen, taken = condition_of(server), memory_taken_mib(server.pid)
        ctx.screen.table(
            f"heavydb: {seen.state}, {server.url}",
            ("program", "process", "port", "memory, MiB", "of queries at most, MiB"),
            [("heavydb", str(server.pid), str(server.port), str(taken), server.memory_mib)],
        )
        on_disk = disk_bytes(server.folder)
        answered = "" if seen.answer_ms is None else f"; answered in {seen.answer_ms} ms"
        ctx.screen.say(f"  a stand-in for development and tests; {on_disk / 2**20:,.1f} MiB on disk{answered}")
        self.say_what_to_do(ctx, seen)
        return {
            "state": seen.state,
            "url": server.url,
            "password_file": str(server.password_file),
            "pid": server.pid,
            "port": server.port,
            "memory_mib": taken,
            "answer_ms": seen.answer_ms,
            "problem": seen.problem,
            "disk_bytes": on_disk,
        }
