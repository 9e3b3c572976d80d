"""The commands of ``negawatt energy`` for a market between neighbours: tokens, offers, deals, delivery, refund."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.errors import NegawattError
from negawatt.cli_base import EXISTING_FILE, Context, as_json, chain_flags
from negawatt.cli_energy_base import (
    NUMBER,
    WH,
    Desk,
    acting,
    address,
    open_desk,
    parse_amount,
    parse_time,
    show_amount,
    show_sent,
)
from negawatt.console import kwh

if TYPE_CHECKING:
    from serving.statements import Statement

HOUR_S = 3600


# --- operator ----------------------------------------------------------------------------------------------


@click.command(short_help="Bring token, market and settlement on chain.")
@click.option("--symbol", help="Ticker of the token.  [default: NRG]")
@click.option("--decimals", type=click.IntRange(0, 30), help="Decimals of the token.  [default: 18]")
@click.option(
    "--statement-hours",
    type=click.IntRange(1),
    help="Hours after delivery in which a statement settles.  [default: 168]",
)
@click.option(
    "--dispute-hours", type=click.IntRange(1), help="Hours in which a proposed day can be checked.  [default: 24]"
)
@click.option(
    "--registered-only", is_flag=True, default=None, help="Only a meter's registered owner may offer its energy."
)
@click.option(
    "--meter-operator", metavar="ADDRESS", callback=address, help="Who signs meter statements; default: the sender."
)
@acting
def deploy(
    ctx: Context, account: int | None, meter_operator: str | None, registered_only: bool | None, **given: Any
) -> None:
    """Deploy the contracts of energy trades and grant the sender its roles. Run it again to finish what is missing.

    The contracts' terms can't be changed later. --registered-only needs the contracts of `negawatt deploy`.
    """
    from negawatt.chains import open_chain  # noqa: PLC0415
    from serving.energy import as_account  # noqa: PLC0415
    from serving.energy_contracts import EnergyTerms, attach_energy, deploy_energy  # noqa: PLC0415

    wanted = {
        "symbol": given["symbol"],
        "decimals": given["decimals"],
        "statement_window_seconds": given["statement_hours"] and given["statement_hours"] * HOUR_S,
        "dispute_window_seconds": given["dispute_hours"] and given["dispute_hours"] * HOUR_S,
        "registered_only": registered_only,
    }
    book = ctx.workspace.address_book
    with open_chain(ctx.workspace, ctx.settings) as opened:
        chain = opened if account is None else as_account(opened, account)
        try:
            terms = attach_energy(chain, book).terms()
        except NegawattError:
            terms = EnergyTerms()
        terms = replace(terms, **{name: value for name, value in wanted.items() if value is not None})
        contracts = deploy_energy(chain, book, terms, meter_operator)
        desk = Desk(chain, contracts, terms.symbol, terms.decimals)
        show_sent(
            ctx,
            desk,
            f"Energy trades on chain {chain.chain_id}",
            contracts=contracts.addresses(),
            terms=asdict(terms),
        )
    for name, where in contracts.addresses().items():
        ctx.screen.say(f"  {name:<20} {where}")


@click.command("post-rate", short_help="Post the token's price.")
@click.argument("tokens")
@acting
def post_rate(ctx: Context, tokens: str, account: int | None) -> None:
    """Sell TOKENS for an ether from now on; 0 closes the sale."""
    with open_desk(ctx, account) as desk:
        rate = desk.units(tokens)
        desk.trade.post_rate(rate)
        show_sent(ctx, desk, f"{desk.shown(rate)} for an ether", tokens_per_ether=rate)


@click.command("withdraw-ether", short_help="Take out what tokens were sold for.")
@click.argument("ether")
@click.option("--to", metavar="ADDRESS", callback=address, required=True, help="The treasury.")
@acting
def withdraw_ether(ctx: Context, ether: str, to: str, account: int | None) -> None:
    """Send ETHER of the sale's proceeds to the treasury."""
    with open_desk(ctx, account) as desk:
        wei = parse_amount(ether, 18, "ETH")
        desk.trade.withdraw_ether(to, wei)
        show_sent(ctx, desk, f"{ether} ETH to {to}", wei=wei, to=to)


# --- neighbours --------------------------------------------------------------------------------------------


@click.command("buy-tokens", short_help="Buy tokens with ether.")
@click.argument("ether")
@click.option("--min", "minimum", help="Fewest tokens to accept; default: what the posted rate gives now.")
@acting
def buy_tokens(ctx: Context, ether: str, minimum: str | None, account: int | None) -> None:
    """Buy tokens for ETHER, e.g. 0.05, at the posted rate."""
    with open_desk(ctx, account) as desk:
        wei = parse_amount(ether, 18, "ETH")
        desk.trade.buy_tokens(wei, None if minimum is None else desk.units(minimum))
        held = desk.contracts.token.functions.balanceOf(desk.chain.operator).call()
        show_sent(ctx, desk, f"{desk.chain.operator} holds {desk.shown(held)}", balance=held)


