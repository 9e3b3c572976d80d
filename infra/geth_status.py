"""What the nodes of a private network are doing, as they answer themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.clique import sealer_of
from infra.daemons import ServiceError
from infra.geth_network import Network
from infra.geth_node import Node
from infra.json_rpc import rpc

_INTERVAL_BLOCKS = 20
_ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class NodeStatus:
    """One node, now. What a node that doesn't answer can't tell is None.

    Attributes
    ----------
    name, role, url, account : str
    pid : int or None
        Its process; None when none runs.
    up : bool
        Whether it answers.
    problem : str or None
        Why it doesn't.
    peers : int or None
    head, head_hash : int, str or None
        Its latest block.
    sealer : str or None
        Address whose key sealed that block; None for the first block of the chain.
    interval : float or None
        Mean time between its last 21 blocks, or as many as there are. [s]
    pending, queued : int or None
        Transactions that wait for a block, and those that wait for an earlier one of their account.
    gas_used, gas_limit, gas_used_pct : int, int, float or None
        Of the latest block. [gas, gas, %]
    """

    name: str
    role: str
    url: str
    account: str
    pid: int | None
    up: bool
    problem: str | None = None
    peers: int | None = None
    head: int | None = None
    head_hash: str | None = None
    sealer: str | None = None
    interval: float | None = None
    pending: int | None = None
    queued: int | None = None
    gas_used: int | None = None
    gas_limit: int | None = None
    gas_used_pct: float | None = None


def network_status(network: Network) -> list[NodeStatus]:
    """Status of every node, the sealer first. Never raises for a node that is down or doesn't answer."""
    return [node_status(node) for node in network.nodes]


def node_status(node: Node) -> NodeStatus:
    """Status of one node."""
    pid = node.pid
    known: dict[str, Any] = {
        "name": node.name,
        "role": node.role,
        "url": node.url,
        "account": node.account,
        "pid": pid,
    }
    if pid is None:
        return NodeStatus(**known, up=False, problem="not running")
    try:
        return NodeStatus(**known, up=True, **_answers_of(node.url))
    except ServiceError as failed:
        return NodeStatus(**known, up=False, problem=str(failed))


def _answers_of(url: str) -> dict[str, Any]:
    def ask(method: str, *params: Any) -> Any:
        return rpc(url, method, *params, seconds=_ANSWER_SECONDS)

    head = ask("eth_getBlockByNumber", "latest", False)
    number, used, limit = (int(head[field], 16) for field in ("number", "gasUsed", "gasLimit"))
    waiting = ask("txpool_status")
    span = min(_INTERVAL_BLOCKS, number - 1)  # not from the first block, which is as old as the network's files
    interval = None
    if span > 0:
        earlier = ask("eth_getBlockByNumber", hex(number - span), False)
        interval = (int(head["timestamp"], 16) - int(earlier["timestamp"], 16)) / span
    return {
        "peers": int(ask("net_peerCount"), 16),
        "head": number,
        "head_hash": head["hash"],
        "sealer": sealer_of(head) if number else None,
        "interval": interval,
        "pending": int(waiting["pending"], 16),
        "queued": int(waiting["queued"], 16),
        "gas_used": used,
        "gas_limit": limit,
        "gas_used_pct": round(100 * used / limit, 2),
    }
