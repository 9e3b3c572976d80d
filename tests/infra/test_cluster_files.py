"""The compose and Kubernetes files agree with themselves and with each other. No container engine runs them here."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
import yaml

from infra.kafka_server import LARGEST_MESSAGE
from negawatt.cli import main
from negawatt.settings import load_settings

INFRA = Path(__file__).parents[2] / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MANIFESTS = sorted(path for path in (INFRA / "k8s").glob("*.yaml") if not path.name.startswith("airflow-"))
DOCUMENTS = [
    document
    for path in MANIFESTS
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
KUSTOMIZATION = yaml.safe_load((INFRA / "k8s" / "kustomization.yaml").read_text())
BROKERS = [f"kafka-{n}" for n in (1, 2, 3)]
ROLES = {"namenode", "datanode", "master", "regionserver", "thrift", "thrift2"}
OWN_PORTS = {
    "namenode": 8020,
    "master": 16000,
    "regionserver": 16020,
    "thrift": 9090,
    "thrift2": 9090,
    "datanode": 9866,
}


def of_kind(*kinds):
    return {d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] in kinds}


WORKLOADS = of_kind("StatefulSet", "Deployment")


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


def environment(workload):
    return {entry["name"]: entry.get("value") for entry in container(workload).get("env", [])}


def mebibytes(text):
    amount, unit = re.fullmatch(r"(\d+)([MmGg])i?", str(text)).groups()
    return int(amount) * (1024 if unit in "Gg" else 1)


def heap_of(settings):
    """Java heap that an environment asks for. [MiB]"""
    if "HEAP_MIB" in settings:
        return int(settings["HEAP_MIB"])
    options = settings.get("KAFKA_HEAP_OPTS") or settings.get("JVMFLAGS") or "-Xmx0m"
    return mebibytes(re.search(r"-Xmx(\d+[mg])", options)[1])


# --- compose -----------------------------------------------------------------------------------------------


def test_every_host_has_its_service_s_name_and_all_are_on_one_network():
    for name, service in SERVICES.items():
        assert service["hostname"] == name
        assert list(service["networks"]) == ["cluster"]
    assert set(COMPOSE["networks"]) == {"cluster"}


def test_what_a_service_waits_for_exists_and_can_become_healthy():
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in SERVICES[other]


def test_a_volume_belongs_to_one_service_and_none_is_left_over():
    used = Counter()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (INFRA / "compose" / source).resolve().is_dir()
                assert volume.endswith(":ro")
            else:
                used[source] += 1
    assert set(used) == set(COMPOSE["volumes"])
    assert set(used.values()) == {1}


def test_published_ports_are_on_loopback_and_different():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    outside = [port.split(":")[1] for port in published]
    assert len(set(outside)) == len(outside)


def test_consumers_have_names_of_their_own_and_run_a_command_that_there_is():
    for name in ("consumer-1", "consumer-2"):
        assert SERVICES[name]["command"] == f"negawatt consume --instance {name}"
    asked = container(WORKLOADS["consumer"])["args"]
    assert asked == ["negawatt", "consume", "--instance", "$(POD_NAME)"]
    assert "--instance" in [flag for option in main.commands["consume"].params for flag in option.opts]
    told = {name: value for name, value in environment(WORKLOADS["consumer"]).items() if name.startswith("NEGAWATT")}
    own = environment(WORKLOADS["negawatt"])
    assert told.items() <= own.items()
    assert load_settings(Path("none"), own).buckets == 64


def test_every_broker_has_an_id_of_its_own_that_the_voters_know():
    settings = [SERVICES[name]["environment"] for name in BROKERS]
    voters = ",".join(f"{own['KAFKA_NODE_ID']}@{name}:9093" for name, own in zip(BROKERS, settings, strict=True))
    for name, own in zip(BROKERS, settings, strict=True):
        assert own["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
        assert own["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
    assert len({own["KAFKA_NODE_ID"] for own in settings}) == len({own["CLUSTER_ID"] for own in settings}) * 3


def test_zookeepers_have_ids_of_their_own_and_hbase_asks_all_of_them():
    names = [f"zookeeper-{n}" for n in (1, 2, 3)]
    for n, name in enumerate(names, 1):
        own = SERVICES[name]["environment"]
        assert own["ZOO_MY_ID"] == str(n)
        assert own["ZOO_SERVERS"].split() == [
            f"server.{m}={other}:2888:3888;2181" for m, other in enumerate(names, 1)
        ]
    asking = [s for s in SERVICES.values() if "ZOOKEEPERS" in s.get("environment", {})]
    assert len(asking) == 12
    assert {service["environment"]["ZOOKEEPERS"] for service in asking} == {",".join(names)}
    assert {service["environment"]["NAMENODE"] for service in asking} == {"namenode"}


def test_negawatt_s_own_addresses_are_those_of_services():
    own = SERVICES["negawatt"]["environment"]
    assert own == SERVICES["consumer-1"]["environment"] == SERVICES["consumer-2"]["environment"]
    assert load_settings(Path("none"), own).store == own["NEGAWATT_STORE"]
    assert own["NEGAWATT_BUS"] == "kafka://" + ",".join(f"{name}:9092" for name in BROKERS)
    named = [name for name, service in SERVICES.items() if "thrift" in aliases_of(service)]
    assert (own["NEGAWATT_STORE"], named) == ("hbase://thrift:9090", ["thrift-1", "thrift-2"])
    assert own["NEGAWATT_SPARK"] == "spark://spark-master:7077"
    assert "--host spark-master --port 7077" in SERVICES["spark-master"]["command"]


def aliases_of(service):
    networks = service["networks"]
    return networks["cluster"]["aliases"] if isinstance(networks, dict) else []


# --- Kubernetes --------------------------------------------------------------------------------------------


def test_every_manifest_is_applied_and_every_file_is_there():
    listed = set(KUSTOMIZATION["resources"])
    assert listed == {path.name for path in MANIFESTS} - {"kustomization.yaml"}
    for generated in KUSTOMIZATION["configMapGenerator"]:
        assert all((INFRA / "k8s" / name).exists() for name in generated["files"])


def test_names_are_used_once_a_kind():
    seen = Counter((document["kind"], document["metadata"]["name"]) for document in DOCUMENTS)
    assert set(seen.values()) == {1}


def test_selectors_find_pods():
    labels = {name: workload["spec"]["template"]["metadata"]["labels"] for name, workload in WORKLOADS.items()}
    for name, workload in WORKLOADS.items():
        assert workload["spec"]["selector"]["matchLabels"] == labels[name] == {"app": name}
    for service in of_kind("Service").values():
        assert service["spec"]["selector"] in labels.values()
    for budget in of_kind("PodDisruptionBudget").values():
        assert budget["spec"]["selector"]["matchLabels"] in labels.values()
    apart = "requiredDuringSchedulingIgnoredDuringExecution"
    for name in ("zookeeper", "datanode", "hbase-master", "regionserver", "kafka"):
        (term,) = pod(WORKLOADS[name])["affinity"]["podAntiAffinity"][apart]
        assert term["labelSelector"]["matchLabels"] == labels[name]


def test_stateful_sets_have_a_headless_service():
    services = of_kind("Service")
    for workload in of_kind("StatefulSet").values():
        assert services[workload["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"


def test_services_offer_ports_that_their_pods_open():
    for name, service in of_kind("Service").items():
        if name in ("negawatt", "consumer"):
            continue  # they offer nothing; a stateful set has to name a service
        opened = {port["containerPort"] for port in container(WORKLOADS[name])["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} <= opened, name


def test_every_mounted_volume_is_declared():
    maps = {generated["name"] for generated in KUSTOMIZATION["configMapGenerator"]}
    for name, workload in WORKLOADS.items():
        volumes = pod(workload).get("volumes", [])
        assert {volume["configMap"]["name"] for volume in volumes if "configMap" in volume} <= maps
        claims = workload["spec"].get("volumeClaimTemplates", [])
        declared = {volume["name"] for volume in volumes} | {claim["metadata"]["name"] for claim in claims}
        assert {mount["name"] for mount in container(workload).get("volumeMounts", [])} == declared, name


def test_hosts_that_settings_name_are_pods_or_services():
    hosts = {name for name in of_kind("Service")} | {"master.spark-master"}
    for name, workload in of_kind("StatefulSet").items():
        hosts |= {f"{name}-{n}.{name}" for n in range(workload["spec"]["replicas"])}
    for name, workload in WORKLOADS.items():
        told = " ".join(str(value) for value in environment(workload).values())
        named = set(re.findall(r"(?<![\w.$])((?:zookeeper|kafka|namenode|thrift|master)[\w-]*(?:\.[\w-]+)?)", told))
        assert named <= hosts, name


def test_heaps_leave_room_within_the_memory_that_a_pod_may_take():
    for name, workload in WORKLOADS.items():
        resources = container(workload)["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        heap, limit = heap_of(environment(workload)), mebibytes(resources["limits"]["memory"])
        assert heap <= 0.82 * limit, name
    arguments = container(WORKLOADS["spark-worker"])["args"]
    assert mebibytes(arguments[arguments.index("--memory") + 1]) < 14 * 1024


# --- both --------------------------------------------------------------------------------------------------


def kafka_settings():
    yield {**SERVICES["kafka-1"]["environment"]}
    yield environment(WORKLOADS["kafka"])


@pytest.mark.parametrize("settings", list(kafka_settings()), ids=["compose", "k8s"])
def test_kafka_survives_the_loss_of_one_broker_and_takes_the_largest_batch(settings):
    for name, value in settings.items():
        if name.endswith("REPLICATION_FACTOR"):
            assert value == "3", name
        if "MIN_ISR" in name or name == "KAFKA_MIN_INSYNC_REPLICAS":
            assert value == "2", name
    assert settings["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert int(settings["KAFKA_MESSAGE_MAX_BYTES"]) == LARGEST_MESSAGE + 2**20
    assert settings["KAFKA_REPLICA_FETCH_MAX_BYTES"] == settings["KAFKA_MESSAGE_MAX_BYTES"]
    assert int(settings["KAFKA_OFFSETS_RETENTION_MINUTES"]) > 60 * int(settings["KAFKA_LOG_RETENTION_HOURS"])


def test_kafka_has_the_same_rules_in_both():
    own = {"KAFKA_NODE_ID", "KAFKA_ADVERTISED_LISTENERS", "KAFKA_CONTROLLER_QUORUM_VOTERS", "KAFKA_LOG_DIRS",
           "KAFKA_NUM_PARTITIONS", "KAFKA_HEAP_OPTS"}  # fmt: skip
    compose, k8s = ({k: v for k, v in settings.items() if k not in own} for settings in kafka_settings())
    assert compose == k8s


def images():
    for name, service in SERVICES.items():
        yield name, service["image"], service["image"].startswith("negawatt/")
    tags = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    for name, workload in WORKLOADS.items():
        image = container(workload)["image"]
        yield name, f"{image}:{tags[image]}" if image in tags else image, image in tags


def test_images_have_tags_and_no_registry_of_anyone_and_are_the_same_in_both():
    found = {(image, own) for _, image, own in images()}
    for image, _ in found:
        assert re.fullmatch(r"[a-z]+(/[a-z]+)?:[\w.]+", image), image
    assert len(found) == 4


def test_roles_are_those_that_the_image_s_script_knows():
    script = (INFRA / "compose" / "hbase.sh").read_text()
    known = set(re.findall(r"^(\w+)\)", script, re.MULTILINE))
    assert known == ROLES
    compose = {s["command"][0] for s in SERVICES.values() if s["image"].startswith("negawatt/hbase")}
    k8s = {container(w)["args"][0] for w in WORKLOADS.values() if container(w)["image"] == "negawatt/hbase"}
    assert compose == k8s == ROLES
    for workload in WORKLOADS.values():
        if container(workload)["image"] == "negawatt/hbase":
            opened = {port["containerPort"] for port in container(workload)["ports"]}
            assert OWN_PORTS[container(workload)["args"][0]] in opened


def test_names_in_hadoop_s_files_are_given_by_every_program_that_reads_them():
    conf = sorted((INFRA / "k8s" / "conf").glob("*.xml"))
    assert len(conf) == 3
    asked = set()
    for path in conf:
        properties = [(p.findtext("name"), p.findtext("value")) for p in ET.parse(path).getroot()]
        assert len(dict(properties)) == len(properties)
        asked |= set(re.findall(r"\$\{env\.(\w+)\}", " ".join(value for _, value in properties)))
    assert asked == {"NAMENODE", "ZOOKEEPERS", "OWN_NAME"}
    script = (INFRA / "compose" / "hbase.sh").read_text()
    assert all(f"{name}=" in script for name in asked)


def test_no_file_holds_a_secret():
    for path in [*MANIFESTS, *(INFRA / "compose").iterdir(), *(INFRA / "k8s" / "conf").iterdir()]:
        text = path.read_text().lower()
        assert not re.search(r"(password|passwd|secret|token|private.?key)[\"']?[:=]\s*\S", text), path
    assert not of_kind("Secret")


def test_docker_files_copy_what_exists():
    for path in (INFRA / "compose").glob("*.Dockerfile"):
        for line in path.read_text().splitlines():
            if line.startswith("COPY") and "--from" not in line:
                *_, source, _ = line.split()
                assert (INFRA.parent / source).exists(), line