@click.command(short_help="Offer energy of a meter.")
@click.argument("meter")
@click.argument("wh", type=WH)
@click.option("--price", required=True, help="Price of a kilowatt-hour in tokens, e.g. 0.20.")
@click.option(
    "--from", "start", required=True, metavar="TIME", help="Start of delivery; nothing is sold from then on."
)
@click.option("--until", "end", required=True, metavar="TIME", help="End of delivery.")
@acting
def offer(ctx: Context, meter: str, wh: int, price: str, start: str, end: str, account: int | None) -> None:
    """Offer WH watt-hours of METER over [--from, --until).

    METER is a meter of the workspace, which appears on chain under its pseudonym, or a pseudonym (0x and 64 digits).
    """
    from negawatt.cli_home import resource_hash  # noqa: PLC0415

    window = parse_time(start), parse_time(end)
    with open_desk(ctx, account) as desk:
        number = desk.trade.offer(resource_hash(ctx, meter), wh, desk.units(price), *window)
        show_sent(ctx, desk, f"Offer {number}: {kwh(wh)} at {price} {desk.symbol}/kWh", offer=number)


@click.command(short_help="Take back what is unsold.")
@click.argument("number", type=NUMBER, metavar="OFFER")
@acting
def cancel(ctx: Context, number: int, account: int | None) -> None:
    """Take back what is unsold of OFFER; what is sold stays sold."""
    with open_desk(ctx, account) as desk:
        desk.trade.cancel(number)
        show_sent(ctx, desk, f"Offer {number} cancelled", offer=number)


@click.command(short_help="Buy energy into escrow.")
@click.argument("number", type=NUMBER, metavar="OFFER")
@click.argument("wh", type=WH)
@click.option("--max-price", required=True, help="Most that a kilowatt-hour may cost, in tokens.")
@acting
def buy(ctx: Context, number: int, wh: int, max_price: str, account: int | None) -> None:
    """Buy WH watt-hours of OFFER. The price waits in the contract until the meter operator's statement."""
    with open_desk(ctx, account) as desk:
        deal = desk.trade.deal_of(desk.trade.buy(number, wh, desk.units(max_price)))
        title = f"Deal {deal.deal}: {kwh(wh)} for {desk.shown(deal.amount)}, in escrow"
        show_sent(ctx, desk, title, deal=deal.deal, amount=deal.amount)


@click.command("sign-delivery", short_help="Sign what a meter delivered.")
@click.argument("deal", type=NUMBER)
@click.argument("wh", type=click.IntRange(0, 2**63))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@acting
def sign_delivery(ctx: Context, deal: int, wh: int, output: Path, account: int | None) -> None:
    """State, as a meter operator, that WH watt-hours were delivered for DEAL; 0 returns everything to the buyer.

    Nothing is sent: whoever has the file can hand it in by `negawatt energy deliver` until the buyer's refund.
    """
    from serving.statements import write_statement  # noqa: PLC0415

    with open_desk(ctx, account) as desk:
        bought = desk.trade.deal_of(deal)
        if wh > bought.wh:
            raise NegawattError(f"deal {deal} is over {bought.wh} Wh: {wh} Wh can't be delivered for it")
        statement = _signed(ctx, desk, desk.trade.statement(deal, wh))
    write_statement(output, statement)
    ctx.screen.document({"deal": deal, "delivered_wh": wh, "signer": statement.signer, "statement": str(output)})
    ctx.screen.say(f"{kwh(wh)} for deal {deal}, signed by {statement.signer}: {output}")


@click.command(short_help="Hand in a meter statement.")
@click.argument("statement", type=EXISTING_FILE)
@acting
def deliver(ctx: Context, statement: Path, account: int | None) -> None:
    """Settle a deal by a signed STATEMENT: the seller is paid for what was delivered, the buyer gets the rest back.

    Possible from the end of delivery until the refund. The built-in chain's clock is moved there.
    """
    from serving.statements import read_statement  # noqa: PLC0415

    stated = read_statement(statement)
    with open_desk(ctx, account) as desk:
        desk.trade.deliver(stated)
        amount = desk.trade.deal_of(stated.deal)
        paid = amount.amount * stated.delivered_wh // amount.wh
        title = (
            f"Deal {stated.deal}: {desk.shown(paid)} to the seller, {desk.shown(amount.amount - paid)} to the buyer"
        )
        show_sent(ctx, desk, title, deal=stated.deal, paid=paid, returned=amount.amount - paid)


