"""Kafka and HBase as `negawatt stack` runs them: up together, private, and with their data after a crash."""

from __future__ import annotations

import time

import happybase
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from listening import listeners
from terminal import Terminal

from infra.daemons import ServiceError, port_is_free
from infra.hbase_server import HBaseServer
from infra.java_status import server_status
from infra.kafka_server import LARGEST_MESSAGE, KafkaServer
from negawatt.stack_services import bus_address, store_address
from negawatt.workspace import Workspace

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]  # the first of them may have to fetch the jars


def run(folder, *words):
    return Terminal(folder).json("stack", *words)


@pytest.fixture(scope="module")
def utility(tmp_path_factory):
    """A workspace whose servers were started together by the command, and what that printed and took."""
    folder = tmp_path_factory.mktemp("utility")
    began = time.monotonic()
    shown = run(folder, "up", "kafka", "hbase")
    seconds = time.monotonic() - began
    yield folder, shown, seconds
    for kind in (KafkaServer, HBaseServer):
        if (place := folder / "stack" / kind.service).exists():
            kind.load(place).kill()


@pytest.fixture
def servers(utility):
    """Both of them, running."""
    folder, _, _ = utility
    found = [kind.load(folder / "stack" / kind.service) for kind in (KafkaServer, HBaseServer)]
    for server in found:
        server.up()
    return found


def send(kafka, topic, values):
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka.address, acks="all", max_request_size=LARGEST_MESSAGE + 2**16)
    for value in values:
        producer.send(topic, value).get(30)
    producer.close()


def received(kafka, topic, count):
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.address, group_id=None, fetch_max_bytes=2**26, max_partition_fetch_bytes=2**25
    )
    consumer.assign([part := TopicPartition(topic, 0)])
    consumer.seek_to_beginning(part)
    found, deadline = [], time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        found += [record.value for records in consumer.poll(500).values() for record in records]
    end = consumer.end_offsets([part])[part]
    consumer.close()
    assert end == count
    return found


def rows(hbase, table):
    connection = happybase.Connection("127.0.0.1", hbase.port)
    found = {key: cells[b"d:v"] for key, cells in connection.table(table).scan()}
    connection.close()
    return found


def put(hbase, table, cells):
    connection = happybase.Connection("127.0.0.1", hbase.port)
    connection.create_table(table, {"d": {"compression": "ZSTD"}})
    for key, value in cells.items():
        connection.table(table).put(key, {b"d:v": value})
    connection.close()


# --- up ----------------------------------------------------------------------------------------------------


def test_both_are_started_together_and_work(utility):
    folder, shown, seconds = utility
    assert {name: (service["made"], service["started"], service["state"]) for name, service in shown.items()} == {
        "kafka": (True, ["kafka"], "running"),
        "hbase": (True, ["hbase", "thrift"], "running"),
    }
    assert shown["kafka"]["url"] == bus_address(Workspace(folder))
    assert shown["hbase"]["url"] == store_address(Workspace(folder))
    assert all(service["answer_ms"] > 0 for service in shown.values())
    assert seconds < 240  # a dozen on two idle cores; fetching the jars takes another 40


def test_up_again_starts_only_what_is_missing(utility):
    folder, _, _ = utility
    assert [service["started"] for service in run(folder, "up").values()] == [[], []]
    hbase = HBaseServer.load(folder / "stack" / "hbase")
    kept = hbase.programs[0].pid
    assert hbase.kill("thrift") == ["thrift"]
    assert server_status(hbase).state == "partly"
    assert run(folder, "up", "hbase")["hbase"]["started"] == ["thrift"]
    assert hbase.programs[0].pid == kept


def test_every_listener_is_on_loopback(servers):
    for server in servers:
        for program in server.programs:
            found = listeners(program.pid)
            assert {address for address, _ in found} == {"0100007F"}
            assert {port for _, port in found} == set(program.ports)


