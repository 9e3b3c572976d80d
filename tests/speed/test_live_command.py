"""``negawatt live`` and ``negawatt retention``, as someone at a terminal uses them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from terminal import Terminal

from negawatt.cli_live import watched
from negawatt.demo_wallets import demo_wallet

START = datetime(2025, 6, 11, 8, tzinfo=UTC)
HOMES = {"a": "north", "b": "south", "idle": "south"}
EVENT = """id = "heat"
programme = "kpx-max-4-of-5"
start = 2025-06-11T17:00:00+09:00
end = 2025-06-11T19:00:00+09:00
"""


class LiveTerminal(Terminal):
    """A terminal, and files of an event and of homes."""

    def __init__(self, folder) -> None:
        super().__init__(folder / "workspace")
        homes = [f"{meter},1000,{demo_wallet(meter)},{feeder}" for meter, feeder in HOMES.items()]
        self.write("homes.csv", "meter,contracted_w,wallet,feeder", *homes)
        self.write("event.toml", EVENT)

    def ingest(self, name: str, wh: dict[str, int], first: datetime, last: datetime, revision: int = 0) -> None:
        lines, at = ["meter,interval_start,import_wh,revision"], first
        while at < last:
            lines += [f"{meter},{at:%Y-%m-%dT%H:%M}Z,{energy},{revision}" for meter, energy in wh.items()]
            at += timedelta(minutes=30)
        self.run("ingest", "--resources", self.folder / "homes.csv", self.write(name, *lines))


@pytest.fixture
def terminal(tmp_path):
    """In a workspace with a month of readings and those of the event's first hour."""
    terminal = LiveTerminal(tmp_path)
    terminal.ingest("history.csv", dict.fromkeys(HOMES, 500), START - timedelta(days=25), START)
    terminal.ingest("event.csv", {"a": 300, "b": 450}, START, START + timedelta(hours=1))
    return terminal


def test_an_event_halfway_is_shown_with_totals_feeders_and_the_least_first(terminal):
    seen = terminal.json("live", terminal.folder / "event.toml", "--at", "2025-06-11T18:00+09:00")
    total = seen["total"]
    assert (total["resources"], total["homes"], total["due"], total["reported"]) == (3, 3, 6, 4)
    assert (total["baseline_wh"], total["usage_wh"], total["reduction_wh"]) == (2000, 1500, 500)
    assert total["forecast_wh"] == 1500  # 500 in 4 of 12 home-intervals
    assert [(row["feeder"], row["reduction_wh"]) for row in seen["feeders"]] == [("north", 400), ("south", 100)]
    assert [(row["meter"], row["share_pct"]) for row in seen["least"]] == [("b", 10), ("a", 40)]
    assert seen["statuses"] == {"adjusted": 3}
    assert seen["lateness"]["behind"] == 1
    assert seen["unknown_meters"]["meters"] == seen["quarantined"] == 0
    assert terminal.json("live", "heat", "--at", "2025-06-11T09:00Z")["total"] == total


def test_a_feeder_alone_is_its_own_total(terminal):
    seen = terminal.json(
        "live", terminal.folder / "event.toml", "--feeder", "south", "--at", "2025-06-11T09:00", "--homes", 1
    )
    assert (seen["total"]["feeder"], seen["total"]["homes"], seen["total"]["usage_wh"]) == ("south", 2, 900)
    assert [row["meter"] for row in seen["least"]] == ["b"]
    assert seen["lateness"]["homes"] == 2
    refused = terminal.run("live", "heat", "--feeder", "west", exit_code=1)
    assert "nobody on feeder 'west'" in refused
    assert "north, south" in refused


def test_tables_for_people_name_event_feeders_and_homes(terminal):
    shown = terminal.run("live", terminal.folder / "event.toml", "--at", "2025-06-11T09:00")
    for words in (
        "Event heat at 2025-06-11 09:00:00 UTC",
        "Feeders",
        "north",
        "0.50",
        "10.00",
        "3 adjusted",
        "1 of 3",
    ):
        assert words in shown, words


def test_the_views_for_sql_are_those_of_the_last_look(terminal):
    from speed.stores import duckdb_url, open_speed_store

    terminal.run("live", terminal.folder / "event.toml", "--at", "2025-06-11T09:00")
    store = open_speed_store(duckdb_url(terminal.folder / "workspace" / "speed.duckdb"))
    rows = store.query("SELECT event, reduction_wh FROM live_event").to_pylist()
    store.close()
    assert rows == [{"event": "heat", "reduction_wh": 500}]


def test_late_readings_show_at_the_next_look(terminal):
    at = ("--at", "2025-06-11T09:00")
    assert terminal.json("live", terminal.folder / "event.toml", *at)["baselines_changed"] == 3
    terminal.ingest("late.csv", {"idle": 400}, START, START + timedelta(hours=1))
    seen = terminal.json("live", "heat", *at)
    assert (seen["baselines_changed"], seen["total"]["reduction_wh"], seen["lateness"]["behind"]) == (0, 700, 0)
    hours = START - timedelta(hours=4), START - timedelta(hours=1)
    terminal.ingest("corrected.csv", {"b": 520}, *hours, revision=1)
    seen = terminal.json("live", "heat", *at)
    assert (seen["baselines_changed"], seen["total"]["reduction_wh"]) == (1, 740)


def test_watching_looks_again_until_it_is_interrupted():
    looks, pauses = [], []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(lambda: looks.append(1), 5, pause)
    assert len(looks) == 3
    assert all(4 < seconds <= 5 for seconds in pauses)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "yesterday"), "expected a time such as"),
        (("--at", "2025-06-11T09:00", "--watch"), "give one or the other"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(terminal, words, said):
    assert said in terminal.run("live", "heat", *words, exit_code=2)


def test_without_readings_the_refusal_says_what_to_do(tmp_path):
    terminal = LiveTerminal(tmp_path)
    assert "readings of one interval are needed" in terminal.run("live", tmp_path / "event.toml", exit_code=1)


def test_retention_keeps_the_days_that_it_was_told_and_rolls_up_all(terminal):
    terminal.run("live", terminal.folder / "event.toml", "--at", "2025-06-11T09:00")
    told = ("retention", "--at", "2025-06-20T00:30Z", "--days")
    refused = terminal.run(*told, 29, exit_code=1)
    assert "look back 30 days" in refused
    done = terminal.json(*told, 33)
    (imported, exported) = done["registers"]
    assert (imported["rolled_days"], imported["dropped_days"], exported["rolled_days"]) == (26, 1, 0)
    assert imported["dropped_readings"] == 3 * 32  # the first day began at 8:00 UTC
    again = terminal.json(*told, 33)["registers"][0]
    assert (again["rolled_days"], again["dropped_days"]) == (0, 0)
    assert "stay in the speed store" in terminal.run("retention", "--at", "2025-06-20")


def test_an_event_before_its_programme_keeps_no_readings_from_being_dropped(terminal):
    old = EVENT.replace("2025", "1999").replace('"heat"', '"old"')
    terminal.workspace.event(str(terminal.write("old.toml", old)))
    terminal.workspace.event(str(terminal.folder / "event.toml"))
    told = ("retention", "--at", "2025-06-20T00:30Z", "--days")
    assert "look back 30 days" in terminal.run(*told, 29, exit_code=1)
    assert terminal.json(*told, 33)["registers"][0]["dropped_days"] == 1
