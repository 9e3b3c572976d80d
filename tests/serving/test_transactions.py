"""Sending: keys, nonces, prices, gas, and what is said when a contract or a limit refuses."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from transaction_desk import HASTE, Call, a_chain, a_counter, a_node, ask, ended, plain, start

from domain.errors import ChainError, NonceLostError
from serving.outbox import Outbox
from serving.outbox_rows import FAILED, LOST, MINED

pytestmark = pytest.mark.stack

STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def url():
    with a_node() as url:
        yield url


@pytest.fixture
def box(tmp_path):
    return tmp_path / "outbox.sqlite"


def test_many_are_sent_before_the_first_receipt_is_waited_for(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    tickets = [chain.submit(f"count {n}", counter.count(n)) for n in range(1, 31)]
    assert counter.total() == 0
    ask(url, "evm_setAutomine", True)
    ask(url, "evm_mine")
    seen = []
    records = chain.wait(tickets, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    assert [record.purpose for record in records] == [f"count {n}" for n in range(1, 31)]
    assert len({record.block for record in records}) < 30
    assert [counter.counted(n) for n in range(1, 31)] == [1] * 30
    assert chain.records[1:] == records


def test_a_key_is_sent_once_whoever_asks(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    first = chain.send("count", counter.count(7), key="e1/count")
    again = a_chain(url, box)
    assert again.send("count once more", counter.count(7), key="e1/count") == first
    assert again.records == []
    assert counter.counted(7) == 1


def test_a_key_stands_for_one_call_only(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    chain.send("count", counter.count(7), key="e1/count")
    with pytest.raises(ChainError, match=r"key 'e1/count' stands for another .*, 0x\w+ \(count\), which is mined"):
        chain.send("count", counter.count(8), key="e1/count")
    assert counter.total() == 1


def test_without_a_key_the_same_call_is_sent_again(url):
    chain = a_chain(url)
    counter = a_counter(chain, url)
    chain.send("count", counter.count(7))
    chain.send("count", counter.count(7))
    assert counter.counted(7) == 2


def test_a_call_that_would_be_refused_is_not_even_written(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    unauthorised = bytes.fromhex("e2517d3f") + bytes(12) + bytes.fromhex(STRANGER[2:]) + bytes(32)
    with pytest.raises(ChainError, match=r"^try: the contract refused: .*UnauthorizedAccount\(account=0x7099"):
        chain.send("try", counter.revert(unauthorised))
    assert len(Outbox.at("", box).rows()) == 1


def test_a_call_that_was_mined_and_reverted_is_explained_and_its_key_is_free_again(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    unauthorised = bytes.fromhex("e2517d3f") + bytes(12) + bytes.fromhex(STRANGER[2:]) + bytes(32)
    with pytest.raises(ChainError, match=r"AccessControlUnauthorizedAccount\(account=0x7.* was mined and reverted"):
        chain.send("try", counter.revert(unauthorised), key="e1/try", gas=100_000)
    chain.send("count", counter.count(1), key="e1/try")
    failed, done = [row for row in Outbox.at("", box).rows() if row.key == "e1/try"]
    assert (failed.state, failed.run, done.state, done.run) == (FAILED, 1, MINED, 2)


def test_what_ran_out_of_gas_is_said_so(url):
    chain = a_chain(url)
    counter = a_counter(chain, url)
    with pytest.raises(ChainError, match=r"it used up its 30,000 gas"):
        chain.send("count", counter.count(1), gas=30_000)


def test_one_that_fails_among_many_is_named_and_the_others_stand(url):
    chain = a_chain(url)
    counter = a_counter(chain, url)
    calls = [counter.count(1), counter.revert(b"1234"), counter.count(2), counter.revert(b"1234")]
    tickets = [chain.submit(f"call {n}", call, gas=100_000) for n, call in enumerate(calls)]
    with pytest.raises(ChainError, match=r"^call 1: .* was mined and reverted \(1 more failed\)$"):
        chain.wait(tickets)
    assert counter.total() == 2
    assert [record.purpose for record in chain.records[1:]] == ["call 0", "call 2"]


@pytest.mark.parametrize(
    ("most", "gas", "said"),
    [
        (15_000_000, 15_000_001, "needs 15,000,001 gas; allowed are 15,000,000 to a .* and 30,000,000 to a block"),
        (99_000_000, 30_000_001, "needs 30,000,001 gas; allowed are 99,000,000 to a .* and 30,000,000 to a block"),
        (30_000, None, r"needs \d\d,\d\d\d gas; allowed are 30,000 to a transaction \(max_gas\)"),
    ],
)  # fmt: skip
def test_more_gas_than_allowed_is_refused_naming_both_limits(url, box, most, gas, said):
    counter = a_counter(a_chain(url, box), url)
    chain = a_chain(url, box, options=replace(HASTE, max_gas=most))
    with pytest.raises(ChainError, match=said):
        chain.send("count", counter.count(1), gas=gas)
    assert len(Outbox.at("", box).rows()) == 1


def test_a_call_that_needs_more_than_a_block_names_both_limits(url):
    forever = bytes.fromhex("5b600056")  # jump to the start for ever, as creation code
    with pytest.raises(ChainError, match=r"more gas; allowed are 15,000,000 to a .* and 30,000,000 to a block"):
        a_chain(url).send("burn", Call(None, forever))


def test_an_account_without_means_is_refused_in_words_and_may_try_again(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "anvil_setBalance", chain.operator, "0x1")
    with pytest.raises(ChainError, match=r"(?i)count: .*insufficient funds"):
        chain.send("count", counter.count(1), key="once", gas=100_000)
    ask(url, "anvil_setBalance", chain.operator, hex(10**20))
    chain.send("count", counter.count(1), key="once", gas=100_000)  # the same bytes again
    refused, done = [row for row in Outbox.at("", box).rows() if row.key == "once"]
    assert refused.state == FAILED
    assert refused.hash == done.hash


def test_a_price_over_the_limit_is_refused_before_anything_is_written(url, box):
    counter = a_counter(a_chain(url, box), url)
    ask(url, "anvil_setNextBlockBaseFeePerGas", hex(600 * 10**9))
    ask(url, "evm_mine")
    with pytest.raises(ChainError, match=r"count: gas costs [\d.]+ gwei, over the limit max_fee_gwei = 500"):
        a_chain(url, box).send("count", counter.count(1))
    assert len(Outbox.at("", box).rows()) == 1


def test_what_the_nodes_forgot_is_sent_to_them_again(url, box):
    chain = a_chain(url, box, options=replace(HASTE, stuck_seconds=60))
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1), gas=100_000)
    ask(url, "anvil_dropAllTransactions")
    ask(url, "evm_setAutomine", True)
    (record,) = chain.wait([ticket])
    assert record.hash == ticket.hash
    assert counter.total() == 1


def test_a_chain_without_base_fees_is_paid_its_gas_price(box):
    with a_node(hardfork="berlin") as url:
        chain = a_chain(url, box)
        counter = a_counter(chain, url)
        ask(url, "evm_setAutomine", False)
        ticket = chain.submit("count", counter.count(1), gas=100_000)
        stop = threading.Timer(2.5, ask, (url, "evm_mine"))
        stop.start()
        (record,) = chain.wait([ticket])
        assert record.hash != ticket.hash
        assert plain(url).eth.get_transaction(record.hash)["type"] == 0
        assert counter.total() == 1
    first, second = Outbox.at("", box).rows()[-1].attempts[:2]
    assert first.tip is second.tip is None
    assert second.max_fee * 1000 >= first.max_fee * 1125


def test_a_stuck_transaction_is_replaced_at_a_higher_price(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1), gas=100_000)
    behind = chain.submit("count", counter.count(2), gas=100_000)
    first = Outbox.at("", box).get([ticket.row_id])[ticket.row_id].attempts[0]
    ask(url, "anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
    ask(url, "anvil_mine", "0x1")  # too dear for both; the next ones are cheaper again, but not by much
    assert counter.total() == 0

    def mine_when_replaced():
        while len(Outbox.at("", box).get([ticket.row_id])[ticket.row_id].attempts) == 1:
            stop.wait(0.05)
        ask(url, "evm_setAutomine", True)
        ask(url, "anvil_mine", "0x1")

    stop = threading.Event()
    threading.Thread(target=mine_when_replaced, daemon=True).start()
    mined = chain.wait([ticket, behind])
    row = Outbox.at("", box).get([ticket.row_id])[ticket.row_id]
    assert row.hash == mined[0].hash != first.hash
    assert row.attempts[0] == first
    assert all(
        late.max_fee * 1000 >= early.max_fee * 1125 and (late.tip or 0) * 1000 >= (early.tip or 0) * 1125
        for early, late in zip(row.attempts, row.attempts[1:], strict=False)
    )
    assert counter.counted(1) == counter.counted(2) == 1


def test_the_first_attempt_may_be_mined_after_it_was_replaced(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1), gas=100_000)
    outbox = Outbox.at("", box)
    first = outbox.get([ticket.row_id])[ticket.row_id].attempts[0]

    def mine_the_first_when_replaced():
        while len(outbox.get([ticket.row_id])[ticket.row_id].attempts) == 1:
            stop.wait(0.05)
        ask(url, "anvil_dropAllTransactions")
        ask(url, "eth_sendRawTransaction", "0x" + first.raw.hex())
        ask(url, "anvil_mine", "0x1")

    stop = threading.Event()
    threading.Thread(target=mine_the_first_when_replaced, daemon=True).start()
    (record,) = chain.wait([ticket])
    assert record.hash == first.hash
    assert counter.total() == 1


def test_a_stuck_transaction_at_the_highest_price_allowed_says_so(url, box):
    counter = a_counter(a_chain(url, box), url)
    chain = a_chain(url, box, options=replace(HASTE, max_fee_gwei=3))
    ask(url, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1), gas=100_000)
    with pytest.raises(ChainError, match=r"count: transaction 0x\w+ is not mined: it was offered .*_gwei = 3"):
        chain.wait([ticket])
    ask(url, "evm_setAutomine", True)
    ask(url, "evm_mine")
    (record,) = chain.wait([ticket])
    assert counter.total() == 1
    assert record.purpose == "count"


def test_a_base_fee_that_jumps_while_sending_is_followed(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    chain.send("count", counter.count(1))  # the market is known for a second
    ask(url, "anvil_setNextBlockBaseFeePerGas", hex(40 * 10**9))
    chain.send("count", counter.count(2), gas=100_000)
    assert counter.total() == 2


def test_a_nonce_that_a_stranger_used_is_lost_and_the_key_is_free_again(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    ticket = chain.submit("count", counter.count(1), key="e1/count", gas=100_000)
    ask(url, "anvil_dropAllTransactions")
    foreign = {"from": chain.operator, "to": STRANGER, "value": "0x1", "nonce": hex(ticket.nonce), "gas": "0x5208"}
    ask(url, "eth_sendTransaction", foreign)
    ask(url, "evm_mine")
    ask(url, "evm_setAutomine", True)
    with pytest.raises(NonceLostError, match=f"count: nonce {ticket.nonce} of {chain.operator} was used by another"):
        chain.wait([ticket])
    chain.send("count", counter.count(1), key="e1/count")
    lost, done = [row for row in Outbox.at("", box).rows() if row.key == "e1/count"]
    assert (lost.state, done.state, done.nonce) == (LOST, MINED, lost.nonce + 1)
    assert counter.total() == 1


def test_a_gap_in_the_nonces_is_filled(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    ask(url, "evm_setAutomine", False)
    first = chain.submit("count", counter.count(1), gas=100_000)
    later = chain.submit("count", counter.count(2), gas=100_000)
    outbox = Outbox.at("", box)
    ask(url, "anvil_dropAllTransactions")
    with outbox._write() as db:  # as if every node had refused the first
        db.exec_driver_sql(f"UPDATE transactions SET state = 'failed' WHERE id = {first.row_id}")
    ask(url, "evm_setAutomine", True)
    chain.wait([later])
    assert (counter.counted(1), counter.counted(2)) == (0, 1)
    assert any(row.purpose == f"fill the gap at nonce {first.nonce}" for row in outbox.rows())


def test_processes_with_one_key_share_its_nonces(url, box):
    address = a_counter(a_chain(url, box), url).address
    children = [
        start("send_counts", url=url, outbox=str(box), address=address, words=list(range(1, 21)), label=f"p{n}/")
        for n in range(3)
    ]
    hashes = [hash_ for child in children for hash_ in json.loads(ended(child))]
    rows = Outbox.at("", box).rows()
    assert len(set(hashes)) == 60
    assert {row.state for row in rows} == {MINED}
    assert sorted(row.nonce for row in rows) == list(range(61))
    w3 = plain(url)
    assert w3.eth.get_transaction_count(w3.eth.accounts[0]) == 61


def test_threads_of_one_process_share_a_chain(url, box):
    chain = a_chain(url, box)
    counter = a_counter(chain, url)
    errors = []

    def work(first):
        try:
            for word in range(first, first + 10):
                chain.send("count", counter.count(word), key=str(word))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 101, 1, 201)]  # two of them the same
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert counter.total() == 30
