"""Bytes of plain and compressed files, cut into whole lines; what came before a break is not lost."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa

from domain.errors import NegawattError

BLOCK_BYTES = 8 << 20
"""Lines are handed out in blocks of about this size."""

MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\x28\xb5\x2f\xfd": ".zst", b"PAR1": ".parquet"}


class UnreadableFileError(NegawattError):
    """Not even the start of a file can be read: empty, not what its name says, or not text."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class BrokenStreamError(NegawattError):
    """A file breaks off, or is damaged, part of the way through.

    ``rest`` is what was read of the line where it happened.
    """

    def __init__(self, problem: str, rest: bytes) -> None:
        self.problem, self.rest = problem, rest
        super().__init__(problem)


def kind_of(path: Path) -> str:
    """The suffix of the format that the file's first bytes betray, or else its name; "" for plain text."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise UnreadableFileError(path, f"can't be opened: {error.strerror}") from error
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    return path.suffix.lower() if path.suffix.lower() in _MAGIC.values() else ""


def line_blocks(path: Path) -> Iterator[tuple[bytes, float]]:
    """Whole lines of the decompressed file, and the share of the file read; a break comes after them all."""
    size = max(1, path.stat().st_size)
    held: list[bytes] = []
    length = 0
    with path.open("rb") as raw:
        try:
            for piece in _DECODERS[kind_of(path)](raw):
                held.append(piece)
                length += len(piece)
                if length < BLOCK_BYTES:
                    continue
                whole, rest = _cut(b"".join(held))
                if len(rest) > MAX_LINE_BYTES:
                    raise BrokenStreamError(f"no line ends within {MAX_LINE_BYTES:,} bytes", rest[:200])
                yield whole, raw.tell() / size
                held, length = [rest], len(rest)
        except (zlib.error, OSError, EOFError, ValueError) as error:
            whole, rest = _cut(b"".join(held))
            if whole:
                yield whole, 1.0
            problem = f"the compressed file is cut off or damaged here: {headline(error)}"
            raise BrokenStreamError(problem, rest) from error
    if length:
        yield b"".join(held), 1.0


def _cut(data: bytes) -> tuple[bytes, bytes]:
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


class _Decoder(Protocol):
    """What zlib's and bz2's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _members(new: Callable[[], _Decoder]) -> Callable[[IO[bytes]], Iterator[bytes]]:
    """A reader of one or more compressed members on end, which notices a missing end."""

    def read(raw: IO[bytes]) -> Iterator[bytes]:
        decoder = new()
        while chunk := raw.read(_READ_BYTES):
            while chunk:
                if decoder.eof:
                    decoder = new()
                yield decoder.decompress(chunk)
                chunk = decoder.unused_data.lstrip(b"\0") if decoder.eof else b""
        if not decoder.eof:
            raise EOFError("its end is missing")

    return read


def _plain(raw: IO[bytes]) -> Iterator[bytes]:
    while chunk := raw.read(1 << 20):
        yield chunk


def _zstd(raw: IO[bytes]) -> Iterator[bytes]:
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    while chunk := stream.read(_READ_BYTES):
        yield chunk


_DECODERS: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {
    "": _plain,
    ".gz": _members(lambda: zlib.decompressobj(31)),
    ".bz2": _members(bz2.BZ2Decompressor),
    ".zst": _zstd,
}


def headline(error: BaseException) -> str:
    """The first line of an error's text: Arrow adds hints for programmers below it."""
    return str(error).split("\n", 1)[0]
