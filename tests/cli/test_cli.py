"""The commands, as someone at a terminal uses them."""

from __future__ import annotations

import csv
import json
import secrets
from pathlib import Path

import pytest
from terminal import Terminal

from negawatt.demo import demo_wallet
from negawatt.workspace import Workspace

COMMANDS = ("simulate", "ingest", "announce", "certify", "settle", "verify", "report", "demo")
EVENT = """
id = "evening"
programme = "kpx-max-4-of-5"
start = 2025-06-25T17:00:00+09:00
end = 2025-06-25T19:00:00+09:00
"""


class Homes(Terminal):
    """A terminal, and files of homes and their readings."""

    def homes(self, *meters: str) -> Path:
        rows = [f"{meter},1000,{demo_wallet(meter)}" for meter in meters]
        return self.write("homes.csv", "meter,contracted_w,wallet", *rows)

    def readings(self, *meters: str, extra: str = "", days: range = range(1, 27)) -> Path:
        """Hourly readings in June 2025: 500 Wh, but 200 Wh in the event of the 25th from 17:00 to 19:00."""
        lines = ["meter,interval_start,import_wh"]
        for meter in meters:
            for day in days:
                for hour in range(24):
                    wh = 200 if (day, hour) in ((25, 17), (25, 18)) else 500
                    lines.append(f"{meter},2025-06-{day:02d}T{hour:02d}:00+09:00,{wh}")
        return self.write("readings.csv", *lines, *extra.splitlines())


@pytest.fixture
def terminal(tmp_path) -> Homes:
    return Homes(tmp_path / "workspace")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(terminal, command):
    said = terminal.run(command, "--help")
    assert "--json" in said
    assert len(said.splitlines()) > 6


def test_readings_become_provisional_certificates(terminal):
    taken = terminal.json("ingest", "--resources", terminal.homes("a", "b"), terminal.readings("a", "b"))
    assert (taken["accepted"], taken["rejected"], taken["stored_new"]) == (2 * 26 * 24, 0, 2 * 26 * 24)
    summary = terminal.json("certify", "--provisional", terminal.write("e.toml", EVENT))
    # Two hours of 500 - 200 Wh from each home; 600 Wh at 1,300.00 a kWh is 780.00. Each owes 2 kWh, so it is
    # 1,000 Wh short of 80 % of it: 1,000 Wh at 300.00 is 300.00 less.
    assert (summary["certified"], summary["reduction_wh"], summary["payment"]) == (2, 1200, 2 * 48_000)


def test_ingesting_the_same_file_again_changes_nothing(terminal):
    homes, readings = terminal.homes("a"), terminal.readings("a")
    terminal.json("ingest", "--resources", homes, readings)
    again = terminal.json("ingest", readings)
    assert (again["stored_new"], again["stored_replaced"], again["stored_unchanged"]) == (0, 0, 26 * 24)


def test_rows_that_cannot_be_read_are_kept_with_line_and_reason(terminal):
    readings = terminal.readings("a", extra="a,2025-06-27T00:00+09:00,many\nz,2025-06-27T00:00+09:00,1\n")
    taken = terminal.json("ingest", "--resources", terminal.homes("a"), readings)
    assert taken["rejected_by_code"] == {"energy.not_a_number": 1, "meter.unknown": 1}
    with open(taken["rejects_file"], newline="") as lines:
        rejects = list(csv.DictReader(lines))
    assert [(r["line"], r["value"], r["code"]) for r in rejects] == [
        (str(2 + 26 * 24), "many", "energy.not_a_number"),
        (str(3 + 26 * 24), "z", "meter.unknown"),
    ]


def test_too_many_rejects_store_nothing_and_exit_with_3(terminal):
    bad = "".join(f"a,2025-06-27T{hour:02d}:00,1\n" for hour in range(20))
    said = terminal.run("ingest", terminal.readings("a", extra=bad), exit_code=3)
    assert "nothing was stored" in said
    assert not terminal.workspace.store.exists()
    taken = terminal.json("ingest", "--max-rejects", 5, terminal.folder / "readings.csv")
    assert taken["rejected_by_code"] == {"time.naive": 20}


def test_flags_change_the_layout_that_the_header_shows(terminal):
    # The file's own columns of quality and revision still count.
    text = "name,interval_start,import_wh,quality,revision\n" + "".join(
        f"a,2025-06-01T{hour:02d}:00,5,estimated,1\n" for hour in range(24)
    )
    readings = terminal.write("r.csv", text.replace("name", "meter"))
    taken = terminal.json("ingest", "--zone", "Asia/Seoul", readings)
    assert (taken["accepted"], taken["first"]) == (24, "2025-05-31T15:00:00+00:00")
    corrected = terminal.write("c.csv", text.replace("name", "meter").replace(",5,", ",4,").replace(",1\n", ",0\n"))
    assert terminal.json("ingest", "--zone", "Asia/Seoul", corrected)["stored_unchanged"] == 24


