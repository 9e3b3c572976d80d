"""What `negawatt stack` says of a network that doesn't run."""

from __future__ import annotations

import json

import pytest
from geth_desk import a_stopped_network
from terminal import Terminal


@pytest.fixture
def run(tmp_path):
    return lambda *words: Terminal(tmp_path).invoke("stack", *words)


def test_without_a_network_status_names_the_command_that_makes_one(run, tmp_path):
    done = run("status")
    assert (done.exit_code, "negawatt stack up chain" in done.output) == (0, True)
    nothing = {name: {"state": "none"} for name in ("chain", "kafka", "hbase", "spark", "heavydb", "airflow")}
    assert json.loads(run("status", "--json").stdout) == nothing
    assert not (tmp_path / "stack").exists()


def test_a_stopped_network_is_shown_with_what_to_do(run, tmp_path):
    network = a_stopped_network(tmp_path / "stack" / "chain")
    done = run("status")
    assert done.output.count("not running; start it with `negawatt stack up chain`") == 2
    shown = json.loads(run("status", "--json").stdout)["chain"]
    assert (shown["state"], shown["operator"]) == ("stopped", network.operator)
    assert [(node["url"], node["up"], node["head"]) for node in shown["nodes"]] == [
        (url, False, None) for url in network.urls
    ]


def test_taking_down_what_is_not_there_is_no_error(run):
    assert json.loads(run("down", "chain", "--json").stdout) == {"chain": {"stopped": [], "erased": False}}


def test_erasing_needs_to_be_asked_for(run, tmp_path):
    network = a_stopped_network(tmp_path / "stack" / "chain")
    assert json.loads(run("down", "chain", "--json").stdout) == {"chain": {"stopped": [], "erased": False}}
    assert network.operator_keystore.exists()
    assert json.loads(run("down", "chain", "--erase", "--json").stdout) == {"chain": {"stopped": [], "erased": True}}
    assert not network.folder.exists()


@pytest.mark.parametrize("option", [("--period", "7"), ("--chain-id", "5")])
def test_what_the_first_block_fixed_cannot_be_changed(run, tmp_path, option):
    a_stopped_network(tmp_path / "stack" / "chain")
    done = run("up", "chain", *option)
    assert (done.exit_code, "can't change" in done.output) == (1, True)


def test_an_unknown_server_is_refused_with_those_there_are(run):
    done = run("up", "mongo")
    assert (done.exit_code, "'mongo' is not one of 'chain', 'kafka', 'hbase'" in done.output) == (2, True)
