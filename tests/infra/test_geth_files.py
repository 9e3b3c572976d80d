"""What a network's folder holds before any node ran: keys that are kept safe, options that hold no secret."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from geth_desk import FIRST_BLOCK, a_program, a_stopped_network

from domain.errors import NegawattError
from infra.daemons import ServiceError
from infra.geth_create import create_network
from infra.geth_network import Network
from infra.geth_node import arguments
from negawatt.chains import on_stack
from negawatt.settings import Settings
from negawatt.workspace import Workspace


@pytest.fixture
def network(tmp_path):
    return a_stopped_network(tmp_path / "chain")


def options(network, name):
    return arguments(network.node(name), chain_id=network.chain_id, gas_limit=network.gas_limit, peers=1)


def value_of(words, flag):
    return words[words.index(flag) + 1]


def test_a_network_is_loaded_as_it_was_made(network):
    assert Network.load(network.folder) == network


def test_folders_and_files_are_the_owners_alone(network):
    for path in (network.folder, *network.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_every_account_opens_with_its_own_password(network):
    places = [(network.operator, network.operator_keystore, network.operator_password_file)]
    places += [
        (node.account, node.folder / "keystore" / f"{node.name}.json", node.folder / "password")
        for node in network.nodes
    ]
    passwords = set()
    for address, keystore, password in places:
        passwords.add(secret := password.read_text().strip())
        assert Account.from_key(Account.decrypt(json.loads(keystore.read_text()), secret)).address == address
    assert len(passwords) == 3


def test_node_keys_are_those_that_peers_know_the_nodes_by(network):
    for node in network.nodes:
        key = PrivateKey(bytes.fromhex((node.folder / "nodekey").read_text()))
        assert key.public_key.to_hex().removeprefix("0x") == node.public_key
        assert node.enode == f"enode://{node.public_key}@127.0.0.1:{node.p2p_port}"


def test_only_the_operator_begins_with_ether_and_only_the_sealer_may_seal(network):
    first = json.loads((network.folder / "genesis.json").read_text())
    assert list(first["alloc"]) == [network.operator]
    assert network.sealer.account.lower().removeprefix("0x") in first["extraData"]
    assert network.node("follower").account.lower().removeprefix("0x") not in first["extraData"]


def test_two_networks_share_no_key(tmp_path):
    networks = [a_stopped_network(tmp_path / name / "chain") for name in ("one", "two")]
    keys = [{n.operator, *(key for node in n.nodes for key in (node.account, node.public_key))} for n in networks]
    assert not keys[0] & keys[1]


def test_every_listener_of_a_network_has_a_port_of_its_own(network):
    assert len({port for node in network.nodes for port in (node.http_port, node.p2p_port)}) == 4


def test_no_secret_is_on_a_command_line(network):
    secrets = [(node.folder / file).read_text().strip() for node in network.nodes for file in ("nodekey", "password")]
    words = " ".join(word for node in network.nodes for word in options(network, node.name))
    assert not [secret for secret in secrets if secret in words]


def test_nodes_listen_on_loopback_and_offer_nothing_that_spends_or_votes(network):
    for node in network.nodes:
        words = options(network, node.name)
        assert value_of(words, "--http.addr") == value_of(words, "--authrpc.addr") == "127.0.0.1"
        assert value_of(words, "--netrestrict") == "127.0.0.0/8"
        assert set(value_of(words, "--http.api").split(",")) == {"eth", "net", "web3", "txpool"}
        assert "--nodiscover" in words
        assert "--ws" not in words


def test_only_the_sealer_unlocks_an_account(network):
    assert value_of(options(network, "sealer"), "--unlock") == network.sealer.account
    assert not {"--unlock", "--mine", "--allow-insecure-unlock"} & set(options(network, "follower"))


def test_a_path_too_long_for_a_socket_does_without_one(tmp_path):
    network = a_stopped_network(tmp_path / ("long" * 25) / "chain")
    words = options(network, "sealer")
    assert "--ipcdisable" in words
    assert "--ipcpath" not in words


@pytest.mark.parametrize("values", [{"period": 0}, {"chain_id": 0}])
def test_a_network_that_cannot_be_leaves_nothing_behind(tmp_path, values):
    with pytest.raises(ServiceError):
        a_stopped_network(tmp_path / "stack" / "chain", **values)
    assert [path.name for path in (tmp_path / "stack").iterdir() if path.is_dir()] == []


def test_a_first_block_that_geth_refuses_leaves_nothing_behind(tmp_path):
    geth = a_program(tmp_path / "geth", "echo 'Fatal: invalid genesis' >&2; exit 1")
    with pytest.raises(ServiceError, match="invalid genesis"):
        create_network(tmp_path / "stack" / "chain", geth=geth, now=FIRST_BLOCK)
    assert [path.name for path in (tmp_path / "stack").iterdir() if path.is_dir()] == []


def test_a_network_is_never_made_over_another(network):
    with pytest.raises(ServiceError, match="exists"):
        a_stopped_network(network.folder)
    assert Network.load(network.folder) == network


def test_a_missing_network_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ServiceError, match="negawatt stack up chain"):
        Network.load(tmp_path / "chain")


def test_a_broken_network_file_is_named(network):
    (network.folder / "network.json").write_text('{"chain_id": 1}')
    with pytest.raises(ServiceError, match=r"network\.json can't be read"):
        Network.load(network.folder)


def test_a_node_that_ends_at_once_is_reported_with_the_end_of_its_log(network):
    geth = a_program(
        network.folder.parent / "broken", "[ \"$1\" != --config ] || { echo 'Fatal: Failed to unlock' >&2; exit 1; }"
    )
    with pytest.raises(ServiceError, match=r"sealer ended as soon as it was started(.|\n)*Failed to unlock"):
        network.start_node("sealer", geth)


def test_a_port_that_another_program_took_is_named(network):
    with a_listener(network.sealer.http_port), pytest.raises(ServiceError, match=f"port {network.sealer.http_port}"):
        network.start_node("sealer")


def a_listener(port):
    import socket

    return socket.create_server(("127.0.0.1", port))


def test_an_unknown_node_is_named_with_those_there_are(network):
    with pytest.raises(ServiceError, match="no node 'miner': there are sealer, follower"):
        network.stop_node("miner")


def test_stopping_and_erasing_what_does_not_run_removes_the_folder(network):
    assert network.down() == []
    assert network.folder.exists()
    assert network.down(erase=True) == []
    assert not network.folder.exists()


# --- the setting stack:// ----------------------------------------------------------------------------------


def test_the_setting_stack_means_this_workspaces_network_and_its_operator(tmp_path):
    network = a_stopped_network(tmp_path / "stack" / "chain")
    settings = on_stack(Workspace(tmp_path), Settings(chain="stack://", confirmations=3))
    assert settings == replace(
        Settings(),
        chain=",".join(network.urls),
        keystore=str(network.operator_keystore),
        password_file=str(network.operator_password_file),
        confirmations=3,
    )


@pytest.mark.parametrize(
    "signer", [{"keystore": "own.json", "password_file": "own.password"}, {"remote_signer": "http://127.0.0.1:9000"}]
)
def test_a_signer_that_the_settings_name_is_kept(tmp_path, signer):
    network = a_stopped_network(tmp_path / "stack" / "chain")
    settings = on_stack(Workspace(tmp_path), replace(Settings(chain="stack://"), **signer))
    assert settings == replace(Settings(chain=",".join(network.urls)), **signer)


def test_the_setting_stack_without_a_network_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(NegawattError, match="negawatt stack up chain"):
        on_stack(Workspace(tmp_path), Settings(chain="stack://"))
