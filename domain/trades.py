"""A day's trades between microgrids: their net amounts, Merkle tree and published file, as the contract checks them.

A leaf of the tree is keccak of keccak of day, index, seller, buyer, energy and value as 32-byte words; the tree is
`domain.merkle.MerkleTree`. A day is not settled trade by trade but by what it comes to for each participant: what it
sold for less what it bought for. These net amounts sum to zero exactly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from eth_hash.auto import keccak

from domain.certificates import canonical
from domain.errors import InvalidTradesError
from domain.merkle import MerkleTree

FORMAT = "negawatt-trades/1"

MAX_TRADES = 2**32 - 1
MAX_WH = 2**128 - 1
"""Most energy of one day. [Wh]"""

MAX_VALUE = 2**127 - 1
"""Most value of one day, and most tokens that there can be. [smallest unit of the token]"""

_ADDRESS = re.compile("0x[0-9a-f]{40}")
_EPOCH = date(1970, 1, 1)
_NOBODY = "0x" + 40 * "0"


@dataclass(frozen=True)
class Trade:
    """One matched trade.

    Attributes
    ----------
    index : int
        Place in the day's list, from zero.
    seller, buyer : str
        Accounts of two microgrids, 0x-addresses; kept in lower case.
    wh : int
        Energy that the seller delivered. [Wh]
    value : int
        What the buyer owes for it. [smallest unit of the token]

    Raises
    ------
    InvalidTradesError
        An address is none or zero, both are the same, or a number is out of range.
    """

    index: int
    seller: str
    buyer: str
    wh: int
    value: int

    def __post_init__(self) -> None:
        for side in ("seller", "buyer"):
            address = getattr(self, side).lower()
            if not _ADDRESS.fullmatch(address) or address == _NOBODY:
                raise InvalidTradesError(f"trade {self.index}", f"{side} {getattr(self, side)!r} is no address")
            object.__setattr__(self, side, address)
        if self.seller == self.buyer:
            raise InvalidTradesError(f"trade {self.index}", f"{self.seller} trades with itself")
        for name, low, high in (("index", 0, MAX_TRADES - 1), ("wh", 1, MAX_WH), ("value", 0, MAX_VALUE)):
            number = getattr(self, name)
            if type(number) is not int or not low <= number <= high:
                raise InvalidTradesError(
                    f"trade {self.index}", f"{name} is {number!r}, not a whole number of {low} or more that fits"
                )

    def hash(self, day: int) -> bytes:
        """Leaf hash: keccak of keccak of day and fields as 32-byte words.

        Parameters
        ----------
        day : int
            See `day_number`. [days]
        """
        words = (day, self.index, int(self.seller, 16), int(self.buyer, 16), self.wh, self.value)
        return keccak(keccak(b"".join(word.to_bytes(32, "big") for word in words)))


def day_number(day: date) -> int:
    """The number by which the contract knows a day: days since 1970-01-01.

    >>> day_number(date(1970, 1, 2)), day_number(date(2024, 10, 4))
    (1, 20000)
    """
    return (day - _EPOCH).days


def net_positions(trades: Iterable[Trade]) -> list[tuple[str, int]]:
    """What a day's trades come to for each participant.

    Returns
    -------
    list of (str, int)
        Address in lower case and what it gets, negative for what it owes, in ascending order of address; who comes
        out even is left out. The amounts sum to zero. [smallest unit of the token]

    Examples
    --------
    >>> a, b, c = ("0x" + 40 * digit for digit in "abc")
    >>> nets = net_positions([Trade(0, a, b, 5000, 100), Trade(1, b, c, 1000, 30), Trade(2, c, a, 2000, 70)])
    >>> [(address[-1], amount) for address, amount in nets]
    [('a', 30), ('b', -70), ('c', 40)]
    """
    sums: defaultdict[str, int] = defaultdict(int)
    for trade in trades:
        sums[trade.seller] += trade.value
        sums[trade.buyer] -= trade.value
    return sorted((address, amount) for address, amount in sums.items() if amount)


def net_hash(net: Sequence[tuple[str, int]]) -> bytes:
    """Hash of net amounts as the contract makes it: keccak of ``abi.encode`` of (address, int128) pairs. 32 bytes."""
    words = [32, len(net)]
    for address, amount in net:
        words += [int(address, 16), amount % 2**256]
    return keccak(b"".join(word.to_bytes(32, "big") for word in words))


@dataclass(frozen=True)
class TradeDay:
    """All trades of one day, ready to publish and to settle.

    Attributes
    ----------
    day : date
    trades : tuple of Trade
        By index.

    Raises
    ------
    InvalidTradesError
        There are none, their indices are not 0, 1, 2 …, or their sums are more than the contract holds.
    """

    day: date
    trades: tuple[Trade, ...]

    def __post_init__(self) -> None:
        if not self.trades:
            raise InvalidTradesError(self.day.isoformat(), "there are no trades to settle")
        for place, trade in enumerate(self.trades):
            if trade.index != place:
                raise InvalidTradesError(self.day.isoformat(), f"trade {trade.index} stands at place {place}")
        if self.total_wh > MAX_WH or self.total_value > MAX_VALUE:
            raise InvalidTradesError(
                self.day.isoformat(), f"{self.total_wh} Wh or a value of {self.total_value} is too much for one day"
            )

    @property
    def number(self) -> int:
        """Days since 1970-01-01."""
        return day_number(self.day)

    @property
    def total_wh(self) -> int:
        """Energy traded. [Wh]"""
        return sum(trade.wh for trade in self.trades)

    @property
    def total_value(self) -> int:
        """Sum of the trades' values. [smallest unit of the token]"""
        return sum(trade.value for trade in self.trades)

    @cached_property
    def net(self) -> list[tuple[str, int]]:
        """What the day comes to for each participant, see `net_positions`."""
        return net_positions(self.trades)

    @cached_property
    def tree(self) -> MerkleTree:
        """The Merkle tree whose root goes on chain."""
        return MerkleTree([trade.hash(self.number) for trade in self.trades])

    def published(self) -> bytes:
        """The file: a header line with totals and net amounts, then a line for each trade; canonical JSON.

        >>> day = TradeDay(date(2025, 6, 11), (Trade(0, "0x" + 40 * "a", "0x" + 40 * "b", 1500, 300),))
        >>> print(day.published().decode().splitlines()[0][:65])
        {"day":"2025-06-11","format":"negawatt-trades/1","net":{"0xaaaaaa
        """
        header = {
            "format": FORMAT,
            "day": self.day.isoformat(),
            "totals": {"trades": len(self.trades), "wh": self.total_wh, "value": self.total_value},
            "net": dict(self.net),
        }
        lines: list[dict[str, Any]] = [
            {"index": t.index, "seller": t.seller, "buyer": t.buyer, "wh": t.wh, "value": t.value}
            for t in self.trades
        ]
        return b"".join(canonical(line) + b"\n" for line in (header, *lines))

    def published_hash(self) -> bytes:
        """SHA-256 of the published file. 32 bytes."""
        return hashlib.sha256(self.published()).digest()


def parse_day(published: bytes) -> TradeDay:
    """Read back what `TradeDay.published` wrote, to the byte.

    Raises
    ------
    InvalidTradesError
        The file is not of this format, or its totals, net amounts or bytes are not what follows from its trades.
    """
    try:
        header, *lines = (json.loads(line) for line in published.decode("ascii").splitlines())
        if header["format"] != FORMAT:
            raise InvalidTradesError("published trades", f"format {header['format']!r}, not {FORMAT!r}")
        trades = tuple(Trade(row["index"], row["seller"], row["buyer"], row["wh"], row["value"]) for row in lines)
        day = TradeDay(date.fromisoformat(header["day"]), trades)
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise InvalidTradesError("published trades", f"not a file of trades: {broken!r}") from broken
    if day.published() != published:
        raise InvalidTradesError(
            day.day.isoformat(), "the file's header or layout is not what follows from its trades"
        )
    return day
