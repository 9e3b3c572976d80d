"""Tariffs: prices by local time, days of 23 and 25 hours, and what is refused with its times."""

from __future__ import annotations

import copy
import tomllib
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from domain.intervals import slot_of, slot_start
from domain.tariff_data import parse_tariff
from domain.tariffs import InvalidTariffError, NoPriceError, Tariff

FOLDER = Path(__file__).parents[2] / "negawatt" / "tariffs"
BUILT_IN = sorted(path.stem for path in FOLDER.glob("*.toml"))


def built_in(name: str) -> Tariff:
    return parse_tariff(tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")))


def a_tariff(**changes: object) -> dict:
    """Two prices: 08:00 to 20:00 on weekdays is day, the rest is night; all seven days, no holidays."""
    data = {
        "id": "two",
        "title": "Two prices",
        "source": "made up",
        "zone": "Europe/Paris",
        "currency": {"code": "EUR", "decimals": 2},
        "terms": [
            {
                "valid_from": date(2025, 1, 1),
                "buy": {"day": "0.30", "night": "0.20"},
                "sell": "0.05",
                "days": [
                    {"on": ["weekday"], "hours": {"day": ["08:00-20:00"], "night": ["00:00-08:00", "20:00-24:00"]}},
                    {"on": ["saturday", "sunday"], "hours": {"night": ["00:00-24:00"]}},
                ],
            }
        ],
    }
    return copy.deepcopy(data) | changes


def terms_with(**changes: object) -> dict:
    data = a_tariff()
    data["terms"][0] |= changes
    return data


def price_at(tariff: Tariff, instant: datetime, minutes: int = 30) -> Fraction:
    return tariff.prices(slot_of(instant, minutes), 1, minutes).buy[0]


# --- tariffs that come with negawatt -----------------------------------------------------------------------


def test_table_6_of_the_paper():
    # Table 6: A 2,871 / 1,555 / 1,007, B 2,351 / 1,607 / 1,105, C 1,659 VND/kWh
    prices = {site: built_in(f"kiee-2021-{site}").day_prices(date(2021, 2, 1), 30) for site in "abc"}
    assert {p: b for p, b in zip(prices["a"].periods, prices["a"].buy, strict=True)} == {
        "peak": 2871, "standard": 1555, "off_peak": 1007,
    }  # fmt: skip
    assert set(prices["b"].buy) == {2351, 1607, 1105}
    assert set(prices["c"].buy) == {1659}
    assert all(one.sell == one.buy for one in prices.values()), "net metering credits what buying costs"


def test_table_3_of_the_paper_follows_from_its_tariffs():
    # Table 3: who can sell to whom with gain: A to C and B from 08:00 to 09:30 and from 11:30, B to A between.
    a, b, c = (built_in(f"kiee-2021-{site}") for site in "abc")
    for clock, from_a in (("08:00", True), ("09:00", True), ("09:30", False), ("11:00", False), ("11:30", True)):
        instant = datetime.fromisoformat(f"2021-02-01T{clock}+07:00")
        prices = [price_at(tariff, instant) for tariff in (a, b, c)]
        assert (prices[0] < prices[1], prices[0] < prices[2]) == (from_a, from_a), clock
        assert (prices[1] < prices[0]) == (not from_a)


def test_sundays_have_no_peak_in_vietnam():
    assert "peak" not in built_in("kiee-2021-a").day_prices(date(2021, 2, 7), 30).periods


@pytest.mark.parametrize(
    ("clock", "cents"),
    [
        ("2023-01-10T08:00-05:00", "15.1"),  # winter: on-peak 7 to 11 and 17 to 19
        ("2023-01-10T12:00-05:00", "10.2"),
        ("2023-07-11T12:00-04:00", "15.1"),  # summer: on-peak 11 to 17
        ("2023-07-11T08:00-04:00", "10.2"),
        ("2023-07-11T19:00-04:00", "7.4"),
        ("2023-07-01T12:00-04:00", "7.4"),  # a Saturday, and Canada Day
        ("2023-07-03T12:00-04:00", "15.1"),
        ("2023-12-25T08:00-05:00", "8.7"),  # a holiday on a Monday
        ("2023-12-27T08:00-05:00", "18.2"),  # the terms of 2023-11-01
    ],
)
def test_ontario_by_season_day_and_terms(clock, cents):
    # Ontario Energy Board, prices of 2022-11-01 and 2023-11-01
    assert price_at(built_in("ontario-rpp-tou"), datetime.fromisoformat(clock)) == Fraction(cents)


def test_a_price_of_parts_of_a_penny_stays_exact():
    day = built_in("gb-price-cap").day_prices(date(2025, 1, 15), 30)
    assert set(day.buy) == {Fraction("24.86")}
    assert set(day.sell) == {15}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_tariff_has_a_price_for_every_interval_of_days_all_over_its_time(name):
    tariff = built_in(name)
    assert tariff.id == name
    first = tariff.terms[0].valid_from
    last = tariff.terms[-1].last_day or first + timedelta(days=400)
    days = [first + timedelta(days=n) for n in range(0, (last - first).days, 17)] + [last]
    for day in days:
        prices = tariff.day_prices(day, 30)
        assert len(prices.buy) in (46, 48, 50)
        assert min(*prices.buy, *prices.sell) > 0


def test_sources_say_where_prices_are_from():
    assert all(len(built_in(name).source) > 80 for name in BUILT_IN)


# --- days of 23 and 25 hours -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours", "dear"), [(date(2025, 3, 30), 23, 0), (date(2025, 10, 26), 25, 0), (date(2025, 3, 31), 24, 12)]
)
def test_days_have_as_many_hours_as_their_clocks_show(day, hours, dear):
    prices = parse_tariff(a_tariff()).day_prices(day, 60)
    assert len(prices.buy) == hours
    assert prices.periods.count("day") == dear


