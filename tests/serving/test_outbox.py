"""One suite over the outbox's databases: keys, nonces, attempts, and what is left after each step."""

from __future__ import annotations

import json
import threading
import time

import pytest
from eth_account import Account
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from postgres import a_postgres
from sqlalchemy import event
from transaction_desk import HASTE, a_chain, a_counter, a_node, ended, killed, start

from domain.errors import ChainError, StoreError
from serving.chain import Chain
from serving.outbox import NonceInUseError, Outbox
from serving.outbox_rows import FAILED, LOST, MINED, NEW, SENT, Lane, Request
from serving.signers import Unsigned

LANE = Lane(31337, "0x" + "ab" * 32, "0x" + "12" * 20)
OTHER_LANE = Lane(31337, "0x" + "cd" * 32, "0x" + "12" * 20)
ACCOUNT = Account.create()
TO = "0x" + "34" * 20


@pytest.fixture(scope="module")
def server():
    with a_postgres() as url:
        yield url


@pytest.fixture(params=["memory", "file", pytest.param("postgres", marks=pytest.mark.stack)])
def box(request, tmp_path):
    if request.param == "postgres":
        outbox = Outbox(request.getfixturevalue("server"))
        with outbox._write() as db:
            db.exec_driver_sql("DELETE FROM attempts")
            db.exec_driver_sql("DELETE FROM transactions")
    else:
        outbox = Outbox("sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'a' / 'box.sqlite'}")
    yield outbox
    outbox.close()


def a_request(key="e1/certify", data=b"\1", value=0):
    return Request(key, f"send {key}", TO, data, 21_000, value)


def a_signer(data=b"\1", fee=10**9):
    """Signs as the engine does."""

    def sign(nonce):
        asked = Unsigned(31337, nonce, TO, data, 0, 21_000, fee, fee)
        return bytes(ACCOUNT.sign_transaction(asked.as_dict()).raw_transaction), fee, fee

    return sign


def add(box, key="e1/certify", data=b"\1", count=0, lane=LANE):
    row, _ = box.add(lane, a_request(key, data), count, a_signer(key.encode() + data + lane.genesis.encode()))
    return row


def test_a_row_is_read_back_as_it_was_written(box):
    row, is_new = box.add(LANE, a_request(value=2**255), 7, a_signer())
    assert is_new
    assert (row.state, row.nonce, row.run, row.value, row.data) == (NEW, 7, 1, 2**255, b"\1")
    assert row.attempts[0].hash == row.hash
    assert Account.recover_transaction(row.attempts[0].raw) == ACCOUNT.address
    assert box.get([row.id])[row.id] == row == box.find(LANE, row.hash)
    assert time.time() - row.created < 10


def test_a_row_written_amid_a_reading_is_read_whole_or_not_at_all(box):
    if box.name == "in memory":
        pytest.skip("one connection for all: a reading keeps writers out")
    add(box, "first")
    late = []

    @event.listens_for(box._engine, "after_cursor_execute")
    def write_another(_connection, _cursor, statement, *_):
        if statement.startswith("SELECT") and not late:
            late.append("second")
            add(box, "second")

    assert [(row.key, len(row.attempts)) for row in box.unfinished(LANE)] == [("first", 1)]
    assert [(row.key, len(row.attempts)) for row in box.unfinished(LANE)] == [("first", 1), ("second", 1)]


def test_what_was_mined_is_found_by_bytes_of_its_calldata(box):
    part = bytes(range(224, 256))  # zero bytes and signs of SQL's text are nothing special
    for n, data in enumerate((b"\0\1" + part + b"%", part[1:], b"'" + part, part + b"\0")):
        row = add(box, f"k{n}", data)
        if n < 3:
            box.mark_mined(row, row.hash, 9 - n, "0x" + "ee" * 32, 21_000, None)
    other = add(box, "k", part, lane=OTHER_LANE)
    box.mark_mined(other, other.hash, 1, "0x" + "ee" * 32, 21_000, None)
    assert [row.key for row in box.mined_with(LANE, part)] == ["k2", "k0"], "in the order of blocks"


