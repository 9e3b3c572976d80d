"""Compiled contracts: what a client needs to deploy them and to call them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

NAMES = (
    "DemandResponse",
    "EnergyMarket",
    "EnergyToken",
    "IncentiveCoin",
    "MicrogridSettlement",
    "ReductionExchange",
    "ResourceRegistry",
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """
    One compiled contract.

    Attributes
    ----------
    name : str
        Name of the contract.
    abi : tuple of dict
        Its functions, events and errors, as the compiler lists them.
    errors : mapping of str to str
        What each of its errors means, by the error's signature.
    bytecode : str
        The code that deploys it, as hex with a leading ``0x``; constructor arguments go after it.
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    errors: Mapping[str, str]
    bytecode: str


@cache
def load(name: str) -> Artifact:
    """
    Load a compiled contract from the package.

    Parameters
    ----------
    name : str
        Name of the contract, one of `NAMES`.

    Returns
    -------
    Artifact
        The contract; the same object on every call.

    Raises
    ------
    ValueError
        If there is no contract of that name.

    Examples
    --------
    >>> load("IncentiveCoin").bytecode.startswith("0x")
    True
    """
    if name not in NAMES:
        raise ValueError(f"no contract named {name!r}; there are {', '.join(NAMES)}")
    text = resources.files("contracts").joinpath("artifacts", f"{name}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Artifact(
        name=data["contractName"], abi=tuple(data["abi"]), errors=data["errors"], bytecode=data["bytecode"]
    )
