"""The outbox on the command line: what was sent is listed, and what was left is finished."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from transaction_desk import HASTE, a_counter, a_node, killed, start

from negawatt.cli import main
from negawatt.workspace import Workspace
from serving.chain import Chain
from serving.outbox import Outbox


def run(*arguments, **environment):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def test_an_empty_outbox_is_listed_and_resumed_without_a_chain(tmp_path):
    done = run("-w", tmp_path, "outbox", "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["transactions"] == []
    assert not Workspace(tmp_path).chain_state.exists()


@pytest.mark.stack
def test_what_a_killed_sender_left_is_listed_and_finished(tmp_path):
    box = Workspace(tmp_path).outbox
    with a_node() as url:
        counter = a_counter(Chain(url, outbox=Outbox.at("", box), options=HASTE), url)
        sending = {"url": url, "outbox": str(box), "address": counter.address, "words": [1, 2]}
        killed(start("send_counts", **sending, die_at="after it is written"))
        listed = run("-w", tmp_path, "outbox", "--unfinished", "--json")
        (left,) = json.loads(listed.stdout)["transactions"]
        assert (left["purpose"], left["state"], left["nonce"]) == ("count 1", "new", 1)
        assert counter.total() == 0
        resumed = run("-w", tmp_path, "outbox", "--resume", "--chain", url)
        assert resumed.exit_code == 0, resumed.output
        assert "1 finished" in resumed.stdout
        assert counter.total() == 1
        assert {
            row["state"] for row in json.loads(run("-w", tmp_path, "outbox", "--json").stdout)["transactions"]
        } == {"mined"}


@pytest.mark.stack
def test_the_outbox_setting_names_another_file(tmp_path):
    with a_node() as url:
        elsewhere = tmp_path / "elsewhere.sqlite"
        a_counter(Chain(url, outbox=Outbox.at("", elsewhere), options=HASTE), url)
    listed = run("-w", tmp_path / "ws", "outbox", "--json", NEGAWATT_OUTBOX=str(elsewhere))
    (row,) = json.loads(listed.stdout)["transactions"]
    assert (row["purpose"], row["state"], row["to"]) == ("deploy the counter", "mined", None)
