"""Receivers of alerts for tests: a mail server and a webhook's server, each a real one on a port of its own."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Post:
    """What a webhook got."""

    path: str
    headers: dict[str, str]
    said: dict[str, Any]


@dataclass
class Webhook:
    """Keeps what is posted to it, and answers with a status that a test may change."""

    port: int = 0
    status: int = 200
    posts: list[Post] = field(default_factory=list)

    def connection(self, **more: Any) -> dict[str, Any]:
        """The Airflow connection that names it."""
        return {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": self.port, **more}


@dataclass
class MailServer:
    """Speaks as much of RFC 5321 as a client needs, and keeps what it takes in: recipients and message."""

    port: int = 0
    refuses: bool = False
    mails: list[tuple[list[str], Message]] = field(default_factory=list)

    def connection(self, **more: Any) -> dict[str, Any]:
        """The Airflow connection that names it: neither TLS from the start nor later."""
        extra = {"from_email": "negawatt@example.org", "disable_ssl": True, "disable_tls": True, "retry_limit": 0}
        return {"conn_type": "smtp", "host": "127.0.0.1", "port": self.port, "extra": extra, **more}


@contextmanager
def a_webhook() -> Iterator[Webhook]:
    """A webhook's server."""
    desk = Webhook()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            desk.posts.append(Post(self.path, dict(self.headers), json.loads(body)))
            self.send_response(desk.status)
            if 300 <= desk.status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    desk.port = server.server_address[1]
    with _served(server):
        yield desk


@contextmanager
def a_mail_server() -> Iterator[MailServer]:
    """A mail server that takes every mail, or refuses every sender."""
    desk = MailServer()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipients: list[str] = []
            self._say("220 desk")
            for line in self.rfile:
                verb = line[:4].upper()
                if verb == b"MAIL" and desk.refuses:
                    self._say("550 not from you")
                elif verb == b"RCPT":
                    recipients.append(line.decode().split("<")[1].split(">")[0])
                    self._say("250 ok")
                elif verb == b"DATA":
                    self._say("354 go on")
                    text = b""
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        text += part.removeprefix(b".") if part.startswith(b"..") else part
                    desk.mails.append((recipients, message_from_bytes(text)))
                    recipients = []
                    self._say("250 ok")
                elif verb == b"QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Session)
    desk.port = server.server_address[1]
    with _served(server):
        yield desk


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