def test_a_key_at_work_or_done_gives_the_same_row(box):
    row = add(box)
    for mark in (
        lambda: None,
        lambda: box.mark_sent(row),
        lambda: box.mark_mined(row, row.hash, 5, "0xb", 21_000, None),
    ):
        mark()
        again, is_new = box.add(LANE, a_request(), 0, a_signer())
        assert (again.id, is_new) == (row.id, False)
    assert len(box.rows()) == 1


@pytest.mark.parametrize("other", [{"data": b"\2"}, {"value": 1}])
def test_a_key_at_work_refuses_another_transaction(box, other):
    add(box)
    with pytest.raises(ChainError, match=r"key 'e1/certify' stands for another transaction, 0x\w+"):
        box.add(LANE, a_request(**other), 0, a_signer())


def test_a_key_whose_row_failed_is_used_again_with_a_row_of_its_own(box):
    refused = add(box)
    box.mark_refused(refused, "no means")
    second = add(box, data=b"\2")
    assert (second.run, second.nonce) == (2, refused.nonce)
    box.mark_mined(second, second.hash, 5, "0xb", 21_000, "reverted")
    third = add(box, data=b"\3")
    assert (third.run, third.nonce) == (3, refused.nonce + 1)
    box.mark_lost(third)
    assert [row.state for row in box.of_key(LANE, "e1/certify")] == [FAILED, FAILED, LOST]


def test_nonces_follow_the_chain_and_the_rows(box):
    assert [add(box, key, count=3).nonce for key in "abc"] == [3, 4, 5]
    assert add(box, "d", count=9).nonce == 9
    assert add(box, "e", count=4).nonce == 6  # a count that lags behind collides with nothing


def test_the_nonce_of_a_refused_row_is_filled_first(box):
    _, second, _ = (add(box, key) for key in "abc")
    box.mark_refused(second, "too dear")
    assert [add(box, key).nonce for key in "de"] == [1, 3]


def test_each_account_and_chain_has_nonces_and_keys_of_its_own(box):
    first, other = add(box), add(box, data=b"\2", lane=OTHER_LANE)
    assert (first.nonce, other.nonce) == (0, 0)
    assert box.unfinished(LANE) == [first]
    assert box.find(LANE, other.hash) is None


def test_a_signer_that_fails_leaves_nothing_behind(box):
    def refuse(nonce):
        raise ChainError("not at this hour")

    with pytest.raises(ChainError, match="not at this hour"):
        box.add(LANE, a_request(), 0, refuse)
    assert box.rows() == []
    assert add(box).nonce == 0


def test_a_nonce_that_is_asked_for_is_given_or_nothing_is(box):
    add(box)
    with pytest.raises(NonceInUseError):
        box.add(LANE, a_request("fill"), 0, a_signer(), only_nonce=0)
    row, _ = box.add(LANE, a_request("fill"), 0, a_signer(b"\2"), only_nonce=1)
    assert row.nonce == 1


def test_every_attempt_is_kept_and_any_may_be_mined(box):
    row = add(box)
    raised = box.add_attempt(row, lambda: a_signer(fee=2 * 10**9)(row.nonce))
    assert [attempt.max_fee for attempt in raised.attempts] == [10**9, 2 * 10**9]
    assert raised.hash == raised.attempts[1].hash
    assert box.find(LANE, row.hash).id == row.id
    box.mark_mined(raised, row.hash, 5, "0xb", 21_000, None)
    (mined,) = box.rows()
    assert (mined.state, mined.hash, len(mined.attempts)) == (MINED, row.hash, 2)


