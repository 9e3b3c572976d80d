"""The contracts of energy trades on a chain: token, market and the settlement of microgrids."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from web3 import Web3
from web3.contract import Contract

from domain.errors import ChainError
from serving.chain import Chain
from serving.deployment import AddressBook, contract_at, grant, place

NAMES = ("EnergyToken", "EnergyMarket", "MicrogridSettlement")
NOBODY = "0x" + 40 * "0"


@dataclass(frozen=True)
class EnergyTerms:
    """What the contracts are deployed with.

    Attributes
    ----------
    symbol : str
        Ticker of the token.
    decimals : int
        The token's.
    statement_window_seconds : int
        How long after delivery a statement settles a deal. [s]
    dispute_window_seconds : int
        How long a proposed day can be checked before it is executed. [s]
    registered_only : bool
        Let only the owner that the ResourceRegistry names offer a meter's energy.
    """

    symbol: str = "NRG"
    decimals: int = 18
    statement_window_seconds: int = 7 * 86_400
    dispute_window_seconds: int = 86_400
    registered_only: bool = False


@dataclass(frozen=True)
class EnergyContracts:
    """The contracts of energy trades on a chain, and the block before which they have no logs."""

    token: Contract
    market: Contract
    settlement: Contract
    first_block: int = 0

    def addresses(self) -> dict[str, str]:
        """Address of each contract by its name."""
        return {name: c.address for name, c in zip(NAMES, (self.token, self.market, self.settlement), strict=True)}

    def terms(self) -> EnergyTerms:
        """What they were deployed with."""
        return EnergyTerms(
            self.token.functions.symbol().call(),
            self.token.functions.decimals().call(),
            self.market.functions.statementWindow().call(),
            self.settlement.functions.disputeWindow().call(),
            int(self.market.functions.registry().call(), 16) != 0,
        )


def deploy_energy(chain: Chain, path: Path, terms: EnergyTerms, meter_operator: str | None = None) -> EnergyContracts:
    """Find the contracts on the chain, or deploy them, and see that every role is granted.

    Each step is looked up before it is taken, so a run that was cut short is finished by the next. The sender becomes
    admin, posts rates, takes the proceeds, proposes days and may pause.

    Parameters
    ----------
    chain : Chain
    path : Path
        The address book, shared with the contracts of demand response.
    terms : EnergyTerms
    meter_operator : str, optional
        Who signs meter statements; default: the sender.

    Raises
    ------
    ChainError
        The contracts are there with other terms, or the registry isn't.
    """
    book, operator = AddressBook(path, chain.chain_id), chain.operator
    registry = book.address("ResourceRegistry") if terms.registered_only else NOBODY
    if registry is None:
        raise ChainError(f"{path} has no ResourceRegistry on chain {chain.chain_id}: run `negawatt deploy` first")
    token = place(chain, book, "EnergyToken", "Energy Token", terms.symbol, terms.decimals, operator)
    market = place(chain, book, "EnergyMarket", token.address, registry, terms.statement_window_seconds, operator)
    settlement = place(chain, book, "MicrogridSettlement", token.address, terms.dispute_window_seconds, operator)
    contracts = EnergyContracts(token, market, settlement, book.first_block)
    if (held := contracts.terms()) != terms:
        differ = [f"{k} {v!r}, not {asdict(terms)[k]!r}" for k, v in asdict(held).items() if v != asdict(terms)[k]]
        raise ChainError(f"the contracts in {path} were deployed with {'; '.join(differ)}: their terms never change")
    for contract, role, holder in (
        (token, "RATE_ROLE", operator),
        (token, "TREASURER_ROLE", operator),
        (token, "PAUSER_ROLE", operator),
        (market, "METER_OPERATOR_ROLE", Web3.to_checksum_address(meter_operator or operator)),
        (market, "PAUSER_ROLE", operator),
        (settlement, "OPERATOR_ROLE", operator),
        (settlement, "PAUSER_ROLE", operator),
    ):
        grant(chain, contract, role, holder)
    return contracts


def attach_energy(chain: Chain, path: Path) -> EnergyContracts:
    """The contracts as the address book has them.

    Raises
    ------
    ChainError
        The book has none for this chain, or there is no contract where it says.
    """
    book = AddressBook(path, chain.chain_id)
    held = {name: book.address(name) for name in NAMES}
    missing = [n for n, at in held.items() if at is None or not chain.w3.eth.get_code(Web3.to_checksum_address(at))]
    if missing:
        raise ChainError(
            f"{path} leads to no {', '.join(missing)} on chain {chain.chain_id}: run `negawatt energy deploy`, "
            "or take over the address book of who did"
        )
    token, market, settlement = (contract_at(chain, name, str(address)) for name, address in held.items())
    return EnergyContracts(token, market, settlement, book.first_block)
