"""Our contracts on a chain: deployed and wired up once, found again by the address book.

A contract is never changed in place. A new version is deployed at a new address; the book keeps where the old ones
were, so that what was settled there can still be read and claimed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from web3 import Web3
from web3.contract import Contract
from web3.exceptions import Web3Exception

from contracts.artifacts import load
from domain.errors import ChainError

if TYPE_CHECKING:
    from serving.chain import Chain

_NAMES = ("ResourceRegistry", "IncentiveCoin", "DemandResponse", "ReductionExchange")


@dataclass(frozen=True)
class Coin:
    """How the incentive coin is called, and its decimals."""

    symbol: str
    decimals: int


@dataclass(frozen=True)
class Contracts:
    """Our contracts on a chain, and the block before which they have no logs."""

    registry: Contract
    coin: Contract
    events: Contract
    exchange: Contract | None
    first_block: int = 0

    def addresses(self) -> dict[str, str]:
        """Address of each contract by its name."""
        held = (self.registry, self.coin, self.events, self.exchange)
        return {name: c.address for name, c in zip(_NAMES, held, strict=True) if c is not None}

    def logs(self, event: Any, **filters: Any) -> Sequence[Any]:
        """All logs of one of a contract's events, oldest first, whose indexed arguments are as given."""
        found: Sequence[Any] = event().get_logs(from_block=self.first_block, argument_filters=filters)
        return found


class AddressBook:
    """Where our contracts are on each chain: a JSON file by chain id.

    An entry holds the contracts' addresses by name, ``first_block``, ``bytecode`` (the hash of what was deployed, by
    name) and ``earlier`` (addresses that were replaced, by name, oldest first).

    Parameters
    ----------
    path : Path
        Written after each deployment.
    chain_id : int
    """

    def __init__(self, path: Path, chain_id: int) -> None:
        self.path, self._chain = path, str(chain_id)
        whole = json.loads(path.read_text()) if path.exists() else {}
        self._entry: dict[str, Any] = whole.get(self._chain, {})

    def address(self, name: str) -> str | None:
        """Address of a contract, None when there is none."""
        found: str | None = self._entry.get(name)
        return found

    @property
    def first_block(self) -> int:
        """Block of the first deployment; 0 when it isn't known."""
        return int(self._entry.get("first_block", 0))

    def outdated(self, name: str) -> bool:
        """Whether what was deployed is not what we would deploy now."""
        held = self._entry.get("bytecode", {}).get(name)
        return held is not None and held != _digest(name)

    def add(self, name: str, address: str, block: int) -> None:
        """Write down a deployment; an address that it replaces goes to the earlier ones."""
        if before := self._entry.get(name):
            self._entry.setdefault("earlier", {}).setdefault(name, []).append(before)
        self._entry[name] = address
        self._entry.setdefault("bytecode", {})[name] = _digest(name)
        self._entry.setdefault("first_block", block)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = json.loads(self.path.read_text()) if self.path.exists() else {}
        whole[self._chain] = self._entry
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
        draft.replace(self.path)


def place(chain: Chain, book: AddressBook, name: str, *arguments: Any, anew: bool = False) -> Contract:
    """The contract that the book has; where it has none, or the address holds no code, a new one.

    Parameters
    ----------
    arguments
        The constructor's.
    anew : bool
        Deploy a new one in any case.
    """
    artifact = load(name)
    address = book.address(name)
    if anew or address is None or not chain.w3.eth.get_code(Web3.to_checksum_address(address)):
        factory = chain.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        record = chain.send(f"deploy {name}", factory.constructor(*arguments))
        receipt = chain.w3.eth.get_transaction_receipt(record.hash)  # type: ignore[arg-type]
        address = str(receipt["contractAddress"])
        book.add(name, address, record.block)
    return contract_at(chain, name, address)


def contract_at(chain: Chain, name: str, address: str) -> Contract:
    """One of our contracts at an address."""
    return chain.w3.eth.contract(address=Web3.to_checksum_address(address), abi=load(name).abi)


