"""Nodes that fail, lag and lie about nothing but the time: reads stay right, and sends arrive once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from flaky_proxy import a_proxy
from transaction_desk import HASTE, Counter, a_chain, a_counter, a_node, ask, plain

from domain.errors import ChainError
from serving.nodes import Nodes, NoNodeError, shown
from serving.outbox import Outbox

pytestmark = pytest.mark.stack

QUICK = replace(HASTE, timeout_seconds=0.5, lag_seconds=1.0)


@pytest.fixture
def node():
    with a_node() as url:
        yield url


@pytest.fixture
def first(node):
    with a_proxy(node) as proxy:
        yield proxy


@pytest.fixture
def second(node):
    with a_proxy(node) as proxy:
        yield proxy


@pytest.mark.parametrize("mood", ["drop", "slow", "error", "garbage"])
def test_the_other_node_is_asked_when_one_fails(node, first, second, mood):
    chain = a_chain(f"{first.url}, {second.url}", options=QUICK)
    counter = a_counter(chain, node)
    first.mood = mood
    began = time.monotonic()
    chain.send("count", counter.count(1))
    chain.send("count", counter.count(2))
    assert counter.total() == 2
    assert time.monotonic() - began < 10
    first.mood, second.mood = "ok", mood
    chain.send("count", counter.count(3))
    assert counter.total() == 3


@pytest.mark.parametrize("mood", ["drop", "slow", "error", "garbage"])
def test_all_nodes_failing_is_said_with_their_names(first, second, mood):
    chain = a_chain(f"{first.url},{second.url}", options=QUICK)
    first.mood = second.mood = mood
    with pytest.raises(ChainError, match=rf"no node answers at {first.url}, {second.url}: .*{first.url} "):
        chain.now()


def test_a_short_failure_of_the_only_node_is_sat_out(node, first):
    chain = a_chain(first.url, options=QUICK)
    first.mood = "error"
    threading.Timer(0.3, setattr, (first, "mood", "ok")).start()
    assert chain.now()


def test_a_failure_while_a_receipt_is_waited_for_is_sat_out(node, first):
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    ticket = chain.submit("count", counter.count(1))
    first.mood = "error"
    threading.Timer(3.0, setattr, (first, "mood", "ok")).start()
    assert chain.wait([ticket])[0].hash == ticket.hash


def test_a_failure_while_confirmations_are_waited_for_is_sat_out(node, first):
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    record = chain.send("count", counter.count(1))

    def fail(done):
        if done == 0:
            ask(node, "anvil_mine", "0x3")
            first.mood = "error"
            threading.Timer(1.5, setattr, (first, "mood", "ok")).start()

    assert chain.confirm([record], 3, fail) == [record]


def test_a_transaction_goes_to_every_node(node, first, second):
    chain = a_chain(f"{first.url},{second.url}", options=QUICK)
    a_counter(chain, node)
    assert first.methods.count("eth_sendRawTransaction") == 1
    assert second.methods.count("eth_sendRawTransaction") == 1


def test_a_node_that_takes_a_transaction_and_does_not_say_so_sends_it_once(node, first):
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    first.mood = "deaf"
    ticket = chain.submit("count", counter.count(1))
    assert chain.wait([ticket])[0].hash == ticket.hash
    assert counter.counted(1) == 1


def test_a_node_that_is_behind_is_not_believed(node, first, second):
    chain = a_chain(f"{first.url},{second.url}", options=QUICK)
    counter = a_counter(chain, node)
    chain.send("count", counter.count(1))
    first.old, first.mood = plain(node).eth.block_number, "behind"
    record = chain.send("count", counter.count(2))
    for _ in range(3):
        assert chain.w3.eth.block_number >= record.block
        assert chain.w3.eth.get_transaction_count(chain.operator) == 3
        assert chain.w3.eth.get_transaction_receipt(record.hash)["status"] == 1
    assert (counter.counted(1), counter.counted(2)) == (1, 1)


def test_a_node_that_is_behind_is_waited_for(node, first):
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    block = chain.send("count", counter.count(1)).block
    first.old, first.mood = block - 1, "behind"
    threading.Timer(0.4, setattr, (first, "old", block)).start()
    assert chain.w3.eth.get_transaction_count(chain.operator) == 2


def test_nodes_that_stay_behind_are_said(node, first):
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    block = chain.send("count", counter.count(1)).block
    first.old, first.mood = block - 1, "behind"
    with pytest.raises(NoNodeError, match=rf"block {block} was seen, but the head is {block - 1} at {first.url}"):
        chain.w3.eth.get_transaction_count(chain.operator)


def test_a_node_without_batches_is_asked_one_by_one(node, first):
    first.mood = "no batches"
    chain = a_chain(first.url, options=QUICK)
    counter = a_counter(chain, node)
    chain.send("count", counter.count(1))
    assert counter.total() == 1


def test_a_sender_behind_flaky_nodes_pays_once(node, first, second, tmp_path):
    """Moods change all the time; every count arrives exactly once."""
    box = tmp_path / "outbox.sqlite"
    chain = a_chain(f"{first.url},{second.url}", box, options=QUICK)
    counter = a_counter(chain, node)
    stop = threading.Event()

    def disturb():
        moods = ["drop", "ok", "error", "garbage", "deaf", "ok", "slow"]
        turn = 0
        while not stop.wait(0.15):
            turn += 1
            first.mood, second.mood = moods[turn % 7], "ok" if turn % 3 else moods[(turn + 3) % 7]

    first.delay = second.delay = 0.7
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        sent = []
        for word in range(1, 16):
            while True:
                try:
                    sent.append(chain.send("count", counter.count(word), key=str(word)))
                    break
                except NoNodeError:
                    continue
    finally:
        stop.set()
        thread.join()
        first.mood = second.mood = "ok"
    assert [counter.counted(word) for word in range(1, 16)] == [1] * 15
    assert len(Outbox.at("", box).rows()) == 16


def test_addresses_are_shown_without_what_may_be_a_key():
    assert shown("https://user:pass@rpc.example/v2/0a1b2c?key=d") == "https://rpc.example/…"
    with pytest.raises(ChainError) as refused:
        Nodes("https://user:pass@rpc.invalid/v2/0a1b2c", timeout_seconds=0.5).make_request("eth_chainId", [])
    assert "pass" not in str(refused.value)
    assert "0a1b2c" not in str(refused.value)
    with pytest.raises(ChainError, match="is no JSON-RPC address"):
        Nodes("localhost:8545")


def test_a_chain_of_no_name_is_refused():
    with pytest.raises(ChainError, match="no node is named"):
        Nodes(" , ")


def test_web3s_own_send_goes_to_every_node_too(node, first, second):
    chain = a_chain(f"{first.url},{second.url}", options=QUICK)
    counter: Counter = a_counter(chain, node)
    ask(node, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1))
    raw = chain._engine.outbox.find(chain._engine.lane, ticket.hash).attempts[0].raw
    ask(node, "anvil_dropAllTransactions")
    assert chain.w3.eth.send_raw_transaction(raw).to_0x_hex() == ticket.hash
    ask(node, "evm_mine")
    assert counter.total() == 1
