"""Accounts, keys and refusals on a chain that isn't our own."""

from __future__ import annotations

import json

import pytest
from chain_desk import COIN
from eth_account import Account

from domain.errors import ChainError
from serving.chain import Chain
from serving.deployment import attach, attach_at, deploy
from serving.refusals import explain
from serving.signers import KeystoreSigner

pytestmark = pytest.mark.stack

PASSWORD = "not a secret: made for this test"


@pytest.fixture
def keys(tmp_path, desk):
    """An encrypted key file with its password, and some ether on its account."""
    account = Account.create()
    keystore, password = tmp_path / "operator.json", tmp_path / "password"
    keystore.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, iterations=2)))
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    Chain(desk.url).w3.provider.make_request("anvil_setBalance", [account.address, hex(10**20)])
    return account.address, keystore, password


def test_an_encrypted_key_file_signs_the_whole_settlement(desk, keys):
    address, keystore, password = keys
    chain = Chain(desk.url, signer=KeystoreSigner(keystore, password))
    contracts = desk.settle(chain)
    senders = {chain.w3.eth.get_transaction(record.hash)["from"] for record in chain.records}
    assert senders == {address}
    assert contracts.coin.functions.totalSupply().call() == desk.certificates.total_payment


def test_a_password_file_that_others_can_read_is_refused(desk, keys):
    _, keystore, password = keys
    password.chmod(0o644)
    with pytest.raises(ChainError, match="can be read by others: chmod 600 it"):
        Chain(desk.url, signer=KeystoreSigner(keystore, password))


def test_a_wrong_password_is_said_without_showing_it(desk, keys):
    _, keystore, password = keys
    password.write_text("wrong guess\n")
    with pytest.raises(ChainError, match="can't be opened with the password in") as refused:
        Chain(desk.url, signer=KeystoreSigner(keystore, password))
    assert "wrong guess" not in str(refused.value)


def test_a_key_file_without_password_says_how_to_name_it(desk, keys):
    with pytest.raises(ChainError, match="--password-file"):
        KeystoreSigner(keys[1], None)


def test_someone_else_cannot_certify(desk, keys):
    contracts = desk.settle(desk.chain())
    _, keystore, password = keys
    stranger = Chain(desk.url, signer=KeystoreSigner(keystore, password))
    terms = (2**39, 2**39 + 1, 0, 0, 0, 1, 1, b"\2" * 32)
    call = attach(stranger, desk.book).events.functions.issue(b"\1" * 32, terms)
    with pytest.raises(ChainError, match="AccessControlUnauthorizedAccount"):
        stranger.send("issue", call)
    assert contracts.events.functions.stateOf(b"\1" * 32).call() == 0


def test_contracts_are_looked_up_by_chain(desk, tmp_path):
    chain = desk.chain()
    first = deploy(chain, desk.book, COIN)
    assert deploy(desk.chain(), desk.book, COIN).addresses() == first.addresses()
    with pytest.raises(ChainError, match="has no address of"):
        attach(chain, tmp_path / "another.json")


def test_an_unknown_refusal_is_passed_on():
    assert explain(ValueError("odd")) == "odd"


def test_the_contracts_are_found_from_the_address_of_one(desk):
    contracts = desk.settle(desk.chain())
    reader = Chain(desk.url, reader=True)
    assert attach_at(reader, contracts.events.address).addresses().items() <= contracts.addresses().items()
    with pytest.raises(ChainError, match="no DemandResponse contract at 0x"):
        attach_at(reader, contracts.coin.address)
