"""System V shared memory: where a client on this machine picks a result up."""

from __future__ import annotations

import ctypes
import os
import secrets
import struct

import pyarrow as pa

from infra.heavydb.errors import StatementError

_CREATE, _EXCLUSIVE, _REMOVE = 0o1000, 0o2000, 0
_KEYS = 2**31 - 1
_TRIES = 100


class SharedSegments:
    """Segments that were handed out and not yet given back; readable by the same user alone."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
        self._libc.shmat.restype = ctypes.c_void_p
        self._libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        self._libc.shmdt.argtypes = (ctypes.c_void_p,)
        self._held: dict[bytes, int] = {}

    def put(self, content: pa.Buffer) -> bytes:
        """Copy content into a new segment; returns the handle that a client finds it by.

        Raises
        ------
        StatementError
            The system has no room for it.
        """
        for _ in range(_TRIES):
            key = 1 + secrets.randbelow(_KEYS)
            segment = self._libc.shmget(key, max(content.size, 1), _CREATE | _EXCLUSIVE | 0o600)
            if segment >= 0:
                break
        else:
            raise StatementError(f"no shared memory for {content.size:,} bytes: {os.strerror(ctypes.get_errno())}")
        address = self._libc.shmat(segment, None, 0)
        ctypes.memmove(address, content.address, content.size)
        self._libc.shmdt(address)
        handle = struct.pack("<L", key)
        self._held[handle] = segment
        return handle

    def free(self, handle: bytes) -> None:
        """Take a segment back. Raises StatementError when there is none of that handle."""
        segment = self._held.pop(handle, None)
        if segment is None:
            raise StatementError("no result is held under this handle")
        self._libc.shmctl(segment, _REMOVE, None)

    def free_all(self) -> None:
        """Take all segments back."""
        for handle in list(self._held):
            self.free(handle)