def test_two_that_replace_the_same_attempt_write_one_replacement(box):
    row = add(box)
    first = box.add_attempt(row, lambda: a_signer(fee=2 * 10**9)(row.nonce))
    second = box.add_attempt(row, lambda: a_signer(fee=3 * 10**9)(row.nonce))
    assert first.attempts == second.attempts


def test_a_finished_row_is_not_replaced(box):
    row = add(box)
    box.mark_mined(row, row.hash, 5, "0xb", 21_000, None)
    assert len(box.add_attempt(row, lambda: a_signer(fee=2 * 10**9)(row.nonce)).attempts) == 1


def test_only_what_no_node_ever_took_can_be_refused(box):
    row = add(box)
    box.mark_sent(row)
    box.mark_refused(row, "no means")
    assert box.rows()[0].state == SENT


def test_a_row_that_vanished_is_unfinished_again(box):
    row = add(box)
    box.mark_mined(row, row.hash, 5, "0xb", 21_000, "reverted")
    (mined,) = box.mined_from(LANE, 0)
    box.mark_vanished(mined)
    (gone,) = box.unfinished(LANE)
    assert (gone.state, gone.block, gone.error, gone.finished) == (SENT, None, None, None)


def test_a_reverted_row_that_vanished_stays_failed_when_its_key_is_at_work_again(box):
    row = add(box)
    box.mark_mined(row, row.hash, 5, "0xb", 21_000, "reverted")
    (reverted,) = box.mined_from(LANE, 0)
    second = add(box, data=b"\2")
    box.mark_vanished(reverted)
    assert box.unfinished(LANE) == [second]
    assert add(box, "fill").nonce == row.nonce


def test_what_was_read_before_a_reorganisation_does_not_undo_what_came_after(box):
    row = add(box)
    box.mark_mined(row, row.hash, 5, "0xb", 21_000, None)
    (before,) = box.rows()
    box.mark_mined(row, row.hash, 6, "0xc", 21_000, None)
    box.mark_vanished(before)
    assert (box.rows()[0].state, box.rows()[0].block) == (MINED, 6)


