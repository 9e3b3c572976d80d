"""Owners' signatures: what a household agrees to, as typed data (EIP-712) that its wallet shows and signs.

Each message names the contract and the chain that it is for, so that it counts nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import Web3

from domain.errors import ChainError

REGISTRY_NAME = "negawatt ResourceRegistry"
EVENTS_NAME = "negawatt DemandResponse"

TYPES: dict[str, list[dict[str, str]]] = {
    name: [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields.split(",")]
    for name, fields in {
        "Consent": "bytes32 resource,address owner,uint32 contractedW,bool standing,uint256 nonce,uint256 deadline",
        "Handover": "bytes32 resource,address to,uint256 nonce,uint256 deadline",
        "Withdrawal": "bytes32 resource,uint256 nonce,uint256 deadline",
        "Choice": "bytes32 eventId,bytes32 resource,bool takesPart,uint256 nonce,uint256 deadline",
        "Challenge": "bytes32 eventId,bytes32 resource,bytes32 root,bytes32 reasonHash,uint256 deadline",
    }.items()
}
"""Fields of each message, as the contracts declare them."""

_DOMAIN = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


@dataclass(frozen=True)
class Message:
    """A message for an owner to sign: its type, its values, and the contract and chain it is for."""

    kind: str
    values: Mapping[str, Any]
    contract: str
    chain_id: int

    def typed_data(self) -> dict[str, Any]:
        """As ``eth_signTypedData_v4`` takes it; bytes as hex."""
        name = REGISTRY_NAME if self.kind in ("Consent", "Handover", "Withdrawal") else EVENTS_NAME
        return {
            "types": {"EIP712Domain": _DOMAIN, self.kind: TYPES[self.kind]},
            "primaryType": self.kind,
            "domain": {
                "name": name,
                "version": "1",
                "chainId": self.chain_id,
                "verifyingContract": Web3.to_checksum_address(self.contract),
            },
            "message": {k: "0x" + v.hex() if isinstance(v, bytes) else v for k, v in self.values.items()},
        }

    def sign(self, key: bytes) -> bytes:
        """Sign with a private key. 65 bytes."""
        return bytes(Account.sign_message(encode_typed_data(full_message=self.typed_data()), key).signature)

    def signer(self, signature: bytes) -> str:
        """Address whose key made the signature."""
        try:
            return str(
                Account.recover_message(encode_typed_data(full_message=self.typed_data()), signature=signature)
            )
        except Exception as broken:  # eth_keys raises its own kinds for each way a signature can be malformed
            raise ChainError(f"the signature of this {self.kind.lower()} can't be read: {broken}") from broken


@dataclass(frozen=True)
class Consent:
    """An owner's signed consent to one registration: what the registry stores, until when, and the signature."""

    resource: bytes
    owner: str
    contracted_w: int
    standing: bool
    nonce: int
    deadline: int
    signature: bytes

    def row(self) -> tuple[Any, ...]:
        """As the registry's functions take it."""
        owner = Web3.to_checksum_address(self.owner)
        return (self.resource, owner, self.contracted_w, self.standing, self.deadline, self.signature)


def consent_message(
    registry: str,
    chain_id: int,
    resource: bytes,
    owner: str,
    contracted_w: int,
    *,
    standing: bool,
    nonce: int,
    deadline: int,
) -> Message:
    """What an owner signs to have a resource registered.

    Parameters
    ----------
    registry : str
        Address of the ResourceRegistry.
    contracted_w : int
        [W]
    standing : bool
        Whether operators may opt the resource in to events without asking each time.
    nonce : int
        How often the resource has changed, by the registry.
    deadline : int
        Last second at which the signature counts. [s since 1970]
    """
    values = {
        "resource": resource,
        "owner": Web3.to_checksum_address(owner),
        "contractedW": contracted_w,
        "standing": standing,
        "nonce": nonce,
        "deadline": deadline,
    }
    return Message("Consent", values, registry, chain_id)


def signed_consent(message: Message, signature: bytes) -> Consent:
    """A consent whose signature was checked to be its owner's.

    Raises
    ------
    ChainError
        It is another's, or was made over other values. Contract wallets sign in ways that only the chain can
        check: theirs are not for this.
    """
    v = message.values
    signer = message.signer(signature)
    if signer.lower() != str(v["owner"]).lower():
        raise ChainError(
            f"the consent for resource 0x{v['resource'].hex()} is signed by {signer}, not by its owner {v['owner']}, "
            "or was made for other values, another contract or another chain"
        )
    return Consent(v["resource"], v["owner"], v["contractedW"], v["standing"], v["nonce"], v["deadline"], signature)


def write_message(path: Path, message: Message, signature: bytes | None = None) -> None:
    """Write a message, signed or not, as JSON for a household or from it."""
    document = message.typed_data() | ({"signature": "0x" + signature.hex()} if signature else {})
    path.write_text(json.dumps(document, indent=2) + "\n")


def read_message(path: Path) -> tuple[Message, bytes | None]:
    """Read what `write_message` wrote: the message, and its signature if it has one.

    Raises
    ------
    ChainError
        Naming the file and what is wrong with it.
    """
    try:
        document = json.loads(path.read_text())
        kind, domain = document["primaryType"], document["domain"]
        values = {}
        for field in TYPES[kind]:
            value = document["message"][field["name"]]
            values[field["name"]] = bytes.fromhex(value[2:]) if field["type"] == "bytes32" else value
        message = Message(kind, values, domain["verifyingContract"], domain["chainId"])
        signature = document.get("signature")
        return message, bytes.fromhex(signature[2:]) if signature else None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as broken:
        raise ChainError(f"{path} holds no message of an owner: {broken!r}") from broken
