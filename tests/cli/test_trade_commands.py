"""``negawatt match``, ``balance-day`` and ``trade-report``, as a market's operator uses them."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from fractions import Fraction

import pytest
from kiee_table7 import TARIFFS, half_hours
from trade_desk import DAY, GRID, MARKET, OWN_TARIFF, POOL, WALLETS, Desk

from domain.trades import net_positions
from serving.microgrids import read_trades


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("command", ["match", "balance-day", "trade-report"])
def test_every_command_explains_itself(desk, command):
    said = desk.run(command, "--help")
    assert "--json" in said
    assert len(said.splitlines()) >= 8


def test_the_papers_day_by_files(desk):
    done = desk.match()
    per = done["fine_units_per_minor_unit"]
    totals = done["totals"]
    # Whole watt-hours instead of tenths: a rounding of half a Wh at 260 VND a kWh in each of few intervals
    assert abs(Fraction(totals["seller_gain"] + totals["buyer_gain"], per) - Fraction("157246.07")) < 3
    assert totals["seller_gain"] == totals["buyer_gain"]
    assert totals["unmatched_intervals"] == 0
    assert len(done["intervals"]) == 22
    eleven = next(row for row in done["intervals"] if "T11:00" in row["start"])
    assert [(f["seller"]["participant"], f["buyer"]["participant"], f["wh"]) for f in eleven["flows"]] == [
        ("A", "B", 230_222),
        ("B", "C", 15_750),
    ]
    assert eleven["start"].endswith("+07:00")
    assert sum(row["seller_gain"] for row in done["participants"]) == totals["seller_gain"]


def test_groups_and_programme_agree(desk):
    pytest.importorskip("pulp")
    by_group, by_pulp = desk.match(), desk.match("--method", "lp", "--solver", "highs")
    assert by_group["totals"] == by_pulp["totals"]


def test_matching_again_gives_the_same_bytes(desk):
    desk.match()
    folder = desk.workspace.folder / "market" / DAY
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = (desk.folder / "capacities.csv").read_text().splitlines()
    desk.write("capacities.csv", rows[0], *reversed(rows[1:]))
    desk.match()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_a_solver_the_day_is_left_to_the_grid_with_findings(desk, monkeypatch):
    monkeypatch.setitem(sys.modules, "pulp", None)  # as where it is not installed
    done = desk.match("--method", "lp")
    assert (done["totals"]["traded_wh"], done["totals"]["unmatched_intervals"]) == (0, 20)  # of 22, two have nothing
    finding = done["intervals"][0]["findings"][0]
    assert (finding["code"], finding["values"]["reason"]) == ("market.grid_prices", "absent")
    said = desk.run("match", desk.folder / "market.toml", desk.folder / "capacities.csv", "--method", "lp")
    assert "pip install negawatt[market]" in said
    desk.run("trade-report", DAY)
    page = (desk.workspace.folder / "market" / DAY / "report.html").read_text()
    assert "20 of 22 intervals were left to the grid" in page


def test_people_see_the_day(desk):
    said = desk.run("match", desk.folder / "market.toml", desk.folder / "capacities.csv")
    assert "11:00" in said
    assert "VND" in said
    assert re.search(r"together 157,24\d\.\d\d VND", said)


# --- after delivery ----------------------------------------------------------------------------------------


def test_as_agreed_nothing_is_settled_with_the_grid(desk):
    desk.match()
    done = desk.balance()
    assert {(row["to_grid_wh"], row["from_grid_wh"]) for row in done["participants"]} == {(0, 0)}
    assert done["grid_net"] == 0
    assert done["findings"] == []
    day = read_trades(desk.workspace.folder / "market" / DAY / "trades.csv", half_hours()[0][0].date())
    assert done["trades"] == len(day.trades) == 4  # A to B, A to C, B to A, B to C
    matched = desk.match()["participants"]
    for row in matched:
        exact = Fraction(row["earned"] - row["paid"], done["fine_units_per_minor_unit"])
        assert abs(dict(net_positions(day.trades))[WALLETS[row["participant"]]] - exact) < 4


def test_what_lacks_is_bought_from_the_grid_and_settled_in_rows(desk):
    desk.write("market.toml", MARKET, "[settlement]", f'pool = "{POOL}"', f'grid = "{GRID}"', "token_units = 100")
    desk.match()

    def short(name, start, export, imported):
        return (export - 1000, imported) if (name, "T11:00" in start) == ("A", True) else (export, imported)

    done = desk.balance(short)
    (a,) = (row for row in done["participants"] if row["participant"] == "A")
    per = done["fine_units_per_minor_unit"]
    assert (a["from_grid_wh"], a["to_grid_wh"]) == (1000, 0)
    assert Fraction(a["grid_charges"], per) == 1555  # a kWh at A's standard price
    assert done["grid_net"] == a["grid_charges"]
    day = read_trades(desk.workspace.folder / "market" / DAY / "trades.csv", half_hours()[0][0].date())
    nets = dict(net_positions(day.trades))
    assert nets[GRID] == 155_500
    assert POOL not in nets
    assert sum(nets.values()) == 0


def test_a_seller_far_off_is_a_finding(desk):
    # The grid pays 10 and charges 20. Who sells at 15 and doesn't deliver has to buy at 20.
    own = desk.workspace.folder / "tariffs"
    own.mkdir(parents=True)
    (own / "own.toml").write_text(OWN_TARIFF)
    desk.write("participants.csv", "participant,site,tariff", *(f"{site},{site},own" for site in "ABC"))
    desk.match()
    done = desk.balance(lambda name, start, export, imported: (0 if name == "A" else export, imported))
    (finding,) = done["findings"]
    assert (finding["code"], finding["values"]["participant"]) == ("delivery.worse_off", "A")
    assert finding["values"]["gain"] < 0
    said = desk.run("balance-day", desk.folder / "market.toml", DAY, desk.folder / "metered.csv")
    assert "delivery.worse_off: A by" in said


def test_a_missing_reading_settles_nothing(desk):
    desk.match()
    path = desk.metered()
    lines = path.read_text().splitlines()
    desk.write("metered.csv", *lines[:3], *lines[4:])
    said = desk.run("balance-day", desk.folder / "market.toml", DAY, path, exit_code=1)
    assert "no reading of" in said
    assert not (desk.workspace.folder / "market" / DAY / "statement.json").exists()


def test_many_of_one_site_need_a_pool(desk):
    people = [f"{name},x,kiee-2021-a,{WALLETS['A'][:-2]}{n:02d}" for n, name in enumerate("ab", 10)]
    desk.write("participants.csv", "participant,site,tariff,wallet", *people, f"c,y,kiee-2021-c,{WALLETS['C']}")
    desk.write("distances.csv", "from,to,km", "x,y,1")
    rows = [
        f"{name},{DAY}T12:00+07:00,{over},{lacking}"
        for name, over, lacking in (("a", 9, 0), ("b", 9, 0), ("c", 0, 7))
    ]
    desk.write("capacities.csv", "participant,interval_start,surplus_wh,deficit_wh", *rows)
    done = desk.match()
    assert [row["sold_wh"] for row in done["participants"]] == [4, 3, 0]
    path = desk.metered()
    assert "[settlement] pool" in desk.run("balance-day", desk.folder / "market.toml", DAY, path, exit_code=1)
    desk.write("market.toml", MARKET, "[settlement]", f'pool = "{POOL}"')
    assert desk.balance()["trades"] == 3


def test_without_wallets_there_is_a_statement_alone(desk):
    desk.write("participants.csv", "participant,site,tariff", *(f"{s},{s},{TARIFFS[s]}" for s in "ABC"))
    desk.match()
    done = desk.balance()
    assert (done["trades"], done["trades_file"]) == (0, None)
    assert "no wallets" in desk.run("balance-day", desk.folder / "market.toml", DAY, desk.folder / "metered.csv")


def test_a_day_that_is_not_matched_cannot_be_settled_or_shown(desk):
    path = desk.write("metered.csv", "participant,interval_start,export_wh,import_wh")
    assert "run `negawatt match` first" in desk.run(
        "balance-day", desk.folder / "market.toml", DAY, path, exit_code=1
    )
    assert "run `negawatt match` first" in desk.run("trade-report", DAY, exit_code=1)


# --- the page ----------------------------------------------------------------------------------------------


def test_the_page_shows_the_papers_figures(desk):
    desk.match()
    page = (desk.run("trade-report", DAY), (desk.workspace.folder / "market" / DAY / "report.html").read_text())[1]
    assert "A as seller" in page
    assert "C as buyer" in page
    assert "5,985.7" in page  # Table 7 at 11:00: 5,985.81 by whole watt-hours
    assert page.count("<rect") > 40
    assert "After delivery" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    desk.balance()
    desk.run("trade-report", DAY)
    assert "After delivery" in (desk.workspace.folder / "market" / DAY / "report.html").read_text()


def test_a_statement_of_an_older_matching_is_not_shown(desk):
    desk.match()
    desk.balance()
    desk.write("market.toml", MARKET.replace("30", '30\nprice = "pay-as-bid"'))
    desk.match()
    desk.run("trade-report", DAY)
    assert "After delivery" not in (desk.workspace.folder / "market" / DAY / "report.html").read_text()


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines", "problem"),
    [
        ("capacities.csv", ["X,2021-02-01T12:00+07:00,1,0"], "line 2: unknown participant 'X'"),
        ("capacities.csv", ["A,2021-02-01T12:00+07:00,-1,0"], "line 2: surplus_wh '-1' of A: expected whole Wh"),
        ("capacities.csv", ["A,2021-02-01T12:00,1,0"], "line 2: interval_start '2021-02-01T12:00'"),
        ("capacities.csv", ["A,2021-02-01T12:10+07:00,1,0"], "not on the 30-minute grid"),
        ("capacities.csv", 2 * ["A,2021-02-01T12:00+07:00,1,0"], "line 3: a second row of A"),
        ("capacities.csv", ["A,2021-02-01T12:00+07:00,1"], "line 2: deficit_wh ''"),
        ("capacities.csv", [], "expected rows of one local day, found none"),
        (
            "capacities.csv",
            ["A,2021-02-01T12:00+07:00,1,0", "A,2021-02-02T12:00+07:00,1,0"],
            "found 2021-02-01, 2021-02-02; name one by --day",
        ),
        ("participants.csv", ["A,A,no-such,", "B,B,kiee-2021-b,", "C,C,kiee-2021-c,"], "tariff 'no-such': file: no"),
        ("participants.csv", ["A,x,kiee-2021-a,0x1"], "line 2: wallet '0x1'"),
        ("participants.csv", 2 * ["A,x,kiee-2021-a,"], "line 3: participant 'A'"),
        ("participants.csv", [f"A,x,kiee-2021-a,{POOL}", f"B,x,kiee-2021-a,{POOL}"], "another participant's"),
        ("participants.csv", ["A,A,kiee-2021-a,", "B,B,gb-price-cap,", "C,C,kiee-2021-c,"], "expected one currency"),
        ("distances.csv", ["A,B,far"], "line 2: km 'far'"),
        ("distances.csv", ["A,B,1", "B,A,1"], "line 3: a second distance"),
    ],
)
def test_files_that_cannot_be_are_refused_with_their_line(desk, name, lines, problem):
    header = (desk.folder / name).read_text().splitlines()[0]
    desk.write(name, header, *lines)
    assert problem in desk.refused().replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MARKET + 'price = "best"\n', "price: expected one of mid, supply-demand, uniform, pay-as-bid, got 'best'"),
        (MARKET + "colour = 1\n", "colour: unknown key"),
        (MARKET + 'fee_per_kwh_km = "-1"\n', "fee_per_kwh_km: expected a price in quotes"),
        (MARKET + '[settlement]\npool = "here"\n', "pool: expected an address"),
        (MARKET.replace("30", "7"), "interval_minutes: expected one of 5, 10, 15, 30, 60, got 7"),
        (MARKET.replace("Asia/", "Asien/"), "is no IANA time zone"),
        (MARKET.replace('distances = "distances.csv"', 'fee_per_kwh_km = "1"'), "no distance, which the network fee"),
        ("participants = \n", "market.toml"),
        (MARKET.replace("participants.csv", "nobody.csv"), "nobody.csv"),
    ],
)
def test_market_files_that_cannot_be_are_refused_with_their_key(desk, text, problem):
    desk.write("market.toml", text)
    assert problem in desk.refused().replace("\n", " ")


def test_an_own_tariff_with_a_hole_is_refused_with_its_times(desk):
    own = desk.workspace.folder / "tariffs"
    own.mkdir(parents=True)
    from negawatt.market_files import find_tariff

    (own / "own.toml").write_text(OWN_TARIFF.replace("24:00", "23:00"))
    desk.write("participants.csv", "participant,site,tariff", "A,A,own", "B,B,own", "C,C,own")
    assert "weekday, 23:00-24:00: no price" in desk.refused()
    (own / "own.toml").write_text(OWN_TARIFF)
    assert find_tariff(desk.workspace, "own").id == "own"


def test_other_days_of_the_file_are_left_alone(desk):
    text = (desk.folder / "capacities.csv").read_text()
    next_day = (half_hours()[0][0] + timedelta(days=1)).isoformat()
    (desk.folder / "capacities.csv").write_text(text + f"A,{next_day},5,0\n")
    assert desk.match("--day", DAY)["day"] == DAY
    assert "has no rows of 2021-02-03" in desk.refused("--day", "2021-02-03")
