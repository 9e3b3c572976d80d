"""Listens on loopback and gives each connection a thread."""

from __future__ import annotations

import logging
import socket
import threading
from io import BytesIO

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TTransport import CReadableTransport, TTransportBase, TTransportException

from infra.heavydb.outgoing import LARGEST_RESULT
from infra.heavydb.protocol import Processor

HOST = "127.0.0.1"
LARGEST_LOAD = LARGEST_RESULT
"""Of one load. [bytes]"""
_MOST_VALUES = 2**28
"""In one of Thrift's lists."""
_READ_AHEAD = 64 * 1024
_LOG = logging.getLogger("heavydb")


class Connection(TTransportBase, CReadableTransport):  # type: ignore[misc]  # thrift has no types
    """One client's bytes. A large value is read into one buffer at once; an answer is sent when it is complete."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._coming = BytesIO()
        self._going: list[bytes] = []

    def isOpen(self) -> bool:  # noqa: N802  thrift's name
        """Whether it was not closed."""
        return self._peer.fileno() >= 0

    def close(self) -> None:
        """Close it."""
        self._peer.close()

    def read(self, size: int) -> bytes:
        """Some of the bytes that come."""
        found = self._coming.read(size)
        if not found:
            self.cstringio_refill(b"", 1)
            found = self._coming.read(size)
        return found

    @property
    def cstringio_buf(self) -> BytesIO:
        """Bytes that came and aren't read; thrift's fast reader takes from it."""
        return self._coming

    def cstringio_refill(self, partialread: bytes, reqlen: int) -> BytesIO:
        """Wait until so many bytes are there, those of a part that was read among them."""
        whole, have = bytearray(partialread), len(partialread)
        while have < reqlen:
            if have == len(whole):  # it grows as bytes come, not as somebody says that they will
                whole.extend(bytes(max(_READ_AHEAD, min(have, reqlen - have))))
            with memoryview(whole) as view, view[have:] as rest:
                count = self._peer.recv_into(rest)
            if count == 0:
                raise TTransportException(TTransportException.END_OF_FILE, "the client has gone")
            have += count
        del whole[have:]
        self._coming = BytesIO(whole)
        return self._coming

    def write(self, buf: bytes) -> None:
        """Keep bytes to be sent."""
        self._going.append(buf)

    def flush(self) -> None:
        """Send them."""
        going, self._going = self._going, []
        if sum(map(len, going)) < _READ_AHEAD:
            going = [b"".join(going)]
        for part in going:
            self._peer.sendall(part)


class Server:
    """Accepts connections until it is stopped.

    Parameters
    ----------
    processor : Processor
    port : int
        0 for a free one.
    """

    def __init__(self, processor: Processor, port: int) -> None:
        self._processor = processor
        self._listener = socket.create_server((HOST, port), backlog=128)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Serve until `stop`."""
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(peer,), daemon=True).start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _attend(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(peer)
        protocol = TBinaryProtocolAccelerated(
            connection, string_length_limit=LARGEST_LOAD, container_length_limit=_MOST_VALUES
        )
        try:
            while True:
                self._processor.process(protocol, protocol)
        except (TTransportException, OSError):
            pass  # the client has gone
        except Exception as strange:
            _LOG.warning(
                "a connection is dropped: it doesn't speak the protocol (%s: %s)", type(strange).__name__, strange
            )
        finally:
            connection.close()
