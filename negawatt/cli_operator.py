"""The operator's commands beside the life of an event: contracts, roster, disputes, treasury."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from negawatt.cli_base import CONTEXT, Context, Group, as_json, chain_flags, show_records, show_transactions
from negawatt.console import money

if TYPE_CHECKING:
    from serving.chain import Chain
    from serving.deployment import Contracts


@click.command(short_help="Put the contracts on chain.")
@click.option("--programme", default="kpx-max-4-of-5", show_default=True, help="Whose currency the coin is.")
@click.option("--upgrade", is_flag=True, help="Deploy events and exchange anew where their code has changed.")
@chain_flags
@as_json
@click.pass_obj
def deploy(ctx: Context, programme: str, upgrade: bool) -> None:
    """Deploy the contracts, or see that they are there with every role granted. `announce` does it too.

    Contracts never change in place. --upgrade leaves registry and coin where they are, deploys the others anew, and
    keeps the old addresses in chain/addresses.json: events under way go on there.
    """
    from negawatt.chains import open_chain  # noqa: PLC0415  heavy imports wait until they are needed
    from serving.deployment import Coin  # noqa: PLC0415
    from serving.deployment import deploy as place_all  # noqa: PLC0415

    currency = ctx.workspace.programme(programme).currency
    with open_chain(ctx.workspace, ctx.settings) as chain:
        coin = Coin(currency.code, currency.decimals)
        contracts = place_all(chain, ctx.workspace.address_book, coin, upgrade=upgrade)
        sent = [asdict(record) for record in chain.records]
        chain_id = chain.chain_id
    ctx.screen.document({"chain_id": chain_id, "contracts": contracts.addresses(), "transactions": sent})
    show_transactions(ctx.screen, f"Contracts on chain {chain_id}", sent)
    for name, address in contracts.addresses().items():
        ctx.screen.say(f"  {name:<18} {address}")


@click.command(short_help="Read from the chain who takes part.")
@click.argument("event")
@chain_flags
@as_json
@click.pass_obj
def roster(ctx: Context, event: str) -> None:
    """After EVENT has started: read who takes part, and which obligations were traded, and keep that for `certify`.

    Needed where owners chose for themselves or traded; trades are settled on the way.
    """
    from negawatt import chains, settling  # noqa: PLC0415

    called = ctx.workspace.event(event)
    with chains.open_chain(ctx.workspace, ctx.settings) as chain:
        found = settling.read_roster(ctx.workspace, chain, called)
    ctx.screen.document(found)
    ctx.screen.say(f"{found['participants']:,} of {found['of']:,} homes take part in {called.id}")
    traded = sorted(found["traded_wh"].items())
    if traded:
        ctx.screen.table("Traded obligations", ("home", "Wh"), traded)


@click.command(short_help="Return what nobody claimed.")
@click.argument("event")
@chain_flags
@as_json
@click.pass_obj
def reclaim(ctx: Context, event: str) -> None:
    """After EVENT's claim window: burn what nobody claimed, or return it to the treasury. Closes the event."""
    from domain.merkle import event_key  # noqa: PLC0415

    with _open(ctx) as (chain, contracts):
        sent = chain.send(
            f"return the unclaimed of {event}", contracts.events.functions.returnUnclaimed(event_key(event))
        )
    show_records(ctx, f"Unclaimed payments of {event}", [sent])


@click.group(cls=Group, context_settings=CONTEXT, short_help="Answer homes that dispute a certification.")
def dispute() -> None:
    """Answer challenges, or take a certification back, while it is not final."""


@dispute.command("list", short_help="Challenges of an event.")
@click.argument("event")
@chain_flags
@as_json
@click.pass_obj
def list_disputes(ctx: Context, event: str) -> None:
    """Show who disputes EVENT's certification."""
    from domain.certificates import resource_key  # noqa: PLC0415
    from serving.disputes import Disputes  # noqa: PLC0415

    with _open(ctx, reader=True) as (chain, contracts):
        found = Disputes(chain, contracts, event).all()
    salt = ctx.workspace.salt()
    meters = {resource_key(salt, meter): meter for meter in ctx.workspace.resources()}
    rows = [
        {
            "meter": meters.get(row.resource),
            "resource": "0x" + row.resource.hex(),
            "reason_hash": "0x" + row.reason_hash.hex(),
            "open": row.is_open,
        }
        for row in found
    ]
    ctx.screen.document({"event_id": event, "challenges": rows})
    ctx.screen.table(
        f"Challenges of {event}",
        ("home", "SHA-256 of its reasons", "stands"),
        [(r["meter"] or r["resource"], r["reason_hash"], "open" if r["open"] else "answered or void") for r in rows],
    )


