"""``negawatt outbox``: the transactions that were written, what came of them, and finishing those left over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from negawatt.cli_base import Context, as_json, setting

if TYPE_CHECKING:
    from serving.outbox_rows import Row


@click.command(short_help="List the transactions that were sent, or finish what was left.")
@click.option("--resume", is_flag=True, help="First finish what an earlier run left: send it again, and wait.")
@click.option("--unfinished", is_flag=True, help="List only what may still be mined.")
@setting("--chain", "chain", "For --resume: anvil:// or the JSON-RPC address of a node.")
@setting("--keystore", "keystore", "The operator's encrypted key file; not needed for anvil.")
@setting("--password-file", "password_file", "File with the key file's password, readable by you alone.")
@as_json
@click.pass_obj
def outbox(ctx: Context, resume: bool, unfinished: bool) -> None:
    """List the outbox: every transaction ever written, by whichever run, and what came of it.

    \b
    new     written, and taken by no node yet
    sent    taken by a node
    mined   in a block
    failed  mined and reverted, or refused by every node
    lost    its nonce was used by another transaction
    """
    from negawatt import chains  # noqa: PLC0415

    if resume and chains.has_chain(ctx.workspace, ctx.settings):
        with chains.open_chain(ctx.workspace, ctx.settings) as chain:  # opening it finishes what is left
            ctx.screen.say(f"{len(chain.recovered)} finished on chain {chain.chain_id}")
    with chains.open_outbox(ctx.workspace, ctx.settings) as box:
        rows = box.rows(unfinished=unfinished)
    ctx.screen.document({"outbox": box.name, "transactions": [_document(row) for row in rows]})
    ctx.screen.table(
        f"Outbox {box.name}",
        ("transaction", "state", "nonce", "hash", "attempts", "block", "age"),
        [
            (
                row.purpose,
                row.state,
                row.nonce,
                row.hash[:18] + "…",
                len(row.attempts),
                "" if row.block is None else f"{row.block:,}",
                _age(time.time() - row.created),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.error:
            ctx.screen.say(f"  {row.purpose}: {row.error}")


def _document(row: Row) -> dict[str, Any]:
    return {
        "purpose": row.purpose,
        "key": row.key,
        "run": row.run,
        "state": row.state,
        "chain_id": row.lane.chain_id,
        "genesis": row.lane.genesis,
        "sender": row.lane.sender,
        "nonce": row.nonce,
        "to": row.to,
        "hash": row.hash,
        "attempts": [
            {"hash": one.hash, "max_fee_wei": one.max_fee, "tip_wei": one.tip, "created": one.created}
            for one in row.attempts
        ],
        "block": row.block,
        "block_hash": row.block_hash,
        "gas": row.gas,
        "gas_used": row.gas_used,
        "error": row.error,
        "created": row.created,
        "age_seconds": round(time.time() - row.created, 1),
    }


def _age(seconds: float) -> str:
    """A duration in its two largest units.

    >>> _age(4000)
    '1 h 6 min'
    >>> _age(9.2)
    '9 s'
    """
    whole = int(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((n for n, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
