"""``negawatt vee`` and ``negawatt quality``, as someone at a terminal uses them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from stores import assert_equal_blocks, whole
from terminal import Terminal

from batch.parquet_store import ParquetStore
from negawatt.demo import demo_wallet
from speed.duckdb_store import DuckDBStore

METERS = ("a", "b", "c")
DAY_30 = 20_269 * 24
"""Slot of the 30th's midnight: 20,269 days since 1970."""


class VeeTerminal(Terminal):
    """A terminal, and files of readings of June 2025 with a gap and a wrong reading on the 30th."""

    def readings(self, hours=range(30 * 24), name="readings.csv", revision=0, **changed: int):
        """Hourly, 500 Wh and a little more each hour; on the 30th ``a`` lacks 10 to 12 h, ``b`` has 30 kWh at 3 h."""
        lines = ["meter,interval_start,import_wh,revision"]
        for meter in ("a", "b"):
            for hour in hours:
                day, clock = divmod(hour, 24)
                wh = 30_000 if (meter, day, clock) == ("b", 29, 3) else 500 + clock
                if meter in changed:
                    wh = changed[meter]
                elif meter == "a" and day == 29 and clock in (10, 11, 12):
                    continue
                lines.append(f"{meter},2025-06-{day + 1:02d}T{clock:02d}:00Z,{wh},{revision}")
        return self.write(name, *lines)


@pytest.fixture
def terminal(tmp_path) -> VeeTerminal:
    terminal = VeeTerminal(tmp_path / "workspace")
    feeders = {"a": "north", "b": "south", "c": "south"}
    rows = [f"{meter},1000,{demo_wallet(meter)},{feeders[meter]}" for meter in METERS]
    homes = terminal.write("homes.csv", "meter,contracted_w,wallet,feeder", *rows)
    terminal.run("ingest", "--resources", homes, terminal.readings())
    return terminal


@pytest.mark.parametrize("command", ["vee", "quality"])
def test_both_commands_explain_themselves(terminal, command):
    said = terminal.run(command, "--help")
    assert "--json" in said
    assert "--registers" in said
    assert len(said.splitlines()) > 20


def test_a_day_is_checked_and_estimated_in_both_layers(terminal):
    done = terminal.json("vee", "--day", "2025-06-30", "--by", "the operator")
    assert done["findings"] == {
        "gap.missing": {"meters": 2, "intervals": 27},
        "limit.exceeded": {"meters": 1, "intervals": 1},
        "estimate.none": {"meters": 1, "intervals": 24},
    }
    assert done["edits_by_reason"] == {"gap.missing": 3, "limit.exceeded": 1}
    assert done["edits_by_method"] == {"linear": 1, "like-days": 3}
    (log,) = done["logs"]
    assert {row["by"] for row in pq.read_table(log).to_pylist()} == {"the operator"}
    slots = np.arange(DAY_30, DAY_30 + 24)[None]
    speed = DuckDBStore(terminal.workspace.speed)
    block = speed.read_slots(slots, 60)
    speed.close()
    assert block.estimated.sum(axis=(1, 2)).tolist() == [3, 1]
    assert_equal_blocks(whole(ParquetStore(terminal.workspace.store), slots), block)


def test_again_nothing_is_edited_or_logged(terminal):
    terminal.json("vee", "--day", "2025-06-30")
    again = terminal.json("vee", "--day", "2025-06-30")
    assert (again["edits"], again["logs"], again["estimated_before"]) == (0, [], 4)
    assert len(list((terminal.workspace.folder / "vee" / "edits").iterdir())) == 1


def test_a_month_is_done_in_pieces_and_doing_it_again_changes_nothing(terminal):
    done = terminal.json("vee", "--from", "2025-06-02", "--to", "2025-06-30")
    assert (done["intervals"], done["edits"], len(done["logs"])) == (3 * 29 * 24, 4, 1)
    assert done["findings"]["gap.missing"] == {"meters": 2, "intervals": 3 + 29 * 24}
    again = terminal.json("vee", "--from", "2025-06-02", "--to", "2025-06-30")
    assert (again["edits"], again["estimated_before"]) == (0, 4)


