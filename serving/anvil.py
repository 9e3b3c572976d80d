"""The embedded chain: an anvil node of our own on loopback, whose clock can be moved.

For development, tests and the demonstration. Its accounts are unlocked and their keys public knowledge, so it
is never reachable from outside and never holds anything of value.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from web3 import Web3

import contracts
from domain.errors import ChainError

BASE_FEE_WEI = 10**9
"""Of a new chain's first block, to a thousandth. [wei a unit of gas]"""

_READY_SECONDS = 15.0
_STOP_SECONDS = 15.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class AnvilNode:
    """A running node: its RPC address and process id."""

    url: str
    pid: int


@contextlib.contextmanager
def anvil(
    state: Path | None = None,
    *,
    clock: datetime | None = None,
    block_seconds: int | None = 1,
    gas_limit: int = 30_000_000,
    hardfork: str | None = None,
) -> Iterator[AnvilNode]:
    """Run anvil until the block ends.

    Parameters
    ----------
    state : Path, optional
        File that keeps the chain between runs; it is written when the node stops.
    clock : datetime, optional
        The new chain's time; default now. A chain that was kept goes on from its own last block.
    block_seconds : int or None
        A block at least so often; transactions are mined at once as well. None: blocks for transactions only.
    gas_limit : int
        Gas of a block.
    hardfork : str, optional
        Rules of the chain, such as ``berlin``, which knows no base fee; default: anvil's own.

    Yields
    ------
    AnvilNode

    Raises
    ------
    ChainError
        There is no anvil, or it doesn't answer.
    """
    port = _free_port()
    command = [find_anvil(), "--host", "127.0.0.1", "--port", str(port), "--quiet", "--order", "fifo"]
    command += ["--gas-limit", str(gas_limit)]
    if hardfork is not None:
        command += ["--hardfork", hardfork]
    if block_seconds is not None:
        command += ["--mixed-mining", "--block-time", str(block_seconds)]
    started = int(clock.timestamp()) if clock else None
    if state is None or not state.exists():
        # Block 0 shows the base fee: so no two chains begin alike, and an outbox can tell them apart.
        command += ["--base-fee", str(BASE_FEE_WEI + secrets.randbelow(BASE_FEE_WEI // 1000))]
    if state is not None:
        state.parent.mkdir(parents=True, exist_ok=True)
        command += ["--state", str(state)]
        if (kept := kept_clock(state)) is not None:
            started = kept + 1
    if started is not None:
        command += ["--timestamp", str(started)]
    process = subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for us; we stop the node ourselves
        preexec_fn=_die_with_parent,  # noqa: PLW1509  one system call, no locks
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url)
        yield AnvilNode(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find_anvil() -> str:
    """Path of the anvil program: beside the contracts, else on the path.

    Raises
    ------
    ChainError
        Neither has it.
    """
    beside = Path(contracts.__file__).parent / "node_modules" / "@foundry-rs"
    found = next(iter(sorted(beside.glob("anvil-*/bin/anvil"))), None) or shutil.which("anvil")
    if found is None:
        raise ChainError("anvil, the embedded chain, is not installed: run `make setup`, or name a chain by its URL")
    return str(found)


def kept_clock(state: Path) -> int | None:
    """Time of the last block in a kept chain, None when there is no such chain. [s since 1970]"""
    try:
        data = state.read_bytes()
    except FileNotFoundError:
        return None
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        stamp = json.loads(data)["block"]["timestamp"]
    except (ValueError, KeyError, TypeError) as broken:
        raise ChainError(f"{state} holds no chain of anvil's ({broken}): remove it to begin a new one") from broken
    return int(stamp, 16) if isinstance(stamp, str) else int(stamp)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Let the kernel stop the node, cleanly, when this process is gone however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    w3 = Web3(Web3.HTTPProvider(url))
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else b"").decode(errors="replace").strip()
            raise ChainError(f"anvil stopped with status {process.returncode}: {said[-500:] or 'it said nothing'}")
        if w3.is_connected():
            return
        time.sleep(0.02)
    raise ChainError(f"anvil did not answer at {url} within {_READY_SECONDS:g} s")
