"""The workspace's own stand-in for HeavyDB, as a service of the stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.heavydb_server import HeavyDBServer


class HeavyDBService:
    """One program that speaks HeavyDB's protocol over DuckDB, for development and tests."""

    name = "heavydb"
    about = "the speed store: a stand-in for HeavyDB, for development and tests"

    def folder(self, workspace: Workspace) -> Path:
        """Where its files are."""
        return workspace.stack / self.name

    def load(self, workspace: Workspace) -> HeavyDBServer:
        """The workspace's server."""
        from infra.heavydb_server import HeavyDBServer  # noqa: PLC0415  heavy imports wait

        return HeavyDBServer.load(self.folder(workspace))

    def memory_to_start_mib(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Memory that starting it may take. [MiB]"""
        from infra.heavydb_server import HeavyDBServer  # noqa: PLC0415

        folder = self.folder(workspace)
        server = HeavyDBServer.load(folder) if folder.exists() else HeavyDBServer(folder.resolve(), 0)
        return replace(server, memory_mib=options["heavydb_memory"] or server.memory_mib).memory_to_start_mib

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make it if there is none and start it if it doesn't run; returns ``made`` and ``started``."""
        from infra.heavydb_server import HeavyDBServer  # noqa: PLC0415

        folder = self.folder(ctx.workspace)
        made = not folder.exists()
        server = HeavyDBServer.create(folder) if made else HeavyDBServer.load(folder)
        server = server.changed(port=options["heavydb_port"], memory_mib=options["heavydb_memory"])
        return {"made": made, "started": server.up(progress, ctx.screen.say)}

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        server = self.load(workspace)
        return f'speed = "stack://" in negawatt.toml, or {server.url} with the password in {server.password_file}'

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show it; returns what it is doing."""
        from infra.java_status import disk_bytes  # noqa: PLC0415

        server = self.load(ctx.workspace)
        state, answer_ms, problem = ("running" if server.pid is not None else "stopped"), None, None
        if state == "running":
            try:
                answer_ms = server.probe()
            except Exception as refused:  # clients raise all sorts of errors when a server doesn't work
                state, problem = "silent", f"{type(refused).__name__}: {refused}"
        taken = server.memory_taken_mib
        ctx.screen.table(
            f"heavydb: {state}, {server.url}",
            ("program", "process", "port", "memory, MiB", "of queries at most, MiB"),
            [("heavydb", str(server.pid), str(server.port), str(taken), server.memory_mib)],
        )
        on_disk = disk_bytes(server.folder)
        answered = "" if answer_ms is None else f"; answered in {answer_ms} ms"
        ctx.screen.say(f"  a stand-in for development and tests; {on_disk / 2**20:,.1f} MiB on disk{answered}")
        if state == "stopped":
            ctx.screen.say("  start it with `negawatt stack up heavydb`")
        if problem:
            ctx.screen.say(f"  it doesn't answer ({problem}); look at `negawatt stack logs heavydb`")
        return {
            "state": state,
            "url": server.url,
            "password_file": str(server.password_file),
            "pid": server.pid,
            "port": server.port,
            "memory_mib": taken,
            "answer_ms": answer_ms,
            "problem": problem,
            "disk_bytes": on_disk,
        }

    def down(self, workspace: Workspace, *, erase: bool) -> list[str]:
        """Stop it; returns the names of the programs that ran."""
        return self.load(workspace).down(erase=erase)

    def logs(self, workspace: Workspace) -> dict[str, Path]:
        """Its log."""
        return {"heavydb": self.load(workspace).log}
