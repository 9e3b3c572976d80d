"""What can be said of HeavyDB without starting a server: its folder, its password, and the compose file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from infra.daemons import ServiceError
from infra.heavydb.password import password_of
from infra.heavydb_server import HeavyDBServer
from negawatt.stack_services import speed_address
from negawatt.workspace import Workspace

COMPOSE = Path(__file__).parents[2] / "infra" / "compose" / "heavydb.yaml"


def test_a_server_s_folder_is_private_and_read_again(tmp_path):
    made = HeavyDBServer.create(tmp_path / "heavydb", port=23_456, memory_mib=300)
    assert HeavyDBServer.load(tmp_path / "heavydb") == made
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert made.url == "heavydb://admin@127.0.0.1:23456/heavyai"
    assert made.client_url == f"heavydb://admin:{made.password}@127.0.0.1:23456/heavyai"
    assert HeavyDBServer.load(made.folder).changed(port=23_457).port == HeavyDBServer.load(made.folder).port == 23_457
    assert (made.pid, made.memory_to_start_mib) == (None, 500)


def test_two_servers_have_two_passwords_and_one_that_others_can_read_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    assert password_of(tmp_path / "a") == password_of(tmp_path / "a") != password_of(tmp_path / "b")
    (tmp_path / "a" / "password").chmod(0o644)
    with pytest.raises(ServiceError, match="chmod 600"):
        password_of(tmp_path / "a")
    (tmp_path / "b" / "password").write_text("\n")
    with pytest.raises(ServiceError, match="is empty"):
        password_of(tmp_path / "b")


def test_a_workspace_without_a_server_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ServiceError, match="negawatt stack up heavydb"):
        speed_address(Workspace(tmp_path))


@pytest.mark.parametrize("text", ["{", '{"port": "many"}', '{"port": 1, "speed": 2}', "[]"])
def test_a_broken_server_file_is_named(tmp_path, text):
    made = HeavyDBServer.create(tmp_path / "heavydb")
    (made.folder / "server.json").write_text(text)
    with pytest.raises(ServiceError, match=r"server\.json can't be read"):
        HeavyDBServer.load(made.folder)


def test_the_compose_file_publishes_on_loopback_alone_and_has_no_password():
    text = COMPOSE.read_text()
    document = yaml.safe_load(text)
    (service,) = document["services"].values()
    assert service["image"].startswith("${HEAVYDB_IMAGE:?")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert {port.rpartition(":")[2] for port in service["ports"]} == {"6274", "6278"}
    assert set(document["volumes"]) == {volume.partition(":")[0] for volume in service["volumes"]}
    assert "HyperInteractive" not in text
    assert "password" not in json.dumps(document).lower()
