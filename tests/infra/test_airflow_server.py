"""What can be said of Airflow without starting it: its folder, files, modes, processes, and what is refused."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from terminal import Terminal

from infra.airflow import __main__ as launcher
from infra.airflow import files, postgres
from infra.airflow.processes import MARK, end_all, memory_of_tree_mib, processes_of, started_at
from infra.airflow_server import AirflowServer
from infra.daemons import ServiceError, wait_until
from negawatt.stack_services import scheduler_address
from negawatt.workspace import Workspace

TEMPLATES = Path(launcher.__file__).parent


@pytest.fixture
def server(tmp_path):
    """One on SQLite with no DAGs, never started."""
    (tmp_path / "dags").mkdir()
    folder = tmp_path / "stack" / "airflow"
    return AirflowServer.create(folder, port=23_456, database="sqlite", dags=str(tmp_path / "dags"))


def settings(server: AirflowServer, database: str) -> configparser.ConfigParser:
    files.write_settings(server.folder, port=server.port, parallelism=3, dags=server.dags_folder, database=database)
    read = configparser.ConfigParser()
    read.read(server.folder / "airflow.cfg")
    return read


# --- folder and files --------------------------------------------------------------------------------------


def test_a_server_s_folder_and_files_are_private_and_read_again(server):
    assert AirflowServer.load(server.folder) == server
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    settings(server, "sqlite:///x")
    private = [files.PASSWORDS, files.SECRETS, *files.OPERATORS, "airflow.cfg"]
    assert {name: stat.S_IMODE((server.folder / name).stat().st_mode) for name in private} == dict.fromkeys(
        private, 0o600
    )
    assert (server.url, server.user, len(server.password) >= 24) == ("http://127.0.0.1:23456", "admin", True)


def test_two_servers_have_no_secret_in_common(tmp_path):
    one, other = (AirflowServer.create(tmp_path / name, database="sqlite") for name in "ab")
    assert one.password != other.password
    assert not set(files.secrets_of(one.folder).values()) & set(files.secrets_of(other.folder).values())


def test_what_an_operator_wrote_is_kept_and_what_is_missing_is_written_anew(server):
    (server.folder / "variables.yaml").write_text("our_market: /srv/market.toml\n")
    kept = server.password
    (server.folder / "connections.yaml").unlink()
    files.furnish(server.folder, {})
    assert yaml.safe_load((server.folder / "variables.yaml").read_text()) == {"our_market": "/srv/market.toml"}
    assert (server.password, (server.folder / "connections.yaml").exists()) == (kept, True)


def test_secrets_that_others_can_read_or_that_are_gone_are_named_with_the_cure(server):
    server.password_file.chmod(0o644)
    with pytest.raises(ServiceError, match=r"others can read .*passwords\.json: `chmod 600"):
        _ = server.password
    server.password_file.write_text("{}")
    with pytest.raises(ServiceError, match=r"passwords\.json can't be read.*expected JSON with admin"):
        _ = server.password
    (server.folder / files.SECRETS).unlink()
    with pytest.raises(ServiceError, match=r"secrets\.json is missing"):
        files.secrets_of(server.folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"port": "x"}', '{"port": 1, "database_port": 2, "database": 3}'])
def test_a_broken_server_file_is_named(server, text):
    (server.folder / "server.json").write_text(text)
    with pytest.raises(ServiceError, match=r"server\.json can't be read"):
        AirflowServer.load(server.folder)


def test_settings_name_loopback_alone_and_keep_percent_signs_of_paths(tmp_path):
    server = AirflowServer.create(tmp_path / "50% off" / "airflow", database="sqlite", dags=str(tmp_path))
    read = settings(server, "postgresql+psycopg://airflow:secret@127.0.0.1:5/airflow")
    assert (read["api"]["host"], read["api"]["port"], read["api"]["workers"]) == ("127.0.0.1", str(server.port), "1")
    assert read["core"]["simple_auth_manager_passwords_file"] == str(server.password_file)
    assert read["core"]["parallelism"] == "3"
    assert read["core"]["load_examples"] == "False"
    assert "simple_auth_manager_all_admins" not in read["core"]
    assert json.loads(read["secrets"]["backend_kwargs"])["variables_file_path"] == str(
        server.folder / "variables.yaml"
    )
    assert read["database"]["sql_alchemy_conn"] == read["database"]["sql_alchemy_conn_async"]
    assert "sql_alchemy_conn_async" not in settings(server, "sqlite:///x")["database"]
    assert "0.0.0.0" not in (server.folder / "airflow.cfg").read_text()


def test_templates_teach_two_connections_and_set_no_variable():
    said = (TEMPLATES / "connections.yaml").read_text()
    assert list(yaml.safe_load(said)) == ["example"]
    entries = said[said.index("# negawatt_smtp:") :].replace("\n\n# A place", "\n\n## A place")
    taught = yaml.safe_load("\n".join(line.removeprefix("# ") for line in entries.splitlines()))
    assert {name: entry["conn_type"] for name, entry in taught.items()} == {
        "negawatt_smtp": "smtp",
        "negawatt_webhook": "http",
    }
    variables = yaml.safe_load((TEMPLATES / "variables.yaml").read_text())
    assert variables == {"negawatt_alert_email": None}


def test_spark_jobs_and_transactions_go_one_at_a_time():
    pools = json.loads((TEMPLATES / "pools.json").read_text())
    assert {name: pool["slots"] for name, pool in pools.items()} == {"spark": 1, "chain": 1}
    assert all(pool["description"] for pool in pools.values())


# --- environment -------------------------------------------------------------------------------------------


def test_programs_get_the_operator_s_variables_but_their_own_folders(server, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    (server.folder / "environment").write_text("# a comment\n\nJAVA_HOME=/opt/java = 17\nAIRFLOW_HOME=/elsewhere\n")
    given = launcher.child_environment(server.folder, "scheduler")
    assert given["JAVA_HOME"] == "/opt/java = 17"
    assert given["AIRFLOW_HOME"] == str(server.folder)
    assert given["NEGAWATT_WORKSPACE"] == str(server.folder.parent.parent)
    assert given["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "AIRFLOW__CORE__LOAD_EXAMPLES" not in given


@pytest.mark.parametrize("line", ["JAVA_HOME", "A B=c", "=x", "1A=2"])
def test_a_line_of_the_environment_that_is_no_variable_is_named(server, line):
    (server.folder / "environment").write_text(f"A=b\n{line}\n")
    with pytest.raises(ServiceError, match="environment, line 2: expected NAME=value"):
        files.environment_of(server.folder)


# --- databases ---------------------------------------------------------------------------------------------


def test_without_postgresql_a_new_one_takes_sqlite_and_asking_for_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "_INSTALLED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    made = AirflowServer.create(tmp_path / "airflow")
    assert (made.database, made.programs[0].name) == ("sqlite", "api-server")
    assert "not on this machine" in made.why_this_database
    with pytest.raises(ServiceError, match="install it, or take --airflow-database sqlite"):
        AirflowServer.create(tmp_path / "other", database="postgresql")
    assert not (tmp_path / "other").exists()


def test_the_database_of_one_that_exists_cannot_change(server):
    with pytest.raises(ServiceError, match="keeps its runs in sqlite, which can't change"):
        server.changed(database="postgresql")
    assert server.changed(database="sqlite", parallelism=7).parallelism == 7
    assert AirflowServer.load(server.folder).parallelism == 7


# --- refusals ----------------------------------------------------------------------------------------------


def test_without_airflow_the_extra_to_install_is_named(server, monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nothing)
    with pytest.raises(ServiceError, match=r"apache-airflow is missing.*pip install 'negawatt\[airflow\]'"):
        server.up()


@pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="needs the extra airflow")
def test_a_taken_port_is_named_with_where_to_change_it(server):
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(ServiceError, match=rf"port {server.port} of api-server is taken.*server\.json"):
            server.up()
    assert [program.pid for program in server.programs] == [None] * 4


def test_a_workspace_without_one_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ServiceError, match="negawatt stack up airflow"):
        scheduler_address(Workspace(tmp_path))


def test_its_address_and_password_are_those_of_settings(server, tmp_path):
    assert scheduler_address(Workspace(tmp_path)) == ("airflow://admin@127.0.0.1:23456", server.password)


def test_the_commands_show_a_stopped_one_and_refuse_its_options_for_others(server, tmp_path):
    shown = Terminal(tmp_path).invoke("stack", "status", "airflow", "--json")
    told = json.loads(shown.stdout)["airflow"]
    assert (told["state"], told["database"], [program["up"] for program in told["programs"]]) == (
        "stopped", "sqlite", [False] * 4,
    )  # fmt: skip
    assert server.password not in shown.stdout
    done = Terminal(tmp_path).invoke("stack", "up", "kafka", "--airflow-port", "21999")
    assert (done.exit_code, "--airflow-port is for airflow" in done.output) == (2, True)


# --- processes ---------------------------------------------------------------------------------------------

RUNS_ON = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(60)"
LEAVES_ONE = f"""
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", {RUNS_ON!r}], stdout=subprocess.PIPE)
print(left.stdout.readline().decode(), flush=True)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_all_that_bears_a_mark_is_ended_in_whatever_session_and_nothing_else(tmp_path):
    with (
        subprocess.Popen([sys.executable, "-c", RUNS_ON], env={MARK: str(tmp_path)}, stdout=subprocess.PIPE) as ours,
        subprocess.Popen([sys.executable, "-c", RUNS_ON], env={MARK: f"{tmp_path}/other"}) as other,
    ):
        ours.stdout.readline()
        assert processes_of(str(tmp_path)) == [ours.pid]
        assert abs(started_at(ours.pid) - time.time()) < 30
        assert memory_of_tree_mib(os.getpid()) > memory_of_tree_mib(ours.pid) > 1
        assert end_all(str(tmp_path)) == [ours.pid]
        assert (ours.poll() is None, other.poll() is None) == (False, True)
        other.kill()


