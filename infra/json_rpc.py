"""Calls of JSON-RPC to nodes on this machine, by HTTP or by a node's socket: a connection a call, never a proxy."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.daemons import ServiceError


class NoAnswerError(ServiceError):
    """Nothing answers at an address, or not in time."""


def rpc(node: str | Path, method: str, *params: Any, seconds: float = 5.0) -> Any:
    """Call a method of a node and return its result.

    Parameters
    ----------
    node : str or Path
        ``http://host:port``, or the path of its socket.
    seconds : float
        How long to wait for an answer. [s]

    Raises
    ------
    NoAnswerError
        No connection, no answer in time, or one that isn't JSON.
    ServiceError
        The node refused the call.
    """
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    try:
        text = _by_socket(node, call, seconds) if isinstance(node, Path) else _by_http(node, call, seconds)
        answer = json.loads(text)
    except (OSError, HTTPException, ValueError) as failed:
        raise NoAnswerError(f"no answer from {node} to {method}: {failed}") from failed
    if "error" in answer:
        raise ServiceError(f"{node} refused {method}: {answer['error'].get('message', answer['error'])}")
    return answer.get("result")


def _by_http(url: str, call: bytes, seconds: float) -> bytes:
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=seconds)
    try:
        connection.request("POST", where.path or "/", call, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


def _by_socket(path: Path, call: bytes, seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(call)
        with connection.makefile("rb") as answers:
            return answers.readline()  # geth ends each answer with a line feed
