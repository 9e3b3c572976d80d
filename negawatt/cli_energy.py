"""``negawatt energy``: energy traded between neighbours and between microgrids, paid in a token."""

from __future__ import annotations

import click

from negawatt import cli_market, cli_microgrids
from negawatt.cli_base import CONTEXT, Group


@click.group(cls=Group, context_settings=CONTEXT, short_help="Trade energy between neighbours and microgrids.")
def energy() -> None:
    """Sell and buy energy between neighbours, and settle a day's trades between microgrids.

    \b
    Amounts are in tokens (0.20), energy is in watt-hours, times have their offset (2025-06-11T12:00+02:00). The
    operator, once:
      negawatt energy deploy
      negawatt energy post-rate 2000                         tokens for an ether
    A prosumer and a neighbour, each with a --keystore of their own:
      negawatt energy offer METER 5000 --price 0.20 --from 2025-06-11T12:00Z --until 2025-06-11T18:00Z
      negawatt energy buy-tokens 0.05                        for ether
      negawatt energy buy OFFER 2000 --max-price 0.20        into escrow
    After delivery a meter operator signs what the meter says; anyone hands it in:
      negawatt energy sign-delivery DEAL 1800 -o statement.json
      negawatt energy deliver statement.json                 pays the seller, returns the rest to the buyer
    On the built-in chain --account 1, 2, … lets its accounts play the parts.
    Trades between microgrids: deposit, limit, settle-day, verify-day.
    """


for command in (
    cli_market.deploy,
    cli_market.post_rate,
    cli_market.withdraw_ether,
    cli_market.buy_tokens,
    cli_market.offer,
    cli_market.cancel,
    cli_market.buy,
    cli_market.sign_delivery,
    cli_market.deliver,
    cli_market.refund,
    cli_market.list_offers,
    cli_market.list_deals,
    cli_market.balance,
    cli_microgrids.deposit,
    cli_microgrids.withdraw,
    cli_microgrids.limit,
    cli_microgrids.settle_day,
    cli_microgrids.retract_day,
    cli_microgrids.verify_day,
):
    energy.add_command(command)
