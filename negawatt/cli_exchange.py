"""``negawatt exchange``: obligations traded before an event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from domain.errors import NegawattError
from negawatt.cli_base import CONTEXT, Context, Group, as_json, chain_flags, show_records
from negawatt.console import money

if TYPE_CHECKING:
    from serving.chain import Chain
    from serving.deployment import Contracts
    from serving.exchange import Exchange


@click.group(cls=Group, context_settings=CONTEXT, short_help="Trade obligations before an event.")
def exchange() -> None:
    """Sell cover that a home expects to have over, or buy what it expects to fall short by.

    \b
    A traded watt-hour moves from the buyer's obligation to the seller's; the event's payments and penalties follow.
    The account of --keystore must own the resource. The price waits in the contract until the event has started.
      negawatt exchange offer EVENT METER 500 --price 1.20
      negawatt exchange buy EVENT METER 500 --offer 0 --max-price 1.20
      negawatt exchange list EVENT
      negawatt roster EVENT        after the start: who takes part, with which traded obligations
    """


EVENT, METER = click.argument("event"), click.argument("meter")
WH = click.argument("wh", type=click.IntRange(1))


@exchange.command(short_help="Offer cover.")
@EVENT
@METER
@WH
@click.option("--price", required=True, help="Price of a kilowatt-hour in coins, e.g. 1.20.")
@chain_flags
@as_json
@click.pass_obj
def offer(ctx: Context, event: str, meter: str, wh: int, price: str) -> None:
    """Offer WH watt-hours of METER's expected reduction beyond its obligation in EVENT."""
    from negawatt.cli_home import resource_hash  # noqa: PLC0415

    with _open(ctx) as (market, contracts, _):
        sent = market.offer(event, resource_hash(ctx, meter), wh, _minor(contracts, price))
        made = [asdict(row) for row in market.offers(event)][-1:]
    show_records(ctx, f"{wh} Wh of cover offered", [sent], offer=made[0]["offer"] if made else None)


@exchange.command("withdraw", short_help="Take an offer back.")
@click.argument("number", type=click.IntRange(0))
@chain_flags
@as_json
@click.pass_obj
def take_back(ctx: Context, number: int) -> None:
    """Take back what is left of offer NUMBER."""
    with _open(ctx) as (market, _, __):
        sent = market.withdraw(number)
    show_records(ctx, f"Offer {number} withdrawn", [sent])


@exchange.command(short_help="Buy cover.")
@EVENT
@METER
@WH
@click.option("--offer", "number", type=click.IntRange(0), required=True, help="Number of the offer.")
@click.option("--max-price", required=True, help="Most that a kilowatt-hour may cost, in coins.")
@chain_flags
@as_json
@click.pass_obj
def buy(ctx: Context, event: str, meter: str, wh: int, number: int, max_price: str) -> None:
    """Buy WH watt-hours of cover for METER in EVENT, with coins of the account."""
    from negawatt.cli_home import resource_hash  # noqa: PLC0415

    with _open(ctx) as (market, contracts, chain):
        if number not in [row.offer for row in market.offers(event)]:
            raise NegawattError(f"event {event!r} has no open offer {number}: see `negawatt exchange list {event}`")
        market.buy(number, resource_hash(ctx, meter), wh, _minor(contracts, max_price))
        sent = list(chain.records)
    show_records(ctx, f"{wh} Wh of cover bought", sent)


@exchange.command("list", short_help="Offers and trades of an event.")
@EVENT
@chain_flags
@as_json
@click.pass_obj
def show(ctx: Context, event: str) -> None:
    """Show EVENT's open offers and its trades."""
    with _open(ctx, reader=True) as (market, contracts, _):
        offers, trades = market.offers(event), market.trades(event)
        decimals, symbol = contracts.coin.functions.decimals().call(), contracts.coin.functions.symbol().call()
    plain = {"offers": [asdict(row) for row in offers], "trades": [asdict(row) for row in trades]}
    for row in (row for rows in plain.values() for row in rows):
        row.update({name: "0x" + value.hex() for name, value in row.items() if isinstance(value, bytes)})
    ctx.screen.document(plain)
    ctx.screen.table(
        f"Offers of cover for {event}",
        ("offer", "resource", "Wh", "price of a kWh"),
        [(o.offer, _short(o.resource), o.wh, money(o.price_per_kwh, decimals, symbol)) for o in offers],
    )
    ctx.screen.table(
        f"Trades for {event}",
        ("trade", "from", "to", "Wh", "paid", "price"),
        [
            (
                t.trade,
                _short(t.seller_resource),
                _short(t.buyer_resource),
                t.wh,
                money(t.paid, decimals, symbol),
                "waits" if t.waits else "settled",
            )
            for t in trades
        ],
    )


@contextmanager
def _open(ctx: Context, *, reader: bool = False) -> Iterator[tuple[Exchange, Contracts, Chain]]:
    from negawatt.chains import open_chain  # noqa: PLC0415
    from serving.deployment import attach  # noqa: PLC0415
    from serving.exchange import Exchange  # noqa: PLC0415

    with open_chain(ctx.workspace, ctx.settings, reader=reader) as chain:
        contracts = attach(chain, ctx.workspace.address_book)
        yield Exchange(chain, contracts), contracts, chain


def _minor(contracts: Contracts, price: str) -> int:
    """A price in coins as minor units."""
    from negawatt.cli_energy_base import parse_amount  # noqa: PLC0415

    return parse_amount(price, contracts.coin.functions.decimals().call(), contracts.coin.functions.symbol().call())


def _short(resource: bytes) -> str:
    return f"0x{resource.hex()[:10]}…"