def test_a_run_that_is_killed_before_its_edits_are_stored_is_made_good_by_the_next(terminal, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("negawatt.vee.layers", killed)
        terminal.invoke("vee", "--day", "2025-06-30")
    assert terminal.json("quality", "2025-06-30")["all"]["estimated"] == 0
    assert terminal.json("vee", "--day", "2025-06-30")["edits"] == 4
    assert len(list((terminal.workspace.folder / "vee" / "edits").iterdir())) == 1


def test_a_dry_run_stores_nothing(terminal):
    done = terminal.json("vee", "--day", "2025-06-30", "--dry-run")
    assert (done["edits"], done["logs"]) == (4, [])
    assert not (terminal.workspace.folder / "vee").exists()
    assert terminal.json("quality", "2025-06-30")["all"]["estimated"] == 0


def test_without_a_day_it_is_the_last_whole_one(terminal):
    assert terminal.json("vee", "--dry-run")["first"] == "2025-06-29T00:00:00+00:00"


def test_local_days_of_a_zone(terminal):
    done = terminal.json("vee", "--from", "2025-06-28", "--to", "2025-06-29", "--zone", "Asia/Seoul", "--dry-run")
    assert (done["first"], done["last"]) == ("2025-06-27T15:00:00+00:00", "2025-06-29T15:00:00+00:00")


def test_what_the_source_confirms_is_left_alone_from_then_on(terminal):
    confirmed = terminal.readings(range(29 * 24 + 3, 29 * 24 + 5), "confirmed.csv", 1, b=30_000, a=503)
    terminal.run("ingest", confirmed)
    done = terminal.json("vee", "--day", "2025-06-30")
    assert (done["edits"], done["refused"]) == (3, 2)
    again = terminal.json("vee", "--day", "2025-06-30")
    assert (again["edits"], again["refused"], "limit.exceeded" in again["findings"]) == (0, 0, False)


def test_registers_and_clocks_come_from_files(terminal):
    reads = "meter,read_at,import_wh\na,2025-06-30T00:00Z,1000\na,2025-07-01T00:00Z,13373\n"
    told = "".join(f"b,2025-06-30T0{n}:05:00Z,2025-06-30T0{n}:00:00Z\n" for n in range(3))
    done = terminal.json(
        "vee", "--day", "2025-06-30",
        "--registers", terminal.write("reads.csv", reads),
        "--clocks", terminal.write("clocks.csv", "meter,meter_time,concentrator_time\n" + told),
    )  # fmt: skip
    assert done["findings"]["clock.drift"] == {"meters": 1, "intervals": 1}
    # 24 hours of 500 to 523 Wh are 12,276; the register counted 12,373, 97 more, which go to the three that lack.
    assert done["edits_by_method"] == {"linear": 1, "register": 3}
    (log,) = done["logs"]
    assert sum(row["new_wh"] for row in pq.read_table(log).to_pylist() if row["meter"] == "a") == 1_533 + 97


def test_quality_by_feeder_and_meter(terminal):
    before = terminal.json("quality", "2025-06-30")
    assert [(f["feeder"], f["meters"], f["missing"], f["complete_pct"]) for f in before["feeders"]] == [
        ("north", 1, 3, 87.5),
        ("south", 2, 24, 50.0),
    ]
    assert before["all"]["findings"] == {"gap.missing": 27, "limit.exceeded": 1, "estimate.none": 24}
    terminal.run("vee", "--day", "2025-06-30")
    after = terminal.json("quality", "2025-06-30")
    assert [(f["actual_pct"], f["complete_pct"], f["estimated"]) for f in after["feeders"]] == [
        (87.5, 100.0, 3),
        (47.91, 50.0, 1),
    ]
    assert after["all"]["findings"] == before["all"]["findings"], "what was found stays in sight when it is edited"
    assert [row["meter"] for row in after["worst_meters"]] == ["c", "a", "b"]
    table = pq.read_table(after["file"])
    assert table.column("meter").to_pylist() == list(METERS)
    assert table.column("gap_missing").to_pylist() == [3, 0, 24]


def test_a_late_reading_is_no_gap_any_more(terminal):
    terminal.run("vee", "--day", "2025-06-30")
    terminal.run("ingest", terminal.readings(range(29 * 24 + 10, 29 * 24 + 12), "late.csv", a=7))
    view = terminal.json("quality", "2025-06-30")["feeders"][0]
    assert (view["actual"], view["estimated"], view["findings"]) == (23, 1, {"gap.missing": 1})


def test_quality_for_people(terminal):
    said = terminal.run("quality", "2025-06-30", "--worst", 1)
    assert "north" in said
    assert "every meter:" in said


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("--day", "2025-06-30", "--from", "2025-06-29"), 2, "give one or the other"),
        (("--from", "2025-06-29"), 2, "--from and --to go together"),
        (("--from", "2025-06-29", "--to", "2025-06-28"), 1, "expected the earlier one first"),
        (("--day", "2999-01-01"), 1, "is not over"),
        (("--zone", "Asia/Soul"), 1, "zone 'Asia/Soul' is no IANA time zone"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(terminal, words, exit_code, sentence):
    assert sentence in terminal.run("vee", *words, exit_code=exit_code)


def test_own_rules_are_checked(terminal):
    terminal.write("workspace/vee.toml", 'id = "own"\n')
    assert "VEE rules: clock: missing" in terminal.run("vee", exit_code=1)
    terminal.write("workspace/vee.toml", "id = \n")
    assert "VEE rules" in terminal.run("vee", exit_code=1)


def test_without_readings_it_says_what_to_do(tmp_path):
    terminal = VeeTerminal(tmp_path / "workspace")
    assert "negawatt ingest" in terminal.run("vee", exit_code=1)
    assert "readings of one interval are needed" in terminal.run("quality", "2025-06-30", exit_code=1)
