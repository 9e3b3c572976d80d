"""What the commands of ``negawatt energy`` share: the open chain with its contracts, amounts, times and flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError
from domain.trades import MAX_VALUE
from negawatt.cli_base import Context, as_json, chain_flags, show_transactions
from negawatt.console import money

if TYPE_CHECKING:
    from serving.chain import Chain
    from serving.energy import EnergyTrade
    from serving.energy_contracts import EnergyContracts
    from serving.microgrids import Microgrids


NUMBER = click.IntRange(1, 2**63)
"""Of an offer or a deal."""

WH = click.IntRange(1, 2**63)


def address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """See that an option or argument is an account, with 0x; one with capitals must have the right ones."""
    from web3 import Web3  # noqa: PLC0415  heavy imports wait until they are needed

    if value is None:
        return None
    if not value.startswith("0x") or not Web3.is_address(value):
        raise click.BadParameter(f"{value!r} is no address", ctx, param)
    return str(Web3.to_checksum_address(value))


@dataclass(frozen=True)
class Desk:
    """An open chain with the contracts of energy trades on it, and how the token is called."""

    chain: Chain
    contracts: EnergyContracts
    symbol: str
    decimals: int

    @property
    def trade(self) -> EnergyTrade:
        """Token and market."""
        from serving.energy import EnergyTrade  # noqa: PLC0415  heavy imports wait until they are needed

        return EnergyTrade(self.chain, self.contracts)

    @property
    def grids(self) -> Microgrids:
        """The settlement of microgrids."""
        from serving.microgrids import Microgrids  # noqa: PLC0415

        return Microgrids(self.chain, self.contracts)

    def units(self, tokens: str) -> int:
        """An amount of tokens as smallest units; at most what can exist."""
        units = parse_amount(tokens, self.decimals, self.symbol)
        if units > MAX_VALUE:
            raise NegawattError(f"{tokens!r}: there can't be so many {self.symbol}")
        return units

    def shown(self, amount: int) -> str:
        """Smallest units as people write them."""
        return show_amount(amount, self.decimals, self.symbol)


def parse_amount(text: str, decimals: int, unit: str) -> int:
    """An amount as a whole number of its smallest unit.

    >>> parse_amount("0.2", 18, "ETH")
    200000000000000000

    Raises
    ------
    NegawattError
        It is no number, is negative, or has more digits than the unit has decimals.
    """
    try:
        with localcontext(prec=100):  # the usual 28 digits would round large amounts
            amount = Decimal(text).scaleb(decimals) if len(text) < 60 else Decimal("nan")
            if amount >= 0 and amount == int(amount):
                return int(amount)
    except (ArithmeticError, ValueError) as broken:
        raise NegawattError(f"{text!r}: expected an amount of {unit} such as 1.20") from broken
    raise NegawattError(f"{text!r}: expected at most {decimals} digits after the point of {unit}, and no minus")


def show_amount(amount: int, decimals: int, unit: str) -> str:
    """An amount of smallest units as people write it: zeros at the end are left out, but for two.

    >>> show_amount(1234 * 10**18 + 2 * 10**17, 18, "NRG"), show_amount(-1, 18, "NRG"), show_amount(7, 0, "NRG")
    ('1,234.20 NRG', '-0.000000000000000001 NRG', '7 NRG')
    """
    whole, point, part = money(amount, decimals, unit).removesuffix(f" {unit}").partition(".")
    return f"{whole}{point}{part.rstrip('0').ljust(min(decimals, 2), '0')} {unit}"


def parse_time(text: str) -> datetime:
    """A point in time with its offset, in whole seconds.

    Raises
    ------
    NegawattError
        It is no time, or has no offset.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as broken:
        raise NegawattError(f"{text!r}: expected a time such as 2025-06-11T12:00+02:00") from broken
    if when.tzinfo is None or when.microsecond or when.timestamp() < 0:
        raise NegawattError(f"{text!r}: expected whole seconds and an offset, as in 2025-06-11T12:00+02:00")
    return when


@contextmanager
def open_desk(ctx: Context, account: int | None = None, *, reader: bool = False) -> Iterator[Desk]:
    """The chain with the contracts that the address book has."""
    from negawatt.chains import open_chain  # noqa: PLC0415
    from serving.energy import as_account  # noqa: PLC0415
    from serving.energy_contracts import attach_energy  # noqa: PLC0415

    with open_chain(ctx.workspace, ctx.settings, reader=reader) as opened:
        chain = opened if account is None else as_account(opened, account)
        contracts = attach_energy(chain, ctx.workspace.address_book)
        terms = contracts.terms()
        yield Desk(chain, contracts, terms.symbol, terms.decimals)


def acting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what sending needs: the chain's flags, ``--account`` and ``--json``."""
    account = click.option(
        "--account", type=click.IntRange(0), help="On the built-in chain: which of its accounts acts.  [default: 0]"
    )
    return account(chain_flags(as_json(click.pass_obj(command))))


def show_sent(ctx: Context, desk: Desk, title: str, **more: Any) -> None:
    """Print the transactions that a command sent, and what came of them."""
    sent = [asdict(record) for record in desk.chain.records]
    ctx.screen.document({**more, "account": desk.chain.operator, "transactions": sent})
    show_transactions(ctx.screen, title, sent)