@click.command(short_help="Give the buyer everything back.")
@click.argument("deal", type=NUMBER)
@acting
def refund(ctx: Context, deal: int, account: int | None) -> None:
    """Give DEAL's buyer everything back when no statement came in time. The built-in chain's clock is moved there."""
    with open_desk(ctx, account) as desk:
        desk.trade.refund(deal)
        amount = desk.trade.deal_of(deal).amount
        show_sent(ctx, desk, f"Deal {deal}: {desk.shown(amount)} back to the buyer", deal=deal, returned=amount)


@click.command("offers", short_help="List the offers.")
@click.option("--all", "everything", is_flag=True, help="Also those that are sold out, cancelled or past.")
@chain_flags
@as_json
@click.pass_obj
def list_offers(ctx: Context, everything: bool) -> None:
    """List the offers of which something is for sale."""
    with open_desk(ctx, reader=True) as desk:
        now = desk.chain.now()
        rows = [row for row in desk.trade.offers() if everything or (row.left_wh and row.deliver_from > now)]
        plain = [_plain(asdict(row)) | {"left_wh": row.left_wh} for row in rows]
        ctx.screen.document({"symbol": desk.symbol, "decimals": desk.decimals, "offers": plain})
        ctx.screen.table(
            "Offers",
            ("offer", "seller", "meter", "left", "price of a kWh", "from", "until"),
            [
                (
                    row.offer,
                    row.seller[:10] + "…",
                    f"0x{row.meter.hex()[:8]}…",
                    kwh(row.left_wh),
                    desk.shown(row.price_per_kwh),
                    f"{row.deliver_from:%Y-%m-%d %H:%M:%SZ}",
                    f"{row.deliver_until:%Y-%m-%d %H:%M:%SZ}",
                )
                for row in rows
            ],
        )


@click.command("deals", short_help="List the deals.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not settled.")
@chain_flags
@as_json
@click.pass_obj
def list_deals(ctx: Context, only_open: bool) -> None:
    """List the deals and how they stand: open, delivered or refunded."""
    with open_desk(ctx, reader=True) as desk:
        rows = [row for row in desk.trade.deals() if row.state == "open" or not only_open]
        plain = [_plain(asdict(row)) for row in rows]
        ctx.screen.document({"symbol": desk.symbol, "decimals": desk.decimals, "deals": plain})
        ctx.screen.table(
            "Deals",
            ("deal", "offer", "buyer", "energy", "in escrow or paid", "state"),
            [
                (row.deal, row.offer, row.buyer[:10] + "…", kwh(row.wh), desk.shown(row.amount), row.state)
                for row in rows
            ],
        )


@click.command(short_help="Show what an account holds.")
@click.argument("account_of", metavar="[ADDRESS]", callback=address, required=False)
@acting
def balance(ctx: Context, account_of: str | None, account: int | None) -> None:
    """Show the tokens and ether of ADDRESS, or of the sender, and its account for trades between microgrids."""
    from web3 import Web3  # noqa: PLC0415

    with open_desk(ctx, account) as desk:
        who = Web3.to_checksum_address(account_of) if account_of else desk.chain.operator
        tokens = desk.contracts.token.functions.balanceOf(who).call()
        ether, held = desk.chain.w3.eth.get_balance(who), desk.grids.account(who)
        ctx.screen.document(
            {"address": who, "tokens": tokens, "wei": ether, "free": held.free, "daily_limit": held.daily_limit}
        )
        ctx.screen.table(
            who,
            ("in the wallet", "ether", "deposited", "daily limit"),
            [
                (
                    desk.shown(tokens),
                    show_amount(ether, 18, "ETH"),
                    desk.shown(held.free),
                    desk.shown(held.daily_limit),
                )
            ],
        )


def _signed(ctx: Context, desk: Desk, statement: Statement) -> Statement:
    """A statement signed by the key file; by the node where it holds the account unlocked."""
    from negawatt.chains import on_stack  # noqa: PLC0415
    from serving.signers import open_keystore  # noqa: PLC0415

    settings = on_stack(ctx.workspace, ctx.settings) if ctx.settings.chain == "stack://" else ctx.settings
    if settings.chain != "anvil://" and settings.remote_signer:
        raise NegawattError("a remote signer signs transactions only: name the meter operator's --keystore")
    if settings.chain != "anvil://" and settings.keystore:
        password = Path(settings.password_file) if settings.password_file else None
        return statement.signed_by(bytes(open_keystore(Path(settings.keystore), password).key))
    return statement.signed_on(desk.chain)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON values: bytes as hex, times with their offset."""
    plain = dict(row)
    for name, value in row.items():
        if isinstance(value, bytes):
            plain[name] = "0x" + value.hex()
        elif isinstance(value, datetime):
            plain[name] = value.isoformat()
    return plain
