"""`negawatt events` and what is behind it, as far as no scheduler is needed; the rest is tried on a real Airflow."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import an_event, some_resources
from terminal import Terminal

from domain.errors import EventNotOverError, NegawattError, NoParticipantsError
from infra.daemons import free_ports
from negawatt.cli_events import plainly
from negawatt.console import Screen
from negawatt.event_ends import EventFollower, end_event, standing
from negawatt.scheduler import Scheduler, SchedulerError, open_scheduler
from negawatt.settings import Settings, load_settings
from negawatt.workspace import Workspace, write_whole

NOW = an_event().end + timedelta(minutes=1)


@pytest.fixture
def place(tmp_path):
    """A workspace with two homes and one event."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.add_resources(some_resources(2).values())
    workspace.add_event(an_event())
    return workspace


@pytest.fixture
def away():
    """A scheduler that nobody answers for."""
    return Scheduler(f"http://127.0.0.1:{free_ports(1)[0]}", "admin", "secret")


def test_events_are_listed_with_what_became_of_them_the_latest_first(place):
    later = an_event("later", datetime(2999, 1, 1, tzinfo=UTC))
    certified = an_event("certified", an_event().start - timedelta(days=1))
    settled = an_event("settled", an_event().start - timedelta(days=2))
    for event in (later, certified, settled):
        place.add_event(event)
    write_whole(place.certificates("certified"), b"")
    write_whole(place.settlement("settled"), b"{}")
    rows = standing(place, None, NOW)
    assert [(row["event"], row["state"]) for row in rows] == [
        ("later", "to come"), ("e1", "over"), ("certified", "certified"), ("settled", "settled"),
    ]  # fmt: skip
    assert standing(place, None, an_event().start)[1]["state"] == "running"


def test_the_list_is_printed_for_machines(place):
    assert Terminal(place.folder).json("events", "list")["events"][0]["event"] == "e1"


def test_without_a_scheduler_the_error_says_what_to_do(place):
    done = Terminal(place.folder).invoke("events", "end", "e1")
    assert done.exit_code == 1
    assert "no scheduler is set" in done.stderr
    assert "stack up airflow" in done.stderr
    assert "negawatt certify" in done.stderr


def test_an_event_that_is_not_over_is_not_ended(place, away):
    with pytest.raises(EventNotOverError, match="it ends at 2025-06-11T09:00"):
        end_event(place, away, an_event(), an_event().end - timedelta(seconds=1))


def test_an_event_without_participants_is_not_ended(place, away):
    write_whole(place.folder / "participants" / "e1.csv", b"meter,contracted_w,wallet,feeder\n")
    with pytest.raises(NoParticipantsError):
        end_event(place, away, an_event(), NOW)


def test_a_scheduler_that_is_away_is_said_with_its_address_and_without_the_password(place, away):
    with pytest.raises(SchedulerError, match=r"doesn't answer at http://127\.0\.0\.1") as said:
        end_event(place, away, an_event(), NOW)
    assert "secret" not in str(said.value)
    assert said.value.retry_may_help


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://admin@host:1", "expected airflow://USER@HOST:PORT"),
        ("airflow://host:1", "expected airflow://USER@HOST:PORT"),
        ("airflow://admin:pass-word@host:1", "without a password"),
        ("airflow://admin@host:1", "no password of user 'admin'"),
    ],
)
def test_a_wrong_address_is_explained_and_shows_no_password(place, address, said):
    with pytest.raises(SchedulerError, match=said) as error:
        open_scheduler(place, Settings(scheduler=address))
    assert "pass-word" not in str(error.value)


def test_the_password_comes_from_the_environment_or_the_first_line_of_a_file(place, tmp_path):
    (tmp_path / "secret").write_text("from-file\nsecond line\n")
    named = Settings(
        scheduler="airflow+https://ann@example.org/flow", scheduler_password_file=str(tmp_path / "secret")
    )
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(SchedulerError, match="can be read by others: chmod 600 it"):
        open_scheduler(place, named)
    (tmp_path / "secret").chmod(0o600)
    found = open_scheduler(place, named)
    assert (found.url, found._user, found._password) == ("https://example.org/flow", "ann", "from-file")
    given = load_settings(
        tmp_path / "none.toml",
        {"NEGAWATT_SCHEDULER": "airflow://ann@host:1", "NEGAWATT_SCHEDULER_PASSWORD": "from-environment"},
    )
    assert open_scheduler(place, given)._password == "from-environment"
    assert "from-environment" not in repr(given)


