"""Airflow as `negawatt stack` runs it: up, private, watched, killed, and up again."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from listening import listeners
from terminal import Terminal

from infra.airflow import files, postgres
from infra.airflow.processes import processes_of
from infra.airflow.rest import Api
from infra.airflow_server import AirflowServer
from infra.daemons import ServiceError, port_is_free, wait_until
from negawatt.stack_services import scheduler_address
from negawatt.workspace import Workspace

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="needs the extra airflow"),
]
PROGRAMS = ["postgres", "api-server", "scheduler", "dag-processor", "triggerer"]
LOOKS = """
from airflow.sdk import Connection, Variable, dag, task

@dag(schedule=None, is_paused_upon_creation=False)
def looks():
    @task(pool="spark")
    def look():
        import os
        import sys
        import negawatt
        return {
            "workspace": os.environ["NEGAWATT_WORKSPACE"],
            "loaded": sorted(set(sys.modules) & {"negawatt.settling", "negawatt.pipeline"}),
            "given": os.environ.get("GIVEN_BY_THE_OPERATOR"),
            "market": Variable.get("our_market", default=None),
            "mail": Variable.get("negawatt_alert_email", default=None),
            "hook": Connection.get("negawatt_webhook").host,
        }
    look()

looks()
"""
BROKEN = "from airflow.sdk import dag, nonsense\n"
LASTS = '''
from airflow.sdk import dag, task

@dag(schedule=None, is_paused_upon_creation=False)
def lasts():
    @task(retries=0)
    def last():
        """Sleeps the first time, in a process of its own; ends at once the next time."""
        import os, pathlib, subprocess
        tries = pathlib.Path(os.environ["NEGAWATT_WORKSPACE"], "tries")
        with tries.open("a") as said:
            said.write("once more\\n")
        if len(tries.read_text().splitlines()) == 1:
            subprocess.run(["sleep", "900"])
    last()

lasts()
'''


def run(folder, *words):
    return Terminal(folder).json("stack", *words)["airflow"]


def a_server(workspace: Path, database: str, **dags: str) -> AirflowServer:
    (workspace / "dags").mkdir()
    for name, text in dags.items():
        (workspace / "dags" / f"{name}.py").write_text(text)
    return AirflowServer.create(
        workspace / "stack" / "airflow", database=database, parallelism=2, dags=str(workspace / "dags")
    )


@pytest.fixture(scope="module")
def utility(tmp_path_factory):
    """A workspace whose Airflow was started by the command, and what that printed."""
    if postgres.missing():
        pytest.skip(postgres.missing())
    workspace = tmp_path_factory.mktemp("utility")
    server = a_server(workspace, "postgresql", looks=LOOKS, lasts=LASTS, broken=BROKEN, other="1 / 0\n")
    (server.folder / "environment").write_text("GIVEN_BY_THE_OPERATOR=yes\n")
    (server.folder / "connections.yaml").write_text("negawatt_webhook: {conn_type: http, host: hooks.example.org}\n")
    try:
        shown = run(workspace, "up", "airflow")
        yield workspace, shown
    finally:
        if server.folder.exists():
            server.kill()
            server.down(erase=True)


@pytest.fixture
def server(utility):
    """It, running."""
    found = AirflowServer.load(utility[0] / "stack" / "airflow")
    found.up()
    return found


def start(api: Api, dag: str) -> str:
    return api.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]


def ended(api: Api, dag: str, run_id: str, seconds: float) -> str:
    """State of a run when it has ended, or when the time is up."""

    def state() -> str:
        return api.call("GET", f"/api/v2/dags/{dag}/dagRuns/{quote(run_id)}")["state"]

    def is_over() -> bool:
        time.sleep(0.5)
        return state() in ("success", "failed")

    wait_until(is_over, seconds)
    return state()


def returned(api: Api, dag: str, run_id: str, task: str):
    path = f"/api/v2/dags/{dag}/dagRuns/{quote(run_id)}/taskInstances/{task}/xcomEntries/return_value"
    return api.call("GET", path)["value"]


def answer_code(url: str, token: str = "") -> int:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in thread.read_text().split()]
    return found


# --- up ----------------------------------------------------------------------------------------------------


def test_all_programs_are_started_and_the_dags_are_read(utility):
    workspace, shown = utility
    assert (shown["state"], shown["made"], shown["started"]) == ("running", False, PROGRAMS)
    assert [program["name"] for program in shown["programs"] if program["up"]] == PROGRAMS
    assert all(program["memory_mib"] > 10 for program in shown["programs"])
    assert (shown["dags"], list(shown["import_errors"])) == (["lasts", "looks"], ["broken.py"])
    assert "nonsense" in shown["import_errors"]["broken.py"]
    address, password = scheduler_address(Workspace(workspace))
    assert address == f"airflow://admin@{shown['url'].removeprefix('http://')}"
    assert json.loads(Path(shown["password_file"]).read_text()) == {"admin": password}


def test_up_again_starts_nothing(utility, server):
    assert run(utility[0], "up")["started"] == []


def test_who_is_not_logged_in_sees_and_starts_nothing(server):
    token = server.api()._token
    for path in ("dags", "connections", "variables", "pools", "config", "dags/looks/dagRuns"):
        assert answer_code(f"{server.url}/api/v2/{path}") == 401, path
    assert answer_code(f"{server.url}/api/v2/dags") == 401
    assert answer_code(f"{server.url}/api/v2/dags", "not.a.token") in (401, 403)
    assert answer_code(f"{server.url}/api/v2/dags", token) == 200
    for user, password in ((server.user, "wrong"), ("anybody", server.password)):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            Api(server.url, user, password)
    for password in ("wrong", ""):
        assert "password authentication failed" in postgres.refusal(password, server.database_port) or not password


def test_every_listener_is_on_loopback_at_a_port_of_ours(server):
    for program in server.programs:
        found = set().union(*(listeners(pid) for pid in tree(program.pid)))
        assert found == {("0100007F", port) for port in program.ports}, program.name


def test_tasks_see_the_workspace_and_what_the_operator_declared(utility, server):
    api = server.api()
    pools = {pool["name"]: pool["slots"] for pool in api.call("GET", "/api/v2/pools")["pools"]}
    assert (pools["spark"], pools["chain"]) == (1, 1)
    (server.folder / "variables.yaml").write_text("our_market: /srv/market.toml\nnegawatt_alert_email:\n")
    first = start(api, "looks")
    assert ended(api, "looks", first, 120) == "success"
    assert returned(api, "looks", first, "look") == {
        "workspace": str(utility[0]),
        "loaded": ["negawatt.pipeline", "negawatt.settling"],
        "given": "yes",
        "market": "/srv/market.toml",
        "mail": None,
        "hook": "hooks.example.org",
    }


def test_no_secret_is_in_a_log_or_a_command_line_and_its_files_are_private(server):
    secrets = [server.password, *files.secrets_of(server.folder).values()]
    lines = []
    for program in server.programs:
        for pid in tree(program.pid):
            lines.append(Path(f"/proc/{pid}/cmdline").read_text())
    for log in [*server.folder.glob("*.log"), *server.folder.glob("logs/**/*.log")]:
        lines.append(log.read_text(errors="replace"))
    assert len(lines) > 10
    assert not [secret for secret in secrets for line in lines if secret in line]
    holders = [path for path in server.folder.rglob("*") if path.is_file() and holds(path, secrets)]
    assert sorted(path.name for path in holders) == ["airflow.cfg", "passwords.json", "secrets.json"]
    assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}


def holds(path: Path, secrets: list[str]) -> bool:
    content = path.read_bytes()
    return any(secret.encode() in content for secret in secrets)


# --- crashes -----------------------------------------------------------------------------------------------


def test_a_killed_scheduler_leaves_nothing_and_its_task_is_run_again(utility, server):
    workspace, _ = utility
    api, tries = server.api(), workspace / "tries"
    lasting = start(api, "lasts")
    assert wait_until(tries.exists, 120)
    assert len(processes_of(f"{server.folder}/scheduler")) >= 4  # itself, two workers, the task
    (child,) = (pid for pid in processes_of(f"{server.folder}/scheduler") if "scheduler" in command(pid))
    os.kill(child, signal.SIGKILL)
    assert wait_until(lambda: server.programs[2].pid is None, 30)
    assert processes_of(f"{server.folder}/scheduler") == []
    shown = run(workspace, "status")
    assert (shown["state"], [p["name"] for p in shown["programs"] if not p["up"]]) == ("partly", ["scheduler"])
    assert run(workspace, "up")["started"] == ["scheduler"]
    assert ended(api, "lasts", lasting, 240) == "success"
    assert len(tries.read_text().splitlines()) == 2


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_any_program_can_be_killed_and_is_started_again(server):
    assert server.kill("triggerer", "api-server") == ["triggerer", "api-server"]
    assert server.up() == ["api-server", "triggerer"]
    assert server.kill() == PROGRAMS[::-1]
    assert all(port_is_free(port) for program in server.programs for port in program.ports)
    assert server.up() == PROGRAMS


def test_a_killed_database_is_started_again_with_all_that_needs_it(server):
    os.kill(server.programs[0].pid, signal.SIGKILL)  # its small parent alone; PostgreSQL ends with that
    assert server.up() == PROGRAMS
    assert server.stopped_programs == []
    server.probe()


# --- down --------------------------------------------------------------------------------------------------


def test_down_stops_all_and_up_finds_runs_and_password_again(utility, server):
    workspace, _ = utility
    done = start(server.api(), "looks")
    assert ended(server.api(), "looks", done, 120) == "success"
    kept = server.password
    assert run(workspace, "down") == {"stopped": PROGRAMS[::-1], "erased": False}
    assert [processes_of(f"{server.folder}/{name}") for name in PROGRAMS] == [[]] * len(PROGRAMS)
    assert server.changed(parallelism=3).parallelism == 3
    again = run(workspace, "up")
    assert (again["url"], again["parallelism"], again["started"]) == (server.url, 3, PROGRAMS)
    assert server.password == kept
    assert ended(server.api(), "looks", done, 0) == "success"


def test_one_that_runs_keeps_its_port_and_any_its_database(utility, server):
    for option, problem in (
        (("--airflow-port", "21999"), "first `negawatt stack down airflow`"),
        (("--airflow-database", "sqlite"), "keeps its runs in postgresql, which can't change"),
    ):
        said = Terminal(utility[0]).run("stack", "up", "airflow", *option, exit_code=1)
        assert problem in said, said


def test_the_database_of_another_folder_is_refused(utility, server):
    server.down()
    mark = Path(server.database_folder) / "workspace"
    mark.write_text("/srv/another/stack/airflow\n")
    with pytest.raises(ServiceError, match=r"is that of /srv/another/stack/airflow: .*write its new path into"):
        server.up()
    mark.write_text(f"{server.folder}\n")


def test_reset_takes_everything_away(utility):
    server = AirflowServer.load(utility[0] / "stack" / "airflow")
    assert Path(server.database_folder).exists()
    assert run(utility[0], "reset", "airflow", "--yes")["erased"]
    assert (server.folder.exists(), Path(server.database_folder).exists()) == (False, False)


# --- SQLite ------------------------------------------------------------------------------------------------


def test_with_sqlite_it_needs_no_other_program(tmp_path):
    server = a_server(tmp_path, "sqlite", looks=LOOKS)
    (server.folder / "connections.yaml").write_text("negawatt_webhook: http://hooks.example.org\n")
    try:
        assert run(tmp_path, "up", "airflow")["started"] == PROGRAMS[1:]
        api = server.api()
        first = start(api, "looks")
        assert ended(api, "looks", first, 120) == "success"
        assert returned(api, "looks", first, "look")["hook"] == "hooks.example.org"
        assert run(tmp_path, "down", "airflow", "--erase") == {"stopped": PROGRAMS[:0:-1], "erased": True}
        assert not server.folder.exists()
    finally:
        server.kill()
