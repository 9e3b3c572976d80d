"""What owners sign, against the vectors that the contracts are tested against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from domain.errors import ChainError
from serving.consents import Message, consent_message, read_message, signed_consent, write_message

FILE = json.loads((Path(__file__).parents[2] / "contracts/test/vectors/eip712.json").read_text("utf-8"))
VECTORS = FILE["vectors"]
KEYS = [bytes.fromhex(key.removeprefix("0x")) for key in FILE["keys"].values()]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def name_of(vector: dict) -> str:
    return f"{vector['primaryType']} {vector['message'].get('nonce', '')} chain {vector['domain']['chainId']}"


def message_of(vector: dict) -> Message:
    """The vector's values as the engine keeps them: bytes and whole numbers."""
    values = {}
    for field, value in vector["message"].items():
        if isinstance(value, str) and len(value) == 66:
            values[field] = unhex(value)
        else:
            values[field] = int(value) if isinstance(value, str) and value.isdigit() else value
    return Message(vector["primaryType"], values, vector["domain"]["verifyingContract"], vector["domain"]["chainId"])


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_message_has_the_digest_and_the_signature_of_the_vectors(vector):
    message = message_of(vector)
    encoded = encode_typed_data(full_message=message.typed_data())
    assert message.typed_data()["domain"]["name"] == vector["domain"]["name"]
    assert encoded.header == unhex(vector["domainSeparator"])
    assert encoded.body == unhex(vector["structHash"])
    assert keccak(b"\x19\x01" + encoded.header + encoded.body) == unhex(vector["digest"])
    assert message.signer(unhex(vector["signature"])).lower() == vector["signer"]
    assert unhex(vector["signature"]) in [message.sign(key) for key in KEYS]


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_signed_message_survives_its_file(tmp_path, vector):
    message, signature = message_of(vector), unhex(vector["signature"])
    write_message(tmp_path / "message.json", message, signature)
    again, signed = read_message(tmp_path / "message.json")
    assert (again.typed_data(), signed) == (message.typed_data(), signature)


@pytest.mark.parametrize("changed", ["contracted_w", "standing", "nonce", "deadline", "chain_id", "registry"])
def test_a_signature_counts_for_no_other_values_contract_or_chain(changed):
    vector = VECTORS[0]
    values = message_of(vector)
    asked = {
        "registry": values.contract,
        "chain_id": values.chain_id,
        "resource": values.values["resource"],
        "owner": values.values["owner"],
        "contracted_w": values.values["contractedW"],
        "standing": values.values["standing"],
        "nonce": values.values["nonce"],
        "deadline": values.values["deadline"],
    }
    signature = unhex(vector["signature"])
    assert signed_consent(consent_message(**asked), signature).owner.lower() == vector["signer"]
    other = {"registry": "0x" + "c3" * 20, "standing": not asked["standing"]}
    asked[changed] = other[changed] if changed in other else asked[changed] + 1
    with pytest.raises(ChainError, match="not by its owner"):
        signed_consent(consent_message(**asked), signature)