def grant(chain: Chain, contract: Contract, role: str, holder: str) -> None:
    """Grant a role of a contract to an account that lacks it."""
    key = contract.functions[role]().call()
    if not contract.functions.hasRole(key, holder).call():
        chain.send(f"grant {role}", contract.functions.grantRole(key, holder))


def deploy(chain: Chain, path: Path, coin: Coin, *, upgrade: bool = False) -> Contracts:
    """Find our contracts on the chain, or deploy them, and see that every role is granted.

    Each step is looked up before it is taken, so a run that was cut short is finished by the next.

    Parameters
    ----------
    chain : Chain
    path : Path
        The address book.
    coin : Coin
        Symbol and decimals of a new coin.
    upgrade : bool
        Deploy events and exchange anew where their code has changed. Registry and coin stay: homes, their consents
        and their coins are in them. Events that are under way go on in the old contract.

    Raises
    ------
    ChainError
        A contract's code has changed and no upgrade was asked for, or the coin is another.
    """
    book, operator = AddressBook(path, chain.chain_id), chain.operator
    changed = [name for name in _NAMES if book.outdated(name)]
    if changed and not upgrade:
        raise ChainError(
            f"the contracts in {path} were deployed from other sources ({', '.join(changed)}): settle what is under "
            "way with the version that deployed them, then run `negawatt deploy --upgrade`"
        )
    registry = place(chain, book, "ResourceRegistry", operator)
    money = place(chain, book, "IncentiveCoin", "Demand Response Coin", coin.symbol, coin.decimals, operator)
    anew = upgrade and bool({"DemandResponse", "ReductionExchange"} & set(changed))
    events = place(chain, book, "DemandResponse", registry.address, money.address, operator, anew=anew)
    exchange = place(chain, book, "ReductionExchange", events.address, anew=anew)
    held = Coin(money.functions.symbol().call(), money.functions.decimals().call())
    if held != coin:
        raise ChainError(
            f"the contracts in {path} pay in {held.symbol} with {held.decimals} decimals, the programme in "
            f"{coin.symbol} with {coin.decimals}: settle programmes of another currency in a workspace of their own"
        )
    for contract, role, holder in (
        (registry, "REGISTRAR_ROLE", operator),
        (money, "MINTER_ROLE", events.address),
        (events, "OPERATOR_ROLE", operator),
        (events, "CERTIFIER_ROLE", operator),
        (events, "PAUSER_ROLE", operator),
    ):
        grant(chain, contract, role, holder)
    return Contracts(registry, money, events, exchange, book.first_block)


def attach(chain: Chain, path: Path) -> Contracts:
    """Our contracts as the address book has them.

    Raises
    ------
    ChainError
        The book has none for this chain.
    """
    book = AddressBook(path, chain.chain_id)
    missing = [name for name in _NAMES if book.address(name) is None]
    if missing:
        raise ChainError(
            f"{path} has no address of {', '.join(missing)} on chain {chain.chain_id}: deploy or announce first"
        )
    registry, coin, events, exchange = (contract_at(chain, name, str(book.address(name))) for name in _NAMES)
    return Contracts(registry, coin, events, exchange, book.first_block)


def attach_at(chain: Chain, address: str, exchange: str | None = None) -> Contracts:
    """Our contracts, found from the address of DemandResponse: it names registry and coin.

    Parameters
    ----------
    exchange : str, optional
        Address of the ReductionExchange; without it, trades of obligations can't be read.

    Raises
    ------
    ChainError
        There is no such contract at that address.
    """
    try:
        events = contract_at(chain, "DemandResponse", address)
        registry, coin = events.functions.registry().call(), events.functions.coin().call()
    except (Web3Exception, ValueError) as failed:
        raise ChainError(f"there is no DemandResponse contract at {address} on {chain.url}: {failed}") from failed
    return Contracts(
        contract_at(chain, "ResourceRegistry", registry),
        contract_at(chain, "IncentiveCoin", coin),
        events,
        contract_at(chain, "ReductionExchange", exchange) if exchange else None,
    )


def _digest(name: str) -> str:
    return hashlib.sha256(load(name).bytecode.encode()).hexdigest()