def test_a_password_in_the_settings_file_is_refused(tmp_path):
    (tmp_path / "negawatt.toml").write_text('scheduler_password = "hunter2"\n')
    with pytest.raises(NegawattError, match="NEGAWATT_SCHEDULER_PASSWORD") as said:
        load_settings(tmp_path / "negawatt.toml", {})
    assert "hunter2" not in str(said.value)


def test_a_follower_keeps_events_and_tries_again_while_the_scheduler_is_away(place, away):
    told: list[str] = []
    follower = EventFollower(place, away, told.append)
    new = an_event("new")
    follower.take(new)
    assert place.event("new") == new
    follower.start_what_is_over(new.end - timedelta(seconds=1))
    assert told == []
    assert follower.is_idle(new.end - timedelta(seconds=1))
    follower.start_what_is_over(NOW)
    assert "doesn't answer" in told[0]
    assert not follower.is_idle(NOW)
    assert (follower.started, follower.refused) == (0, 0)


def test_a_follower_keeps_what_it_refuses_with_the_reason(place, away):
    follower = EventFollower(place, away, lambda said: None)
    follower.take("topic 'dr.events', partition 0, offset 7: no DR event: KeyError('id')")
    follower.take(an_event("e1", an_event().start + timedelta(hours=3)))
    kept = [json.loads(line) for line in (place.folder / "rejects" / "events.jsonl").read_text().splitlines()]
    assert "offset 7" in kept[0]["reason"]
    assert "another event of this id" in kept[1]["reason"]
    assert follower.refused == 2
    assert follower.is_idle(NOW)


@pytest.mark.parametrize(
    "programme",
    ["x" * 300, "../events", "a\0b", "kpx-max-4-of-5/x", "", "a\n", ".hidden", "[/red]", "\ud800", None, 7, ["kpx"]],
)
def test_a_programme_that_cannot_be_named_is_refused_and_nothing_kept(place, away, programme):
    (place.folder / "programmes").mkdir()
    follower = EventFollower(place, away, lambda said: None)
    follower.take(replace(an_event("odd"), programme=programme))
    assert refusals(place)[0].startswith("event 'odd': programme ")
    assert "a name has 1 to 64 characters of a-z A-Z 0-9 . _ -" in refusals(place)[0]
    assert [event.id for event in place.events()] == ["e1"]
    assert follower.is_idle(NOW)


def test_an_event_before_its_programme_is_refused_and_nothing_kept(place, away):
    follower = EventFollower(place, away, lambda said: None)
    follower.take(an_event("old", datetime(1999, 6, 18, 8, tzinfo=UTC)))
    (reason,) = refusals(place)
    assert reason.startswith("event 'old': the programme has no terms for 1999-06-18: its first begin ")
    assert [event.id for event in place.events()] == ["e1"]
    assert follower.is_idle(NOW)


def test_an_event_whose_id_airflow_refuses_is_refused_once_and_not_tried_again(place, away):
    follower = EventFollower(place, away, lambda said: None)
    follower.take(an_event("peak..1"))
    follower.start_what_is_over(NOW)
    assert "Airflow takes no run of this id" in refusals(place)[0]
    assert (follower.refused, follower.is_idle(NOW)) == (1, True)


def test_what_a_message_says_is_printed_as_it_is(place, away, capsys):
    follower = EventFollower(place, away, plainly(Screen()))
    follower.take("offset 7: no DR event: event '[/red]': an [bold]id")
    assert capsys.readouterr().out == "refused: offset 7: no DR event: event '[/red]': an [bold]id\n"


def refusals(place):
    """The reasons that are kept."""
    lines = (place.folder / "rejects" / "events.jsonl").read_text().splitlines()
    return [json.loads(line)["reason"] for line in lines]
