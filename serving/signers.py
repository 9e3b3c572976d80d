"""Who signs for the operator: a key file, or a signer on the network that keeps the key to itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import requests
import rlp
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from web3 import Web3

from domain.errors import ChainError
from serving.nodes import shown

REMOTE_SECONDS = 10.0
"""How long a remote signer may take. [s]"""

_DYNAMIC_FEE = 2


@dataclass(frozen=True)
class Unsigned:
    """A transaction before it is signed. Amounts in wei; a creation has no ``to``.

    Attributes
    ----------
    max_fee : int
        Highest price of a unit of gas; on a chain without base fees its only price. [wei]
    tip : int or None
        Share of it for the block's maker; None on a chain without base fees. [wei]
    """

    chain_id: int
    nonce: int
    to: str | None
    data: bytes
    value: int
    gas: int
    max_fee: int
    tip: int | None

    def as_dict(self) -> dict[str, Any]:
        """As eth-account takes it."""
        fields: dict[str, Any] = {
            "chainId": self.chain_id, "nonce": self.nonce, "value": self.value, "gas": self.gas, "data": self.data,
        }  # fmt: skip
        if self.to is not None:
            fields["to"] = Web3.to_checksum_address(self.to)
        if self.tip is None:
            return fields | {"gasPrice": self.max_fee}
        return fields | {"type": _DYNAMIC_FEE, "maxFeePerGas": self.max_fee, "maxPriorityFeePerGas": self.tip}

    def as_rpc(self, sender: str) -> dict[str, Any]:
        """As ``eth_signTransaction`` takes it."""
        fields = {k: hex(v) if isinstance(v, int) else v for k, v in self.as_dict().items()}
        return fields | {"from": sender, "data": "0x" + self.data.hex(), "input": "0x" + self.data.hex()}


class Signer(Protocol):
    """Signs transactions of one account."""

    @property
    def address(self) -> ChecksumAddress:
        """The account."""
        ...

    def sign(self, transaction: Unsigned) -> bytes:
        """The signed transaction as it is broadcast.

        Raises
        ------
        ChainError
            It was not signed, or something else was.
        """
        ...


class KeystoreSigner:
    """Signs with an encrypted key file (Ethereum keystore, JSON).

    Parameters
    ----------
    keystore : Path
    password_file : Path or None
        Its first line opens the key file; only its owner may read it.

    Raises
    ------
    ChainError
        There is no password file, others can read it, or it doesn't open the key file.
    """

    def __init__(self, keystore: Path, password_file: Path | None) -> None:
        self._account = open_keystore(keystore, password_file)
        self.address: ChecksumAddress = self._account.address

    def sign(self, transaction: Unsigned) -> bytes:
        """The signed transaction."""
        return bytes(self._account.sign_transaction(transaction.as_dict()).raw_transaction)


class RemoteSigner:
    """Signs by ``eth_signTransaction`` of another process, such as Web3Signer or a node that holds the account.

    What comes back is believed only if it is the transaction asked for, signed by the account.

    Parameters
    ----------
    url : str
        The signer's JSON-RPC address.
    address : str
        The account that it signs for.
    """

    def __init__(self, url: str, address: str) -> None:
        if not Web3.is_address(address):
            raise ChainError(f"operator {address!r} is no address: a remote signer needs the account it signs for")
        self._url = url
        self.address: ChecksumAddress = Web3.to_checksum_address(address)

    def sign(self, transaction: Unsigned) -> bytes:
        """The signed transaction."""
        name = f"the signer at {shown(self._url)}"
        params: list[Any] = [transaction.as_rpc(self.address)]
        question: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_signTransaction", "params": params}
        try:
            reply = requests.post(self._url, json=question, timeout=REMOTE_SECONDS)
            reply.raise_for_status()
            answer = reply.json()
        except (requests.RequestException, ValueError) as failed:
            raise ChainError(f"{name} gave no answer: {type(failed).__name__}") from failed
        return _signed_as_asked(answer, transaction, self.address, name)


class UnlockedSigner:
    """Signs by a node that holds the account unlocked, as anvil does.

    Anvil's accounts come from a phrase that is public knowledge; nothing of value may ever belong to them.

    Parameters
    ----------
    ask : callable
        Asks the node: JSON-RPC method and parameters in, answer out.
    address : str
        The account, one of the node's.
    """

    def __init__(self, ask: Callable[[str, list[Any]], Any], address: str) -> None:
        self._ask = ask
        self.address: ChecksumAddress = Web3.to_checksum_address(address)

    def sign(self, transaction: Unsigned) -> bytes:
        """The signed transaction."""
        answer = self._ask("eth_signTransaction", [transaction.as_rpc(self.address)])
        return _signed_as_asked(answer, transaction, self.address, "the node")


def check_signed(raw: bytes, asked: Unsigned, address: str) -> None:
    """See that signed bytes are the transaction asked for, and the account's.

    Raises
    ------
    ChainError
        They are another transaction, malformed, or signed by another account.
    """
    dynamic = asked.tip is not None
    fees = [asked.tip, asked.max_fee] if dynamic else [asked.max_fee]
    to = bytes.fromhex(asked.to[2:]) if asked.to is not None else b""
    fields = [asked.nonce, *fees, asked.gas, to, asked.value, asked.data]
    names = ["nonce", *(["tip", "max fee"] if dynamic else ["gas price"]), "gas", "recipient", "value", "data"]
    expected: list[Any] = [_word(value) if isinstance(value, int) else value for value in fields]
    if dynamic:
        expected, names = [_word(asked.chain_id), *expected, []], ["chain id", *names, "access list"]
    try:
        if dynamic and raw[:1] != bytes([_DYNAMIC_FEE]):
            raise ChainError("it is not of the type asked for")
        found: list[Any] = rlp.decode(raw[1:] if dynamic else raw)
        different = [n for n, want, have in zip(names, expected, found, strict=False) if list(have) != list(want)]
        if len(found) != len(expected) + 3:
            raise ChainError("it has too many or too few fields")
        if different:
            raise ChainError(f"its {' and '.join(different)} differ from what was asked")
        if not dynamic and int.from_bytes(found[6], "big") not in (36 + 2 * asked.chain_id, 35 + 2 * asked.chain_id):
            raise ChainError("it is for another chain")
        signer = Account.recover_transaction(raw)
    except ChainError:
        raise
    except Exception as malformed:
        raise ChainError(f"it can't be read ({type(malformed).__name__})") from malformed
    if signer.lower() != address.lower():
        raise ChainError(f"it is signed by {signer}, not by {address}")


def transaction_hash(raw: bytes) -> str:
    """Hash of a signed transaction, with 0x."""
    return "0x" + keccak(raw).hex()


def _signed_as_asked(answer: Any, asked: Unsigned, address: str, name: str) -> bytes:
    """Take the bytes out of a signer's answer: Web3Signer and anvil give them bare, geth in an object."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(result, dict):
        result = result.get("raw")
    if not isinstance(result, str):
        error = answer.get("error") if isinstance(answer, dict) else answer
        said = error.get("message", error) if isinstance(error, dict) else error
        raise ChainError(f"{name} did not sign for {address}: {said!s:.200}")
    try:
        raw = bytes.fromhex(result.removeprefix("0x"))
        check_signed(raw, asked, address)
    except (ValueError, ChainError) as wrong:
        raise ChainError(f"{name} signed another transaction than it was asked to: {wrong}") from wrong
    return raw


def _word(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def open_keystore(keystore: Path, password_file: Path | None) -> LocalAccount:
    """The account of an encrypted key file; errors as for `KeystoreSigner`."""
    if password_file is None:
        raise ChainError(f"{keystore} is encrypted: name the file with its password by --password-file")
    try:
        if os.name == "posix" and password_file.stat().st_mode & 0o077:
            raise ChainError(f"{password_file} can be read by others: chmod 600 it")
        password = password_file.read_text().splitlines()[0]
        account: LocalAccount = Account.from_key(Account.decrypt(json.loads(keystore.read_text()), password))
    except (OSError, ValueError, IndexError) as failed:
        raise ChainError(f"{keystore} can't be opened with the password in {password_file}: {failed}") from failed
    return account
