"""A chain with our contracts on it: deploying, sending, waiting, and saying in words what a contract refused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_typing import ChecksumAddress, HexStr
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.exceptions import ContractCustomError, ContractLogicError, TimeExhausted, TransactionNotFound, Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware, SignAndSendRawMiddlewareBuilder

from contracts.artifacts import NAMES, load
from domain.errors import ChainError

RECEIPT_SECONDS = 120.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class TransactionRecord:
    """A transaction that was mined: why, which, where, at what cost, and how long the receipt took. [s]"""

    purpose: str
    hash: str
    block: int
    gas: int
    seconds: float


@dataclass(frozen=True)
class Coin:
    """How the incentive coin is called, and its decimals."""

    symbol: str
    decimals: int


class Chain:
    """An EVM chain seen from the operator's account.

    Parameters
    ----------
    url : str
        JSON-RPC address of a node.
    keystore : Path, optional
        The operator's encrypted key file; without it the node must hold the account unlocked (anvil).
    password_file : Path, optional
        File whose first line opens the key file.
    reader : bool
        Only read; no account is needed.

    Raises
    ------
    ChainError
        The node doesn't answer, or there is no account to send from.
    """

    def __init__(
        self, url: str, *, keystore: Path | None = None, password_file: Path | None = None, reader: bool = False
    ) -> None:
        self.w3 = Web3(Web3.HTTPProvider(url))
        self.w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self.url = url
        if not self.w3.is_connected():
            raise ChainError(f"no node answers at {url}: start it, or name another by --chain")
        self.chain_id: int = self.w3.eth.chain_id
        self.records: list[TransactionRecord] = []
        self.on_record: Callable[[TransactionRecord], None] = lambda record: None
        self.operator: ChecksumAddress = Web3.to_checksum_address("0x" + 40 * "0")
        if reader:
            return
        if keystore is not None:
            account = _open_keystore(keystore, password_file)
            self.w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
            self.operator = account.address
        else:
            held = self.w3.eth.accounts
            if not held:
                raise ChainError(f"the node at {url} holds no account: name the operator's key file by --keystore")
            self.operator = held[0]
        self._settle_pending()

    def now(self) -> datetime:
        """Time of the latest block."""
        return datetime.fromtimestamp(self.w3.eth.get_block("latest")["timestamp"], UTC)

    def knows(self, transaction: str) -> bool:
        """Whether the chain holds a transaction."""
        try:
            return bool(self.w3.eth.get_transaction(HexStr(transaction)))
        except TransactionNotFound:
            return False

    def _settle_pending(self) -> None:
        """Wait until nothing that this account sent earlier is pending, so that what we read is the outcome.

        Raises
        ------
        ChainError
            Something stays pending.
        """

        def idle() -> bool:
            count = self.w3.eth.get_transaction_count
            return count(self.operator, "pending") == count(self.operator, "latest")

        if not wait_for(idle, RECEIPT_SECONDS):
            raise ChainError(f"transactions of {self.operator} stay pending at {self.url}")

    def send(self, purpose: str, call: ContractFunction | Any) -> TransactionRecord:
        """Send a contract call and wait for its receipt.

        Raises
        ------
        ChainError
            Refused, reverted or not mined; the sentence names the purpose and the contract's reason.
        """
        began = time.perf_counter()
        try:
            sent = call.transact({"from": self.operator})
            receipt = self.w3.eth.wait_for_transaction_receipt(sent, RECEIPT_SECONDS, _POLL_SECONDS)
        except (ContractLogicError, ContractCustomError) as refused:
            raise ChainError(f"{purpose}: {explain(refused)}") from refused
        except TimeExhausted as late:
            raise ChainError(f"{purpose}: no receipt within {RECEIPT_SECONDS:g} s") from late
        except (Web3Exception, OSError, ValueError) as failed:
            raise ChainError(f"{purpose}: {failed}") from failed
        if receipt["status"] != 1:
            raise ChainError(f"{purpose}: transaction {sent.to_0x_hex()} was mined and reverted")
        seconds = time.perf_counter() - began
        record = TransactionRecord(
            purpose, sent.to_0x_hex(), receipt["blockNumber"], receipt["gasUsed"], round(seconds, 4)
        )
        self.records.append(record)
        self.on_record(record)
        return record

    def wait_until(self, instant: datetime) -> None:
        """Wait until the chain's time has come to ``instant``; anvil's clock is moved there.

        Raises
        ------
        ChainError
            A real chain has not got there yet.
        """
        if self.now() >= instant:
            return
        if self.simulated:
            stamp = int(instant.timestamp())
            self.w3.provider.make_request("evm_setNextBlockTimestamp", [stamp])  # type: ignore[arg-type]
            self.w3.provider.make_request("anvil_mine", ["0x1"])  # type: ignore[arg-type]
        if self.now() < instant:
            raise ChainError(f"the chain's clock is {self.now().isoformat()}; this waits for {instant.isoformat()}")

    @property
    def simulated(self) -> bool:
        """Whether this is anvil, whose clock we may move."""
        return self.w3.client_version.lower().startswith("anvil")

    def wait_for_confirmations(self, block: int, confirmations: int, progress: Callable[[int], None]) -> float:
        """Wait until ``confirmations`` blocks stand on top of ``block``; returns the seconds it took.

        Raises
        ------
        ChainError
            The chain makes no blocks.
        """
        began = time.perf_counter()
        seen, last_change = -1, time.monotonic()
        while (depth := self.w3.eth.block_number - block) < confirmations:
            if depth != seen:
                seen, last_change = depth, time.monotonic()
                progress(max(depth, 0))
            if time.monotonic() - last_change > RECEIPT_SECONDS:
                raise ChainError(f"{depth} of {confirmations} confirmations, and no block for {RECEIPT_SECONDS:g} s")
            time.sleep(0.05)
        progress(confirmations)
        return time.perf_counter() - began


@dataclass(frozen=True)
class Contracts:
    """Our contracts on a chain."""

    registry: Contract
    coin: Contract
    events: Contract

    def addresses(self) -> dict[str, str]:
        """Address of each contract by its name."""
        return {
            "ResourceRegistry": self.registry.address,
            "IncentiveCoin": self.coin.address,
            "DemandResponse": self.events.address,
        }


def deploy(chain: Chain, book: Path, coin: Coin) -> Contracts:
    """Find our contracts on the chain, or deploy them, and see that every role is granted.

    Each step is looked up before it is taken, so a run that was cut short is finished by the next.

    Parameters
    ----------
    chain : Chain
    book : Path
        Address book, a JSON file by chain id; written after each deployment.
    coin : Coin
        Symbol and decimals of a new coin.
    """
    known = _read_book(book, chain)
    operator = chain.operator

    def at(name: str, *arguments: Any) -> Contract:
        artifact = load(name)
        address = known.get(name)
        if address is None or not chain.w3.eth.get_code(Web3.to_checksum_address(address)):
            factory = chain.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
            record = chain.send(f"deploy {name}", factory.constructor(*arguments))
            address = chain.w3.eth.get_transaction_receipt(record.hash)["contractAddress"]  # type: ignore[arg-type]
            known[name] = str(address)
            _write_book(book, chain, known)
        return chain.w3.eth.contract(address=Web3.to_checksum_address(str(address)), abi=artifact.abi)

    registry = at("ResourceRegistry", operator)
    money = at("IncentiveCoin", "Demand Response Coin", coin.symbol, coin.decimals, operator)
    events = at("DemandResponse", registry.address, money.address, operator)
    held = Coin(money.functions.symbol().call(), money.functions.decimals().call())
    if held != coin:
        raise ChainError(
            f"the contracts in {book} pay in {held.symbol} with {held.decimals} decimals, the programme in "
            f"{coin.symbol} with {coin.decimals}: settle programmes of another currency in a workspace of their own"
        )
    for contract, role, holder in (
        (registry, "REGISTRAR_ROLE", operator),
        (money, "MINTER_ROLE", events.address),
        (events, "OPERATOR_ROLE", operator),
        (events, "CERTIFIER_ROLE", operator),
        (events, "PAUSER_ROLE", operator),
    ):
        key = contract.functions[role]().call()
        if not contract.functions.hasRole(key, holder).call():
            chain.send(f"grant {role}", contract.functions.grantRole(key, holder))
    return Contracts(registry, money, events)


def attach(chain: Chain, book: Path) -> Contracts:
    """Our contracts as the address book has them.

    Raises
    ------
    ChainError
        The book has none for this chain.
    """
    known = _read_book(book, chain)
    missing = [name for name in NAMES if name not in known]
    if missing:
        raise ChainError(f"{book} has no address of {', '.join(missing)} on chain {chain.chain_id}: settle first")

    def at(name: str) -> Contract:
        return chain.w3.eth.contract(address=Web3.to_checksum_address(known[name]), abi=load(name).abi)

    return Contracts(at("ResourceRegistry"), at("IncentiveCoin"), at("DemandResponse"))


def attach_at(chain: Chain, address: str) -> Contracts:
    """Our contracts, found from the address of DemandResponse: it names the other two.

    Raises
    ------
    ChainError
        There is no such contract at that address.
    """
    try:
        where = Web3.to_checksum_address(address)
        events = chain.w3.eth.contract(address=where, abi=load("DemandResponse").abi)
        registry, coin = events.functions.registry().call(), events.functions.coin().call()
    except (Web3Exception, ValueError) as failed:
        raise ChainError(f"there is no DemandResponse contract at {address} on {chain.url}: {failed}") from failed
    return Contracts(
        chain.w3.eth.contract(address=registry, abi=load("ResourceRegistry").abi),
        chain.w3.eth.contract(address=coin, abi=load("IncentiveCoin").abi),
        events,
    )


def explain(refused: Exception) -> str:
    """Say a contract's refusal in words: the named error with its values.

    >>> explain(ValueError("boom"))
    'boom'
    """
    data = getattr(refused, "data", None)
    if isinstance(data, str) and len(data) >= 10:
        for name in NAMES:
            for entry in load(name).abi:
                if entry["type"] != "error":
                    continue
                types = [item["type"] for item in entry["inputs"]]
                selector = Web3.keccak(text=f"{entry['name']}({','.join(types)})")[:4].hex()
                if data[2:10] == selector:
                    values = Web3().codec.decode(types, bytes.fromhex(data[10:]))
                    named = zip((item["name"] for item in entry["inputs"]), values, strict=True)
                    return f"{name} refused: {entry['name']}({', '.join(f'{k}={_show(v)}' for k, v in named)})"
    return str(refused)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _show(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _open_keystore(keystore: Path, password_file: Path | None) -> Any:
    if password_file is None:
        raise ChainError(f"{keystore} is encrypted: name the file with its password by --password-file")
    if os.name == "posix" and password_file.stat().st_mode & 0o077:
        raise ChainError(f"{password_file} can be read by others: chmod 600 it")
    try:
        password = password_file.read_text().splitlines()[0]
        return Account.from_key(Account.decrypt(json.loads(keystore.read_text()), password))
    except (OSError, ValueError, IndexError) as failed:
        raise ChainError(f"{keystore} can't be opened with the password in {password_file}: {failed}") from failed


def _read_book(book: Path, chain: Chain) -> dict[str, str]:
    if not book.exists():
        return {}
    entries: dict[str, str] = json.loads(book.read_text()).get(str(chain.chain_id), {})
    return entries


def _write_book(book: Path, chain: Chain, entries: dict[str, str]) -> None:
    book.parent.mkdir(parents=True, exist_ok=True)
    whole = json.loads(book.read_text()) if book.exists() else {}
    whole[str(chain.chain_id)] = entries
    draft = book.with_suffix(".tmp")
    draft.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
    draft.replace(book)
