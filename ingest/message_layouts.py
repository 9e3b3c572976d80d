"""Where the columns lie in messages that are alike.

A concentrator sends the same number of readings of the same meters again and again: its messages are equal byte for
byte but for the numbers in their columns. Arrow writes or reads the first of them with all its checks; from then on
the numbers are put into a copy of it, or taken out of it, at the places where Arrow had them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

About = TypeVar("About")

_MOST = 1_024
"""Layouts that are remembered; past it all are forgotten, and learnt again."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Messages that differ in the numbers of their columns alone.

    Attributes
    ----------
    head, tail : bytes
        What they begin and end with; between is nothing but columns.
    size : int
        Bytes of a message.
    columns : tuple of (int, numpy.dtype)
        Place and kind of each column's first number.
    count : int
        Numbers in a column, at least one.
    """

    head: bytes
    tail: bytes
    size: int
    columns: tuple[tuple[int, np.dtype[Any]], ...]
    count: int

    @classmethod
    def of(cls, message: pa.Buffer, arrays: Sequence[pa.Array]) -> Self | None:
        """The layout of a message of one batch, whose columns (numbers, or their codes) Arrow found to be these.

        None where the numbers don't lie in the message as they are.
        """
        count = len(arrays[0])
        *_, batch = pa.ipc.MessageReader.open_stream(pa.BufferReader(message))
        body = batch.body.address - message.address
        after = body + batch.body.size
        if count == 0 or not 0 <= body <= after <= message.size:
            return None
        columns = []
        for array in arrays:
            kind = np.dtype(array.type.to_pandas_dtype())
            place = array.buffers()[1].address - message.address + array.offset * kind.itemsize
            if array.null_count or not body <= place <= after - count * kind.itemsize:
                return None
            columns.append((place, kind))
        whole = memoryview(message)
        return cls(bytes(whole[:body]), bytes(whole[after:]), message.size, tuple(columns), count)

    def write(self, numbers: Iterable[NDArray[Any]]) -> memoryview:
        """A message with these columns, ``count`` numbers each."""
        message = bytearray(self.size)
        message[: len(self.head)] = self.head
        message[self.size - len(self.tail) :] = self.tail
        for (place, kind), column in zip(self.columns, numbers, strict=True):
            np.frombuffer(message, kind, self.count, place)[:] = column
        return memoryview(message)

    def read(self, message: bytes | bytearray | memoryview) -> list[NDArray[Any]]:
        """The columns of a message of this layout."""
        return [np.frombuffer(message, kind, self.count, place) for place, kind in self.columns]


class Layouts(Generic[About]):
    """Layouts that were met, with what else is known of their messages.

    For messages that Arrow has read and that were found good: what they share is not looked at again.
    """

    def __init__(self) -> None:
        self._met: dict[tuple[int, bytes, bytes], tuple[Layout, About]] = {}
        self._bounds: dict[int, frozenset[tuple[int, int]]] = {}
        """By size of a message: lengths of head and tail."""

    def find(self, message: bytes | bytearray | memoryview) -> tuple[Layout, About] | None:
        """The layout of a message, if one like it was met."""
        size = len(message)
        for head, tail in self._bounds.get(size, ()):
            found = self._met.get((size, bytes(message[:head]), bytes(message[size - tail :])))
            if found is not None:
                return found
        return None

    def meet(self, layout: Layout, about: About) -> None:
        """Remember a layout."""
        if len(self._met) >= _MOST:
            self._met, self._bounds = {}, {}
        self._met[layout.size, layout.head, layout.tail] = layout, about
        bounds = len(layout.head), len(layout.tail)
        self._bounds[layout.size] = self._bounds.get(layout.size, frozenset()) | {bounds}
