"""Processes that use a batch store and are killed, or are many: run as a script by the tests of crashes.

Each child is forked before Arrow has started a thread, so that dozens of them cost one import.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  or Arrow imports it in every child
import pyarrow.parquet as pq
from stores import DAY, ESTIMATED, FIRST, Row, a_batch

from batch.parquet_store import ParquetStore

DEADLINE_SECONDS = 60
APPENDS = 6
WRITERS = 3


def rows_of_append(number: int) -> list[Row]:
    """Two days of six homes; each append corrects and repeats some of what the one before brought."""
    homes = [f"home {n}" for n in range(6)]
    days = [number % 5, (number + 1) % 5]
    quality = {0: ESTIMATED}
    return [
        Row(home, FIRST + DAY * day + hour, 100 * number + hour, quality.get((number + hour) % 3, 2), number // 2)
        for home in homes
        for day in days
        for hour in range(DAY)
    ]


def append_all(folder: Path, numbers: range) -> None:
    store = ParquetStore(folder, buckets=2)
    for number in numbers:
        store.append([a_batch(rows_of_append(number))])
        if number % 3 == 2:
            store.compact()


def kill_at(step: int) -> Callable[[], int]:
    """Have this process killed as it comes to its n-th step of touching the disk; returns a counter of steps."""
    taken = 0

    def counted(function: Any, *, after: bool = False) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal taken
            result = function(*args, **options) if after else None
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result if after else function(*args, **options)

        return call

    os.link, os.fsync, os.utime = counted(os.link), counted(os.fsync), counted(os.utime)
    os.unlink = counted(os.unlink)
    pq.ParquetWriter.write_table = counted(pq.ParquetWriter.write_table, after=True)
    return lambda: taken


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as failed:
        print(repr(failed), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def wait_for(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"child {pid} ended with {status}")


def killed_at_every_step(folder: Path, stride: int) -> None:
    """A store for each n: its only writer was killed at step n. Steps are those of an undisturbed run."""
    reading, writing = os.pipe()

    def count_steps() -> None:
        taken = kill_at(-1)
        append_all(folder / "undisturbed", range(APPENDS))
        os.write(writing, str(taken()).encode())

    wait_for(fork(count_steps))
    steps = int(os.read(reading, 20))
    for step in range(1, steps + 1, stride):

        def die(step: int = step) -> None:
            kill_at(step)
            append_all(folder / f"{step:04d}", range(APPENDS))

        _, status = os.waitpid(fork(die), 0)
        if status != signal.SIGKILL:
            sys.exit(f"step {step}: ended with {status}")


def killed_again_and_again(folder: Path, times: int) -> None:
    """One store whose writers are killed whenever they have written a few files more."""
    ParquetStore(folder, buckets=2)
    for n in range(times):
        enough = len(list(folder.glob("*/b*/*.parquet"))) + 3 + n
        deadline = time.monotonic() + DEADLINE_SECONDS

        def write_without_end(n: int = n) -> None:
            for number in count():
                newcomer = f"home {n}-{number}"  # news every time
                rows = [row._replace(meter=newcomer) for row in rows_of_append(0) if row.meter == "home 0"]
                ParquetStore(folder).append([a_batch(rows)])

        pid = fork(write_without_end)
        while len(list(folder.glob("*/b*/*.parquet"))) < enough:
            if time.monotonic() > deadline:
                sys.exit("the writer writes nothing")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def many_at_once(folder: Path) -> None:
    """Writers with their own and with the same readings, and one that compacts until they are done."""
    ParquetStore(folder, buckets=2)
    done = folder.parent / "done"

    def compact() -> None:
        while not done.exists():
            ParquetStore(folder).compact()

    def write(writer: int) -> None:
        order = range(APPENDS) if writer % 2 else reversed(range(APPENDS))
        store = ParquetStore(folder)
        for number in order:
            own = [row._replace(meter=f"{row.meter} of {writer}") for row in rows_of_append(number)]
            store.append([a_batch(own[:96]), a_batch(rows_of_append(number))])

    compactor = fork(compact)
    writers = [fork(lambda writer=writer: write(writer)) for writer in range(WRITERS)]
    try:
        for pid in writers:
            wait_for(pid)
    finally:
        done.touch()
    wait_for(compactor)


if __name__ == "__main__":
    task, where = sys.argv[1], Path(sys.argv[2])
    if task == "every-step":
        killed_at_every_step(where, int(sys.argv[3]))
    elif task == "again":
        killed_again_and_again(where, int(sys.argv[3]))
    else:
        many_at_once(where)
