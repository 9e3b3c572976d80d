"""A day's trades: hand-computed days, properties, and the vectors that the contracts are tested against."""

from __future__ import annotations

import hashlib
import json
from datetime import date

import pytest
from Crypto.Hash import keccak as crypto_keccak
from domain_builders import ROOT
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidTradesError
from domain.trades import MAX_VALUE, MAX_WH, Trade, TradeDay, day_number, net_hash, parse_day

VECTORS = ROOT / "contracts" / "test" / "vectors" / "trades.json"
DAY = date(2025, 6, 11)  # 20,250 days after 1970-01-01
A, B, C = ("0x" + 40 * digit for digit in "abc")


def keccak(data: bytes) -> bytes:
    return crypto_keccak.new(digest_bits=256, data=data).digest()


def a_trade(index: int = 0, **fields: object) -> Trade:
    return Trade(**({"index": index, "seller": A, "buyer": B, "wh": 1500, "value": 300} | fields))  # type: ignore[arg-type]


def a_day(*pairs: tuple[str, str, int], day: date = DAY) -> TradeDay:
    """Trades of 1000 Wh: seller, buyer, value."""
    trades = [Trade(n, seller, buyer, 1000, value) for n, (seller, buyer, value) in enumerate(pairs)]
    return TradeDay(day, tuple(trades))


# --- netting -----------------------------------------------------------------------------------------------


def test_three_microgrids_in_a_circle():
    # A gets 100 and owes 70, B gets 30 and owes 100, C gets 70 and owes 30.
    assert a_day((A, B, 100), (B, C, 30), (C, A, 70)).net == [(A, 30), (B, -70), (C, 40)]


def test_who_comes_out_even_is_left_out():
    # A: 50 - 50; B: 50 + 8 - 50 = 8; C: -8.
    assert a_day((A, B, 50), (B, A, 50), (B, C, 8)).net == [(B, 8), (C, -8)]
    assert a_day((A, B, 50), (B, A, 50)).net == []


def test_net_amounts_stand_in_the_order_of_addresses_as_numbers():
    low, high = "0x" + "0" * 39 + "9", "0x" + "f" * 40
    assert a_day((high, B, 1), (low, B, 1)).net == [(low, 1), (B, -2), (high, 1)]


def test_addresses_of_any_case_are_the_same_participant():
    mixed = "0x" + 20 * "aA"
    assert a_day((A, B, 5), (mixed, C, 6)).net == [(A, 11), (B, -5), (C, -6)]


PARTICIPANTS = [f"0x{n + 1:040x}" for n in range(6)]
TRADES = st.lists(
    st.tuples(st.permutations(PARTICIPANTS), st.integers(0, 10**24)).map(lambda t: (t[0][0], t[0][1], t[1])),
    min_size=1,
    max_size=30,
)


@given(TRADES)
def test_net_amounts_sum_to_zero_and_move_no_more_than_was_traded(pairs):
    day = a_day(*pairs)
    assert sum(amount for _, amount in day.net) == 0
    assert sum(amount for _, amount in day.net if amount > 0) <= day.total_value
    assert all(amount for _, amount in day.net)
    assert [address for address, _ in day.net] == sorted({address for address, _ in day.net})


