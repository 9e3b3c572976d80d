"""The first block, and whose seal a block carries."""

from __future__ import annotations

import pytest
from geth_desk import FIRST_BLOCK

from infra.clique import genesis, sealer_of
from infra.daemons import ServiceError

A, B, OPERATOR = "0x" + "Aa" * 20, "0x" + "0b" * 20, "0x" + "0c" * 20

BLOCK = {
    "baseFeePerGas": "0x7",
    "difficulty": "0x2",
    "extraData": "0xd883010d0f846765746888676f312e32362e38856c696e757800000000000000"
    "e242417b0a184e0767be3089739b9827789b3b65e40320beb209bc36bef55d73"
    "325b2e8083d6bdba45b9f1a1d53b4e64d5df74234d5dd53943ced115280d217e01",
    "gasLimit": "0x1c9c380",
    "gasUsed": "0x0",
    "hash": "0xa57b04d8766c4161dafb7b3dd77edd88ccc4f226d93e2ca457ee5730d44cfe9b",
    "logsBloom": "0x" + 512 * "0",
    "miner": "0x" + 40 * "0",
    "mixHash": "0x" + 64 * "0",
    "nonce": "0x0000000000000000",
    "number": "0x3",
    "parentHash": "0x32e3ade85d4327b78153146bec19e8d1f593b3872a598afbd81661cceed3d17a",
    "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "size": "0x260",
    "stateRoot": "0xc50fdecf3d263075d2da720190674437fcea423f70e1b35dcc8d7bc139598fe7",
    "timestamp": "0x6b018a26",
    "totalDifficulty": "0x7",
    "transactions": [],
    "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "uncles": [],
}
"""Block 3 of a network of geth 1.13.15, as eth_getBlockByNumber gave it."""
SEALER = "0xba761bd658d3ef2e0e0ee7d94f69566256861570"
"""What the same geth said to clique_getSigner of that block."""


def a_genesis(**changes):
    values = {"chain_id": 99, "period_s": 5, "sealers": [A, B], "funded_wei": {OPERATOR: 17}, "gas_limit": 30_000_000}
    return genesis(**values | {"time": FIRST_BLOCK} | changes)


def test_the_first_block_names_the_sealers_in_order_between_32_and_65_empty_bytes():
    extra = bytes.fromhex(a_genesis()["extraData"][2:])
    assert extra == bytes(32) + bytes.fromhex("0b" * 20 + "aa" * 20) + bytes(65)


def test_the_rules_end_with_london():
    config = a_genesis()["config"]
    assert config["londonBlock"] == 0
    assert config["clique"] == {"period": 5, "epoch": 30_000}
    assert config["chainId"] == 99
    assert not {"shanghaiTime", "cancunTime", "terminalTotalDifficulty"} & set(config)


def test_only_the_funded_begin_with_ether():
    assert a_genesis()["alloc"] == {OPERATOR: {"balance": "0x11"}}


def test_the_first_block_has_the_time_and_gas_limit_given():
    block = a_genesis()
    assert int(block["timestamp"], 16) == int(FIRST_BLOCK.timestamp())
    assert int(block["gasLimit"], 16) == 30_000_000


@pytest.mark.parametrize("change", [{"sealers": []}, {"period_s": 0}, {"chain_id": 0}, {"gas_limit": 0}])
def test_a_chain_that_could_make_no_block_is_refused(change):
    with pytest.raises(ServiceError, match="needs a sealer"):
        a_genesis(**change)


def test_the_sealer_is_recovered_as_geth_recovers_it():
    assert sealer_of(BLOCK).lower() == SEALER


def test_a_changed_block_is_not_the_sealers():
    assert sealer_of(BLOCK | {"gasUsed": "0x1"}).lower() != SEALER


@pytest.mark.parametrize("extra", ["0x" + "00" * 117, "0x", "0x" + "ff" * 97])
def test_a_block_without_a_seal_is_said_to_have_none(extra):
    with pytest.raises(ServiceError, match="block 3 carries no seal"):
        sealer_of(BLOCK | {"extraData": extra})
