"""The private network with real geth nodes: ready, private, and back after a crash."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from eth_account import Account
from geth_desk import a_network
from listening import listeners
from terminal import Terminal

from infra.clique import sealer_of
from infra.daemons import ServiceError, wait_until
from infra.geth_install import find_geth
from infra.geth_network import Network
from infra.geth_status import network_status
from infra.json_rpc import rpc

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]  # the first of them may have to build geth

PERIOD = 1
PATIENCE = 20.0
"""Seconds for what takes one or two on an idle machine."""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of this module's own: its nodes are killed."""
    with a_network(tmp_path_factory.mktemp("private") / "chain", period=PERIOD) as network:
        yield network


def head(node):
    return int(rpc(node.url, "eth_blockNumber"), 16)


def block(node, number):
    return rpc(node.url, "eth_getBlockByNumber", hex(number), False)


def hash_at(node, number):
    return (block(node, number) or {}).get("hash")


def transfer(network, node, wei=1):
    """Send the operator's ether to nobody, by a node; returns the transaction's hash."""
    key = Account.decrypt(
        json.loads(network.operator_keystore.read_text()), network.operator_password_file.read_text().strip()
    )
    nonce = int(rpc(node.url, "eth_getTransactionCount", network.operator, "pending"), 16)
    signed = Account.sign_transaction(
        {
            "to": "0x" + 40 * "0",
            "value": wei,
            "gas": 21_000,
            "maxFeePerGas": 10**9,
            "maxPriorityFeePerGas": 1,
            "nonce": nonce,
            "chainId": network.chain_id,
        },
        key,
    )
    return rpc(node.url, "eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())


def is_mined(node, sent):
    return rpc(node.url, "eth_getTransactionReceipt", sent) is not None


# --- ready -------------------------------------------------------------------------------------------------


def test_the_nodes_are_peers_on_one_chain_that_goes_on(network):
    sealer, follower = network.nodes
    for node in network.nodes:
        assert int(rpc(node.url, "eth_chainId"), 16) == network.chain_id
        assert int(rpc(node.url, "net_peerCount"), 16) == 1
    before = head(sealer)
    assert wait_until(lambda: head(sealer) > before, PATIENCE)
    assert wait_until(lambda: hash_at(follower, before + 1) == hash_at(sealer, before + 1), PATIENCE)


def test_a_transaction_sent_to_the_follower_is_sealed(network):
    sealer, follower = network.nodes
    sent = transfer(network, follower)
    assert wait_until(lambda: is_mined(follower, sent) and is_mined(sealer, sent), PATIENCE)


def test_the_seal_is_recovered_as_geth_itself_recovers_it(network):
    assert wait_until(lambda: head(network.sealer) >= 2, PATIENCE)
    ask = [find_geth(), "attach", "--exec", 'clique.getSigner("0x2")', network.sealer.ipc]
    said = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == sealer_of(block(network.sealer, 2)).lower() == network.sealer.account.lower()


def test_status_tells_of_every_node_what_it_is_doing(network):
    assert wait_until(lambda: head(network.node("follower")) >= 4, PATIENCE)
    for node, seen in zip(network.nodes, network_status(network), strict=True):
        assert (seen.name, seen.role, seen.url, seen.account) == (node.name, node.role, node.url, node.account)
        assert (seen.up, seen.problem, seen.pid) == (True, None, node.pid)
        assert (seen.peers, seen.sealer) == (1, network.sealer.account)
        assert seen.head >= 4
        assert hash_at(node, seen.head) == seen.head_hash
        assert PERIOD <= seen.interval <= 5 * PERIOD
        assert (seen.pending, seen.queued) == (0, 0)
        assert 0 <= seen.gas_used <= seen.gas_limit
        assert seen.gas_limit == network.gas_limit
        assert seen.gas_used_pct == round(100 * seen.gas_used / seen.gas_limit, 2)


def test_waiting_for_a_network_that_lacks_a_node_names_the_node(network):
    network.stop_node("follower")
    try:
        with pytest.raises(ServiceError, match=r"sealer doesn't have all its peers|no answer from http"):
            network.wait_until_ready(0.5)
        (_, follower) = network_status(network)
        assert (follower.up, follower.problem, follower.head) == (False, "not running", None)
    finally:
        network.up()


# --- private -----------------------------------------------------------------------------------------------


def test_every_listener_is_on_loopback(network):
    for node in network.nodes:
        assert {address for address, _ in listeners(node.pid, udp=True)} == {"0100007F"}


def test_files_are_the_owners_alone(network):
    assert stat.S_IMODE(network.folder.stat().st_mode) == 0o700
    private = [network.operator_password_file, network.operator_keystore, network.folder / "network.json"]
    for node in network.nodes:
        private += [node.folder / name for name in ("password", "nodekey", "geth.log", "geth/jwtsecret")]
        private += [*(node.folder / "keystore").iterdir()]
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in private} == {
        path.name: "0o600" for path in private
    }


def test_no_secret_is_on_a_command_line_in_an_environment_or_in_a_log(network):
    secrets = [network.operator_password_file.read_text().strip()]
    for node in network.nodes:
        password = (node.folder / "password").read_text().strip()
        (keystore,) = (node.folder / "keystore").iterdir()
        key = bytes(Account.decrypt(json.loads(keystore.read_text()), password))
        secrets += [
            password,
            key.hex(),
            (node.folder / "nodekey").read_text(),
            (node.folder / "geth/jwtsecret").read_text(),
        ]
    for node in network.nodes:
        told = [node.log, *(Path(f"/proc/{node.pid}/{name}") for name in ("cmdline", "environ"))]
        for path in told:
            text = path.read_text(errors="replace").lower()
            assert not [secret for secret in secrets if secret.lower().removeprefix("0x") in text], path


