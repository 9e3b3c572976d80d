from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from kafka_processes import batch

from ingest.bus import open_bus
from negawatt.cli import main

pytestmark = pytest.mark.stack


def run(workspace, *words: str) -> dict:
    done = CliRunner().invoke(main, ["-w", str(workspace), *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_readings_on_kafka_reach_both_stores_by_commands(kafka, tmp_path):
    url = f"{kafka.url}/commands"
    with open_bus(url) as bus:
        for number in range(3):
            bus.publish(batch(number))
        bus.sender.send(bus.place.topic("readings"), b"poison", partition=0)
        bus.flush()
    for layer in ("batch", "speed"):
        done = run(tmp_path, "consume", "--to", layer, "--until-idle", "--bus", url)
        assert (done["readings"], done["rejected"], done["lag"]) == (3_000, 1, 0)
    again = run(tmp_path, "replay", "--to", "both", "--bus", url, "--offset", "0:0")
    assert (again["messages"] > 1, again["rejected"]) == (True, 1)
    (message,) = run(tmp_path, "rejected", "--bus", url)["rejected"]
    assert (message["fault"], message["partition"], message["size"]) == ("message.unreadable", 0, 6)


def test_a_bus_that_keeps_nothing_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["-w", str(tmp_path), "consume"])
    assert done.exit_code == 1
    assert "--bus kafka://HOST:PORT" in done.output
