"""A real HTTP server in front of a node, that can delay, drop, garble, refuse, and answer with an old head."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests


class Proxy:
    """What the proxy does to requests, and what it has seen. Change `mood` at any time.

    Moods: ``ok``, ``drop`` (close without a word), ``slow`` (answer after `delay` seconds), ``error`` (HTTP 500),
    ``garbage``, ``deaf`` (take broadcasts and say nothing), ``behind`` (the state of block `old`), ``no batches``.
    """

    def __init__(self, node: str) -> None:
        self.node, self.mood, self.delay, self.old = node, "ok", 5.0, 0
        self.url = ""
        self.methods: list[str] = []

    def answer(self, body: bytes) -> tuple[int, bytes] | None:  # noqa: PLR0911
        asked = json.loads(body)
        calls = asked if isinstance(asked, list) else [asked]
        self.methods += [call["method"] for call in calls]
        if self.mood == "drop":
            return None
        if self.mood == "slow":
            time.sleep(self.delay)
        if self.mood == "error":
            return 500, b"internal"
        if self.mood == "garbage":
            return 200, b"<html>please log in</html>"
        if self.mood == "no batches" and isinstance(asked, list):
            return 200, json.dumps(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}
            ).encode()
        if self.mood == "behind":
            return 200, json.dumps([self._as_of_old(call) for call in calls]).encode()
        reply = requests.post(self.node, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        if self.mood == "deaf" and any(call["method"] == "eth_sendRawTransaction" for call in calls):
            return None
        return reply.status_code, reply.content

    def _as_of_old(self, call: dict[str, Any]) -> dict[str, Any]:
        """As a follower answers that has blocks up to `old` only."""
        if call["method"] == "eth_blockNumber":
            return {"jsonrpc": "2.0", "id": call["id"], "result": hex(self.old)}
        if call["method"] == "eth_getTransactionReceipt":
            return {"jsonrpc": "2.0", "id": call["id"], "result": None}
        call = {**call, "params": [hex(self.old) if p in ("latest", "pending") else p for p in call["params"]]}
        answer: dict[str, Any] = requests.post(self.node, json=call, timeout=30).json()
        return answer


@contextmanager
def a_proxy(node: str) -> Iterator[Proxy]:
    proxy = Proxy(node)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer = proxy.answer(self.rfile.read(int(self.headers["Content-Length"])))
            if answer is None:
                self.close_connection = True
                return
            status, content = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
