"""A sender that is killed at any point is finished by the next one, with every effect on chain exactly once."""

from __future__ import annotations

import threading

import pytest
from transaction_desk import a_chain, a_counter, a_node, ask, ended, killed, plain, start

from serving.outbox import Outbox
from serving.outbox_rows import MINED

pytestmark = pytest.mark.stack

WORDS = list(range(1, 6))


@pytest.fixture
def url():
    with a_node() as url:
        yield url


@pytest.fixture
def box(tmp_path):
    return tmp_path / "outbox.sqlite"


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    "point",
    [
        "before it is written",
        "after it is written",
        "after it is broadcast",
        "before the receipt is marked",
        "after the receipt is marked",
    ],
)
def test_a_killed_sender_is_finished_by_the_next(url, box, point, after):
    counter = a_counter(a_chain(url, box), url)
    sending = {"url": url, "outbox": str(box), "address": counter.address, "words": WORDS}
    killed(start("send_counts", **sending, die_at=point, die_after=after))
    unfinished = len(Outbox.at("", box).rows(unfinished=True))
    chain = a_chain(url, box)  # opening it finishes what was written
    assert len(chain.recovered) == unfinished
    assert Outbox.at("", box).rows(unfinished=True) == []
    ended(start("send_counts", **sending))
    assert [counter.counted(word) for word in WORDS] == [1] * len(WORDS)
    rows = Outbox.at("", box).rows()
    assert {row.state for row in rows} == {MINED}
    assert len(rows) == 1 + len(WORDS)
    assert plain(url).eth.get_transaction_count(chain.operator) == len(rows)


@pytest.mark.parametrize("point", ["before it is replaced", "after a replacement is written"])
def test_a_sender_killed_while_it_replaces_is_finished_by_the_next(url, box, point):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    for word in (101, 102):  # so that gas need not be estimated on an idle chain
        chain.send("count", counter.count(word))
    ask(url, "evm_setAutomine", False)
    killed(start("send_counts", url=url, outbox=str(box), address=counter.address, words=WORDS, die_at=point))
    ask(url, "evm_setAutomine", True)
    a_chain(url, box)
    assert [counter.counted(word) for word in WORDS] == [1] * len(WORDS)


def test_what_a_dead_sender_wrote_is_sent_by_whoever_waits_behind_it(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    sending = {"url": url, "outbox": str(box), "address": counter.address, "words": [1]}
    killed(start("send_counts", **sending, die_at="after it is written"))
    assert counter.total() == 0
    chain.send("count", counter.count(2), gas=100_000)  # this one was opened before
    assert (counter.counted(1), counter.counted(2)) == (1, 1)


def test_a_chain_that_was_set_back_gets_what_it_forgot_again(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    for word in WORDS:
        chain.send("count", counter.count(word), key=str(word))
    ask(url, "anvil_rollback", 3)
    assert counter.total() == 2
    again = a_chain(url, box)
    assert [record.purpose for record in again.recovered] == ["count"] * 3
    assert [counter.counted(word) for word in WORDS] == [1] * len(WORDS)


def test_a_done_key_whose_transaction_the_chain_forgot_is_sent_again(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    chain.send("count", counter.count(1), key="once")
    chain.w3.provider.make_request("anvil_rollback", [1])
    assert counter.total() == 0
    chain.send("count", counter.count(1), key="once")
    assert counter.total() == 1
    assert len(Outbox.at("", box).rows()) == 2


def test_a_new_chain_of_the_same_id_has_an_outbox_of_its_own(box):
    for _ in range(2):
        with a_node() as url:
            chain = a_chain(url, box)
            counter = a_counter(chain, url)
            chain.send("count", counter.count(1), key="once")
            assert counter.total() == 1
    rows = Outbox.at("", box).rows()
    assert len(rows) == 4
    assert len({row.lane.genesis for row in rows}) == 2


def test_a_chain_that_is_kept_keeps_its_outbox(tmp_path, box):
    state = tmp_path / "anvil.json"
    with a_node(state=state) as url:
        counter = a_counter(a_chain(url, box), url)
        a_chain(url, box).send("count", counter.count(1), key="once")
    with a_node(state=state) as url:
        a_chain(url, box).send("count", counter.count(1), key="once")
        assert type(counter)(url, counter.address).total() == 1
    assert len({row.lane.genesis for row in Outbox.at("", box).rows()}) == 1


# --- reorganisations -------------------------------------------------------------------------------------------


def test_confirmed_means_so_many_blocks_on_top(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    record = chain.send("count", counter.count(1))
    seen = []

    def mine(done):
        seen.append(done)
        ask(url, "anvil_mine", "0x1")

    assert chain.confirm([record], 3, mine) == [record]
    assert seen == [0, 1, 2, 3]
    assert plain(url).eth.block_number >= record.block + 3


def test_what_a_reorganisation_took_away_is_sent_again_and_confirmed(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    records = [chain.send(f"count {n}", counter.count(n), gas=100_000) for n in WORDS]
    told, done = [], []
    chain.on_record = told.append

    def mine(depth):
        if not done and depth == 2:
            done.append(depth)
            ask(url, "anvil_reorg", 6, [])  # the two blocks on top and those of the last four counts
            assert counter.total() == 1
        ask(url, "anvil_mine", "0x1")

    confirmed = chain.confirm(records, 4, mine)
    assert [counter.counted(n) for n in WORDS] == [1] * len(WORDS)
    assert [record.hash for record in confirmed] == [record.hash for record in records]  # the same bytes
    assert confirmed[0] == records[0]
    head = plain(url).eth.block_number
    for record in confirmed:
        receipt = plain(url).eth.get_transaction_receipt(record.hash)
        assert (receipt["blockNumber"], receipt["blockHash"].to_0x_hex()) == (record.block, record.block_hash)
        assert head - record.block >= 4
    assert {record.hash for record in told} == {record.hash for record in records[1:]}
    assert chain.records[-5:] == confirmed


def test_what_a_reorganisation_moved_counts_from_its_new_block(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    record = chain.send("count", counter.count(1))
    raw = Outbox.at("", box).find(chain._engine.lane, record.hash).attempts[0].raw
    ask(url, "anvil_mine", "0x2")
    ask(url, "anvil_reorg", 3, [["0x" + raw.hex(), 2]])
    threading.Timer(0.3, ask, (url, "anvil_mine", "0x5")).start()
    (moved,) = chain.confirm([record], 2)
    assert moved.hash == record.hash
    assert moved.block == record.block + 2
    assert moved.block_hash != record.block_hash
    assert counter.total() == 1
