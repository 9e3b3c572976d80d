"""What can be said of Kafka and HBase without starting them: jars, settings, ports, and what is missing."""

from __future__ import annotations

import json
import re
import socket
import xml.etree.ElementTree as ET

import pytest
from geth_desk import a_program
from terminal import Terminal

from infra import jars as jars_module
from infra import java
from infra.daemons import ServiceError
from infra.hbase_server import HBaseServer
from infra.jars import POMS, jars
from infra.java import find_java, free_memory_mib, java_version, require_memory
from infra.java_status import server_status
from infra.kafka_server import LARGEST_MESSAGE, KafkaServer
from negawatt.stack_services import bus_address, store_address
from negawatt.workspace import Workspace

KINDS = pytest.mark.parametrize("kind", [KafkaServer, HBaseServer], ids=lambda kind: kind.service)
JAVA_17 = 'echo "openjdk version \\"17.0.15\\" 2025-04-15" >&2'
MAVEN = """
for word in "$@"; do case "$word" in -DoutputDirectory=*) folder="${word#*=}" ;; esac; done
echo "$@" >> "$(dirname "$0")/asked"
echo "[INFO] Downloaded from somewhere: a/b-1.jar (1 kB at 1 kB/s)"
mkdir -p "$folder"; touch "$folder/a.jar" "$folder/b.jar" """


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache, Java 17 and a Maven that counts how often it is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    a_program(tmp_path / "bin" / "java", JAVA_17)
    a_program(tmp_path / "bin" / "mvn", MAVEN)
    return tmp_path


def properties(server):
    server._configure()
    lines = (server.folder / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def hbase_site(server):
    server._configure()
    found = ET.parse(server.conf / "hbase-site.xml").getroot()
    return {entry.findtext("name"): entry.findtext("value") for entry in found}


# --- jars --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kafka", "hbase"])
def test_a_pom_names_each_version_outright(name):
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    root = ET.parse(POMS / name / "pom.xml").getroot()
    values = {entry.tag.split("}")[1]: entry.text for entry in root.findall("m:properties/*", space)}
    found = root.findall(".//m:dependency", space) + root.findall(".//m:plugin", space)
    assert len(found) >= 3
    for entry in found:
        version = entry.findtext("m:version", namespaces=space)
        spelt = re.sub(r"\$\{([^}]+)\}", lambda word: values[word[1]], version)
        assert re.fullmatch(r"\d+(\.\d+)+(-hadoop3)?", spelt), spelt


def test_jars_are_fetched_once_and_again_when_the_pom_changes(machine, monkeypatch):
    seen = []
    first = jars("kafka", lambda *step: seen.append(step))
    assert sorted(path.name for path in first.iterdir()) == ["a.jar", "b.jar"]
    assert (seen[0], seen[-1]) == (("fetch kafka", 0, 46), ("fetch kafka", 46, 46))
    assert jars("kafka") == first
    assert len((machine / "bin" / "asked").read_text().splitlines()) == 1
    (machine / "poms" / "kafka").mkdir(parents=True)
    (machine / "poms" / "kafka" / "pom.xml").write_text("<project/>")
    monkeypatch.setattr(jars_module, "POMS", machine / "poms")
    assert jars("kafka") != first


def test_a_failed_fetch_leaves_nothing_and_says_what_maven_said(machine):
    a_program(machine / "bin" / "mvn", 'echo "[ERROR] Could not resolve dependencies: no route to host"; exit 1')
    with pytest.raises(ServiceError, match=r"Maven can't fetch hbase \(status 1\).*\n.*no route to host"):
        jars("hbase")
    kept = machine / "cache" / "negawatt" / "jars"
    assert [path for path in kept.iterdir() if path.is_dir()] == []


def test_without_maven_the_package_to_install_is_named(machine, monkeypatch):
    (machine / "bin" / "mvn").unlink()
    monkeypatch.setenv("PATH", str(machine / "bin"))
    with pytest.raises(ServiceError, match=r"no Maven \(mvn\) on PATH.*apt-get install maven"):
        jars("kafka")


# --- Java and memory ---------------------------------------------------------------------------------------


def test_java_is_that_of_java_home_else_that_on_path(machine, monkeypatch):
    assert find_java() == machine / "bin" / "java"
    other = a_program(machine / "jdk" / "bin" / "java", JAVA_17.replace("17.0.15", "21"))
    monkeypatch.setenv("JAVA_HOME", str(machine / "jdk"))
    assert (find_java(), java_version(other)) == (other, 21)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('echo "openjdk version \\"11.0.2\\"" >&2', "is Java 11: install Java 17 or later"),
        ('echo "java version \\"1.8.0_402\\"" >&2', "is Java 8: install Java 17 or later"),
        ("exit 1", "doesn't say its version"),
    ],
)
def test_a_java_that_will_not_do_is_named(machine, said, problem):
    a_program(machine / "bin" / "java", said)
    with pytest.raises(ServiceError, match=problem):
        find_java()


