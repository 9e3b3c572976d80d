"""Make a private Ethereum network: keys, accounts, the first block. It runs by `infra.geth_network`."""

from __future__ import annotations

import json
import secrets
import tempfile
from datetime import datetime
from pathlib import Path

from eth_account import Account
from eth_keys.datatypes import PrivateKey

from infra.clique import genesis
from infra.daemons import ServiceError, alone, free_ports, lock_of
from infra.geth_network import NETWORK_FILE, Network
from infra.geth_node import Node, write_first_block, write_private

CHAIN_ID = 0x6E7774
"""The letters nwt: 7239540."""
PERIOD_S = 1
GAS_LIMIT = 30_000_000
OPERATOR_WEI = 1_000_000 * 10**18

_SCRYPT_N = 4096
"""Geth's own light cost, 20 ms. The passwords are 256 random bits, so no cost is needed to make guessing slow."""


def create_network(
    folder: Path,
    *,
    geth: Path,
    now: datetime,
    chain_id: int = CHAIN_ID,
    period: int = PERIOD_S,
    gas_limit: int = GAS_LIMIT,
) -> Network:
    """Make a network with new keys, stopped; the folder appears whole or not at all.

    Parameters
    ----------
    folder : Path
        Where it will be; must not exist.
    geth : Path
        Writes the first block.
    now : datetime
        Time of the first block.
    chain_id : int
    period : int
        Time between blocks. [s]
    gas_limit : int
        Gas of a block.

    Returns
    -------
    Network

    Raises
    ------
    ServiceError
        The folder exists, a value is out of range, or geth refused the first block.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock_of(folder)):
        if folder.exists():
            raise ServiceError(f"{folder} exists: start it, or erase it with `negawatt stack down chain --erase`")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as drafted:
            draft = Path(drafted) / folder.name
            draft.mkdir(mode=0o700)
            ports = free_ports(4)
            nodes = []
            for name in ("sealer", "follower"):
                (draft / name).mkdir(mode=0o700)
                nodekey = PrivateKey(Account.create().key)
                write_private(draft / name / "nodekey", nodekey.to_hex().removeprefix("0x").encode())
                account = _new_account(draft / name / "keystore" / f"{name}.json", draft / name / "password")
                public_key = nodekey.public_key.to_hex().removeprefix("0x")
                nodes.append(Node(name, name, account, public_key, ports.pop(), ports.pop(), folder / name))
            operator = _new_account(draft / "operator" / "keystore.json", draft / "operator" / "password")
            network = Network(folder, chain_id, period, gas_limit, operator, tuple(nodes))
            first_block = genesis(
                chain_id=chain_id,
                period_s=period,
                sealers=[network.sealer.account],
                funded_wei={operator: OPERATOR_WEI},
                gas_limit=gas_limit,
                time=now,
            )
            write_private(draft / "genesis.json", _json(first_block))
            write_private(draft / NETWORK_FILE, network.described())
            for node in nodes:
                write_first_block(geth, draft / node.name, draft / "genesis.json")
            draft.rename(folder)
    return network


def _new_account(keystore: Path, password_file: Path) -> str:
    """Make an account: its key encrypted, and the random password in a file of its own. Returns the address."""
    account, password = Account.create(), secrets.token_urlsafe(32)
    keystore.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(keystore, _json(Account.encrypt(account.key, password, kdf="scrypt", iterations=_SCRYPT_N)))
    write_private(password_file, (password + "\n").encode())
    return str(account.address)


def _json(data: object) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()
