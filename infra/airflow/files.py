"""What Airflow reads in its folder: settings, secrets, and the files that are the operator's to edit."""

from __future__ import annotations

import base64
import configparser
import io
import json
import re
import secrets
from importlib import resources
from pathlib import Path

from infra.daemons import ServiceError
from infra.local_program import write_file

USER = "admin"
PASSWORDS = "passwords.json"
SECRETS = "secrets.json"
OPERATORS = ("connections.yaml", "variables.yaml", "environment")
"""Written once from the package's own, then the operator's."""
_PRIVATE = 0o600


def furnish(folder: Path, environment: dict[str, str]) -> None:
    """Write what is missing of secrets, password and the operator's files, readable by the owner alone.

    Parameters
    ----------
    environment : dict of str to str
        Added to the file of that name when it is made.
    """
    if not (folder / SECRETS).exists():
        kept = {
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret_key": secrets.token_urlsafe(32),
            "database_password": secrets.token_urlsafe(24),
        }
        write_file(folder / SECRETS, json.dumps(kept, indent=2) + "\n", mode=_PRIVATE)
    if not (folder / PASSWORDS).exists():  # without one Airflow makes one, and writes it into its log
        write_file(folder / PASSWORDS, json.dumps({USER: secrets.token_urlsafe(24)}) + "\n", mode=_PRIVATE)
    for name in OPERATORS:
        if not (folder / name).exists():
            text = resources.files("infra.airflow").joinpath(name).read_text()
            if name == "environment":
                text += "".join(f"{key}={value}\n" for key, value in environment.items())
            write_file(folder / name, text, mode=_PRIVATE)


def password_of(folder: Path) -> str:
    """The password of Airflow's one user.

    Raises
    ------
    ServiceError
        Its file is missing or broken, or others can read it.
    """
    return _private_values(folder / PASSWORDS, [USER])[USER]


def secrets_of(folder: Path) -> dict[str, str]:
    """Keys and passwords of Airflow itself.

    Raises
    ------
    ServiceError
        Their file is missing or broken, or others can read it.
    """
    wanted = ["fernet_key", "jwt_secret", "api_secret_key", "database_password"]
    return _private_values(folder / SECRETS, wanted)


def environment_of(folder: Path) -> dict[str, str]:
    """The operator's variables for programs and tasks.

    Raises
    ------
    ServiceError
        A line of the file isn't NAME=value.
    """
    path, found = folder / "environment", dict[str, str]()
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise ServiceError(f"{path}, line {number}: expected NAME=value")
        found[name.strip()] = value.strip()
    return found


def write_settings(folder: Path, *, port: int, parallelism: int, dags: Path, database: str) -> None:
    """Write Airflow's settings file, readable by the owner alone: it holds the keys.

    Parameters
    ----------
    database : str
        Address for SQLAlchemy; with the password, if there is one.
    dags : Path
        Folder that is searched for DAGs.
    """
    keys = secrets_of(folder)
    backend = {
        "connections_file_path": str(folder / "connections.yaml"),
        "variables_file_path": str(folder / "variables.yaml"),
    }
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags,
            "executor": "LocalExecutor",
            "parallelism": parallelism,
            "max_active_tasks_per_dag": parallelism,
            "load_examples": False,
            "plugins_folder": folder / "plugins",
            "fernet_key": keys["fernet_key"],
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": folder / PASSWORDS,
            "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            "hostname_callable": "socket.gethostname",  # the full name asks a name server
        },
        "database": {"sql_alchemy_conn": database},
        "logging": {
            "base_log_folder": folder / "logs",
            "dag_processor_child_process_log_directory": folder / "logs" / "dag_processor",
            "file_task_handler_new_folder_permissions": "0o700",
            "file_task_handler_new_file_permissions": "0o600",
            "colored_console_log": False,
        },
        "api": {
            "host": "127.0.0.1",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}",
            "workers": 1,
            "secret_key": keys["api_secret_key"],
            "instance_name": "negawatt",
        },
        "api_auth": {"jwt_secret": keys["jwt_secret"]},
        "secrets": {
            "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "backend_kwargs": json.dumps(backend),
        },
        "scheduler": {
            "scheduler_idle_sleep_time": 0.5,  # a run that is asked for starts within a second
            "enable_health_check": False,  # a page of its own; the API has the same
            # a scheduler that was killed is noticed, and what it ran is run again, within a minute
            "scheduler_health_check_threshold": 20,
            "orphaned_tasks_check_interval": 30,
            "task_instance_heartbeat_timeout": 60,
        },
        "triggerer": {"triggerer_health_check_threshold": 20},
        # a worker that misses the end of its task's process, which happens, looks again after so long [s]
        "workers": {"min_heartbeat_interval": 1},
        "dag_processor": {
            "refresh_interval": 60,
            "min_file_process_interval": 30,
            "parsing_processes": 1,
            "health_check_threshold": 20,
        },
        "metrics": {"statsd_on": False, "otel_on": False},
        "traces": {"otel_on": False},
    }
    if not database.startswith("sqlite"):  # else Airflow would look for another driver
        settings["database"]["sql_alchemy_conn_async"] = database
    parser = configparser.ConfigParser(interpolation=None)
    for section, values in settings.items():
        parser[section] = {name: str(value).replace("%", "%%") for name, value in values.items()}
    text = io.StringIO()
    text.write("# Written by negawatt at each start; changes here are lost.\n")
    parser.write(text)
    write_file(folder / "airflow.cfg", text.getvalue(), mode=_PRIVATE)


def _private_values(path: Path, wanted: list[str]) -> dict[str, str]:
    try:
        values: dict[str, str] = json.loads(path.read_text())
        if not all(isinstance(values[name], str) and values[name] for name in wanted):
            raise ValueError("a value is empty or no text")
    except FileNotFoundError as absent:
        raise ServiceError(
            f"{path} is missing: restore it, or `negawatt stack reset airflow` to begin anew"
        ) from absent
    except (ValueError, KeyError, TypeError) as broken:
        raise ServiceError(f"{path} can't be read ({broken}): expected JSON with {', '.join(wanted)}") from broken
    if path.stat().st_mode & 0o077:
        raise ServiceError(f"others can read {path}: `chmod 600 {path}`, and change what is in it if they did")
    return values
