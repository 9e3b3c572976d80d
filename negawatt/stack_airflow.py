"""The workspace's own Airflow, as a service of the stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.stack_chain import shown
from negawatt.stack_local import LocalService
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.airflow_server import AirflowServer


class AirflowService(LocalService["AirflowServer"]):
    """Airflow with the DAGs of the package ``dags``."""

    name = "airflow"
    about = "the scheduler: Airflow, which runs the DAGs"
    options: ClassVar[Mapping[str, str]] = {"port": "port", "parallelism": "parallelism", "database": "database"}

    @property
    def kind(self) -> type[AirflowServer]:
        """Class of the server."""
        from infra.airflow_server import AirflowServer  # noqa: PLC0415  heavy imports wait

        return AirflowServer

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make it if there is none and start what doesn't run; returns ``made`` and ``started``."""
        done = super().up(ctx, progress, options)
        if done["made"]:
            chosen = "" if options["airflow_database"] else f"; {self.load(ctx.workspace).why_this_database}"
            ctx.screen.say(f"airflow keeps its runs in {self.load(ctx.workspace).database}{chosen}")
        return done

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        server = self.load(workspace)
        return (
            f'scheduler = "stack://" in negawatt.toml, or in a browser at {server.url} as {server.user} with the '
            f"password in {server.password_file}"
        )

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show its programs and DAGs; returns what they are doing."""
        from infra.server_status import condition_of, disk_bytes  # noqa: PLC0415

        server = self.load(ctx.workspace)
        seen, memory = condition_of(server), server.memory_mib()
        programs: list[dict[str, Any]] = [
            {"name": p.name, "up": (pid := p.pid) is not None, "pid": pid, "ports": list(p.ports),
             "memory_mib": memory[p.name], "log": str(p.log)}
            for p in server.programs
        ]  # fmt: skip
        dags: list[str] = []
        errors: dict[str, str] = {}
        if seen.state == "running":
            api = server.api()
            dags = sorted(name for names in api.dag_files().values() for name in names)
            errors = api.import_errors()
        ctx.screen.table(
            f"airflow: {seen.state}, {server.url}",
            ("program", "up", "ports", "memory, MiB"),
            [(p["name"], p["up"], ", ".join(map(str, p["ports"])), shown(p["memory_mib"])) for p in programs],
        )
        taken = sum(mib for mib in memory.values() if mib is not None)
        on_disk = disk_bytes(server.folder)
        ctx.screen.say(
            f"  user {server.user}, password in {server.password_file}; {server.database}, "
            f"{server.parallelism} tasks at once; {taken:,} MiB of memory, {on_disk / 2**20:,.1f} MiB on disk"
        )
        if seen.state == "running":
            ctx.screen.say(f"  {len(dags)} DAGs: {', '.join(dags) or 'none'}")
        for file, why in errors.items():
            ctx.screen.say(f"  {file} can't be read by Airflow: {why.strip().splitlines()[-1]}")
        self.say_what_to_do(ctx, seen)
        return {
            "state": seen.state,
            "url": server.url,
            "user": server.user,
            "password_file": str(server.password_file),
            "database": server.database,
            "parallelism": server.parallelism,
            "programs": programs,
            "memory_mib": taken,
            "dags": dags,
            "import_errors": errors,
            "answer_ms": seen.answer_ms,
            "problem": seen.problem,
            "disk_bytes": on_disk,
        }
