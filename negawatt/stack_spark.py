"""The workspace's own Spark cluster, as a service of the stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.spark_cluster import SparkCluster

MEMORY_MIB = 2048
"""What a master, two workers with an executor each and a Connect server take. [MiB]"""


class SparkService:
    """A standalone cluster of a master and two workers, and a Connect server."""

    name = "spark"
    about = "batch jobs: a Spark master, two workers and a Connect server"

    def folder(self, workspace: Workspace) -> Path:
        """Where its files are."""
        return workspace.stack / self.name

    def load(self, workspace: Workspace) -> SparkCluster:
        """The workspace's cluster."""
        from infra.spark_cluster import SparkCluster  # noqa: PLC0415  heavy imports wait

        return SparkCluster.load(self.folder(workspace))

    def memory_to_start_mib(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Memory that starting it takes. [MiB]"""
        return MEMORY_MIB

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make it if there is none and start what doesn't run; returns ``made`` and ``started``."""
        from infra.spark_cluster import SparkCluster  # noqa: PLC0415

        folder = self.folder(ctx.workspace)
        made = not folder.exists()
        cluster = SparkCluster.create(folder) if made else SparkCluster.load(folder)
        return {"made": made, "started": cluster.up(progress, ctx.screen.say)}

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        cluster = self.load(workspace)
        return f'spark = "{cluster.url}" or "{cluster.connect_url}" in negawatt.toml'

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show its programs; returns what they are doing."""
        cluster = self.load(ctx.workspace)
        pids = {part: cluster.pid(part) for part in cluster.parts}
        running = [part for part, pid in pids.items() if pid is not None]
        state = "running" if len(running) == len(pids) else "partly" if running else "stopped"
        ctx.screen.table(
            f"spark: {state}, {cluster.url}", ("program", "process"), [(p, str(n)) for p, n in pids.items()]
        )
        if state != "running":
            ctx.screen.say("  start it with `negawatt stack up spark`")
        return {"state": state, "url": cluster.url, "connect_url": cluster.connect_url, "programs": pids}

    def down(self, workspace: Workspace, *, erase: bool) -> list[str]:
        """Stop it; returns the names of the programs that ran."""
        return self.load(workspace).down(erase=erase)

    def logs(self, workspace: Workspace) -> dict[str, Path]:
        """Log of each of its programs."""
        cluster = self.load(workspace)
        return {part: cluster.log(part) for part in cluster.parts}