TEXT = click.option(
    "--reason", required=True, help="Text, or a file with it. Its SHA-256 goes on chain; keep the text."
)


@dispute.command(short_help="Answer a home, with proof of its leaf.")
@click.argument("event")
@click.argument("meter")
@TEXT
@chain_flags
@as_json
@click.pass_obj
def answer(ctx: Context, event: str, meter: str, reason: str) -> None:
    """Answer METER's challenge of EVENT: prove on chain what was certified for it."""
    from negawatt.cli_home import resource_hash  # noqa: PLC0415
    from negawatt.settling import read_certificates  # noqa: PLC0415
    from serving.disputes import Disputes  # noqa: PLC0415

    certificates = read_certificates(ctx.workspace, ctx.workspace.event(event))
    with _open(ctx) as (chain, contracts):
        disputes = Disputes(chain, contracts, event)
        sent = disputes.answer(certificates, resource_hash(ctx, meter), _hash(reason))
    show_records(ctx, f"{meter} is answered", [sent])


@dispute.command("take-back", short_help="Take a certification back.")
@click.argument("event")
@TEXT
@chain_flags
@as_json
@click.pass_obj
def take_back(ctx: Context, event: str, reason: str) -> None:
    """Take EVENT's certification back, with all challenges against it. Certify and settle it again afterwards."""
    from serving.disputes import Disputes  # noqa: PLC0415

    with _open(ctx) as (chain, contracts):
        sent = Disputes(chain, contracts, event).withdraw_certification(_hash(reason))
        ctx.workspace.committed(event).unlink(missing_ok=True)
    show_records(ctx, f"Certification of {event} taken back", [sent])


@click.group(cls=Group, context_settings=CONTEXT, short_help="Coins set aside for programmes that don't mint.")
def treasury() -> None:
    """Show, fill and draw on the treasury, which pays events of programmes with `funding = "treasury"`."""


@treasury.command(short_help="What the treasury holds.")
@chain_flags
@as_json
@click.pass_obj
def show(ctx: Context) -> None:
    """Show what the treasury holds."""
    with _open(ctx, reader=True) as (_, contracts):
        held = contracts.events.functions.treasury().call()
        decimals, symbol = contracts.coin.functions.decimals().call(), contracts.coin.functions.symbol().call()
    ctx.screen.document({"treasury": held, "symbol": symbol, "decimals": decimals})
    ctx.screen.say(f"treasury: {money(held, decimals, symbol)}")


@treasury.command(short_help="Put coins in.")
@click.argument("amount", type=click.IntRange(1))
@chain_flags
@as_json
@click.pass_obj
def fund(ctx: Context, amount: int) -> None:
    """Put AMOUNT minor units of the account's coins into the treasury."""
    with _open(ctx) as (chain, contracts):
        chain.send("approve the treasury", contracts.coin.functions.approve(contracts.events.address, amount))
        chain.send("fund the treasury", contracts.events.functions.fund(amount))
        sent = list(chain.records)
    show_records(ctx, "Treasury funded", sent)


@treasury.command(short_help="Take coins out.")
@click.argument("amount", type=click.IntRange(1))
@click.argument("to")
@chain_flags
@as_json
@click.pass_obj
def draw(ctx: Context, amount: int, to: str) -> None:
    """Take AMOUNT minor units that no final event needs out of the treasury, for the address TO. The admin may."""
    with _open(ctx) as (chain, contracts):
        sent = chain.send(
            "draw on the treasury", contracts.events.functions.draw(chain.w3.to_checksum_address(to), amount)
        )
    show_records(ctx, "Drawn on the treasury", [sent])


@contextmanager
def _open(ctx: Context, *, reader: bool = False) -> Iterator[tuple[Chain, Contracts]]:
    from negawatt.chains import open_chain  # noqa: PLC0415
    from serving.deployment import attach  # noqa: PLC0415

    with open_chain(ctx.workspace, ctx.settings, reader=reader) as chain:
        yield chain, attach(chain, ctx.workspace.address_book)


def _hash(reason: str) -> bytes:
    """SHA-256 of a text, or of a file."""
    return hashlib.sha256(Path(reason).read_bytes() if Path(reason).is_file() else reason.encode()).digest()