def test_no_java_at_all_is_said_with_where_we_looked(machine, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(machine / "nowhere"))
    with pytest.raises(ServiceError, match=r"no Java in JAVA_HOME \(.*nowhere\).*or unset JAVA_HOME"):
        find_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(machine / "empty"))
    with pytest.raises(ServiceError, match="no java on PATH: install Java 17"):
        find_java()


def test_free_memory_is_the_less_of_the_machine_s_and_the_container_s(tmp_path, monkeypatch):
    monkeypatch.setattr(java, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(java, "_GROUPS", tmp_path)
    assert free_memory_mib() is None
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable:    4194304 kB\n")
    assert free_memory_mib() == 4096
    (tmp_path / "memory.max").write_text(f"{2**31}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**29}\n")
    assert free_memory_mib() == 1536
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_mib() == 4096
    require_memory(4096, "it")
    with pytest.raises(ServiceError, match="it: 4,097 MiB of memory are needed and 4,096 MiB are free"):
        require_memory(4097, "it")


@KINDS
def test_with_too_little_memory_nothing_is_started_and_the_file_to_change_is_named(machine, monkeypatch, kind):
    monkeypatch.setattr(java, "free_memory_mib", lambda: 600)
    server = kind.create(machine / "server")
    with pytest.raises(ServiceError, match=rf"{kind.service} \(heaps: .*server\.json\): .* 600 MiB are free"):
        server.up()
    assert [program.pid for program in server.programs] == [None] * len(server.programs)


def test_servers_started_together_need_the_memory_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(java, "free_memory_mib", lambda: 1200)
    done = Terminal(tmp_path).invoke("stack", "up", "kafka", "hbase")
    needed = 512 + 1024 + 512 + 3 * 160
    said = f"kafka and hbase (see --kafka-heap and --hbase-heap): {needed:,} MiB of memory are needed"
    assert (done.exit_code, said in done.output) == (1, True)
    assert not (tmp_path / "stack").exists()


# --- settings and ports ------------------------------------------------------------------------------------


@KINDS
def test_a_server_is_kept_in_its_folder_and_made_only_once(tmp_path, kind):
    made = kind.create(tmp_path / "server", port=21_234)
    assert kind.load(tmp_path / "server") == made
    assert made.url == f"{kind.service}://127.0.0.1:21234"
    ports = [port for program in made.programs for port in program.ports]
    assert len(set(ports)) == len(ports) == {"kafka": 2, "hbase": 4}[kind.service]
    with pytest.raises(
        ServiceError, match=f"exists: start it, or erase it with `negawatt stack reset {kind.service}`"
    ):
        kind.create(tmp_path / "server")


@KINDS
def test_ports_and_heaps_can_be_changed_while_it_is_stopped(tmp_path, kind):
    made = kind.create(tmp_path / "server")
    assert made.changed(port=made.port) is made
    again = made.changed(port=21_235, heap_mib=700)
    assert kind.load(tmp_path / "server") == again
    assert f"-Xmx{700}m" not in str(again.programs[0].options)
    assert again.programs[0].heap_mib == 700


@KINDS
@pytest.mark.parametrize("broken", ["{", "[]", '{"port": "x"}', '{"port": 1, "colour": 2}', '{"port": 1}'])
def test_a_broken_file_is_named(tmp_path, kind, broken):
    kind.create(tmp_path / "server")
    (tmp_path / "server" / "server.json").write_text(broken)
    with pytest.raises(ServiceError, match=r"server\.json can't be read"):
        kind.load(tmp_path / "server")


@KINDS
def test_a_folder_without_a_server_names_the_command_that_makes_one(tmp_path, kind):
    with pytest.raises(ServiceError, match=f"start one with `negawatt stack up {kind.service}`"):
        kind.load(tmp_path)


@KINDS
def test_a_taken_port_is_named_with_where_to_change_it(machine, kind):
    server = kind.create(machine / "server")
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(ServiceError, match=rf"port {server.port} of \w+ is taken.*server\.json"):
            server.up()


@KINDS
def test_a_program_that_ends_at_once_is_told_with_its_log(machine, kind):
    a_program(machine / "bin" / "java", f'case "$1" in -version) {JAVA_17} ;; *) echo "no room here"; exit 3 ;; esac')
    with pytest.raises(
        ServiceError, match=r"(ended as soon as it was started|failed \(status 3\))(.|\n)*no room here"
    ):
        kind.create(machine / "server").up()


@KINDS
def test_a_stopped_server_says_so(tmp_path, kind):
    seen = server_status(kind.create(tmp_path / "server"))
    assert (seen.state, seen.answer_ms, seen.problem) == ("stopped", None, None)
    assert [(program.up, program.pid, program.memory_mib) for program in seen.programs] == [
        (False, None, None) for _ in seen.programs
    ]
    assert seen.disk_bytes > 0


def test_kafka_listens_on_loopback_alone_and_takes_the_largest_batch(tmp_path):
    server = KafkaServer.create(tmp_path / "kafka")
    told = properties(server)
    assert re.findall(r"//([^:]*):", told["listeners"]) == ["127.0.0.1", "127.0.0.1"]
    assert told["advertised.listeners"] == f"PLAINTEXT://{server.address}"
    largest = int(told["message.max.bytes"])
    assert LARGEST_MESSAGE < largest == int(told["replica.fetch.max.bytes"])
    assert largest <= int(told["socket.request.max.bytes"]) <= int(told["queued.max.request.bytes"])
    assert int(told["queued.max.request.bytes"]) <= server.heap_mib * 2**20 // 2
    assert int(told["offsets.retention.minutes"]) > 60 * int(told["log.retention.hours"])
    assert told["log.dirs"].startswith(str(server.folder))


def test_hbase_listens_on_loopback_alone_and_keeps_its_data_in_its_folder(tmp_path):
    server = HBaseServer.create(tmp_path / "a folder & more" / "hbase")
    told = hbase_site(server)
    for name, value in told.items():
        if name.endswith(("address", "Address", "ipaddress", "quorum")):
            assert value == "127.0.0.1", name
        if name.endswith("info.port"):
            assert value == "-1", name
    assert told["hbase.rootdir"] == (server.folder / "data").as_uri()
    for name in ("hbase.tmp.dir", "hbase.zookeeper.property.dataDir"):
        assert told[name].startswith(str(server.folder))
    assert (server.conf / "log4j.properties").exists()


# --- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    return lambda *words, **more: Terminal(tmp_path).invoke("stack", *words, **more)


def test_the_settings_word_stack_stands_for_the_workspace_s_servers(tmp_path):
    workspace = Workspace(tmp_path)
    for address, kind in ((bus_address, KafkaServer), (store_address, HBaseServer)):
        with pytest.raises(ServiceError, match=f"negawatt stack up {kind.service}"):
            address(workspace)
        server = kind.create(tmp_path / "stack" / kind.service)
        assert address(workspace) == server.url


def test_up_without_names_in_an_empty_workspace_asks_for_them(run):
    done = run("up")
    assert (done.exit_code, "name those to start, of chain, kafka, hbase" in done.output) == (2, True)


def test_an_option_of_a_server_that_is_not_started_is_refused(run):
    done = run("up", "hbase", "--kafka-port", "21000")
    assert (done.exit_code, "--kafka-port is for kafka, which isn't to be started" in done.output) == (2, True)


def test_down_without_names_stops_what_the_workspace_has(run, tmp_path):
    KafkaServer.create(tmp_path / "stack" / "kafka")
    assert json.loads(run("down", "--json").stdout) == {"kafka": {"stopped": [], "erased": False}}


def test_reset_asks_first(run, tmp_path):
    folder = KafkaServer.create(tmp_path / "stack" / "kafka").folder
    refused = run("reset", "kafka", input="n\n")
    assert (refused.exit_code, folder.exists(), str(folder) in refused.output) == (1, True, True)
    assert run("reset", "kafka", "hbase", input="y\n").exit_code == 0
    assert not folder.exists()
    HBaseServer.create(tmp_path / "stack" / "hbase")
    done = run("reset", "hbase", "--yes", "--json")
    assert json.loads(done.stdout) == {"hbase": {"stopped": [], "erased": True}}


def test_logs_shows_the_last_lines_as_they_are(run, tmp_path):
    server = HBaseServer.create(tmp_path / "stack" / "hbase")
    server.programs[0].log.write_text("one\n[main] two [/main]\nthree\n")
    said = run("logs", "hbase", "-n", "2").output
    assert "[main] two [/main]\nthree\n" in said
    assert "one" not in said
    shown = json.loads(run("logs", "-n", "1", "--json").stdout)["hbase"]
    assert (shown["hbase"]["lines"], shown["thrift"]["lines"]) == (["three"], ["(nothing)"])