def test_an_hour_that_comes_twice_has_its_price_twice():
    data = terms_with(
        days=[
            {
                "on": ["weekday", "saturday", "sunday"],
                "hours": {"day": ["02:00-03:00"], "night": ["00:00-02:00", "03:00-24:00"]},
            }
        ]
    )
    tariff = parse_tariff(data)
    assert tariff.day_prices(date(2025, 10, 26), 60).periods.count("day") == 2
    assert tariff.day_prices(date(2025, 3, 30), 60).periods.count("day") == 0
    assert tariff.day_prices(date(2025, 6, 1), 60).periods.count("day") == 1


def test_prices_of_a_half_hour_zone_follow_its_clocks():
    tariff = parse_tariff(a_tariff(zone="Asia/Kolkata"))
    start = slot_of(datetime.fromisoformat("2025-06-11T08:00+05:30"), 30)
    assert tariff.prices(start - 1, 2, 30).periods == ("night", "day")
    assert slot_start(start, 30) == datetime(2025, 6, 11, 2, 30, tzinfo=UTC)


def test_a_price_that_changes_within_an_interval_is_refused_with_its_time():
    with pytest.raises(NoPriceError, match=r"within the 60 minutes from 2021-02-01 09:00 \(peak, standard\)"):
        built_in("kiee-2021-a").day_prices(date(2021, 2, 1), 60)


def test_periods_of_one_price_may_change_within_an_interval():
    data = terms_with(buy={"day": "0.30", "night": "0.30"})
    data["terms"][0]["days"][0]["hours"] = {"day": ["08:30-20:00"], "night": ["00:00-08:30", "20:00-24:00"]}
    assert set(parse_tariff(data).day_prices(date(2025, 6, 11), 60).buy) == {30}


# --- dates -------------------------------------------------------------------------------------------------


def test_before_the_first_terms_and_after_the_last_there_is_no_price():
    tariff = parse_tariff(terms_with(last_day=date(2025, 12, 31)))
    with pytest.raises(NoPriceError, match="2024-12-31: its first are valid from 2025-01-01"):
        tariff.day_prices(date(2024, 12, 31), 60)
    with pytest.raises(NoPriceError, match="2026-01-01: its last were valid to 2025-12-31"):
        tariff.day_prices(date(2026, 1, 1), 60)