@linux
def test_a_program_s_parent_ends_what_the_program_left_behind(tmp_path):
    calls = f"import signal, sys; from infra.airflow.__main__ import supervise; sys.exit(supervise([sys.executable, '-c', {LEAVES_ONE!r}], {{{MARK!r}: {str(tmp_path)!r}}}, signal.SIGTERM, {{}}))"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", calls], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    left = int(done.stdout)
    assert wait_until(lambda: not Path(f"/proc/{left}").exists() or processes_of(str(tmp_path)) == [], 5)


@linux
def test_a_program_ends_with_its_parent_and_stops_when_that_is_asked_to(tmp_path):
    calls = f"import signal, sys; from infra.airflow.__main__ import supervise; sys.exit(supervise([sys.executable, '-c', {RUNS_ON!r}], {{{MARK!r}: {str(tmp_path)!r}}}, signal.SIGTERM, {{}}))"  # noqa: E501
    for sign in ("kill", "terminate"):
        with subprocess.Popen([sys.executable, "-c", calls], stdout=subprocess.PIPE, text=True) as parent:
            child = int(parent.stdout.readline())
            assert processes_of(str(tmp_path)) == [child]
            getattr(parent, sign)()
            parent.wait(20)
        assert wait_until(lambda: processes_of(str(tmp_path)) == [], 5)
