"""The outbox on the command line: what was sent is listed, and what was left is finished."""

from __future__ import annotations

import pytest
from terminal import Terminal
from transaction_desk import HASTE, a_counter, a_node, killed, start

from negawatt.workspace import Workspace
from serving.chain import Chain
from serving.outbox import Outbox


def test_an_empty_outbox_is_listed_and_resumed_without_a_chain(tmp_path):
    assert Terminal(tmp_path).json("outbox", "--resume")["transactions"] == []
    assert not Workspace(tmp_path).chain_state.exists()


@pytest.mark.stack
def test_what_a_killed_sender_left_is_listed_and_finished(tmp_path):
    terminal, box = Terminal(tmp_path), Workspace(tmp_path).outbox
    with a_node() as url:
        counter = a_counter(Chain(url, outbox=Outbox.at("", box), options=HASTE), url)
        sending = {"url": url, "outbox": str(box), "address": counter.address, "words": [1, 2]}
        killed(start("send_counts", **sending, die_at="after it is written"))
        (left,) = terminal.json("outbox", "--unfinished")["transactions"]
        assert (left["purpose"], left["state"], left["nonce"]) == ("count 1", "new", 1)
        assert counter.total() == 0
        assert "1 finished" in terminal.run("outbox", "--resume", "--chain", url)
        assert counter.total() == 1
        assert {row["state"] for row in terminal.json("outbox")["transactions"]} == {"mined"}


@pytest.mark.stack
def test_the_outbox_setting_names_another_file(tmp_path):
    with a_node() as url:
        elsewhere = tmp_path / "elsewhere.sqlite"
        a_counter(Chain(url, outbox=Outbox.at("", elsewhere), options=HASTE), url)
    (row,) = Terminal(tmp_path / "ws").json("outbox", env={"NEGAWATT_OUTBOX": str(elsewhere)})["transactions"]
    assert (row["purpose"], row["state"], row["to"]) == ("deploy the counter", "mined", None)
