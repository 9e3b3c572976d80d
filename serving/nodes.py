"""One or several nodes of a chain, asked as one: retried, failed over, and never read backwards in time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from domain.errors import ChainError

ROUNDS = 4
"""Times that all nodes are asked before a read is given up."""

FIRST_PAUSE_SECONDS = 0.1
"""Between two rounds; doubled each time."""

COOL_DOWN_SECONDS = 15.0
"""A node that failed is left out of broadcasts for so long, if another took the transaction."""

_SERVER_BUSY = {-32005, 429}
_DEV_PREFIXES = ("anvil_", "evm_", "hardhat_", "debug_", "miner_")
_REWRITES_HISTORY = {
    "evm_revert", "anvil_rollback", "anvil_reorg", "anvil_reset", "anvil_loadState", "hardhat_reset"
}  # fmt: skip
_TIMELESS = {"eth_chainId", "web3_clientVersion", "net_version", "eth_accounts", "eth_syncing", "eth_signTransaction"}


T = TypeVar("T")


class NoNodeError(ChainError):
    """No node gave an answer, or all of them are behind what was read before."""


@dataclass(frozen=True)
class Broadcast:
    """What the nodes said to a transaction.

    Attributes
    ----------
    accepted : bool
        A node took it, or had it already.
    refusals : tuple of str
        What nodes answered that did not take it.
    unreachable : int
        Nodes that gave no answer; they may have it all the same.
    """

    accepted: bool
    refusals: tuple[str, ...] = ()
    unreachable: int = 0


@dataclass
class _Node:
    url: str
    batches: bool = True
    down_until: float = 0.0
    said: str = ""


class _NodeFailedError(Exception):
    """A node gave no usable answer."""


@dataclass
class _Sessions(threading.local):
    session: requests.Session = field(default_factory=requests.Session)


class Nodes(JSONBaseProvider):
    """A web3 provider over the nodes of one chain.

    A read goes to the node that answered last; after a connection error, a timeout, an HTTP error or garbage the
    next one is asked, and all of them again after a pause. Each read of the chain's state carries the question for
    the head along. The highest head that any node showed is remembered, and an answer from a node that is behind it
    is thrown away: so what was once seen, a receipt for instance, stays seen, whichever node answers.

    Parameters
    ----------
    urls : str
        JSON-RPC addresses, separated by commas.
    timeout_seconds : float
        For one answer. [s]
    lag_seconds : float
        How long to wait for a node to come up to the highest head seen. [s]

    Raises
    ------
    NoNodeError
        From each request: no node answered, or every one stays behind; names them.
    """

    def __init__(self, urls: str, *, timeout_seconds: float = 10.0, lag_seconds: float = 30.0) -> None:
        super().__init__()
        self._nodes = [_Node(url.strip()) for url in urls.split(",") if url.strip()]
        if not self._nodes:
            raise ChainError("no node is named: give its JSON-RPC address by --chain")
        if odd := [node.url for node in self._nodes if not node.url.startswith(("http://", "https://"))]:
            raise ChainError(f"{shown(odd[0])} is no JSON-RPC address: one begins with http:// or https://")
        self._timeout = (min(3.0, timeout_seconds), timeout_seconds)
        self._lag_seconds = lag_seconds
        self._sessions = _Sessions()
        self._preferred = 0
        self.head = 0

    @property
    def names(self) -> str:
        """The nodes' addresses for people, without what may be a secret in them."""
        return ", ".join(shown(node.url) for node in self._nodes)

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether any node answers."""
        try:
            self.make_request(RPCEndpoint("eth_chainId"), [])
        except NoNodeError:
            if show_traceback:
                raise
            return False
        return True

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask for one thing; see the class for who is asked."""
        if method == "eth_sendRawTransaction":
            return self._send_raw(params)
        if method.startswith(_DEV_PREFIXES) or method == "eth_sendTransaction":
            if method in _REWRITES_HISTORY:
                self.head = 0
            return self._once(method, params)
        if method in _TIMELESS:
            answer = self._ask(lambda node: self._exchange(node, [(method, params)])[0])
            return cast(RPCResponse, answer)
        return self._read([(method, params)])[0]

    def make_batch_request(self, batch_requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse] | RPCResponse:
        """Ask for several things in one exchange with one node."""
        return self._read(list(batch_requests))

    def broadcast(self, raw: bytes) -> Broadcast:
        """Give a signed transaction to every node that can be reached. Doing it again does no harm."""
        accepted, refusals, unreachable = False, list[str](), 0
        for node in self._in_order():
            if accepted and node.down_until > time.monotonic():
                continue
            try:
                (answer,) = self._exchange(node, [(RPCEndpoint("eth_sendRawTransaction"), ["0x" + raw.hex()])])
            except _NodeFailedError:
                unreachable += 1
                continue
            if "error" not in answer or _is_known(_message(answer)):
                accepted = True
            elif _error_code(answer) in _SERVER_BUSY:
                unreachable += 1
            else:
                refusals.append(_message(answer))
        return Broadcast(accepted, tuple(refusals), unreachable)

    def wait_for_head(self, block: int, seconds: float) -> bool:
        """Wait until a node's head is at least ``block``; False when the time is up. [s]"""
        deadline = time.monotonic() + seconds
        while self._head_of_any() < block:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    # --- asking -----------------------------------------------------------------------------------------------

    def _read(self, calls: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Read the chain's state at a head that is not behind any seen before."""
        deadline = time.monotonic() + self._lag_seconds
        for round_ in itertools.count():
            behind: list[int] = []

            def fresh(node: _Node, behind: list[int] = behind) -> list[RPCResponse] | None:
                first, *answers = self._exchange(node, [(RPCEndpoint("eth_blockNumber"), []), *calls])
                try:
                    head = int(first["result"], 16)
                except (KeyError, TypeError, ValueError) as odd:
                    raise self._failed(node, f"said {first!r:.100} for its head") from odd
                if head < self.head:
                    behind.append(head)
                    return None
                self.head = max(head, self.head)
                return answers

            answers = self._ask(fresh)
            if answers is not None:
                return answers
            if time.monotonic() > deadline:
                raise NoNodeError(
                    f"block {self.head} was seen, but the head is {max(behind)} at {self.names} after "
                    f"{self._lag_seconds:g} s: the nodes are syncing, or the chain was set back"
                )
            time.sleep(min(FIRST_PAUSE_SECONDS * 2**round_, 1.0))
        raise AssertionError("unreachable")

    def _ask(self, ask: Callable[[_Node], T | None]) -> T | None:
        """Ask the nodes in turn, and again after a pause; None when those that answered have no answer to give."""
        pause = FIRST_PAUSE_SECONDS
        for round_ in range(ROUNDS):
            if round_:
                time.sleep(pause)
                pause *= 2
            answered = False
            for node in self._in_order():
                try:
                    answer = ask(node)
                except _NodeFailedError:
                    continue
                answered = True
                if answer is not None:
                    self._preferred = self._nodes.index(node)
                    return answer
            if answered:
                return None
        raise self._none_answers()

    def _once(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask the first node, once: for what must not be done twice."""
        try:
            return self._exchange(self._nodes[0], [(method, params)])[0]
        except _NodeFailedError as failed:
            raise self._none_answers() from failed

    def _send_raw(self, params: Any) -> RPCResponse:
        """Broadcast for callers of web3's own function."""
        raw = HexBytes(params[0])
        given = self.broadcast(raw)
        if given.accepted:
            return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "result": "0x" + keccak(raw).hex()})
        if given.refusals:
            error = {"code": -32000, "message": given.refusals[0]}
            return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "error": error})
        raise self._none_answers()

    def _head_of_any(self) -> int:
        heads = [0]
        for node in self._in_order():
            try:
                (answer,) = self._exchange(node, [(RPCEndpoint("eth_blockNumber"), [])])
                heads.append(int(answer.get("result") or "0x0", 16))
            except (_NodeFailedError, ValueError, TypeError):
                continue
        return max(heads)

    def _in_order(self) -> Sequence[_Node]:
        return [*self._nodes[self._preferred :], *self._nodes[: self._preferred]]

    def _none_answers(self) -> NoNodeError:
        said = "; ".join(f"{shown(node.url)} {node.said}" for node in self._nodes if node.said)
        return NoNodeError(f"no node answers at {self.names}: start it, or name another by --chain ({said})")

    # --- one exchange with one node ---------------------------------------------------------------------------

    def _failed(self, node: _Node, said: str) -> _NodeFailedError:
        node.down_until, node.said = time.monotonic() + COOL_DOWN_SECONDS, said
        return _NodeFailedError(said)

    def _exchange(self, node: _Node, calls: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """One HTTP exchange; answers in the order of the calls."""
        if len(calls) > 1 and not node.batches:
            return [self._exchange(node, [call])[0] for call in calls]
        body = self.encode_rpc_request(*calls[0]) if len(calls) == 1 else self.encode_batch_rpc_request(calls)
        try:
            reply = self._sessions.session.post(
                node.url, data=body, headers={"Content-Type": "application/json"}, timeout=self._timeout
            )
        except requests.Timeout as late:
            raise self._failed(node, f"did not answer within {self._timeout[1]:g} s") from late
        except (requests.RequestException, OSError) as lost:
            raise self._failed(node, f"gave no connection ({type(lost).__name__})") from lost
        if reply.status_code != requests.codes.ok:
            raise self._failed(node, f"answered HTTP {reply.status_code}")
        try:
            answer = self.decode_rpc_response(reply.content)
        except ValueError as garbage:
            raise self._failed(node, "answered what is no JSON") from garbage
        if len(calls) > 1 and isinstance(answer, dict) and "error" in answer:
            node.batches = False  # it refuses batches as such; ask one by one from now on
            return self._exchange(node, calls)
        answers: list[Any] = [answer] if len(calls) == 1 else cast(list[Any], answer)
        if not _well_formed(answers, len(calls)):
            raise self._failed(node, "answered what is no JSON-RPC")
        if len(calls) > 1:
            answers.sort(key=lambda one: one["id"])
        if any(_error_code(one) in _SERVER_BUSY for one in answers):
            raise self._failed(node, f"is busy: {next(_message(one) for one in answers if 'error' in one)}")
        node.down_until, node.said = 0.0, ""
        return answers


def shown(url: str) -> str:
    """An address without user, password, query and path, any of which may be a key.

    >>> shown("https://user:secret@rpc.example:8545/v3/0123456789abcdef")
    'https://rpc.example:8545/…'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" + ("/…" if parts.path.strip("/") or parts.query else "")


def _well_formed(answers: Any, count: int) -> bool:
    if not isinstance(answers, list) or len(answers) != count:
        return False
    return all(isinstance(one, dict) and "id" in one and ("result" in one or "error" in one) for one in answers)


def _error_code(answer: RPCResponse) -> int:
    error = answer.get("error")
    return int(error.get("code", 0)) if isinstance(error, dict) else 0


def _message(answer: RPCResponse) -> str:
    error = answer.get("error")
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _is_known(message: str) -> bool:
    return any(words in message.lower() for words in ("already known", "already imported", "known transaction"))
