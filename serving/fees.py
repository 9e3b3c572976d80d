"""What a transaction may cost: gas limits and prices, and how far a stuck one is raised."""

from __future__ import annotations

from dataclasses import dataclass

from web3 import Web3
from web3.exceptions import Web3Exception

from domain.errors import ChainError

GWEI = 10**9
ESTIMATE_MARGIN_PCT = 125
RAISE_PER_MILLE = 1125
"""A replacement's price to the one before; nodes ask for 10 % or 12.5 % more."""


@dataclass(frozen=True)
class Limits:
    """What the operator allows: gas of a transaction, price of a unit of gas. [gas], [wei]"""

    max_gas: int
    max_fee: int


@dataclass(frozen=True)
class Market:
    """What the chain asks at the moment.

    Attributes
    ----------
    base_fee : int or None
        Of the latest block; None on a chain without. [wei]
    tip : int
        What the node suggests; on a chain without base fees the gas price. [wei]
    block_gas : int
        Gas limit of a block.
    """

    base_fee: int | None
    tip: int
    block_gas: int


def ask_market(w3: Web3) -> Market:
    """Read the market from the node."""
    block = w3.eth.get_block("latest")
    base = block.get("baseFeePerGas")
    if base is None:
        return Market(None, int(w3.eth.gas_price), block["gasLimit"])
    try:
        tip = int(w3.eth.max_priority_fee)
    except Web3Exception:
        tip = GWEI
    return Market(int(base), tip, block["gasLimit"])


def first_fees(market: Market, limits: Limits) -> tuple[int, int | None]:
    """Maximum fee and tip of a first attempt: room for the base fee to double. [wei]

    Raises
    ------
    ChainError
        The limit does not even pay for the next block.

    Examples
    --------
    >>> first_fees(Market(base_fee=7, tip=1, block_gas=30_000_000), Limits(15_000_000, 100))
    (15, 1)
    >>> first_fees(Market(base_fee=70, tip=1, block_gas=30_000_000), Limits(15_000_000, 100))
    (100, 1)
    """
    needed = (market.base_fee or 0) + (market.tip if market.base_fee is None else 0)
    if needed > limits.max_fee:
        raise ChainError(f"gas costs {_gwei(needed)} gwei, over the limit max_fee_gwei = {_gwei(limits.max_fee)}")
    if market.base_fee is None:
        return market.tip, None
    max_fee = min(2 * market.base_fee + market.tip, limits.max_fee)
    return max_fee, min(market.tip, max_fee)


def raised_fees(max_fee: int, tip: int | None, market: Market, limits: Limits) -> tuple[int, int | None]:
    """Maximum fee and tip of a replacement: an eighth more, or what the market asks if that is more. [wei]

    Raises
    ------
    ChainError
        An eighth more is over the limit.

    Examples
    --------
    >>> raised_fees(80, 0, Market(base_fee=7, tip=1, block_gas=30_000_000), Limits(15_000_000, 100))
    (90, 1)
    """
    least = _raise(max_fee)
    if least > limits.max_fee:
        raise ChainError(
            f"it was offered {_gwei(max_fee)} gwei, and 12.5 % more are over the limit "
            f"max_fee_gwei = {_gwei(limits.max_fee)}"
        )
    now = market.tip if market.base_fee is None else 2 * market.base_fee + market.tip
    raised = min(max(least, now), limits.max_fee)
    return raised, None if tip is None else min(max(_raise(tip), market.tip), raised)


def gas_limit(needed: int, market: Market, limits: Limits, *, estimated: bool) -> int:
    """Gas to send with: an estimate with a margin, within what the operator and the block allow.

    Raises
    ------
    ChainError
        More is needed than is allowed.

    Examples
    --------
    >>> market, limits = Market(base_fee=7, tip=1, block_gas=30_000_000), Limits(15_000_000, 100)
    >>> gas_limit(100_000, market, limits, estimated=True)
    125000
    >>> gas_limit(14_000_000, market, limits, estimated=True)
    15000000
    """
    allowed = min(limits.max_gas, market.block_gas)
    if needed > allowed:
        raise too_much_gas(f"{needed:,}", market, limits)
    return min(needed * ESTIMATE_MARGIN_PCT // 100, allowed) if estimated else needed


def too_much_gas(needed: str, market: Market, limits: Limits) -> ChainError:
    """The error of a call that needs more gas than is allowed, naming both limits."""
    return ChainError(
        f"needs {needed} gas; allowed are {limits.max_gas:,} to a transaction (max_gas) "
        f"and {market.block_gas:,} to a block"
    )


def _raise(price: int) -> int:
    return -(-price * RAISE_PER_MILLE // 1000) + (price == 0)


def _gwei(wei: int) -> str:
    return f"{wei / GWEI:.9f}".rstrip("0").rstrip(".")