@pytest.mark.parametrize(
    ("last", "second", "problem"),
    [
        (date(2025, 6, 30), date(2025, 8, 1), "no terms are valid from 2025-07-01 to 2025-07-31"),
        (date(2025, 6, 30), date(2025, 6, 1), "two terms are valid from 2025-06-01 to 2025-06-30"),
        (None, date(2025, 1, 1), "two terms are valid from 2025-01-01"),
    ],
)
def test_terms_leave_no_hole_and_do_not_overlap(last, second, problem):
    data = a_tariff()
    data["terms"].append(data["terms"][0] | {"valid_from": second})
    if last:
        data["terms"][0] = data["terms"][0] | {"last_day": last}
    with pytest.raises(InvalidTariffError, match=problem):
        parse_tariff(data)


# --- what is refused ---------------------------------------------------------------------------------------


HALVES = {"day": ["00:00-12:00"], "night": ["12:00-24:00"]}


def hours(**spans: list[str]) -> dict:
    return terms_with(days=[{"on": ["weekday", "saturday", "sunday"], "hours": spans}])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (hours(day=["08:00-20:00"], night=["00:00-07:00", "20:00-24:00"]), "weekday, 07:00-08:00: no price"),
        (hours(day=["08:00-20:30"], night=["00:00-08:00", "20:00-24:00"]), "weekday, 20:00-20:30: two prices"),
        (
            terms_with(days=[{"on": ["weekday", "saturday"], "hours": HALVES}]),
            "sunday, 00:00-24:00: no price",
        ),
        (hours(day=["20:00-08:00"], night=["08:00-20:00"]), "within a day"),
        (hours(day=["08:03-20:00"], night=["00:00-24:00"]), "grid of 5 minutes"),
        (hours(day=["08:00-25:00"], night=["00:00-24:00"]), "got '08:00-25:00'"),
        (hours(dawn=["00:00-24:00"]), "buy has no such period; it has day, night"),
        (hours(night=["00:00-24:00"]), "no hours are day"),
        (terms_with(days=[{"on": ["holiday"], "hours": {"day": ["00:00-24:00"]}}]), "holidays need a calendar"),
        (terms_with(buy={"day": 0.3, "night": "0.2"}), r"buy.day: expected a price of a kWh in quotes .* got 0.3"),
        (terms_with(buy={"day": "-1", "night": "0.2"}), "got '-1'"),
        (terms_with(buy={"day": "nan", "night": "0.2"}), "got 'nan'"),
        (terms_with(buy={}), "expected a price for at least one period"),
        (terms_with(sell={"day": "0.1"}), "in one of them only: night"),
        (terms_with(sell="net"), "got 'net'"),
        (terms_with(valid_from="2025-01-01"), "expected a date"),
        (terms_with(last_day=date(2024, 1, 1)), "lies before valid_from"),
        (terms_with(colour="red"), "unknown key: colour"),
        (terms_with(seasons={"hot": "05-01..10-31"}), "01-01 to 04-30 is in no season"),
        (terms_with(seasons={"a": "01-01..06-30", "b": "06-30..12-31"}), "06-30 to 06-30 is both a and b"),
        (terms_with(seasons={"a": "01-01..06-31"}), 'such as "05-01..10-31"'),
        (a_tariff(zone="Europe/Pariss"), "is no IANA time zone"),
        (a_tariff(holidays="XX"), "no holiday calendar"),
        (a_tariff(currency={"code": "EUR", "decimals": 19}), "from 0 to 18"),
        (a_tariff(terms=[]), "at least one table"),
        ({"id": "x"}, "zone: missing"),
    ],
)  # fmt: skip
def test_what_a_tariff_may_not_say_is_refused_with_its_place(data, problem):
    with pytest.raises(InvalidTariffError, match=problem):
        parse_tariff(data)


def test_a_hole_in_one_season_alone_is_found():
    data = terms_with(seasons={"cold": "11-01..04-30", "hot": "05-01..10-31"})
    days = data["terms"][0]["days"]
    days[0] = days[0] | {"season": "cold"}
    with pytest.raises(InvalidTariffError, match=r"hot, weekday, 00:00-24:00: no price"):
        parse_tariff(data)
    days.append({**days[0], "season": "hot"})
    assert parse_tariff(data).day_prices(date(2025, 7, 1), 60).periods.count("day") == 12
    days[0] = days[0] | {"season": "warm"}
    with pytest.raises(InvalidTariffError, match="no season is called 'warm'; known: cold, hot"):
        parse_tariff(data)
