"""What stands in an outbox: its two tables, and their rows as the engine sees them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from serving.signers import Unsigned

NEW, SENT, MINED, FAILED, LOST = "new", "sent", "mined", "failed", "lost"
"""Written; taken by a node; mined; mined and reverted, or refused; its nonce was used by a stranger."""

UNFINISHED = (NEW, SENT)
HOLDING = (NEW, SENT, MINED)
"""States in which a row keeps its key and its nonce from others."""

TABLES = sa.MetaData()

ROWS = sa.Table(
    "transactions",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("chain_id", sa.BigInteger, nullable=False),
    sa.Column("genesis", sa.String(66), nullable=False),
    sa.Column("sender", sa.String(42), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),  # the n-th time that the key is used
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("nonce", sa.BigInteger, nullable=False),
    sa.Column("to", sa.String(42)),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("value", sa.Text, nullable=False),  # 256 bits, in decimal [wei]
    sa.Column("gas", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("hash", sa.String(66), nullable=False),  # of the last attempt, or of the one that was mined
    sa.Column("block", sa.BigInteger),
    sa.Column("block_hash", sa.String(66)),
    sa.Column("gas_used", sa.BigInteger),
    sa.Column("error", sa.Text),
    sa.Column("created", sa.Float(53), nullable=False),  # [s since 1970]
    sa.Column("finished", sa.Float(53)),
    sa.UniqueConstraint("chain_id", "genesis", "sender", "key", "run", name="one_run"),
)
_holds = ROWS.c.state.in_(HOLDING)
for _name, _column in (("one_at_work", ROWS.c.key), ("one_nonce", ROWS.c.nonce)):
    sa.Index(
        _name, ROWS.c.chain_id, ROWS.c.genesis, ROWS.c.sender, _column,
        unique=True, sqlite_where=_holds, postgresql_where=_holds,
    )  # fmt: skip

ATTEMPTS = sa.Table(
    "attempts",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transaction_id", sa.ForeignKey("transactions.id"), nullable=False, index=True),
    sa.Column("hash", sa.String(66), nullable=False, index=True),  # another run, or chain, may have the same bytes
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("max_fee", sa.Text, nullable=False),  # [wei]
    sa.Column("tip", sa.Text),
    sa.Column("created", sa.Float(53), nullable=False),
)


@dataclass(frozen=True)
class Lane:
    """An account on a chain: what has one sequence of nonces."""

    chain_id: int
    genesis: str
    sender: str


@dataclass(frozen=True)
class Request:
    """What is to be sent. A creation has no ``to``. [wei], [gas]"""

    key: str
    purpose: str
    to: str | None
    data: bytes
    gas: int
    value: int = 0


@dataclass(frozen=True)
class Attempt:
    """One signed form of a transaction; fees in wei."""

    hash: str
    raw: bytes
    max_fee: int
    tip: int | None
    created: float


@dataclass(frozen=True)
class Row:
    """A transaction of the outbox with all its attempts, oldest first."""

    id: int
    lane: Lane
    key: str
    run: int
    purpose: str
    nonce: int
    to: str | None
    data: bytes
    value: int
    gas: int
    state: str
    hash: str
    block: int | None
    block_hash: str | None
    gas_used: int | None
    error: str | None
    created: float
    finished: float | None
    attempts: tuple[Attempt, ...]

    @property
    def unfinished(self) -> bool:
        """Whether it may still be mined."""
        return self.state in UNFINISHED

    def unsigned(self, nonce: int, max_fee: int, tip: int | None) -> Unsigned:
        """The transaction at other fees."""
        return Unsigned(self.lane.chain_id, nonce, self.to, self.data, self.value, self.gas, max_fee, tip)
