"""Clique, the proof-of-authority rule of our network: the genesis block, and who sealed a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import rlp
from eth_hash.auto import keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from infra.daemons import ServiceError

_VANITY_BYTES, _SEAL_BYTES = 32, 65
_EPOCH_BLOCKS = 30_000
_LOWEST_BASE_FEE_WEI = 7
_RULES = (
    "homesteadBlock", "eip150Block", "eip155Block", "eip158Block", "byzantiumBlock", "constantinopleBlock",
    "petersburgBlock", "istanbulBlock", "berlinBlock", "londonBlock",
)  # fmt: skip
"""Rule sets in force from the first block. Not shanghai: after it clique nodes can't follow each other."""
_HEADER = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom", "difficulty",
    "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas",
)  # fmt: skip
_NUMBERS = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}


def genesis(
    *,
    chain_id: int,
    period_s: int,
    sealers: Sequence[str],
    funded_wei: Mapping[str, int],
    gas_limit: int,
    time: datetime,
) -> dict[str, Any]:
    """Describe the first block of a clique chain, in geth's own format.

    Parameters
    ----------
    chain_id : int
        What transactions are signed for, and the id of the peer-to-peer network.
    period_s : int
        Time between blocks. [s]
    sealers : sequence of str
        Addresses that may seal, at least one.
    funded_wei : mapping
        Balance of each address that begins with one. [wei]
    gas_limit : int
        Gas of a block.
    time : datetime
        The block's time.

    Returns
    -------
    dict
        JSON values.

    Raises
    ------
    ServiceError
        No sealer, or a period, gas limit or chain id below one.
    """
    if not sealers or min(period_s, gas_limit, chain_id) < 1:
        raise ServiceError("a clique chain needs a sealer, and a period, gas limit and chain id of one or more")
    signers = "".join(sorted(address.lower().removeprefix("0x") for address in sealers))
    return {
        "config": {
            "chainId": chain_id,
            **dict.fromkeys(_RULES, 0),
            "clique": {"period": period_s, "epoch": _EPOCH_BLOCKS},
        },
        "timestamp": hex(int(time.timestamp())),
        "difficulty": "0x1",
        "gasLimit": hex(gas_limit),
        "baseFeePerGas": hex(_LOWEST_BASE_FEE_WEI),
        "extraData": "0x" + "00" * _VANITY_BYTES + signers + "00" * _SEAL_BYTES,
        "alloc": {address: {"balance": hex(wei)} for address, wei in funded_wei.items()},
    }


def sealer_of(block: Mapping[str, Any]) -> str:
    """Address whose key sealed a block: recovered from the seal, so that no node has to be believed.

    Parameters
    ----------
    block : mapping
        As ``eth_getBlockByNumber`` gives it: JSON values, of the london rules or older ones.

    Returns
    -------
    str
        Checksummed address.

    Raises
    ------
    ServiceError
        It carries no seal of clique's (the genesis block doesn't).
    """
    extra = bytes.fromhex(str(block["extraData"])[2:])
    header = [_field(name, str(block[name])) for name in _HEADER if name in block]
    header[_HEADER.index("extraData")] = extra[:-_SEAL_BYTES]
    try:
        if len(extra) < _VANITY_BYTES + _SEAL_BYTES:
            raise BadSignature(f"{len(extra)} bytes")
        key = Signature(extra[-_SEAL_BYTES:]).recover_public_key_from_msg_hash(keccak(rlp.encode(header)))
    except (BadSignature, ValidationError) as unsealed:
        raise ServiceError(f"block {int(str(block['number']), 16)} carries no seal of clique's") from unsealed
    return str(key.to_checksum_address())


def _field(name: str, text: str) -> bytes:
    if name in _NUMBERS:
        number = int(text, 16)
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes.fromhex(text[2:])
