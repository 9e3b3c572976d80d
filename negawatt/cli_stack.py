"""``negawatt stack``: the servers of a workspace, started, watched and stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError
from negawatt.cli_base import CONTEXT, Context, Group, as_json

if TYPE_CHECKING:
    from infra.geth_status import NodeStatus


@dataclass(frozen=True)
class Service:
    """What the commands do with one server: each returns JSON values, and shows people what it did.

    ``up`` takes the options of the command of the same name, of which it uses its own.
    """

    up: Callable[..., dict[str, Any]]
    status: Callable[[Context], dict[str, Any]]
    down: Callable[[Context, bool], dict[str, Any]]


def _chain_folder(ctx: Context) -> Path:
    return ctx.workspace.stack / "chain"


def _chain_up(ctx: Context, *, period: int | None, chain_id: int | None) -> dict[str, Any]:
    from infra.geth_create import CHAIN_ID, PERIOD_S, create_network  # noqa: PLC0415  heavy imports wait
    from infra.geth_install import find_geth  # noqa: PLC0415
    from infra.geth_network import Network  # noqa: PLC0415

    folder = _chain_folder(ctx)
    made = not folder.exists()
    with ctx.screen.progress() as progress:
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
                        "begin anew after `negawatt stack down chain --erase`"
                    )
        started = network.up(progress, ctx.screen.say)
    document = _chain_status(ctx)
    if started:
        ctx.screen.say(
            f"  started {' and '.join(started)}{', a new network' if made else ''}; use it by --chain stack://"
        )
    else:
        ctx.screen.say("  it was running already; nothing was started")
    return document | {"made": made, "started": started}


def _chain_status(ctx: Context) -> dict[str, Any]:
    from infra.geth_network import Network  # noqa: PLC0415
    from infra.geth_status import network_status  # noqa: PLC0415

    folder = _chain_folder(ctx)
    if not folder.exists():
        ctx.screen.say("chain: none in this workspace; start one with `negawatt stack up chain`")
        return {"state": "none"}
    network = Network.load(folder)
    nodes = network_status(network)
    running = sum(node.up for node in nodes)
    state = {0: "stopped", len(nodes): "running"}.get(running, "partly")
    ctx.screen.table(
        f"chain: {state}, chain id {network.chain_id}, a block every {network.period} s",
        ("node", "role", "url", "up", "peers", "pending"),
        [(n.name, n.role, n.url, n.up, _shown(n.peers), _shown(n.pending)) for n in nodes],
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


def _latest_block(node: NodeStatus) -> tuple[object, ...]:
    sealer = node.sealer and f"{node.sealer[:8]}…{node.sealer[-4:]}"
    return (node.name, *map(_shown, (node.head, sealer, node.interval, node.gas_used, node.gas_used_pct)))


def _shown(value: object) -> object:
    return "–" if value is None else value


def _chain_down(ctx: Context, erase: bool) -> dict[str, Any]:
    from infra.geth_network import Network  # noqa: PLC0415

    folder = _chain_folder(ctx)
    if not folder.exists():
        ctx.screen.say("chain: none in this workspace; nothing to stop")
        return {"stopped": [], "erased": False}
    stopped = Network.load(folder).down(erase=erase)
    what = f"stopped {' and '.join(stopped)}" if stopped else "was not running"
    kept = "erased" if erase else f"kept in {folder}"
    ctx.screen.say(f"chain: {what}; its data are {kept}")
    return {"stopped": stopped, "erased": erase}


SERVICES = {"chain": Service(_chain_up, _chain_status, _chain_down)}
NAMES = click.argument("names", nargs=-1, required=True, type=click.Choice(list(SERVICES)), metavar="NAME...")


@click.group(cls=Group, context_settings=CONTEXT, short_help="Start, watch and stop servers of your own.")
def stack() -> None:
    """Servers of this workspace, on this machine, for this machine alone.

    \b
    NAME is one of
      chain   a private Ethereum network: two geth nodes, one of which seals a block every period

    Their files are in WORKSPACE/stack/NAME.
    """


@stack.command(short_help="Start servers, and wait until they work.")
@NAMES
@click.option("--period", type=click.IntRange(1, 60), help="chain: seconds between blocks of a new network.  [1]")
@click.option("--chain-id", type=click.IntRange(1, 2**31), help="chain: chain id of a new network.  [7239540]")
@as_json
@click.pass_obj
def up(ctx: Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Start what isn't running of the servers NAME..., and wait until they work.

    They go on when this command has ended, until `negawatt stack down`. What they keep survives that, and a crash.

    The chain's first start makes the network: chain id, keys, accounts, first block. It finds geth 1.13.15, or builds
    it with Go, which takes some minutes. Use it with --chain stack:// or `chain = "stack://"` in negawatt.toml.
    """
    ctx.screen.document({name: SERVICES[name].up(ctx, **options) for name in _once(names)})


@stack.command(short_help="Show what the servers are doing.")
@as_json
@click.pass_obj
def status(ctx: Context) -> None:
    """Show the servers of this workspace, node by node."""
    ctx.screen.document({name: service.status(ctx) for name, service in SERVICES.items()})


@stack.command(short_help="Stop servers.")
@NAMES
@click.option("--erase", is_flag=True, help="Delete what they keep, too: chain, keys and all. There is no way back.")
@as_json
@click.pass_obj
def down(ctx: Context, names: tuple[str, ...], erase: bool) -> None:
    """Stop the servers NAME...; what they keep stays, unless --erase is given."""
    ctx.screen.document({name: SERVICES[name].down(ctx, erase) for name in _once(names)})


def _once(names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(names))
