"""The files that bring Airflow to a cluster agree with each other and with its chart. No engine runs them here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from negawatt.settings import load_settings

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEXT = (INFRA / "compose" / "airflow.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
CLUSTER = yaml.safe_load((INFRA / "compose" / "compose.yaml").read_text())
VALUES_TEXT = (INFRA / "k8s" / "airflow-values.yaml").read_text()
VALUES = yaml.safe_load(VALUES_TEXT)
DOCKERFILE = (INFRA / "compose" / "airflow.Dockerfile").read_text()
PROGRAMS = {
    "airflow-api": ["airflow", "api-server"],
    "airflow-scheduler": ["python", "-m", "infra.airflow.preloaded", "scheduler"],
    "airflow-dag-processor": ["airflow", "dag-processor"],
    "airflow-triggerer": ["airflow", "triggerer"],
}
FOLLOWER = "airflow-events"
RESOURCES = {"requests", "limits"}

CHART = {
    # Keys of the chart's values.yaml, version 1.22.0, that we use; below "*" all keys are the user's.
    **dict.fromkeys(("defaultAirflowRepository", "defaultAirflowTag", "airflowVersion", "executor"), str),
    **dict.fromkeys(("uid", "gid"), int),
    **dict.fromkeys(("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"), str),
    "postgresql.enabled": bool,
    "data.metadataSecretName": str,
    "secret": list,
    "env": list,
    "extraEnv": str,
    "volumes": list,
    "volumeMounts": list,
    "enableBuiltInSecretEnvVars.AIRFLOW_CONN_AIRFLOW_DB": bool,
    "logs.persistence.enabled": bool,
    "logs.persistence.existingClaim": str,
    "config.*": object,
    "workers.kubernetes.resources.*": object,
    "workers.kubernetes.terminationGracePeriodSeconds": int,
    "workers.celery.replicas": int,
    "workers.celery.resources.*": object,
    "workers.celery.persistence.enabled": bool,
    "migrateDatabaseJob.args": list,
    "createUserJob.enabled": bool,
    "apiServer.replicas": int,
    "apiServer.resources.*": object,
    "apiServer.service.type": str,
    "apiServer.startupProbe.failureThreshold": int,
    "scheduler.replicas": int,
    "scheduler.resources.*": object,
    "scheduler.startupProbe.failureThreshold": int,
    "scheduler.logGroomerSidecar.enabled": bool,
    "scheduler.logGroomerSidecar.retentionDays": int,
    "dagProcessor.resources.*": object,
    "dagProcessor.logGroomerSidecar.enabled": bool,
    "triggerer.replicas": int,
    "triggerer.resources.*": object,
    "triggerer.persistence.enabled": bool,
    "triggerer.logGroomerSidecar.enabled": bool,
    "statsd.enabled": bool,
    "redis.enabled": bool,
}


def environment(name):
    return SERVICES[name]["environment"]


def leaves(values, path=()):
    """Dotted paths and values, down to what the chart leaves to the user."""
    for key, value in values.items():
        here = ".".join((*path, str(key)))
        if isinstance(value, dict) and f"{here}.*" not in CHART:
            yield from leaves(value, (*path, str(key)))
        else:
            yield (f"{here}.*" if f"{here}.*" in CHART else here), value


def pinned(lock):
    text = (ROOT / "locks" / lock).read_text()
    return dict(re.findall(r"^([\w.-]+(?:\[[^\]]*\])?)==([^\s;\\]+)", text, re.MULTILINE))


# --- compose -----------------------------------------------------------------------------------------------


def test_every_program_of_airflow_runs_once_and_its_tables_are_made_before():
    assert {name: SERVICES[name].get("command") for name in PROGRAMS} == PROGRAMS
    assert set(SERVICES) == {*PROGRAMS, FOLLOWER, "airflow-init", "airflow-database"}
    for name in PROGRAMS:
        waits = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
        assert waits == {
            "airflow-database": "service_healthy",
            "airflow-init": "service_completed_successfully",
        }
    assert SERVICES["airflow-init"]["restart"] == "no"


def test_airflow_and_the_cluster_share_a_network_and_the_workspace_and_no_other_name():
    assert COMPOSE["name"] == CLUSTER["name"]
    assert not set(SERVICES) & set(CLUSTER["services"])
    assert set(COMPOSE["networks"]) == set(CLUSTER["networks"])
    assert set(COMPOSE["volumes"]) & set(CLUSTER["volumes"]) == {"workspace"}
    for name, service in SERVICES.items():
        assert service["hostname"] == name
        assert service["networks"] == ["cluster"]
    tools = CLUSTER["services"]["negawatt"]
    assert "workspace:/workspace" in tools["volumes"]
    for name in PROGRAMS:
        assert "workspace:/workspace" in SERVICES[name]["volumes"]
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])


def test_only_the_page_is_published_and_on_loopback_alone():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"airflow-api": ["127.0.0.1:8088:8080"]}
    outside = {port.split(":")[1] for service in CLUSTER["services"].values() for port in service.get("ports", [])}
    assert "8088" not in outside


def test_images_are_pinned_and_airflow_s_has_the_version_of_the_lock():
    images = {service["image"] for service in SERVICES.values()}
    assert all(re.fullmatch(r"[a-z]+(/[a-z]+)?:\d+\.\d+(\.\d+)?", image) for image in images)
    assert images == {"postgres:16.4", f"negawatt/airflow:{pinned('airflow.txt')['apache-airflow']}"}
    assert re.search(r"^FROM python:3\.11-slim-bookworm$", DOCKERFILE, re.MULTILINE)


def test_secrets_are_files_of_the_operator_and_stand_in_no_environment():
    declared = COMPOSE["secrets"]
    assert all(secret["file"].startswith("${AIRFLOW_SECRETS") for secret in declared.values())
    for name, service in SERVICES.items():
        assert set(service["secrets"]) <= set(declared)
        told = json.dumps([service.get("environment", {}), service.get("command", "")])
        assert set(re.findall(r"/run/secrets/([\w-]+)", told)) == set(service["secrets"]), name
    text = json.dumps([service["environment"] for service in SERVICES.values()]).lower()
    assert not re.search(r"(password|secret|token|key)\":", text)


def test_commands_print_secrets_without_the_new_line_that_files_end_with(tmp_path):
    for secret in COMPOSE["secrets"]:
        (tmp_path / secret).write_text(f"value-of-{secret}\n")
    printed = {}
    for name, command in environment("airflow-api").items():
        if name.endswith("_CMD"):
            words = shlex.split(command.replace("$$", "$").replace("/run/secrets", str(tmp_path)))
            printed[name] = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    database = "postgresql+psycopg://airflow:value-of-airflow-database@airflow-database/airflow"
    assert printed == {
        "AIRFLOW__CORE__FERNET_KEY_CMD": "value-of-airflow-fernet-key",
        "AIRFLOW__API__SECRET_KEY_CMD": "value-of-airflow-api-key",
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": "value-of-airflow-jwt-key",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": database,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC_CMD": database,
    }
    own = environment("airflow-database")
    assert (own["POSTGRES_USER"], own["POSTGRES_DB"]) == ("airflow", "airflow")


def test_tasks_find_the_page_s_server_by_its_name():
    for name in PROGRAMS:
        assert environment(name)["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-api:8080/execution/"


@pytest.mark.parametrize("name", sorted(PROGRAMS))
@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("unhealthy", 1), (None, 1)])
def test_a_program_is_healthy_when_the_page_s_server_says_so(name, status, code, tmp_path):
    kind, python, flag, program, part = SERVICES[name]["healthcheck"]["test"]
    assert (kind, python, flag) == ("CMD", "python", "-c")
    assert part in {"metadatabase", "scheduler", "dag_processor", "triggerer"}
    answer = tmp_path / "health"
    answer.write_text(json.dumps({part: {"status": status}, "other": {"status": "healthy"}}))
    address = "http://airflow-api:8080/api/v2/monitor/health"
    assert address in program
    words = [sys.executable, "-c", program.replace(address, answer.as_uri()), part]
    assert subprocess.run(words, check=False).returncode == code


def test_every_health_check_asks_for_a_part_of_its_own():
    asked = [SERVICES[name]["healthcheck"]["test"][-1] for name in PROGRAMS]
    assert len(set(asked)) == len(PROGRAMS)


def test_the_follower_of_events_asks_airflow_with_its_own_secret_alone(tmp_path):
    service = SERVICES[FOLLOWER]
    assert service["secrets"] == ["airflow-events"]
    assert service["profiles"] == ["events"]
    assert service["image"] == SERVICES["airflow-api"]["image"]
    assert load_settings(tmp_path / "none", service["environment"]).scheduler == "airflow://events@airflow-api:8080"
    (tmp_path / "airflow-events").write_text("a-pass-word\n")
    shell, flag, script = service["command"]
    own = script.replace("/run/secrets", str(tmp_path))
    assert own.endswith(" exec negawatt events follow")
    shown = subprocess.run(
        [shell, flag, own.replace("negawatt events follow", "env")], check=True, capture_output=True, text=True
    ).stdout
    assert "NEGAWATT_SCHEDULER_PASSWORD=a-pass-word" in shown.splitlines()


def test_the_follower_s_pod_has_the_image_the_user_and_the_workspace_of_airflow():
    pod = yaml.safe_load((INFRA / "k8s" / "airflow-events.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == SERVICES["airflow-api"]["image"]
    assert container["args"] == ["negawatt", "events", "follow"]
    assert pod["securityContext"]["runAsUser"] == VALUES["uid"]
    assert pod["volumes"] == VALUES["volumes"]
    assert container["volumeMounts"] == VALUES["volumeMounts"]
    told = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert told["NEGAWATT_BUS"] == {entry["name"]: entry["value"] for entry in VALUES["env"]}["NEGAWATT_BUS"]
    assert told["NEGAWATT_SCHEDULER"] == "airflow://events@airflow-api-server:8080"
    assert told["NEGAWATT_SCHEDULER_PASSWORD"] is None  # it comes from a secret


# --- the image ---------------------------------------------------------------------------------------------


def test_driver_and_executors_have_the_same_python_the_same_java_and_the_same_packages():
    spark = (INFRA / "compose" / "spark.Dockerfile").read_text()
    for line in (r"^FROM .*$", r"openjdk-\d+-jre-headless", r"useradd --uid \d+"):
        assert re.search(line, DOCKERFILE, re.MULTILINE)[0] == re.search(line, spark, re.MULTILINE)[0]
    main, image = pinned("main.txt"), pinned("airflow.txt")
    assert {name: image.get(name) for name in main} == main


def test_the_image_has_what_every_kind_of_job_uses():
    image = pinned("airflow.txt")
    wanted = {
        "apache-airflow", "apache-airflow-providers-cncf-kubernetes", "apache-airflow-providers-celery",
        "apache-airflow-providers-fab", "apache-airflow-providers-smtp", "apache-airflow-providers-standard",
        "psycopg", "kafka-python", "happybase", "heavyai", "lightgbm", "tensorflow-cpu", "pulp", "highspy", "grpcio",
    }  # fmt: skip
    assert wanted <= set(image)


def test_the_builder_gets_every_package_that_is_installed_and_no_workspace():
    lines = (INFRA / "compose" / "airflow.Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    given = {rule[1:].partition("/")[0] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in given)
    assert {"negawatt", "domain", "ingest", "batch", "speed", "serving", "contracts", "infra", "dags"} <= given
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert named["build-system"]
    assert not given & {".venv", ".git", ".negawatt"}


def test_dags_and_pools_are_where_both_deployments_look_for_them():
    for path in re.findall(r"-s .* (/opt/negawatt/\w+(?:\.json)?)", DOCKERFILE):
        assert path in {"/opt/negawatt/dags", "/opt/negawatt/pools.json"}
    assert "AIRFLOW__CORE__DAGS_FOLDER=/opt/negawatt/dags" in DOCKERFILE
    assert VALUES["config"]["core"]["dags_folder"] == "/opt/negawatt/dags"
    script = "airflow db migrate && airflow pools import /opt/negawatt/pools.json"
    assert SERVICES["airflow-init"]["command"] == ["sh", "-c", script]
    assert VALUES["migrateDatabaseJob"]["args"] == ["bash", "-c", script]
    assert set(json.loads((INFRA / "airflow" / "pools.json").read_text())) == {"spark", "chain"}


# --- the chart's values ------------------------------------------------------------------------------------


def test_every_key_is_one_of_the_chart_s_and_has_its_type():
    found = dict(leaves(VALUES))
    assert set(found) == set(CHART)
    for path, value in found.items():
        assert isinstance(value, CHART[path]), path


def test_the_values_name_the_image_and_the_version_that_compose_runs():
    image = SERVICES["airflow-api"]["image"]
    assert f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}" == image
    assert VALUES["airflowVersion"] == pinned("airflow.txt")["apache-airflow"]
    assert f"useradd --uid {VALUES['uid']}" in DOCKERFILE


def test_secrets_are_named_and_none_stands_in_a_file():
    named = {VALUES[f"{key}SecretName"] for key in ("fernetKey", "apiSecretKey")} | {VALUES["jwtSecretName"]}
    assert named == {"airflow-fernet-key", "airflow-api-key", "airflow-jwt-key"}
    assert VALUES["data"]["metadataSecretName"] == VALUES["secret"][0]["secretName"] == "airflow-database"
    for text in (TEXT, VALUES_TEXT, DOCKERFILE):
        assert not re.search(r"(password|passwd|secret|token|private.?key)[\"']?[:=][ \t]*\S", text.lower())
    assert not VALUES["createUserJob"]["enabled"]  # its password would be `admin`
    assert not VALUES["postgresql"]["enabled"]  # so would be the database's


def test_connections_come_from_a_secret_that_need_not_be_there():
    entries = {entry["name"]: entry["valueFrom"] for entry in yaml.safe_load(VALUES["extraEnv"])}
    assert entries.pop("SPARK_LOCAL_HOSTNAME") == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert set(entries) == {
        "AIRFLOW_CONN_NEGAWATT_SMTP",
        "AIRFLOW_CONN_NEGAWATT_WEBHOOK",
        "AIRFLOW_VAR_NEGAWATT_ALERT_EMAIL",
    }
    for source in entries.values():
        assert source["secretKeyRef"]["name"] == "airflow-alerts"
        assert source["secretKeyRef"]["optional"] is True


def test_tasks_use_the_servers_that_negawatt_s_own_pod_uses():
    documents = yaml.safe_load_all((INFRA / "k8s" / "negawatt.yaml").read_text())
    (own,) = [d for d in documents if d["kind"] == "StatefulSet" and d["metadata"]["name"] == "negawatt"]
    (container,) = own["spec"]["template"]["spec"]["containers"]
    told = {entry["name"]: entry["value"] for entry in VALUES["env"]}
    assert told.pop("NEGAWATT_WORKSPACE") == VALUES["volumeMounts"][0]["mountPath"]
    assert told == {entry["name"]: entry["value"] for entry in container["env"]}
    assert VALUES["workers"]["kubernetes"]["resources"] == container["resources"]


def test_every_pod_has_a_limit_of_memory_that_is_reserved_for_it():
    for part in ("apiServer", "scheduler", "dagProcessor", "triggerer"):
        resources = VALUES[part]["resources"]
        assert set(resources) == RESOURCES
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}


def test_the_page_is_reached_inside_the_cluster_alone():
    assert VALUES["apiServer"]["service"]["type"] == "ClusterIP"
    assert "ingress" not in VALUES
