"""Meter statements against the vectors that the contracts are tested against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from serving.statements import Statement, read_statement, write_statement

VECTORS = json.loads((Path(__file__).parents[2] / "contracts/test/vectors/trades.json").read_text("utf-8"))[
    "delivery"
]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def statement_of(vector: dict) -> Statement:
    numbers = (int(vector[name]) for name in ("dealId", "deliveredWh", "statementDeadline"))
    return Statement(*numbers, VECTORS["contract"], VECTORS["chainId"], VECTORS["signer"])


@pytest.mark.parametrize("vector", VECTORS["statements"], ids=lambda vector: f"{vector['deliveredWh']} Wh")
def test_a_statement_has_the_digest_and_the_signature_of_the_vectors(vector):
    statement = statement_of(vector)
    message = encode_typed_data(full_message=statement.typed_data())
    assert keccak(b"\x19\x01" + message.header + message.body) == unhex(vector["digest"])
    assert message.header == unhex(VECTORS["domainSeparator"])
    signed = statement.signed_by(unhex(VECTORS["key"]))
    assert signed.signature == unhex(vector["signature"])
    assert signed.signer.lower() == VECTORS["signer"]


@pytest.mark.parametrize("vector", VECTORS["statements"], ids=lambda vector: f"{vector['deliveredWh']} Wh")
def test_a_signed_statement_survives_its_file(tmp_path, vector):
    signed = statement_of(vector).signed_by(unhex(VECTORS["key"]))
    write_statement(tmp_path / "statement.json", signed)
    again = read_statement(tmp_path / "statement.json")
    assert again.typed_data() == signed.typed_data()
    assert (again.signer, again.signature) == (signed.signer, signed.signature)