def test_status_and_logs_tell_of_every_program(utility, servers):
    folder, _, _ = utility
    shown = run(folder, "status")
    assert shown["chain"] == {"state": "none"}
    said = run(folder, "logs", "-n", 5)
    for server in servers:
        seen = shown[server.service]
        assert (seen["state"], seen["problem"], seen["folder"]) == ("running", None, str(server.folder))
        assert seen["disk_bytes"] > 10_000
        for program, told in zip(server.programs, seen["programs"], strict=True):
            assert (told["name"], told["pid"], told["up"]) == (program.name, program.pid, True)
            assert 50 < told["memory_mib"] < told["heap_mib"] + 400
            assert 1 <= len(said[server.service][program.name]["lines"]) <= 5


def test_a_server_that_runs_keeps_its_port(utility, servers):
    folder, _, _ = utility
    said = Terminal(folder).run("stack", "up", "kafka", "--kafka-port", 31999, exit_code=1)
    assert "first `negawatt stack down kafka`" in said


# --- data --------------------------------------------------------------------------------------------------


def test_a_batch_of_sixteen_mebibytes_passes_through_kafka(servers):
    kafka, _ = servers
    batch = bytes(LARGEST_MESSAGE)
    send(kafka, "large", [batch])
    assert received(kafka, "large", 1) == [batch]


def test_a_kill_of_all_programs_loses_nothing_that_was_acknowledged(utility, servers):
    folder, _, _ = utility
    kafka, hbase = servers
    sent = [b"%d" % n * (n % 40) for n in range(200)]
    cells = {b"%04d" % n: b"%d" % n * (n % 40) for n in range(200)}
    send(kafka, "killed", sent)
    put(hbase, "killed", cells)
    assert (kafka.kill(), hbase.kill()) == (["kafka"], ["thrift", "hbase"])
    assert [service["started"] for service in run(folder, "up").values()] == [["kafka"], ["hbase", "thrift"]]
    assert received(kafka, "killed", len(sent)) == sent
    assert rows(hbase, "killed") == cells


def test_thrift_serves_on_when_hbase_alone_was_killed(servers):
    _, hbase = servers
    put(hbase, "alone", {b"a": b"1"})
    thrift = hbase.programs[1].pid
    hbase.kill("hbase")
    assert hbase.up() == ["hbase"]
    assert hbase.programs[1].pid == thrift
    assert rows(hbase, "alone") == {b"a": b"1"}


def test_down_stops_all_and_up_finds_the_data_on_the_same_ports(utility, servers):
    folder, _, _ = utility
    kafka, hbase = servers
    send(kafka, "kept", [b"one", b"two"])
    put(hbase, "kept", {b"a": b"1"})
    assert run(folder, "down") == {
        "kafka": {"stopped": ["kafka"], "erased": False},
        "hbase": {"stopped": ["thrift", "hbase"], "erased": False},
    }
    for server in servers:
        assert [program.pid for program in server.programs] == [None] * len(server.programs)
        assert all(port_is_free(port) for program in server.programs for port in program.ports)
    again = run(folder, "up", "kafka", "hbase")
    assert [service["made"] for service in again.values()] == [False, False]
    assert [again["kafka"]["url"], again["hbase"]["url"]] == [kafka.url, hbase.url]
    assert received(kafka, "kept", 2) == [b"one", b"two"]
    assert rows(hbase, "kept") == {b"a": b"1"}


def test_a_thrift_2_server_runs_for_the_time_of_a_block(servers):
    _, hbase = servers
    with hbase.thrift2() as port:
        assert not port_is_free(port)
    assert port_is_free(port)
    assert server_status(hbase).state == "running"


def test_a_server_that_hangs_is_silent_and_waiting_for_it_names_its_log(servers, monkeypatch):
    kafka, _ = servers
    monkeypatch.setattr(KafkaServer, "probe", lambda self: (_ for _ in ()).throw(TimeoutError("no answer")))
    assert server_status(kafka).state == "silent"
    with pytest.raises(ServiceError, match=r"doesn't work after 0\.1 s \(TimeoutError: no answer\)(.|\n)*kafka\.log"):
        kafka.wait_until_ready(0.1)


def test_reset_takes_everything_away(utility, servers):
    folder, _, _ = utility
    shown = run(folder, "reset", "kafka", "hbase", "--yes")
    assert shown["kafka"] == {"stopped": ["kafka"], "erased": True}
    assert shown["hbase"] == {"stopped": ["thrift", "hbase"], "erased": True}
    assert [server.folder.exists() for server in servers] == [False, False]
