"""One geth node: where it is, and its command line and peers.

It listens on loopback only. No secret is on the command line: keys and passwords go by file.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.daemons import ServiceError, find_daemon
from infra.json_rpc import rpc

_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True)
class Node:
    """A node of the network: what it is called, its account, and where it is.

    Attributes
    ----------
    name, role : str
        Both ``sealer`` or ``follower``; a network with more nodes would number the names.
    account : str
        Address whose key it holds. The sealer's signs blocks; the follower's is there to be voted in as sealer.
    public_key : str
        Of the node itself, by which its peers know it: 128 hexadecimal digits.
    http_port, p2p_port : int
    folder : Path
        Its data, keys and log.
    """

    name: str
    role: str
    account: str
    public_key: str
    http_port: int
    p2p_port: int
    folder: Path

    @property
    def url(self) -> str:
        """JSON-RPC address."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def enode(self) -> str:
        """Peer-to-peer address."""
        return f"enode://{self.public_key}@127.0.0.1:{self.p2p_port}"

    @property
    def log(self) -> Path:
        """What geth says."""
        return self.folder / "geth.log"

    @property
    def ipc(self) -> Path | None:
        """Socket for ``geth attach``, with all of geth's interfaces; none where the path is too long for a socket."""
        path = self.folder / "geth.ipc"
        return path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else None

    @property
    def pid(self) -> int | None:
        """Process id, None when it doesn't run."""
        return find_daemon(self.words)

    @property
    def words(self) -> tuple[str, str]:
        """What only this node's command line holds."""
        return "--config", str(self.folder / "node.toml")


def arguments(node: Node, *, chain_id: int, gas_limit: int, peers: int) -> list[str]:
    """The command line of a node, without the program.

    Parameters
    ----------
    node : Node
    chain_id : int
    gas_limit : int
        Gas of the blocks that it seals.
    peers : int
        How many other nodes there are.
    """
    ipc = ["--ipcpath", str(node.ipc)] if node.ipc else ["--ipcdisable"]
    # With HTTP on, geth unlocks no account without being told that this is meant; the account holds next to nothing.
    sealing = [
        "--mine", "--miner.etherbase", node.account, "--miner.gaslimit", str(gas_limit),
        "--unlock", node.account, "--password", str(node.folder / "password"), "--allow-insecure-unlock",
    ]  # fmt: skip
    return [
        *node.words,
        "--datadir", str(node.folder), "--nodekey", str(node.folder / "nodekey"),
        "--networkid", str(chain_id), "--nodiscover", "--nat", "none", "--netrestrict", "127.0.0.0/8",
        # No more than there are: a node with fewer peers than it may have waits 10 s before it syncs.
        "--maxpeers", str(peers),
        "--syncmode", "full", "--gcmode", "archive", "--state.scheme", "hash", "--cache", "256",
        # Nothing that unlocks, votes, adds peers or traces: that goes by the socket.
        "--http", "--http.addr", "127.0.0.1", "--http.port", str(node.http_port), "--http.api", "eth,net,web3,txpool",
        "--rpc.txfeecap", "0", "--authrpc.addr", "127.0.0.1", "--authrpc.port", "0", *ipc,
        # In wei; geth takes 0 for unset, which is a gwei.
        "--miner.gasprice", "1",
        "--txpool.globalslots", "65536", "--txpool.globalqueue", "65536",
        "--txpool.accountslots", "16384", "--txpool.accountqueue", "16384",
        *(sealing if node.role == "sealer" else []),
    ]  # fmt: skip


def peers_file(node: Node, peers: Sequence[Node]) -> bytes:
    """What geth takes by file only: the address of its peer-to-peer listener, and whom to connect to.

    The sealer connects to nobody by itself. Geth takes connections before it seals, and until it seals it discards
    the transactions that peers have; a peer tells of them only once, on connecting.
    """
    others = json.dumps([other.enode for other in peers])
    dialled = "[]" if node.role == "sealer" else others
    listen = f'ListenAddr = "127.0.0.1:{node.p2p_port}"'
    return "\n".join(["[Node.P2P]", listen, f"StaticNodes = {dialled}", f"TrustedNodes = {others}", ""]).encode()


def write_first_block(geth: Path, datadir: Path, genesis_file: Path) -> None:
    """Begin a node's chain, unless it has begun: without it geth would take the one of Ethereum's mainnet.

    Raises
    ------
    ServiceError
        Geth refused the file.
    """
    if (datadir / "geth" / "chaindata").exists():
        return
    command = [str(geth), "--datadir", str(datadir), "--state.scheme", "hash", "init", str(genesis_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ServiceError(f"geth refused the first block: {done.stderr[-1000:].strip()}")


def connect_sealer(sealer: Node, peers: Sequence[Node]) -> None:
    """Let a sealer that seals connect to its peers now, instead of when they next try: up to 35 s later."""
    if sealer.ipc is not None:
        for peer in peers:
            rpc(sealer.ipc, "admin_addPeer", peer.enode)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that its owner alone can read."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        out.write(data)
