"""A private Ethereum network on this machine: two geth nodes, one of which seals a block every period.

Everything lies in one folder, readable by its owner alone; `docs/network.md` lists its files and keys.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.daemons import (
    ServiceError,
    alone,
    has_ended,
    lock_of,
    port_is_free,
    start_daemon,
    stop_daemon,
    tail,
    wait_until,
)
from infra.geth_install import find_geth
from infra.geth_node import Node, arguments, connect_sealer, peers_file, write_first_block, write_private
from infra.json_rpc import rpc

_START_SECONDS = 30.0
_READY_SECONDS = 60.0
NETWORK_FILE = "network.json"

Progress = Callable[[str, int, int], None]


def quiet(step: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Network:
    """The nodes of a private network, and the account that settles on it.

    Attributes
    ----------
    folder : Path
        Absolute.
    chain_id : int
    period : int
        Time between blocks. [s]
    gas_limit : int
        Gas of a block.
    operator : str
        Address of the account that was given ether at the beginning.
    nodes : tuple of Node
        The sealer first.
    """

    folder: Path
    chain_id: int
    period: int
    gas_limit: int
    operator: str
    nodes: tuple[Node, ...]

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read the network that a folder holds.

        Raises
        ------
        ServiceError
            It holds none, or its file is broken.
        """
        folder = folder.resolve()
        path = folder / NETWORK_FILE
        try:
            data = json.loads(path.read_text())
            nodes = tuple(Node(**node, folder=folder / node["name"]) for node in data.pop("nodes"))
            return cls(folder=folder, nodes=nodes, **data)
        except FileNotFoundError as absent:
            raise ServiceError(f"no network in {folder}: start one with `negawatt stack up chain`") from absent
        except (ValueError, KeyError, TypeError) as broken:
            raise ServiceError(
                f"{path} can't be read ({broken}): restore it, or stop geth and remove {folder} to begin anew"
            ) from broken

    @property
    def urls(self) -> list[str]:
        """JSON-RPC addresses of all nodes, the sealer's first: a transaction sent there needs no way to it."""
        return [node.url for node in self.nodes]

    @property
    def sealer(self) -> Node:
        """The node that makes the blocks."""
        return self.nodes[0]

    @property
    def operator_keystore(self) -> Path:
        """The operator's encrypted key file."""
        return self.folder / "operator" / "keystore.json"

    @property
    def operator_password_file(self) -> Path:
        """File with the key file's password, mode 600."""
        return self.folder / "operator" / "password"

    def node(self, name: str) -> Node:
        """The node of a name.

        Raises
        ------
        ServiceError
            There is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise ServiceError(f"no node {name!r}: there are {', '.join(node.name for node in self.nodes)}")

    def start_node(self, name: str, geth: Path | None = None) -> None:
        """Start one node, unless it runs, and wait until it works and takes connections of peers.

        Parameters
        ----------
        geth : Path, optional
            The program; default: as `find_geth` finds it.

        Raises
        ------
        ServiceError
            No geth, a port is taken, or it doesn't answer; the sentence ends with the tail of its log.
        """
        node = self.node(name)
        if node.pid is not None:
            return
        for port in (node.http_port, node.p2p_port):
            if not port_is_free(port):
                raise ServiceError(
                    f"port {port} of {name} is taken by another program: stop that, or put another port into "
                    f"{self.folder / NETWORK_FILE}"
                )
        peers = [other for other in self.nodes if other is not node]
        write_private(node.folder / "node.toml", peers_file(node, peers))
        options = arguments(node, chain_id=self.chain_id, gas_limit=self.gas_limit, peers=len(peers))
        program = geth or find_geth()
        write_first_block(program, node.folder, self.folder / "genesis.json")
        pid = start_daemon([str(program), *options], node.log)
        gone = False

        def settled() -> bool:
            nonlocal gone
            gone = has_ended(pid)
            return gone or _works(node)

        in_time = wait_until(settled, _START_SECONDS)
        if gone or not in_time:
            what = "ended as soon as it was started" if gone else f"doesn't answer within {_START_SECONDS:g} s"
            raise ServiceError(f"{name} {what}; the end of {node.log}:\n{tail(node.log)}")
        if node.role == "sealer":
            connect_sealer(node, peers)

    def stop_node(self, name: str, *, hard: bool = False) -> bool:
        """Stop one node; its data stay.

        Parameters
        ----------
        hard : bool
            Kill it, as a crash would.

        Returns
        -------
        bool
            Whether it ran.
        """
        return stop_daemon(self.node(name).words, hard=hard)

    def up(self, progress: Progress = quiet, say: Callable[[str], None] = lambda _: None) -> list[str]:
        """Start the nodes that don't run, and wait until the network works.

        One after the other: geth dials its peers as soon as it starts, and for 35 s doesn't try again one that was
        not there.

        Returns
        -------
        list of str
            Names of the nodes that were started.

        Raises
        ------
        ServiceError
            A node doesn't start, or the network isn't ready in time.
        """
        started = []
        with alone(lock_of(self.folder), lambda: say("another process starts or stops this network; waiting for it")):
            geth = find_geth(progress, say) if any(node.pid is None for node in self.nodes) else None
            for done, node in enumerate(self.nodes):
                progress("start nodes", done, len(self.nodes))
                if node.pid is None:
                    self.start_node(node.name, geth)
                    started.append(node.name)
            progress("start nodes", len(self.nodes), len(self.nodes))
            self.wait_until_ready()
        return started

    def down(self, *, erase: bool = False) -> list[str]:
        """Stop the nodes, the sealer last.

        Parameters
        ----------
        erase : bool
            Delete the folder too: chain, keys and all.

        Returns
        -------
        list of str
            Names of the nodes that ran.
        """
        with alone(lock_of(self.folder)):
            stopped = [node.name for node in reversed(self.nodes) if self.stop_node(node.name)]
            if erase:
                shutil.rmtree(self.folder)
        return stopped

    def wait_until_ready(self, seconds: float | None = None) -> None:
        """Wait until all nodes answer for this chain, are peers, the head advances and all have the same.

        Parameters
        ----------
        seconds : float, optional
            Default: a minute and three periods. [s]

        Raises
        ------
        ServiceError
            Which of it doesn't hold yet when the time is up, with the tail of that node's log.
        """
        seconds = seconds or _READY_SECONDS + 3 * self.period
        first = [-1]
        lacking: list[tuple[Node, str]] = []

        def ready() -> bool:
            lacking[:] = [found] if (found := self._lacking(first)) else []
            return not lacking

        if not wait_until(ready, seconds):
            node, what = lacking[0]
            raise ServiceError(f"{what} after {seconds:g} s; the end of {node.log}:\n{tail(node.log)}")

    def _lacking(self, first: list[int]) -> tuple[Node, str] | None:
        """The first thing that keeps the network from being ready, and at which node; ``first`` keeps a head."""
        node = self.sealer
        try:
            for node in self.nodes:
                if (chain := int(rpc(node.url, "eth_chainId"), 16)) != self.chain_id:
                    return node, f"{node.name} serves chain {chain}, not {self.chain_id}"
                if int(rpc(node.url, "net_peerCount"), 16) != len(self.nodes) - 1:
                    return node, f"{node.name} doesn't have all its peers"
            head = rpc(self.sealer.url, "eth_getBlockByNumber", "latest", False)
            number = int(head["number"], 16)
            first[0] = number if first[0] < 0 else first[0]
            for node in self.nodes[1:]:
                if rpc(node.url, "eth_getBlockByHash", head["hash"], False) is None:
                    return node, f"{node.name} doesn't have the sealer's block {number}"
            if number <= first[0]:
                return self.sealer, f"the sealer makes no block after {number}"
        except ServiceError as failed:
            return node, str(failed)
        return None

    def described(self) -> bytes:
        """What `load` reads."""
        names = ("name", "role", "account", "public_key", "http_port", "p2p_port")
        nodes = [{name: getattr(node, name) for name in names} for node in self.nodes]
        own = {name: getattr(self, name) for name in ("chain_id", "period", "gas_limit", "operator")}
        return (json.dumps(own | {"nodes": nodes}, indent=2) + "\n").encode()


def _works(node: Node) -> bool:
    """Whether a node answers and takes connections of peers and, if that is its role, seals."""
    try:
        sealing = rpc(node.url, "eth_mining")
    except ServiceError:
        return False
    return (sealing or node.role != "sealer") and _listens(node.p2p_port)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
