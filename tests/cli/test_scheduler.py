"""The scheduler's client against a server that answers as Airflow 3.3 does; tests of stack try it on a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from builders import an_event

from domain.errors import InvalidEventError
from negawatt.scheduler import RefusedError, Scheduler, SchedulerError


class Desk:
    """What a server knows: the password, the token that counts, and what it answers to those who have another."""

    def __init__(self) -> None:
        self.password, self.token = "secret", "first"
        self.without_token, self.with_token = (403, "Invalid JWT token"), (200, "")
        self.logins, self.asked, self.port = 0, 0, 0

    def client(self) -> Scheduler:
        """A client that knows the password of now."""
        return Scheduler(f"http://127.0.0.1:{self.port}", "admin", self.password)


@contextmanager
def a_server(desk: Desk) -> Iterator[Desk]:
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            desk.logins += 1
            right = said["password"] == desk.password
            self._answer(201 if right else 401, {"access_token": desk.token} if right else {"detail": "no"})

        def do_GET(self) -> None:
            desk.asked += 1
            known = self.headers["Authorization"] == f"Bearer {desk.token}"
            status, detail = desk.with_token if known else desk.without_token
            self._answer(status, {"state": "success"} if status == 200 else {"detail": detail})

        def _answer(self, status: int, said: dict[str, str]) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        desk.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield desk
        finally:
            server.shutdown()


@pytest.fixture
def desk():
    with a_server(Desk()) as desk:
        yield desk


@pytest.mark.parametrize("refusal", [(401, "Token Expired"), (403, "Invalid JWT token")])
def test_a_token_that_no_longer_counts_is_replaced_by_a_new_one(desk, refusal):
    desk.without_token = refusal
    client = desk.client()
    assert client.run("e1").state == "success"
    desk.token = "second"  # the server's key was changed
    assert client.run("e1").state == "success"
    assert client.run("e1").state == "success"
    assert (desk.logins, desk.asked) == (2, 4)


def test_what_a_user_may_not_do_is_told_as_that_after_one_more_login(desk):
    client = desk.client()
    assert client.run("e1").state == "success"
    desk.with_token = (403, "Forbidden")
    with pytest.raises(RefusedError, match="refused GET dags/certification/dagRuns/e1: 403 Forbidden"):
        client.run("e1")
    assert (desk.logins, desk.asked) == (2, 3)


def test_a_password_that_no_longer_counts_is_told_as_that_and_not_shown(desk):
    client = desk.client()
    assert client.run("e1").state == "success"
    desk.token, desk.password = "second", "another"
    with pytest.raises(SchedulerError, match=r"doesn't let user 'admin' in \(401\)") as said:
        client.run("e1")
    assert not isinstance(said.value, RefusedError)
    assert "secret" not in str(said.value)


@pytest.mark.parametrize("event_id", ["peak..1", "scheduled__x", "backfill__", "asset_materialization__2025-06-11"])
def test_an_id_that_airflow_takes_for_no_run_is_refused_before_it_is_asked(desk, event_id):
    with pytest.raises(InvalidEventError, match=r"`negawatt certify` and `negawatt settle`"):
        desk.client().start(an_event(event_id))
    assert (desk.logins, desk.asked) == (0, 0)
