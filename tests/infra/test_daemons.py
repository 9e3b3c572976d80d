"""Programs that outlive us are started without our environment, found by their command line, and stopped."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from geth_desk import a_program

from infra.daemons import (
    ServiceError,
    alone,
    find_daemon,
    free_ports,
    has_ended,
    port_is_free,
    start_daemon,
    stop_daemon,
    tail,
    wait_until,
)
from infra.json_rpc import NoAnswerError, rpc

FOREVER = "while :; do sleep 0.05; done"


@pytest.fixture
def daemon(tmp_path):
    """Start a script, found by the words ``--config FILE``; it is gone afterwards."""
    words = ("--config", str(tmp_path / "node.toml"))
    log = tmp_path / "log"

    def start(script: str) -> tuple[int, tuple[str, str]]:
        program = a_program(tmp_path / "program", script)
        pid = start_daemon([str(program), *words], log)
        return pid, words

    yield start
    stop_daemon(words, hard=True)


def test_a_running_program_is_found_by_its_words_and_by_no_others(daemon, tmp_path):
    pid, words = daemon(FOREVER)
    assert wait_until(lambda: find_daemon(words) == pid, 5)
    assert find_daemon(("--config", words[1] + "x")) is None
    assert find_daemon(("--config", words[1][:-1])) is None


def test_what_it_says_goes_to_the_log(daemon, tmp_path):
    pid, _ = daemon("echo one; echo two >&2")
    assert wait_until(lambda: has_ended(pid), 5)
    assert tail(tmp_path / "log") == "one\ntwo"
    assert tail(tmp_path / "log", 1) == "two"
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_large_log_is_put_aside(daemon, tmp_path):
    (tmp_path / "log").write_bytes(b"x" * (16 * 2**20 + 1))
    pid, _ = daemon("echo new")
    assert wait_until(lambda: has_ended(pid), 5)
    assert tail(tmp_path / "log") == "new"
    assert (tmp_path / "log.1").stat().st_size == 16 * 2**20 + 1


def test_its_environment_is_not_ours(daemon, tmp_path, monkeypatch):
    monkeypatch.setenv("GETH_HTTP_ADDR", "0.0.0.0")
    pid, _ = daemon("env")
    assert wait_until(lambda: has_ended(pid), 5)
    assert {line.partition("=")[0] for line in tail(tmp_path / "log").splitlines()} <= {"PATH", "HOME", "PWD"}


def test_stopping_lets_a_program_end_by_itself(daemon, tmp_path):
    pid, words = daemon(f"trap 'echo bye; exit' TERM\necho ready\n{FOREVER}")
    assert wait_until(lambda: tail(tmp_path / "log") == "ready", 5)
    assert stop_daemon(words)
    assert tail(tmp_path / "log") == "ready\nbye"
    assert has_ended(pid)
    assert not stop_daemon(words)


def test_a_program_that_will_not_end_is_killed_when_its_time_is_up(daemon, tmp_path):
    _, words = daemon(f"trap '' TERM\necho ready\n{FOREVER}")
    assert wait_until(lambda: tail(tmp_path / "log") == "ready", 5)
    began = time.monotonic()
    assert stop_daemon(words, seconds=0.3)
    assert time.monotonic() - began >= 0.3
    assert find_daemon(words) is None


def test_a_hard_stop_asks_nothing(daemon, tmp_path):
    _, words = daemon(f"trap 'echo bye; exit' TERM\necho ready\n{FOREVER}")
    assert wait_until(lambda: tail(tmp_path / "log") == "ready", 5)
    assert stop_daemon(words, hard=True)
    assert tail(tmp_path / "log") == "ready"


def test_free_ports_are_different_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(port_is_free(port) for port in ports)


def test_a_port_that_is_listened_on_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not port_is_free(server.getsockname()[1])


def test_work_under_a_lock_is_done_by_one_at_a_time(tmp_path):
    order, waiting, entered = [], threading.Event(), threading.Event()

    def second() -> None:
        with alone(tmp_path / "lock", waiting.set):
            order.append("second")

    with alone(tmp_path / "lock", entered.set):
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(5)
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]
    assert not entered.is_set()


def test_a_call_that_nobody_answers_says_so():
    (port,) = free_ports(1)
    with pytest.raises(NoAnswerError, match=f"no answer from http://127.0.0.1:{port} to eth_chainId"):
        rpc(f"http://127.0.0.1:{port}", "eth_chainId")


def test_no_call_goes_through_a_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.2)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        (port,) = free_ports(1)
        with pytest.raises(ServiceError):
            rpc(f"http://127.0.0.1:{port}", "eth_chainId")
        with pytest.raises(TimeoutError):
            proxy.accept()
