"""A contract that counts what reaches it, a chain of its own, and processes that send to it and may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3

from serving.anvil import anvil
from serving.chain import Chain, ChainOptions
from serving.outbox import Outbox

HASTE = ChainOptions(stuck_seconds=1.0, receipt_seconds=30.0, timeout_seconds=3.0, lag_seconds=8.0)
"""As the chain is used, with less patience."""

COUNTER = bytes.fromhex(
    "6054600c60003960546000f3"  # creation: return the 84 bytes that follow
    "36156048576000356 0f81c8060011460255780600214603a57"  # nothing given? else the first byte: 1, 2, other
    "600135546000526020 6000f3"  # other: return how often the word that follows was counted
    "5b6000546001016000556001358054600101905500"  # 1: count it, and one more in all
    "5b60013603806001600037 6000fd"  # 2: revert with what follows
    "5b60005460005260206000f3".replace(" ", "")  # nothing: return how many were counted in all
)


@dataclass(frozen=True)
class Call:
    """What the chain needs to know of a contract call."""

    to: str | None
    data: bytes

    def build_transaction(self, given: dict[str, Any]) -> dict[str, Any]:
        return given | {"to": self.to or b"", "data": "0x" + self.data.hex(), "value": 0}


@dataclass(frozen=True)
class Counter:
    """The contract at an address, read over a connection of its own."""

    url: str
    address: str

    def count(self, word: int) -> Call:
        return Call(self.address, b"\1" + word.to_bytes(32, "big"))

    def revert(self, reason: bytes) -> Call:
        return Call(self.address, b"\2" + reason)

    def counted(self, word: int) -> int:
        return self._ask(b"\3" + word.to_bytes(32, "big"))

    def total(self) -> int:
        return self._ask(b"")

    def _ask(self, data: bytes) -> int:
        return int.from_bytes(plain(self.url).eth.call({"to": Web3.to_checksum_address(self.address), "data": data}))


def plain(url: str) -> Web3:
    """The chain as it is, past everything of ours."""
    return Web3(HTTPProvider(url))


def ask(url: str, method: str, *params: Any) -> Any:
    """Ask anvil directly."""
    answer = plain(url).provider.make_request(method, list(params))
    assert "error" not in answer, answer
    return answer["result"]


def a_counter(chain: Chain, url: str) -> Counter:
    record = chain.send("deploy the counter", Call(None, COUNTER))
    return Counter(url, plain(url).eth.get_transaction_receipt(record.hash)["contractAddress"])


def a_chain(url: str, outbox: Path | None = None, **more: Any) -> Chain:
    return Chain(url, outbox=Outbox.at("", outbox) if outbox else None, **({"options": HASTE} | more))


@contextmanager
def a_node(**more: Any) -> Iterator[str]:
    with anvil(**({"block_seconds": None} | more)) as node:
        yield node.url


# --- processes of their own ------------------------------------------------------------------------------------


def start(function: str, **arguments: Any) -> subprocess.Popen[str]:
    """Run one of the functions below in a process of its own."""
    code = (
        "import json, sys; given = json.loads(sys.argv[1]); sys.path[:0] = given.pop('paths'); "
        f"import transaction_desk; transaction_desk.{function}(**given)"
    )
    arguments["paths"] = [os.getcwd(), *(path for path in sys.path if path.endswith("tests"))]
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> str:
    """Wait for a process that is to end well; returns what it said."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


def killed(child: subprocess.Popen[str]) -> None:
    """Wait for a process that is to be killed."""
    _, err = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, err


def send_counts(
    url: str, outbox: str, address: str, words: Sequence[int], die_at: str = "", die_after: int = 0, label: str = ""
) -> None:
    """Send a count of each word under a key of its own; die at a point, when it is come to for the n-th time."""
    if die_at:
        _arm(die_at, die_after)
    chain = Chain(url, outbox=Outbox.at(outbox, Path("unused")), options=HASTE)
    counter = Counter(url, address)
    tickets = [chain.submit(f"count {word}", counter.count(word), key=f"{label}{word}") for word in words]
    print(json.dumps([record.hash for record in chain.wait(tickets)]))


def _arm(point: str, times: int) -> None:
    """Have the process killed just before or after a step of the engine."""
    from serving.nodes import Nodes
    from serving.transactions import Transactions

    owner, name, after = {
        "before it is written": (Outbox, "add", False),
        "after it is written": (Outbox, "add", True),
        "after it is broadcast": (Nodes, "broadcast", True),
        "before the receipt is marked": (Outbox, "mark_mined", False),
        "after the receipt is marked": (Outbox, "mark_mined", True),
        "before it is replaced": (Transactions, "_replace", False),
        "after a replacement is written": (Outbox, "add_attempt", True),
    }[point]
    step, left = getattr(owner, name), [times]

    def deadly(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = step(*args, **kwargs)
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
