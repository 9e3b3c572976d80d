"""A client of HeavyDB that outlives lost connections: the vendor's ``heavyai`` with patience.

What may be done twice is done again on a new connection until it works or our patience ends. What may not is done
once, and when the connection is lost meanwhile that is said by an exception of its own, `OutcomeUnknownError`.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from domain.errors import StoreError
from speed.heavydb_url import HeavyDBAddress
from speed.tables import plain

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_GRACE_S = 0.5
"""A server may still be reading what a lost connection had brought to it. [s]"""
_GOODBYE_S = 2.0
_LARGEST = 2**31 - 1
"""Thrift refuses strings over 16 MB unless told otherwise; a result is one string. [bytes]"""
_LEADING_COMMENTS = re.compile(r"^(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
_SESSION_ENDED = ("session not valid", "invalid session", "session has expired", "session id")


class OutcomeUnknownError(Exception):
    """The connection was lost between a request and its answer: it may have been carried out, or not."""

    def __init__(self, session: str, said: str) -> None:
        self.session = session
        super().__init__(said)


class HeavyDBClient:
    """Connections to one server; any number of threads may share a client.

    Parameters
    ----------
    address : HeavyDBAddress
    patience : float
        For how long a call is tried again before it fails. [s]
    timeout : float
        For how long one answer is awaited. [s]

    Raises
    ------
    StoreError
        The vendor's client isn't installed.
    """

    def __init__(self, address: HeavyDBAddress, *, patience: float = 60.0, timeout: float = 300.0) -> None:
        try:
            import heavyai  # noqa: F401, PLC0415  there only where HeavyDB is used
        except ImportError as missing:
            raise StoreError(f"{address.url} needs a package: pip install 'negawatt[heavydb]'") from missing
        self.address, self.patience, self.timeout = address, patience, timeout
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def close(self) -> None:
        """End the sessions that are idle; the client may be used again."""
        for connection in self._all_idle():
            with contextlib.suppress(Exception):  # a lost one can't be told goodbye
                self._set_timeout(connection, _GOODBYE_S)
                connection._client.disconnect(connection._session)
            _drop(connection)

    def query(self, sql: str) -> pa.Table:
        """Answer a SELECT, as `speed.stores.SpeedStore.query` does."""
        asked = _LEADING_COMMENTS.sub("", sql, count=1).strip()
        if asked.lstrip("( \n").upper().split(None, 1)[:1] not in (["SELECT"], ["WITH"], ["EXPLAIN"], ["SHOW"]):
            raise StoreError(f"HeavyDB at {self.address}: expected a SELECT, got {self._words(asked or 'nothing')!r}")

        def ask(connection: Any) -> pa.Table:
            # The vendor's select_ipc makes pandas of the stream, in which whole numbers with gaps become floats.
            from heavydb.thrift.ttypes import TArrowTransport  # noqa: PLC0415

            answer = connection._client.sql_execute_df(connection._session, asked, 0, 0, -1, TArrowTransport.WIRE)
            return pa.ipc.open_stream(answer.df_buffer).read_all()

        return plain(self.call("answer a query", ask))

    def execute(self, sql: str, *, repeatable: bool = True) -> None:
        """Run a statement without an answer.

        Parameters
        ----------
        repeatable : bool
            Doing it twice is doing it once; else a lost connection is an `OutcomeUnknownError`.
        """
        self.call("run a statement", lambda connection: connection.execute(sql), once=not repeatable)

    def load(self, table: str, rows: pa.Table) -> None:
        """Append rows in one request, which the server carries out whole or not at all.

        Raises
        ------
        OutcomeUnknownError
            The connection was lost: the rows are there, all of them, or none, or will be in a moment (see `settle`).
        StoreError
        """
        self.call(
            f"load {rows.num_rows:,} rows into {table}",
            lambda connection: connection.load_table_arrow(table, rows),
            once=True,
        )

    def settle(self, lost: OutcomeUnknownError, lock: str) -> None:
        """Wait until a request whose connection was lost is either carried out or never will be.

        Parameters
        ----------
        lost : OutcomeUnknownError
        lock : str
            A statement that changes nothing and that the server begins only after the writes under way: a DELETE of
            no rows.
        """

        def end(connection: Any) -> None:
            with contextlib.suppress(*_refusals()):  # the server was started anew, or has seen the loss itself
                connection._client.disconnect(lost.session)

        self.call("end a lost session", end)  # what was not begun by now is refused
        time.sleep(_GRACE_S)
        self.execute(lock)

    def tables(self) -> set[str]:
        """Names of all tables and views."""
        return set(self.call("list tables", lambda connection: connection.get_tables()))

    def columns(self, table: str) -> list[Any]:
        """Columns of a table, with ``name``, ``type`` and ``precision``."""
        return list(self.call(f"describe {table}", lambda connection: connection.get_column_details(table)))

    def call(self, what: str, action: Callable[[Any], T], *, once: bool = False) -> T:
        """Do something with a connection, again and again if the connection or the server fails.

        Parameters
        ----------
        what : str
            For the error: ``"list tables"``.
        action : callable
            Given the vendor's connection.
        once : bool
            The action must not be done twice.

        Raises
        ------
        OutcomeUnknownError
            With ``once``: the connection was lost while the action was done.
        StoreError
            It can't be done, or not within our patience.
        """
        deadline, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        while True:
            connection, begun = None, False
            try:
                connection = self._connection()
                if once:  # an idle connection may be dead, or its session over, without our knowing
                    connection._client.get_server_status(connection._session)
                begun = True
                result = action(connection)
                self._idle.put(connection)
                return result
            except _refusals() as refused:
                said = self._words(refused)
                if connection is None or not any(word in said.lower() for word in _SESSION_ENDED):
                    raise self._refused(what, said, connection) from refused
                _drop(connection)
                failure: Exception = refused
            except _losses() as lost:
                said = self._words(lost)
                if connection is not None:
                    _drop(connection)
                    for idle in self._all_idle():  # they were lost with it
                        _drop(idle)
                    if once and begun:
                        raise OutcomeUnknownError(connection._session, said) from lost
                failure = lost
            except BaseException:
                if connection is not None:
                    _drop(connection)
                raise
            if time.monotonic() + pause > deadline:
                raise StoreError(
                    f"HeavyDB at {self.address} can't {what}, tried for {self.patience:g} s: {said}. Is the server "
                    "up? Then do it again: nothing counts twice"
                ) from failure
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _refused(self, what: str, said: str, connection: Any) -> StoreError:
        if connection is not None:
            self._idle.put(connection)
            return StoreError(f"HeavyDB at {self.address} can't {what}: {said}")
        to = self.address
        return StoreError(f"HeavyDB at {to} lets user {to.user!r} not into database {to.database!r}: {said}")

    def _words(self, failure: BaseException | str) -> str:
        """The first line of what went wrong, or of a statement, without our password."""
        text = getattr(failure, "error_msg", None) or str(failure) or type(failure).__name__
        return str(text).strip().split("\n", 1)[0][:300].replace(self.address.password, "***")

    def _connection(self) -> Any:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        to = self.address
        # The vendor's client waits without end for a server that takes connections and says nothing.
        socket.create_connection((to.host, to.port), timeout=self.timeout).close()
        connection = _within(self.timeout, self._open)
        self._set_timeout(connection, self.timeout)
        connection._client._iprot.string_length_limit = _LARGEST
        return connection

    def _all_idle(self) -> Iterator[Any]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._idle.get_nowait()

    def _set_timeout(self, connection: Any, seconds: float) -> None:
        timed = connection._socket if self.address.protocol == "binary" else connection._transport
        timed.setTimeout(1000 * seconds)

    def _open(self) -> Any:
        import heavyai  # noqa: PLC0415
        from heavydb.exceptions import OperationalError  # noqa: PLC0415

        to = self.address
        secured = to.protocol == "binary" and (to.ca_certs or to.validate is not None)
        tls = {"bin_ca_certs": to.ca_certs or None, "bin_cert_validate": to.validate is not False} if secured else {}
        try:
            return heavyai.connect(
                user=to.user,
                password=to.password,
                host=to.host,
                port=to.port,
                dbname=to.database,
                protocol=to.protocol,
                **tls,
            )
        except (ValueError, OperationalError) as failed:  # what it makes of a connection that is lost as it begins
            raise ConnectionError(str(failed)) from failed
        except RuntimeError as old:
            raise StoreError(f"HeavyDB at {to}: {self._words(old)}") from old


def _refusals() -> tuple[type[Exception], ...]:
    """What is raised when the server has understood and says no."""
    from heavydb.exceptions import Error  # noqa: PLC0415
    from heavydb.thrift.ttypes import TDBException  # noqa: PLC0415
    from thrift.Thrift import TApplicationException  # noqa: PLC0415

    return (TDBException, Error, TApplicationException)


def _losses() -> tuple[type[Exception], ...]:
    """What is raised when the connection is lost, or what comes over it makes no sense."""
    from thrift.Thrift import TException  # noqa: PLC0415

    return (TException, OSError, EOFError)


def _drop(connection: Any) -> None:
    """Let go of a connection without a word to the server; the vendor's own close would try one."""
    connection._closed = 1
    with contextlib.suppress(Exception):
        connection._transport.close()


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Do something that knows no time limit of its own.

    Raises
    ------
    TimeoutError
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as wrong:  # handed over to the thread that waits
            failed.append(wrong)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]