@pytest.mark.parametrize(
    "method", ["personal_listAccounts", "admin_peers", "clique_propose", "miner_stop", "debug_setHead"]
)
def test_http_offers_nothing_that_changes_the_node(network, method):
    for node in network.nodes:
        with pytest.raises(ServiceError, match="does not exist"):
            rpc(node.url, method)


def test_the_unlocked_account_has_nothing_to_spend_but_tips(network):
    sealer = network.sealer
    spend = {"from": sealer.account, "to": network.operator, "value": hex(10**9), "gas": "0x5208", "gasPrice": "0x8"}
    with pytest.raises(ServiceError, match="insufficient funds"):
        rpc(sealer.url, "eth_sendTransaction", spend)
    follower = network.node("follower")
    with pytest.raises(ServiceError, match="authentication needed"):
        rpc(follower.url, "eth_sendTransaction", spend | {"from": follower.account})


# --- back after a crash ------------------------------------------------------------------------------------


def test_a_killed_follower_catches_up(network):
    sealer, follower = network.nodes
    assert network.stop_node("follower", hard=True)
    missed = head(sealer) + 3
    assert wait_until(lambda: head(sealer) >= missed, PATIENCE)
    network.start_node("follower")
    assert wait_until(lambda: hash_at(follower, missed) == hash_at(sealer, missed), PATIENCE)
    network.wait_until_ready()


def test_a_killed_sealer_seals_again_on_what_it_sealed(network):
    sealer, follower = network.nodes
    assert network.stop_node("sealer", hard=True)
    last = head(follower)
    kept = hash_at(follower, last)
    sent = transfer(network, follower)
    assert not is_mined(follower, sent)
    network.start_node("sealer")
    assert wait_until(lambda: head(follower) >= last + 2, PATIENCE)
    assert hash_at(follower, last) == hash_at(sealer, last) == kept
    assert wait_until(lambda: is_mined(follower, sent), PATIENCE)
    network.wait_until_ready()


@pytest.mark.parametrize("name", ["follower", "sealer"])
def test_a_node_that_lost_its_chain_gets_it_from_the_other(network, name):
    lost = network.node(name)
    (other,) = (node for node in network.nodes if node is not lost)
    network.stop_node(name, hard=True)
    last = head(other)
    kept = [hash_at(other, number) for number in (0, last // 2, last)]
    shutil.rmtree(lost.folder / "geth")
    network.start_node(name)
    assert wait_until(lambda: head(lost) > last and head(other) > last, PATIENCE)
    for node in network.nodes:
        assert [hash_at(node, number) for number in (0, last // 2, last)] == kept
    network.wait_until_ready()


def test_down_and_up_keeps_the_chain_and_its_addresses(network):
    first, urls = hash_at(network.sealer, 0), network.urls
    before = head(network.node("follower"))
    assert network.down() == ["follower", "sealer"]
    assert [node.pid for node in network.nodes] == [None, None]
    assert network.down() == []
    again = Network.load(network.folder)
    assert again.up() == ["sealer", "follower"]
    assert again.up() == []
    assert again.urls == urls
    for node in again.nodes:
        assert hash_at(node, 0) == first
        assert head(node) >= before


def test_up_starts_only_what_is_missing(network):
    pid = network.sealer.pid
    network.stop_node("follower", hard=True)
    assert network.up() == ["follower"]
    assert network.sealer.pid == pid


# --- the commands ------------------------------------------------------------------------------------------


def test_the_commands_bring_a_network_up_show_it_and_take_it_away(tmp_path):
    def run(*words):
        return Terminal(tmp_path).json("stack", *words)["chain"]

    try:
        assert run("status") == {"state": "none"}
        made = run("up", "chain", "--period", "2", "--chain-id", "4242")
        assert (made["made"], made["started"], made["state"]) == (True, ["sealer", "follower"], "running")
        assert (made["period"], made["chain_id"]) == (2, 4242)
        again = run("up", "chain")
        assert (again["made"], again["started"]) == (False, [])
        refused = Terminal(tmp_path).run("stack", "up", "chain", "--period", 5, exit_code=1)
        assert "has period 2, which can't change" in refused
        Network.load(tmp_path / "stack" / "chain").stop_node("sealer", hard=True)
        partly = run("status")
        assert (partly["state"], [node["up"] for node in partly["nodes"]]) == ("partly", [False, True])
        assert run("down", "chain") == {"stopped": ["follower"], "erased": False}
        assert run("status")["state"] == "stopped"
        assert run("down", "chain", "--erase") == {"stopped": [], "erased": True}
        assert run("status") == {"state": "none"}
    finally:
        if (folder := tmp_path / "stack" / "chain").exists():
            Network.load(folder).down()


def test_the_setting_stack_opens_the_network_with_its_operator(network, tmp_path):
    from negawatt.chains import open_chain
    from negawatt.settings import Settings
    from negawatt.workspace import Workspace

    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "chain").symlink_to(network.folder)
    with open_chain(Workspace(tmp_path), Settings(chain="stack://")) as chain:
        assert (chain.chain_id, chain.operator) == (network.chain_id, network.operator)
    with open_chain(Workspace(tmp_path), Settings(chain="stack://"), reader=True) as chain:
        assert chain.chain_id == network.chain_id


def test_the_shared_network_is_ready(geth_network):
    geth_network.wait_until_ready()