@given(TRADES, st.randoms())
def test_the_order_of_trades_changes_no_net_amount(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert a_day(*shuffled).net == a_day(*pairs).net


@given(TRADES)
def test_each_participant_gets_sales_less_purchases(pairs):
    nets = dict(a_day(*pairs).net)
    for who in PARTICIPANTS:
        sold = sum(value for seller, _, value in pairs if seller == who)
        bought = sum(value for _, buyer, value in pairs if buyer == who)
        assert nets.get(who, 0) == sold - bought


# --- hashes ------------------------------------------------------------------------------------------------


def test_days_are_counted_from_1970():
    assert day_number(date(1970, 1, 1)) == 0
    assert day_number(DAY) == 20_250  # 55 years of 365, 14 leap days, 31 + 28 + 31 + 30 + 31 + 10 days of 2025


def test_a_leaf_is_six_words_hashed_twice():
    data = bytes(30) + b"\x4f\x1a"  # day 20,250 = 0x4f1a
    data += bytes(31) + b"\x07"
    data += bytes(12) + 20 * b"\xaa" + bytes(12) + 20 * b"\xbb"
    data += bytes(30) + b"\x05\xdc"  # 1,500 Wh = 0x5dc
    data += bytes(30) + b"\x01\x2c"  # 300 = 0x12c
    assert a_trade(7).hash(day_number(DAY)) == keccak(keccak(data))


def test_a_leaf_depends_on_every_field_and_on_the_day():
    changes: list[dict] = [{}, {"index": 1}, {"seller": C}, {"buyer": C}, {"wh": 1501}, {"value": 301}]
    leaves = {a_trade(**change).hash(20_250) for change in changes} | {a_trade().hash(20_251)}
    assert len(leaves) == 7


def test_the_net_hash_is_that_of_the_abi_encoding():
    # Where the list starts, its length, then address and amount; -1 in two's complement.
    data = bytes(31) + b"\x20" + bytes(31) + b"\x02"
    data += bytes(12) + 20 * b"\xaa" + 32 * b"\xff"
    data += bytes(12) + 20 * b"\xbb" + bytes(31) + b"\x01"
    assert net_hash([(A, -1), (B, 1)]) == keccak(data)
    assert net_hash([]) == keccak(bytes(31) + b"\x20" + bytes(32))


# --- the published file ------------------------------------------------------------------------------------


def test_the_published_file_to_the_byte():
    a, b = A, B
    expected = (
        f'{{"day":"2025-06-11","format":"negawatt-trades/1","net":{{"{a}":300,"{b}":-300}},'
        f'"totals":{{"trades":1,"value":300,"wh":1500}}}}\n'
        f'{{"buyer":"{b}","index":0,"seller":"{a}","value":300,"wh":1500}}\n'
    )
    day = TradeDay(DAY, (a_trade(),))
    assert day.published().decode() == expected
    assert day.published_hash() == hashlib.sha256(expected.encode()).digest()


@given(TRADES)
def test_a_published_day_is_read_back(pairs):
    day = a_day(*pairs)
    again = parse_day(day.published())
    assert again == day
    assert again.tree.root == day.tree.root


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"value":300,"wh":1500}}', b'"value":301,"wh":1500}}'),  # a total
        (b'":-300', b'":-299'),  # a net amount
        (b'"index":0', b'"index":1'),
        (b'{"buyer"', b'{ "buyer"'),  # the same trade in other bytes
        (b"negawatt-trades/1", b"negawatt-trades/2"),
        (b"2025-06-11", b"2025-06-31"),
        (b'"seller":"0xa', b'"seller":"0xg'),
        (b'"index":0', b'"index":"0"'),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(old, new):
    published = TradeDay(DAY, (a_trade(),)).published()
    assert old in published
    with pytest.raises(InvalidTradesError):
        parse_day(published.replace(old, new, 1))


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b"{}\n", b"nonsense\n", b"null\n{}\n"])
def test_what_is_no_file_of_trades_is_refused(junk):
    with pytest.raises(InvalidTradesError, match="not a file of trades"):
        parse_day(junk)


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"seller": "0x12"}, "seller '0x12' is no address"),
        ({"buyer": "0x" + 40 * "0"}, "is no address"),
        ({"buyer": A}, "trades with itself"),
        ({"wh": 0}, "wh is 0"),
        ({"wh": MAX_WH + 1}, "wh is"),
        ({"value": -1}, "value is -1"),
        ({"value": 1.0}, r"value is 1\.0"),
        ({"value": True}, "value is True"),
        ({"value": MAX_VALUE + 1}, "value is"),
        ({"index": -1}, "index is -1"),
    ],
)
def test_a_trade_that_makes_no_sense_is_refused(fields, says):
    with pytest.raises(InvalidTradesError, match=says):
        a_trade(**fields)


def test_a_day_needs_trades_in_the_order_of_their_index():
    with pytest.raises(InvalidTradesError, match="2025-06-11: there are no trades"):
        TradeDay(DAY, ())
    with pytest.raises(InvalidTradesError, match="trade 1 stands at place 0"):
        TradeDay(DAY, (a_trade(1),))


def test_a_day_that_the_contract_could_not_hold_is_refused():
    with pytest.raises(InvalidTradesError, match="too much for one day"):
        a_day((A, B, MAX_VALUE), (A, B, 1))
    with pytest.raises(InvalidTradesError, match="too much for one day"):
        TradeDay(DAY, (a_trade(0, wh=MAX_WH), a_trade(1, wh=1)))


# --- vectors shared with the contracts ---------------------------------------------------------------------


def vector_days() -> list[dict]:
    return json.loads(VECTORS.read_text("utf-8"))["days"]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def days_by_recipe(count: int) -> TradeDay:
    """The day with that many trades, as the vectors' ``about`` describes it."""
    who = ["0x" + keccak(f"participant {k}".encode())[-20:].hex() for k in range(5)]
    trades = []
    for n in range(count):
        wh = (731 * n + 17 * count) % 5000 + 1
        value = wh * (100 + 7 * n) * 10**9
        if count == 1:
            wh, value = 2**128 - 1, 2**127 - 1
        trades.append(Trade(n, who[n % 5], who[(n + 1 + n % 3) % 5], wh, value))
    return TradeDay(date(2024, 10, 4 + count), tuple(trades))


@pytest.mark.parametrize("vector", vector_days(), ids=lambda vector: f"{vector['count']} trades")
def test_days_agree_with_the_vectors(vector):
    day = days_by_recipe(vector["count"])
    assert day.day.isoformat() == vector["isoDay"]
    assert day.number == vector["day"]
    assert day.total_wh == int(vector["totalWh"])
    assert day.total_value == int(vector["totalValue"])
    assert day.tree.root == unhex(vector["root"])
    assert [(row["participant"], int(row["amount"])) for row in vector["net"]] == day.net
    assert net_hash(day.net) == unhex(vector["netHash"])
    assert day.published_hash() == unhex(vector["publishedHash"])
    for trade, row in zip(day.trades, vector["trades"], strict=True):
        assert (trade.seller, trade.buyer, trade.wh, trade.value) == (
            row["seller"], row["buyer"], int(row["wh"]), int(row["value"]),
        )  # fmt: skip
        assert trade.hash(day.number) == unhex(row["hash"])
        assert day.tree.proof(trade.index) == [unhex(sibling) for sibling in row["proof"]]


def test_the_vectors_hold_the_days_that_matter():
    assert [vector["count"] for vector in vector_days()] == [1, 2, 3, 5, 8, 13]
