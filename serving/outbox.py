"""The operator's outbox: every transaction is written here, signed, before any node sees it.

One SQLite file or one PostgreSQL database holds the outboxes of any number of accounts and chains. A chain is known
by its id and its genesis block, for chains that are erased and begun anew keep their id. The nonces of an account
are given out here, under a lock that all processes share.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from domain.errors import ChainError, StoreError
from serving.outbox_rows import (
    ATTEMPTS,
    FAILED,
    HOLDING,
    LOST,
    MINED,
    NEW,
    ROWS,
    SENT,
    TABLES,
    UNFINISHED,
    Attempt,
    Lane,
    Request,
    Row,
)
from serving.signers import transaction_hash

_LOCK_SECONDS = 60.0


class NonceInUseError(ChainError):
    """The nonce that was asked for is not the next one."""


class Outbox:
    """An outbox in a database; tables are made when missing. Safe to share between threads and processes.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE``, ``postgresql://USER:PASSWORD@HOST/DATABASE``, or ``sqlite://`` for one in memory.

    Raises
    ------
    StoreError
        From each method: the database can't be opened, read or written. The sentence has no password in it.
    """

    def __init__(self, url: str | sa.URL = "sqlite://") -> None:
        self._lock = threading.RLock()
        with self._translated("open"):
            where = sa.make_url(url)
        self.name = where.render_as_string(hide_password=True)
        if where.drivername == "sqlite":
            self.name = where.database or "in memory"
        options: dict[str, Any] = {"hide_parameters": True}
        if where.drivername == "postgresql":
            where = where.set(drivername="postgresql+psycopg")
            options["pool_pre_ping"] = True
        elif where.drivername != "sqlite":
            raise StoreError(f"{self.name}: an outbox is sqlite:///FILE or postgresql://…")
        self._in_memory = where.drivername == "sqlite" and not where.database
        if self._in_memory:
            options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        elif where.drivername == "sqlite":
            Path(str(where.database)).parent.mkdir(parents=True, exist_ok=True)
            options["connect_args"] = {"timeout": _LOCK_SECONDS}
        with self._translated("open"):
            self._engine = sa.create_engine(where, **options)
            self._is_sqlite = where.drivername == "sqlite"
            if self._is_sqlite:
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
                sa.event.listen(self._engine, "begin", _begin_sqlite)
            self._writer = self._engine.execution_options(immediate=True)
            self._reader = self._engine
            if not self._is_sqlite:  # rows and their attempts are two questions, and both must see the same moment
                self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
            with self._write() as db:
                if not self._is_sqlite:  # two processes must not make the tables at once
                    db.execute(sa.text("SELECT pg_advisory_xact_lock(7240)"))
                TABLES.create_all(db)

    @classmethod
    def at(cls, setting: str, default: Path) -> Outbox:
        """The outbox that a setting names: a database's URL, a file's path, or, when empty, the default file."""
        if "://" in setting:
            return cls(setting)
        return cls(sa.URL.create("sqlite", database=setting or str(default)))

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # --- writing ----------------------------------------------------------------------------------------------

    def add(
        self,
        lane: Lane,
        request: Request,
        chain_count: int,
        sign: Callable[[int], tuple[bytes, int, int | None]],
        *,
        only_nonce: int | None = None,
    ) -> tuple[Row, bool]:
        """Give a request its nonce, sign it and write it, unless its key is at work already.

        Parameters
        ----------
        chain_count : int
            The account's transactions as the chain counts them, pending ones too.
        sign : callable
            Makes the signed bytes for a nonce; returns them with maximum fee and tip. When it raises, nothing is
            written and no nonce is used up.
        only_nonce : int, optional
            Write nothing but at this nonce.

        Returns
        -------
        Row, bool
            The row, and whether it is new.

        Raises
        ------
        ChainError
            The key stands for another transaction, or (`NonceInUseError`) the nonce asked for is not the next.
        """
        with self._write(lane) as db:
            earlier = self._select(db, *_of(lane), ROWS.c.key == request.key)
            last = max(earlier, key=lambda row: row.run, default=None)
            if last is not None and last.state in HOLDING:
                if (last.to, last.data, last.value) != (request.to, request.data, request.value):
                    raise ChainError(
                        f"{request.purpose}: key {request.key!r} stands for another transaction, {last.hash} "
                        f"({last.purpose}), which is {last.state}"
                    )
                return last, False
            nonce = self._free_nonce(db, lane, chain_count)
            if only_nonce is not None and nonce != only_nonce:
                raise NonceInUseError(f"{request.purpose}: it is in use by now")
            raw, max_fee, tip = sign(nonce)
            now, hash_ = time.time(), transaction_hash(raw)
            values = {
                **vars(lane), "key": request.key, "run": (last.run if last else 0) + 1, "purpose": request.purpose,
                "nonce": nonce, "to": request.to, "data": request.data, "value": str(request.value),
                "gas": request.gas, "state": NEW, "hash": hash_, "created": now,
            }  # fmt: skip
            row_id = db.execute(ROWS.insert().values(values)).inserted_primary_key[0]  # type: ignore[index]
            _add_attempt(db, row_id, Attempt(hash_, raw, max_fee, tip, now))
            (row,) = self._select(db, ROWS.c.id == row_id)
            return row, True

    def add_attempt(self, row: Row, sign: Callable[[], tuple[bytes, int, int | None]]) -> Row:
        """Write a replacement of an unfinished row: the same nonce at higher fees.

        Nothing is written when another process has replaced it since ``row`` was read.
        """
        with self._write(row.lane) as db:
            (held,) = self._select(db, ROWS.c.id == row.id)
            if not held.unfinished or held.attempts != row.attempts:
                return held
            raw, max_fee, tip = sign()
            attempt = Attempt(transaction_hash(raw), raw, max_fee, tip, time.time())
            _add_attempt(db, row.id, attempt)
            db.execute(ROWS.update().where(ROWS.c.id == row.id).values(hash=attempt.hash))
            (row,) = self._select(db, ROWS.c.id == row.id)
            return row

    def mark_sent(self, row: Row) -> None:
        """A node took it."""
        self._mark(row, (NEW,), state=SENT)

    def mark_mined(self, row: Row, hash_: str, block: int, block_hash: str, gas_used: int, error: str | None) -> None:
        """It is in a block; with an error, it was reverted there. Whoever else waited for its nonce has lost it."""
        values = {
            "state": FAILED if error else MINED, "hash": hash_, "block": block, "block_hash": block_hash,
            "gas_used": gas_used, "error": error, "finished": time.time(),
        }  # fmt: skip
        with self._write(row.lane) as db:
            rivals = (*_of(row.lane), ROWS.c.nonce == row.nonce, ROWS.c.id != row.id, ROWS.c.state.in_(UNFINISHED))
            db.execute(ROWS.update().where(*rivals).values(state=LOST, error=_lost(row), finished=time.time()))
            db.execute(ROWS.update().where(ROWS.c.id == row.id).values(values))

    def mark_refused(self, row: Row, error: str) -> None:
        """Every node refused it, so its nonce is free again."""
        self._mark(row, (NEW,), state=FAILED, error=error, finished=time.time())

    def mark_lost(self, row: Row) -> None:
        """Its nonce was used by a transaction that isn't ours."""
        self._mark(row, UNFINISHED, state=LOST, error=_lost(row), finished=time.time())

    def mark_vanished(self, row: Row) -> None:
        """Its block is no longer on the chain; it has to be mined anew, unless its key is at work again since."""
        with self._write(row.lane) as db:
            rivals = self._select(db, *_of(row.lane), ROWS.c.key == row.key, ROWS.c.run > row.run)
            state = FAILED if any(rival.state in HOLDING for rival in rivals) else SENT
            gone = {"block": None, "block_hash": None, "gas_used": None, "finished": None}
            if state == SENT:
                gone["error"] = None
            same = sa.and_(ROWS.c.id == row.id, ROWS.c.block_hash == row.block_hash)
            db.execute(ROWS.update().where(same).values(state=state, **gone))

    # --- reading ----------------------------------------------------------------------------------------------

    def get(self, row_ids: Iterable[int]) -> dict[int, Row]:
        """Rows by their numbers."""
        with self._read() as db:
            return {row.id: row for row in self._select(db, ROWS.c.id.in_(list(row_ids)))}

    def find(self, lane: Lane, hash_: str) -> Row | None:
        """The row that an attempt of this hash belongs to; the last, if another had the same bytes before it."""
        with self._read() as db:
            mine = sa.select(ATTEMPTS.c.transaction_id).where(ATTEMPTS.c.hash == hash_)
            found = self._select(db, *_of(lane), ROWS.c.id.in_(mine))
        return found[-1] if found else None

    def of_key(self, lane: Lane, key: str) -> list[Row]:
        """All uses of a key, oldest first."""
        with self._read() as db:
            return sorted(self._select(db, *_of(lane), ROWS.c.key == key), key=lambda row: row.run)

    def unfinished(self, lane: Lane) -> list[Row]:
        """Rows that may still be mined, by nonce."""
        with self._read() as db:
            return self._select(db, *_of(lane), ROWS.c.state.in_(UNFINISHED))

    def mined_from(self, lane: Lane, nonce: int) -> list[Row]:
        """Rows in a block, reverted ones too, whose nonce is at least ``nonce``, by nonce."""
        with self._read() as db:
            return self._select(db, *_of(lane), ROWS.c.nonce >= nonce, ROWS.c.block.is_not(None))

    def mined_with(self, lane: Lane, part: bytes) -> list[Row]:
        """Rows in a block, not reverted, whose calldata has some bytes in it, in the order of blocks and nonces."""
        place = (sa.func.instr if self._is_sqlite else sa.func.pg_catalog.position)(ROWS.c.data, part)
        with self._read() as db:
            found = self._select(db, *_of(lane), ROWS.c.state == MINED, ROWS.c.block.is_not(None), place > 0)
        return sorted(found, key=lambda row: (row.block, row.nonce))

    def rows(self, *, unfinished: bool = False) -> list[Row]:
        """All rows of all accounts and chains, in the order in which they were written."""
        with self._read() as db:
            conditions = [ROWS.c.state.in_(UNFINISHED)] if unfinished else []
            return sorted(self._select(db, *conditions), key=lambda row: row.id)

    # --- the database -----------------------------------------------------------------------------------------

    def _free_nonce(self, db: sa.Connection, lane: Lane, chain_count: int) -> int:
        """The lowest nonce that neither the chain nor a row of ours has used: a refused row's gap is filled first."""
        used = sa.or_(ROWS.c.state.in_(HOLDING), ROWS.c.block.is_not(None))
        query = sa.select(ROWS.c.nonce).where(*_of(lane), ROWS.c.nonce >= chain_count, used)
        held = set(db.execute(query).scalars())
        nonce = chain_count
        while nonce in held:
            nonce += 1
        return nonce

    def _mark(self, row: Row, from_states: Sequence[str], **values: Any) -> None:
        with self._write(row.lane) as db:
            db.execute(ROWS.update().where(ROWS.c.id == row.id, ROWS.c.state.in_(from_states)).values(values))

    def _select(self, db: sa.Connection, *conditions: Any) -> list[Row]:
        attempts: dict[int, list[Attempt]] = {}
        for one in db.execute(
            sa.select(ATTEMPTS).join(ROWS).where(*conditions).order_by(ATTEMPTS.c.id)
        ).mappings():  # fmt: skip
            tip = None if one["tip"] is None else int(one["tip"])
            attempts.setdefault(one["transaction_id"], []).append(
                Attempt(one["hash"], bytes(one["raw"]), int(one["max_fee"]), tip, one["created"])
            )
        found = []
        for one in db.execute(sa.select(ROWS).where(*conditions).order_by(ROWS.c.nonce, ROWS.c.id)).mappings():
            values = dict(one)
            lane = Lane(values.pop("chain_id"), values.pop("genesis"), values.pop("sender"))
            values |= {"data": bytes(values["data"]), "value": int(values["value"])}
            found.append(Row(lane=lane, attempts=tuple(attempts.get(values["id"], ())), **values))
        return found

    @contextlib.contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        lock = self._lock if self._in_memory else contextlib.nullcontext()
        with self._translated("read"), lock, self._reader.begin() as db:
            yield db

    @contextlib.contextmanager
    def _write(self, lane: Lane | None = None) -> Iterator[sa.Connection]:
        """A transaction that no other writes beside: of the whole file in SQLite, of the lane in PostgreSQL."""
        with self._translated("write"), self._lock, self._writer.begin() as db:
            if lane is not None and not self._is_sqlite:
                name = f"{lane.chain_id} {lane.genesis} {lane.sender}"
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))
            yield db

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as failed:
            name = getattr(self, "name", "the address of the outbox")
            cause = getattr(failed, "orig", None) or type(failed).__name__
            raise StoreError(f"outbox {name} can't {doing}: {cause}") from None


def _add_attempt(db: sa.Connection, row_id: int, attempt: Attempt) -> None:
    tip = None if attempt.tip is None else str(attempt.tip)
    values = vars(attempt) | {"max_fee": str(attempt.max_fee), "tip": tip, "transaction_id": row_id}
    db.execute(ATTEMPTS.insert().values(values))


def _lost(row: Row) -> str:
    return f"nonce {row.nonce} of {row.lane.sender} was used by another transaction"


def _of(lane: Lane) -> tuple[Any, ...]:
    return (ROWS.c.chain_id == lane.chain_id, ROWS.c.genesis == lane.genesis, ROWS.c.sender == lane.sender)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