def test_a_home_without_history_is_certified_for_nothing(terminal):
    readings = terminal.readings("a", extra="b,2025-06-25T17:00+09:00,1\nb,2025-06-25T18:00+09:00,1\n")
    terminal.json("ingest", "--resources", terminal.homes("a", "b", "c"), readings)
    summary = terminal.json("certify", "--provisional", terminal.write("e.toml", EVENT))
    assert summary["certified"] == 1
    assert summary["findings"]["history.insufficient"] == 2
    assert summary["findings"]["readings.none"] == 1
    lines = Path(summary["certificates_file"]).read_text().splitlines()
    for line in lines[2:]:
        certificate = json.loads(line)
        assert (certificate["status"], certificate["payment"], certificate["baseline_wh"]) == (
            "not-certified",
            0,
            None,
        )


def test_an_unknown_event_is_told_which_are_known(terminal):
    said = terminal.run("certify", "dinner", exit_code=1)
    assert "event 'dinner': unknown; known: none yet" in said


def test_an_event_on_a_sunday_is_refused_in_words(terminal):
    terminal.json("ingest", "--resources", terminal.homes("a"), terminal.readings("a"))
    sunday = terminal.write("e.toml", EVENT.replace("06-25", "06-22"))
    said = terminal.run("certify", "--provisional", sunday, exit_code=1)
    assert "2025-06-22 is a sunday and programme 'kpx-max-4-of-5' has baselines for: weekday" in said


def test_events_are_never_changed(terminal):
    terminal.json("ingest", "--resources", terminal.homes("a"), terminal.readings("a"))
    terminal.json("certify", "--provisional", terminal.write("e.toml", EVENT))
    other = terminal.write("e.toml", EVENT.replace("19:00", "20:00"))
    assert "already describes another event" in terminal.run("certify", "--provisional", other, exit_code=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id = 3", "id: expected str, got 3"),
        (EVENT + "colour = 1", "unknown key: colour"),
        (EVENT.replace("+09:00", ""), "has no UTC offset"),
        (EVENT.replace("kpx-max-4-of-5", "kpx"), "built in: demo-pacific, kpx-max-4-of-5"),
    ],
)
def test_a_bad_event_file_is_refused_in_words(terminal, text, problem):
    terminal.json("ingest", "--resources", terminal.homes("a"), terminal.readings("a"))
    said = terminal.run("certify", "--provisional", terminal.write("e.toml", text), exit_code=1)
    assert problem in said


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,1000,0x12", "wallet '0x12' of a: expected an address"),
        ("a,much," + demo_wallet("a"), "contracted_w 'much' of a: expected whole watts"),
        (",1000," + demo_wallet("a"), "meter '': expected a name"),
    ],
)
def test_a_bad_resource_is_refused_with_its_line(terminal, row, problem):
    homes = terminal.write("homes.csv", "meter,contracted_w,wallet", row)
    said = terminal.run("ingest", "--resources", homes, terminal.readings("a"), exit_code=1)
    assert f"homes.csv, line 2: {problem}" in said


def test_an_unknown_setting_is_refused(terminal):
    terminal.workspace.folder.mkdir()
    terminal.workspace.settings_file.write_text('colour = "green"\n')
    assert "unknown setting 'colour'; known: buckets, bus, chain" in terminal.run("report", "x", exit_code=1)


def test_an_unknown_zone_in_the_settings_is_refused(terminal):
    terminal.workspace.folder.mkdir()
    terminal.workspace.settings_file.write_text('zone = "Asia"\n')
    assert "zone 'Asia' is no IANA time zone" in terminal.run("report", "x", exit_code=1)


def test_settings_come_from_file_and_environment(tmp_path):
    from negawatt.settings import load_settings

    file = tmp_path / "negawatt.toml"
    file.write_text('confirmations = 3\nspark = "local[1]"\n')
    settings = load_settings(file, {"NEGAWATT_SPARK": "local[2]", "NEGAWATT_WORKSPACE": "x", "HOME": "y"})
    assert (settings.confirmations, settings.spark) == (3, "local[2]")


def test_the_salt_is_readable_by_its_owner_alone(terminal):
    terminal.json("ingest", "--resources", terminal.homes("a"), terminal.readings("a"))
    terminal.json("certify", "--provisional", terminal.write("e.toml", EVENT))
    assert (terminal.workspace.folder / "salt").stat().st_mode & 0o777 == 0o600


def test_two_who_make_the_salt_at_once_get_the_same(tmp_path, monkeypatch):
    other: list[bytes] = []

    def while_another_makes_it(count):
        monkeypatch.undo()
        other.append(Workspace(tmp_path).salt())
        return bytes(count)

    monkeypatch.setattr(secrets, "token_bytes", while_another_makes_it)  # after the first has seen that there is none
    assert Workspace(tmp_path).salt() == other[0] == (tmp_path / "salt").read_bytes() != bytes(32)
    assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["salt"]


def test_verifying_before_anything_was_settled_says_what_to_do(terminal):
    assert "settle an event first" in terminal.run("verify", "evening", exit_code=1)


@pytest.mark.parametrize("option", [("--events", "2"), ("--weather", __file__)])
def test_options_of_real_readings_are_refused_without_them(terminal, option):
    said = terminal.run("demo", *option, exit_code=2)
    assert f"{option[0]} goes with --readings" in said
