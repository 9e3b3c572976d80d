"""A TCP proxy that cuts connections in the middle of a request, or keeps its answer, or takes no connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """What happens to connections to a server.

    Attributes
    ----------
    away : bool
        Connections are cut as they come.
    cuts : int
        Connections that were cut as was told.
    """

    def __init__(self, host: str, port: int) -> None:
        self.to, self.away, self.cuts, self.port = (host, port), False, 0, 0
        self._lock = threading.Lock()
        self._brought = 0
        self._cut_at: int | None = None
        self._lose_at: int | None = None

    def cut_after(self, count: int) -> None:
        """When so many more bytes have gone to the server, cut the connection that brings the next ones."""
        with self._lock:
            self._cut_at = self._brought + count

    def lose_answer_after(self, count: int) -> None:
        """When so many more bytes have gone to the server, lose its next answer, and cut the connection."""
        with self._lock:
            self._lose_at = self._brought + count

    def attend(self, client: socket.socket) -> None:
        """Forward one connection until it ends or is cut."""
        try:
            server = None if self.away else socket.create_connection(self.to)
        except OSError:
            server = None
        if server is None:
            client.close()
            return
        threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
        with suppress(OSError):
            while (data := server.recv(1 << 16)) and not self._lost():
                client.sendall(data)
        _close(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                allowed = self._allowed(len(data))
                server.sendall(data[:allowed])
                if allowed < len(data):
                    break
        _close(client, server)

    def _allowed(self, count: int) -> int:
        with self._lock:
            if self._cut_at is not None and self._brought + count > self._cut_at:
                count, self._cut_at = max(self._cut_at - self._brought, 0), None
                self.cuts += 1
            self._brought += count
            return count

    def _lost(self) -> bool:
        with self._lock:
            if self._lose_at is None or self._brought <= self._lose_at:
                return False
            self._lose_at = None
            self.cuts += 1
            return True


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def a_cutting_proxy(host: str, port: int) -> Iterator[CuttingProxy]:
    """A proxy on loopback in front of a server; it forwards everything until told otherwise."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CuttingProxy(host, port)
    proxy.port = listener.getsockname()[1]

    def listen() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=proxy.attend, args=(client,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield proxy
    finally:
        _close(listener)
