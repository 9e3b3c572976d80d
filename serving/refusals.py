"""What a contract refused, in words."""

from __future__ import annotations

from functools import cache
from typing import Any

from web3 import Web3

from contracts.artifacts import NAMES, load
from domain.events import EventState


def explain(refused: Exception) -> str:
    """Say a contract's refusal in words: what the error means, then its name and values.

    >>> explain(ValueError("boom"))
    'boom'
    """
    data = getattr(refused, "data", None)
    if isinstance(data, str) and len(data) >= 10 and (known := _errors().get(data[2:10])):
        contract, entry, notice = known
        values = Web3().codec.decode([_type(item) for item in entry["inputs"]], bytes.fromhex(data[10:]))
        named = [f"{item['name']}={_show(value, item)}" for item, value in zip(entry["inputs"], values, strict=True)]
        told = f"{entry['name']}({', '.join(named)})"
        return f"{contract} refused: {told}" + (f": {notice[0].lower()}{notice[1:].rstrip('.')}" if notice else "")
    return str(refused)


@cache
def _errors() -> dict[str, tuple[str, dict[str, Any], str]]:
    """Every error of our contracts by its selector: who has it, ABI entry, and meaning."""
    found: dict[str, tuple[str, dict[str, Any], str]] = {}
    for artifact_name in NAMES:
        artifact = load(artifact_name)
        for entry in artifact.abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(_type(item) for item in entry['inputs'])})"
                selector = Web3.keccak(text=signature)[:4].hex()
                name, notice = artifact_name, artifact.errors.get(signature, "")
                if selector in found:  # the bytes alone don't say which of them refused
                    name, notice = "the contract", found[selector][2] or notice
                found[selector] = (name, entry, notice)
    return found


def _type(item: dict[str, Any]) -> str:
    """Solidity's type of an ABI item, structs spelled out."""
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    parts = ",".join(_type(part) for part in item["components"])
    return f"({parts})" + str(item["type"]).removeprefix("tuple")


def _show(value: Any, item: dict[str, Any]) -> str:
    if item.get("internalType") == "enum DemandResponse.State":
        return EventState(value).name.lower()
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
