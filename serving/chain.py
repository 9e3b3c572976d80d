"""A chain seen from the operator's account: what it shows, what is sent to it, and what came of that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from eth_typing import ChecksumAddress, HexStr
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import RPCEndpoint

from domain.errors import ChainError
from serving.confirmations import confirm
from serving.nodes import Nodes
from serving.outbox import Outbox
from serving.outbox_rows import Lane
from serving.records import ChainOptions, Ticket, TransactionRecord, raise_if_failed, record_of
from serving.signers import Signer, UnlockedSigner
from serving.transactions import Transactions, in_words

__all__ = ["Chain", "ChainOptions", "Ticket", "TransactionRecord"]

NOBODY = Web3.to_checksum_address("0x" + 40 * "0")
_POLL_SECONDS = 0.02
_RECENT_BLOCKS = 10


class Chain:
    """An EVM chain seen from the operator's account.

    Opening it finishes first what an earlier process left unfinished in the outbox, and waits for anything else of
    the account's that is pending: what is read afterwards is the outcome.

    Parameters
    ----------
    urls : str
        JSON-RPC addresses of the chain's nodes, separated by commas.
    signer : Signer, optional
        Who signs for the operator; without one the node must hold an account unlocked, as anvil does.
    outbox : Outbox, optional
        Where transactions are written before they are sent; default: in memory, lost with this process.
    reader : bool
        Only read; no account is needed.
    options : ChainOptions
        Limits and patience.

    Attributes
    ----------
    records : list of TransactionRecord
        Transactions that this object waited for, as they were mined.
    recovered : list of TransactionRecord
        Transactions that an earlier process had sent and opening the chain saw mined.
    on_record : callable
        Called with each record as it is added, and again when a reorganisation moved it.

    Raises
    ------
    ChainError
        No node answers, there is no account to send from, or what was left unfinished can't be finished.
    """

    def __init__(
        self,
        urls: str,
        *,
        signer: Signer | None = None,
        outbox: Outbox | None = None,
        reader: bool = False,
        options: ChainOptions | None = None,
    ) -> None:
        options = options or ChainOptions()
        self._nodes = Nodes(urls, timeout_seconds=options.timeout_seconds, lag_seconds=options.lag_seconds)
        self.w3 = Web3(self._nodes)
        self.w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self.url = self._nodes.names
        self.chain_id: int = self.w3.eth.chain_id
        self.records: list[TransactionRecord] = []
        self.recovered: list[TransactionRecord] = []
        self.on_record: Callable[[TransactionRecord], None] = lambda record: None
        self.operator: ChecksumAddress = NOBODY
        self._engine: Transactions | None = None
        if reader:
            return
        signer = signer or self._unlocked()
        self.operator = signer.address
        lane = Lane(self.chain_id, self._genesis(), self.operator)
        self._engine = Transactions(self.w3, self._nodes, lane, signer, outbox or Outbox(), options)
        self.recovered = [record_of(row) for row in self._engine.recover() if row.block is not None and not row.error]
        self._settle_pending()

    # --- reading ----------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Time of the latest block."""
        return datetime.fromtimestamp(self.w3.eth.get_block("latest")["timestamp"], UTC)

    def knows(self, transaction: str) -> bool:
        """Whether the chain holds a transaction."""
        try:
            return bool(self.w3.eth.get_transaction(HexStr(transaction)))
        except TransactionNotFound:
            return False

    @property
    def simulated(self) -> bool:
        """Whether this is anvil, whose clock we may move."""
        return self.w3.client_version.lower().startswith("anvil")

    def wait_until(self, instant: datetime) -> None:
        """Wait until the chain's time has come to ``instant``; anvil's clock is moved there.

        Raises
        ------
        ChainError
            A real chain has not got there yet.
        """
        if self.now() >= instant:
            return
        if self.simulated:
            stamp = int(instant.timestamp())
            self.w3.provider.make_request(RPCEndpoint("evm_setNextBlockTimestamp"), [stamp])
            self.w3.provider.make_request(RPCEndpoint("anvil_mine"), ["0x1"])
        if self.now() < instant:
            raise ChainError(f"the chain's clock is {self.now().isoformat()}; this waits for {instant.isoformat()}")

    def blocks_on(self, records: Sequence[TransactionRecord]) -> int:
        """Blocks on top of the highest of the records' blocks; all there are when there is no record."""
        with _translated("counting blocks"):
            return self.w3.eth.block_number - max((record.block for record in records), default=0)

    def block_seconds(self) -> float:
        """Seconds between the latest blocks on average, at least 1."""
        with _translated("reading blocks"):
            head = self.w3.eth.get_block("latest")
            earlier = self.w3.eth.get_block(max(head["number"] - _RECENT_BLOCKS, 0))
        return max((head["timestamp"] - earlier["timestamp"]) / _RECENT_BLOCKS, 1.0)

    # --- sending ----------------------------------------------------------------------------------------------

    def submit(
        self,
        purpose: str,
        call: ContractFunction | ContractConstructor,
        *,
        key: str | None = None,
        gas: int | None = None,
        value: int = 0,
    ) -> Ticket:
        """Write a contract call to the outbox and broadcast it, without waiting for its receipt.

        Parameters
        ----------
        purpose : str
            For people.
        key : str, optional
            Names the transaction on this chain for good: submitting it again gives the same ticket, and nothing is
            sent, unless it was refused, reverted, or lost its nonce. Default: one of its own for each call.
        gas : int, optional
            Gas limit. Default: the node's estimate and a quarter; it fails when the call would, so a call that
            relies on earlier ones which are not mined yet needs its gas given.
        value : int
            Ether to send along. [wei]

        Raises
        ------
        ChainError
            Refused; the sentence names the purpose and the contract's reason. Or the key stands for another call.
        """
        to, data = _content(call)
        with _translated(purpose):
            return self._sender().submit(purpose, to, data, key=key, gas=gas, value=value)

    def wait(
        self, tickets: Sequence[Ticket], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> list[TransactionRecord]:
        """Wait until transactions are mined; returns their records in order.

        Parameters
        ----------
        progress : callable
            Called with the transactions mined and all, as they are mined.

        Raises
        ------
        ChainError
            One was reverted (the sentence has the contract's reason) or refused, or nothing was mined for too long.
        NonceLostError
            One can never be mined, for its nonce was used by another: plan anew.
        """
        with _translated("waiting"):
            rows = self._sender().wait(tickets, progress)
        known = {record.hash for record in self.records}
        for ticket, row in zip(tickets, rows, strict=True):
            if row.block is not None and not row.error and not ticket.was_mined and row.hash not in known:
                self.records.append(record_of(row))
                self.on_record(self.records[-1])
        raise_if_failed(rows)
        return [record_of(row) for row in rows]

    def send(
        self,
        purpose: str,
        call: ContractFunction | ContractConstructor,
        *,
        key: str | None = None,
        gas: int | None = None,
        value: int = 0,
    ) -> TransactionRecord:
        """Submit a contract call and wait for its receipt; parameters and errors are those of `submit` and `wait`."""
        return self.wait([self.submit(purpose, call, key=key, gas=gas, value=value)])[0]

    def confirm(
        self,
        records: Sequence[TransactionRecord],
        depth: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[TransactionRecord]:
        """Wait until ``depth`` blocks stand on the highest of the records' blocks and every one is in its block yet.

        A transaction that a reorganisation took out of the chain is sent again, and one that it moved counts from its
        new block.

        Parameters
        ----------
        depth : int
            [blocks]
        progress : callable
            Called with the blocks on top as they come.

        Returns
        -------
        list of TransactionRecord
            As they are on the chain now.

        Raises
        ------
        ChainError
            The chain makes no blocks, or a transaction that was sent again failed.
        """
        with _translated("confirming"):
            confirmed = confirm(self._sender(), self.w3, records, depth, progress)
        for old, new in zip(records, confirmed, strict=True):
            if new != old:
                self.records = [new if record == old else record for record in self.records]
                self.on_record(new)
        return confirmed

    def recover(self) -> list[TransactionRecord]:
        """Finish what any process left unfinished in the outbox; returns what was mined of it."""
        with _translated("recovering"):
            rows = self._sender().recover()
        return [record_of(row) for row in rows if row.block is not None and not row.error]

    def sent_about(self, part: bytes) -> list[TransactionRecord]:
        """What any process sent from this outbox, was mined, and has some bytes in its calldata, such as a key."""
        sender = self._sender()
        return [record_of(row) for row in sender.outbox.mined_with(sender.lane, part)]

    # --- opening ----------------------------------------------------------------------------------------------

    def _sender(self) -> Transactions:
        if self._engine is None:
            raise ChainError(f"{self.url} was opened for reading only")
        return self._engine

    def _unlocked(self) -> UnlockedSigner:
        held = self.w3.eth.accounts
        if not held:
            raise ChainError(f"the node at {self.url} holds no account: name the operator's key file by --keystore")
        return UnlockedSigner(lambda method, params: self._nodes.make_request(RPCEndpoint(method), params), held[0])

    def _genesis(self) -> str:
        """Hash of block 0, as block 1 has it: a kept anvil makes a new block 0 at each start."""
        try:
            return self.w3.eth.get_block(1)["parentHash"].to_0x_hex()
        except BlockNotFound:
            return self.w3.eth.get_block(0)["hash"].to_0x_hex()

    def _settle_pending(self) -> None:
        """Wait until nothing of the account is pending that is not in the outbox."""
        engine = self._sender()

        def idle() -> bool:
            latest, pending = (self.w3.eth.get_transaction_count(self.operator, at) for at in ("latest", "pending"))
            ours = {row.nonce for row in engine.outbox.unfinished(engine.lane)}
            return set(range(latest, pending)) <= ours

        if not wait_for(idle, engine.options.receipt_seconds):
            raise ChainError(f"transactions of {self.operator} stay pending at {self.url}")


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _content(call: ContractFunction | ContractConstructor) -> tuple[str | None, bytes]:
    """Target and calldata of a call; no target for a constructor."""
    given = {"gas": 0, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "chainId": 1, "nonce": 0}
    built: Any = call.build_transaction(given)  # type: ignore[arg-type]
    to = built["to"]
    return (Web3.to_checksum_address(to) if to else None), bytes(Web3.to_bytes(hexstr=built["data"]))


@contextlib.contextmanager
def _translated(purpose: str) -> Iterator[None]:
    """Turn web3's errors into ours."""
    try:
        yield
    except (Web3Exception, OSError) as failed:
        raise ChainError(f"{purpose}: {in_words(failed)}") from failed
