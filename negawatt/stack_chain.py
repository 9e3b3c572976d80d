"""What ``negawatt stack`` does with the private Ethereum network of a workspace."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import NegawattError
from negawatt.cli_base import Context
from negawatt.console import Progress
from negawatt.workspace import Workspace

if TYPE_CHECKING:
    from infra.geth_status import NodeStatus


class ChainService:
    """Two geth nodes."""

    name = "chain"
    about = "a private Ethereum network: two geth nodes, one of which seals a block every period"

    def folder(self, workspace: Workspace) -> Path:
        """Where its files are."""
        return workspace.stack / self.name

    def memory_to_start_mib(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Memory that we know it to need. [MiB]"""
        return 0

    def up(self, ctx: Context, progress: Progress, options: dict[str, Any]) -> dict[str, Any]:
        """Make the network if there is none and start what doesn't run; returns ``made`` and ``started``."""
        from infra.geth_create import CHAIN_ID, PERIOD_S, create_network  # noqa: PLC0415  heavy imports wait
        from infra.geth_install import find_geth  # noqa: PLC0415
        from infra.geth_network import Network  # noqa: PLC0415

        folder = self.folder(ctx.workspace)
        period, chain_id = options["period"], options["chain_id"]
        made = not folder.exists()
        if made:
            geth = find_geth(progress, ctx.screen.say)
            network = create_network(
                folder, geth=geth, now=datetime.now(UTC), period=period or PERIOD_S, chain_id=chain_id or CHAIN_ID
            )
        else:
            network = Network.load(folder)
            for name, wanted, is_now in (
                ("period", period, network.period),
                ("chain id", chain_id, network.chain_id),
            ):
                if wanted not in (None, is_now):
                    raise NegawattError(
                        f"the network in {folder} has {name} {is_now}, which can't change: leave the option out, or "
                        "begin anew after `negawatt stack reset chain`"
                    )
        return {"made": made, "started": network.up(progress, ctx.screen.say)}

    def how_to_use(self, workspace: Workspace) -> str:
        """How other commands use it."""
        return "--chain stack://"

    def status(self, ctx: Context) -> dict[str, Any]:
        """Show the nodes; returns what they are doing."""
        from infra.geth_network import Network  # noqa: PLC0415
        from infra.geth_status import network_status  # noqa: PLC0415

        network = Network.load(self.folder(ctx.workspace))
        nodes = network_status(network)
        running = sum(node.up for node in nodes)
        state = {0: "stopped", len(nodes): "running"}.get(running, "partly")
        ctx.screen.table(
            f"chain: {state}, chain id {network.chain_id}, a block every {network.period} s",
            ("node", "role", "url", "up", "peers", "pending"),
            [(n.name, n.role, n.url, n.up, shown(n.peers), shown(n.pending)) for n in nodes],
        )
        ctx.screen.table(
            "latest block of each node",
            ("node", "head", "sealed by", "interval, s", "gas used", "of limit, %"),
            [_latest_block(node) for node in nodes],
        )
        for node in nodes:
            if node.problem:
                log = network.node(node.name).log
                then = f"look into {log}" if node.pid else "start it with `negawatt stack up chain`"
                ctx.screen.say(f"  {node.name}: {node.problem}; {then}")
        return {
            "state": state,
            "folder": str(network.folder),
            "chain_id": network.chain_id,
            "period": network.period,
            "gas_limit": network.gas_limit,
            "operator": network.operator,
            "keystore": str(network.operator_keystore),
            "password_file": str(network.operator_password_file),
            "nodes": [asdict(node) for node in nodes],
        }

    def down(self, workspace: Workspace, *, erase: bool) -> list[str]:
        """Stop the nodes; returns the names of those that ran."""
        from infra.geth_network import Network  # noqa: PLC0415

        return Network.load(self.folder(workspace)).down(erase=erase)

    def logs(self, workspace: Workspace) -> dict[str, Path]:
        """Log of each node."""
        from infra.geth_network import Network  # noqa: PLC0415

        return {node.name: node.log for node in Network.load(self.folder(workspace)).nodes}


def _latest_block(node: NodeStatus) -> tuple[object, ...]:
    sealer = node.sealer and f"{node.sealer[:8]}…{node.sealer[-4:]}"
    return (node.name, *map(shown, (node.head, sealer, node.interval, node.gas_used, node.gas_used_pct)))


def shown(value: object) -> object:
    """A cell of a table; a dash where nothing is known."""
    return "–" if value is None else value
