from __future__ import annotations

import pytest
from kafka_processes import batch
from terminal import Terminal

from ingest.bus import open_bus

pytestmark = pytest.mark.stack


def test_readings_on_kafka_reach_both_stores_by_commands(kafka, tmp_path):
    url, terminal = f"{kafka.url}/commands", Terminal(tmp_path)
    with open_bus(url) as bus:
        for number in range(3):
            bus.publish(batch(number))
        bus.sender.send(bus.place.topic("readings"), b"poison", partition=0)
        bus.flush()
    for layer in ("batch", "speed"):
        done = terminal.json("consume", "--to", layer, "--until-idle", "--bus", url)
        assert (done["readings"], done["rejected"], done["lag"]) == (3_000, 1, 0)
    again = terminal.json("replay", "--to", "both", "--bus", url, "--offset", "0:0")
    assert (again["messages"] > 1, again["rejected"]) == (True, 1)
    (message,) = terminal.json("rejected", "--bus", url)["rejected"]
    assert (message["fault"], message["partition"], message["size"]) == ("message.unreadable", 0, 6)


def test_a_bus_that_keeps_nothing_is_refused(tmp_path):
    assert "--bus kafka://HOST:PORT" in Terminal(tmp_path).run("consume", exit_code=1)
