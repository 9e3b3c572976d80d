"""Wallets for homes that have none: their keys follow from the meter's name, so they are public knowledge.

They let simulated homes consent, claim and trade like real ones. Never give one to a real household.
"""

from __future__ import annotations

from functools import cache

from eth_account import Account
from eth_hash.auto import keccak


def demo_key(meter: str) -> bytes:
    """Private key of a home's demonstration wallet. 32 bytes."""
    return keccak(b"negawatt demonstration wallet " + meter.encode())


@cache
def demo_wallet(meter: str) -> str:
    """Address of a home's demonstration wallet, in lower case.

    >>> demo_wallet("home-0001") == Account.from_key(demo_key("home-0001")).address.lower()
    True
    """
    return str(Account.from_key(demo_key(meter)).address).lower()