def test_threads_get_one_nonce_each(box):
    rows = []

    def work(name):
        for n in range(10):
            rows.append(add(box, f"{name}/{n}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row.nonce for row in rows) == list(range(40))


def test_threads_with_the_same_key_get_the_same_row(box):
    rows = []
    threads = [threading.Thread(target=lambda: rows.append(add(box))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row.id for row in rows}) == 1


class Lives(RuleBasedStateMachine):
    """Rows live in any order of events; a chain that mines by nonce is all that is assumed."""

    keys = st.sampled_from("abc")

    @initialize()
    def begin(self):
        self.box, self.count, self.n = Outbox(), 0, 0

    @rule(key=keys)
    def submit(self, key):
        self.n += 1
        earlier = self.box.of_key(LANE, key)
        held = [row for row in earlier if row.state in (NEW, SENT, MINED)]
        data = held[0].data if held else self.n.to_bytes(2, "big")
        _, is_new = self.box.add(LANE, a_request(key, data), self.count, a_signer(data))
        assert is_new == (not held)

    @rule(key=keys, how=st.sampled_from(["sent", "refused", "replaced"]))
    def handle(self, key, how):
        for row in self.box.of_key(LANE, key):
            if row.unfinished and how == "sent":
                self.box.mark_sent(row)
            elif row.unfinished and how == "refused":
                self.box.mark_refused(row, "refused")
            elif row.unfinished:
                fee = row.attempts[-1].max_fee * 2
                self.box.add_attempt(row, lambda row=row, fee=fee: a_signer(row.data, fee)(row.nonce))

    @rule(reverts=st.booleans(), foreign=st.booleans())
    def mine(self, reverts, foreign):
        at = [row for row in self.box.unfinished(LANE) if row.nonce == self.count]
        if foreign:
            for row in at:
                self.box.mark_lost(row)
            self.count += 1
        elif at:
            error = "reverted" if reverts else None
            self.box.mark_mined(at[0], at[0].attempts[0].hash, self.count + 1, f"0x{self.n:x}", 1, error)
            self.count += 1

    @rule(back=st.integers(1, 3))
    def reorganise(self, back):
        self.count = max(0, self.count - back)
        for row in self.box.mined_from(LANE, self.count):
            self.box.mark_vanished(row)

    @invariant()
    def a_nonce_has_one_row_at_most(self):
        held = [row.nonce for row in self.box.rows() if row.unfinished or row.block is not None]
        assert len(held) == len(set(held))

    @invariant()
    def a_key_has_one_row_at_work_at_most(self):
        at_work = [row.key for row in self.box.rows() if row.state in (NEW, SENT, MINED)]
        assert len(at_work) == len(set(at_work))

    @invariant()
    def every_row_has_its_attempts(self):
        for row in self.box.rows():
            assert row.hash in {attempt.hash for attempt in row.attempts}

    def teardown(self):
        self.box.close()


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# --- whole senders on each database ------------------------------------------------------------------------------


@pytest.mark.stack
def test_processes_share_one_postgres(server):
    with a_node() as url:
        address = a_counter(Chain(url, outbox=Outbox(server), options=HASTE), url).address
        children = [
            start("send_counts", url=url, outbox=server, address=address, words=list(range(1, 21)), label=f"p{n}/")
            for n in range(3)
        ]
        assert len({hash_ for child in children for hash_ in json.loads(ended(child))}) == 60
        rows = [row for row in Outbox(server).rows() if row.lane.genesis == Chain(url)._engine.lane.genesis]
    assert {row.state for row in rows} == {MINED}
    assert sorted(row.nonce for row in rows) == list(range(61))


@pytest.mark.stack
@pytest.mark.parametrize("point", ["after it is written", "after it is broadcast", "before the receipt is marked"])
def test_a_killed_sender_on_postgres_is_finished_by_the_next(server, point):
    with a_node() as url:
        counter = a_counter(Chain(url, outbox=Outbox(server), options=HASTE), url)
        sending = {"url": url, "outbox": server, "address": counter.address, "words": [1, 2, 3]}
        killed(start("send_counts", **sending, die_at=point, die_after=1))
        ended(start("send_counts", **sending))
        assert [counter.counted(word) for word in (1, 2, 3)] == [1, 1, 1]


# --- what is said ------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_said_without_its_password():
    with pytest.raises(StoreError, match=r"outbox postgresql://me:\*\*\*@127\.0\.0\.1:1/box can't") as refused:
        Outbox("postgresql://me:hush@127.0.0.1:1/box")
    shown: BaseException | None = refused.value
    while shown is not None:
        assert "hush" not in str(shown)
        shown = shown.__cause__


@pytest.mark.stack
def test_a_wrong_password_is_said_without_showing_it(server):
    wrong = server.replace(":" + server.split(":")[2].split("@")[0] + "@", ":hush-hush@")
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        Outbox(wrong)
    assert "hush-hush" not in str(refused.value)


def test_another_database_is_refused():
    with pytest.raises(StoreError, match=r"an outbox is sqlite:///FILE or postgresql://"):
        Outbox("mysql://localhost/box")
    with pytest.raises(StoreError, match="outbox the address of the outbox can't open"):
        Outbox("nonsense")


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "box.sqlite").write_text("hello, I am no database at all, and I never was one" * 10)
    with pytest.raises(StoreError, match=r"box\.sqlite can't write: file is not a database"):
        Outbox.at("", tmp_path / "box.sqlite")


@pytest.mark.stack
def test_an_outbox_in_memory_serves_a_chain_that_is_opened_by_its_address_alone():
    with a_node() as url:
        chain = a_chain(url)
        counter = a_counter(chain, url)
        chain.send("count", counter.count(1))
        assert counter.total() == 1
