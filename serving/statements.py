"""Meter statements: a meter operator's signed word on what was delivered, as typed data (EIP-712) for the market."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import Web3
from web3.types import RPCEndpoint

from domain.errors import ChainError
from serving.chain import Chain

_DOMAIN = ("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")
_DELIVERY = ("dealId", "uint256"), ("deliveredWh", "uint256"), ("statementDeadline", "uint256")


@dataclass(frozen=True)
class Statement:
    """A meter operator's signed word on what was delivered for a deal.

    Attributes
    ----------
    deal : int
    delivered_wh : int
        At most what was bought. [Wh]
    deadline : int
        First second at which it is no longer good. [s since 1970]
    market : str
        Address of the market that it is for.
    chain_id : int
        The chain that it is for.
    signer : str
        Address of the account, or of the ERC-1271 contract, whose signature it is.
    signature : bytes
    """

    deal: int
    delivered_wh: int
    deadline: int
    market: str
    chain_id: int
    signer: str
    signature: bytes = b""

    def typed_data(self) -> dict[str, Any]:
        """As ``eth_signTypedData_v4`` takes it."""
        values = (self.deal, self.delivered_wh, self.deadline)
        domain = ("negawatt EnergyMarket", "1", self.chain_id, Web3.to_checksum_address(self.market))
        return {
            "types": {
                "EIP712Domain": [{"name": name, "type": kind} for name, kind in _DOMAIN],
                "Delivery": [{"name": name, "type": kind} for name, kind in _DELIVERY],
            },
            "primaryType": "Delivery",
            "domain": {name: value for (name, _), value in zip(_DOMAIN, domain, strict=True)},
            "message": {name: value for (name, _), value in zip(_DELIVERY, values, strict=True)},
        }

    def signed_by(self, key: bytes) -> Statement:
        """This statement, signed with a private key."""
        signed = Account.sign_message(encode_typed_data(full_message=self.typed_data()), key)
        return replace(self, signer=str(Account.from_key(key).address), signature=bytes(signed.signature))

    def signed_on(self, chain: Chain) -> Statement:
        """This statement, signed by a node that holds the sender's account unlocked, as anvil does."""
        answer = chain.w3.provider.make_request(
            RPCEndpoint("eth_signTypedData_v4"), [chain.operator, json.dumps(self.typed_data())]
        )
        if "result" not in answer:
            raise ChainError(f"the node does not sign for {chain.operator}: {answer.get('error')}")
        return replace(self, signer=chain.operator, signature=bytes.fromhex(str(answer["result"])[2:]))


def write_statement(path: Path, statement: Statement) -> None:
    """Write a statement as JSON: the typed data, with signer and signature."""
    document = statement.typed_data() | {"signer": statement.signer, "signature": "0x" + statement.signature.hex()}
    path.write_text(json.dumps(document, indent=2) + "\n")


def read_statement(path: Path) -> Statement:
    """Read what `write_statement` wrote.

    Raises
    ------
    ChainError
        Naming the file and what is wrong with it.
    """
    try:
        document = json.loads(path.read_text())
        numbers = [document["message"][name] for name, _ in _DELIVERY]
        domain = document["domain"]
        if any(type(number) is not int for number in (*numbers, domain["chainId"])):
            raise ValueError("a number is none")
        signature = bytes.fromhex(document["signature"].removeprefix("0x"))
        market, signer = (Web3.to_checksum_address(a) for a in (domain["verifyingContract"], document["signer"]))
        return Statement(numbers[0], numbers[1], numbers[2], market, domain["chainId"], signer, signature)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
        raise ChainError(f"{path} holds no meter statement: {broken!r}") from broken
