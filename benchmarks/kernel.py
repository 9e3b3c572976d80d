"""The benchmark ``kernel``: certified meters a second from readings in memory, beside a plain copy of the same bytes.

The kernel has to look at every reading once, so a copy on the same device, timed in the same run, is a limit that no
rule over the readings gets far beyond. Every device's answer has to equal numpy's, integer by integer.

Also a program of its own, for a machine with a GPU: ``python -m benchmarks.kernel --device gpu``. It needs Python's
packages numpy, array-api-compat, holidays and CuPy or PyTorch, and nothing else of what negawatt needs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domain.certification import LoadBlock, Reductions, certify
from domain.errors import NegawattError
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.programmes import parse_programme
from speed.devices import DEVICES, Device, DeviceError, certify_on, open_device, to_device, to_host

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.results import Row

SIZES = (100, 1_000, 10_000, 100_000)
"""Meters in a block."""

PROGRAMME = Path(__file__).parents[1] / "negawatt" / "programmes" / "kpx-max-4-of-5.toml"
EVENT_START = datetime(2025, 6, 11, 8, tzinfo=UTC)
MISSING_PER_MILLE = 1
_ROUND_S = 0.2
"""Short runs are repeated within a round until it has taken so long."""


@dataclass(frozen=True)
class Rate:
    """Meters a second of the kernel, and of a copy of the same bytes."""

    name: str
    kernel: float
    copy: str
    copied: float


def run(options: Options) -> list[Row]:
    """Measure numpy at every size, and a GPU where one is at hand."""
    from benchmarks.results import Row  # noqa: PLC0415  it needs packages that a machine with a GPU may lack

    devices = [open_device("cpu")]
    try:
        devices.append(open_device("gpu"))
    except DeviceError as none:
        options.say(f"no rows of a GPU: {none}")
    rows = []
    for device in devices:
        for rate in rates(device, options.homes, options.repeats):
            options.say(f"{device.title}: {rate.name}")
            rows.append(Row(rate.name, rate.kernel, "1/s", rate.copy, rate.copied, better="higher"))
    return rows


def the_plan() -> EventPlan:
    """An hour of five-minute readings at 17:00 in Seoul, ten days of history, three hours of adjustment window."""
    programme = parse_programme(tomllib.loads(PROGRAMME.read_text("utf-8")))
    return make_plan(DREvent("benchmark", programme.id, EVENT_START, EVENT_START + timedelta(hours=1)), programme, 5)


def a_block(plan: EventPlan, meters: int) -> LoadBlock:
    """Random readings, one in a thousand of them missing."""
    random = np.random.default_rng(1)
    wh = random.integers(10, 400, (meters, *plan.slots.shape), dtype=np.int32)
    wh[random.random(wh.shape) < MISSING_PER_MILLE / 1000] = -1
    return LoadBlock(np.array([f"home-{n:07d}" for n in range(meters)], dtype=object), wh, None)


def rates(device: Device, sizes: tuple[int, ...], repeats: int) -> Iterator[Rate]:
    """Measure a device at each size of block; on a GPU with the readings there already, and with their way there."""
    plan = the_plan()
    for meters in sorted(sizes):
        block = a_block(plan, meters)
        here = to_device(block, device)
        _require_same(certify(plan, block), to_host(certify(plan, here), device), device)
        at = f"device={device.name} block={meters}"

        def rate(run: Callable[[], object], n: int = meters) -> float:
            return n / _seconds(run, device, repeats)

        target = device.put(np.empty_like(block.wh))
        copied = rate(lambda a=target, b=here.wh: a.__setitem__(..., b))
        yield Rate(f"kernel_meters_per_s {at}", rate(lambda b=here: certify(plan, b)), "copy within memory", copied)
        if device.name != "cpu":
            there = rate(lambda b=block: device.put(b.wh))
            whole = rate(lambda b=block: certify_on(device, plan, b))
            yield Rate(f"kernel_with_transfer_meters_per_s {at}", whole, "copy to the device", there)


def _seconds(run: Callable[[], object], device: Device, repeats: int) -> float:
    """Median seconds of a run, after one that doesn't count."""

    def timed(times: int) -> float:
        device.wait()
        began = time.perf_counter()
        for _ in range(times):
            run()
        device.wait()
        return (time.perf_counter() - began) / times

    run()
    times = max(1, round(_ROUND_S / timed(1)))
    return statistics.median(timed(times) for _ in range(repeats))


def _require_same(ours: Reductions, theirs: Reductions, device: Device) -> None:
    for field in fields(Reductions):
        if not np.array_equal(getattr(ours, field.name), getattr(theirs, field.name)):
            raise NegawattError(f"{device.title} differs from numpy in {field.name}")


def main() -> int:
    """Measure one device and print its rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel", description=__doc__)
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="[%(default)s]")
    parser.add_argument("--homes", nargs="+", type=int, metavar="N", default=SIZES, help="meters in a block")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, of which the median counts [%(default)s]")
    given = parser.parse_args()
    try:
        device = open_device(given.device)
        print(device.title)
        for rate in rates(device, tuple(given.homes), given.repeats):
            share = f"{100 * rate.kernel / rate.copied:.1f} % of {rate.copied:,.0f}, {rate.copy}"
            print(f"{rate.name}: {rate.kernel:,.0f} ({share})", flush=True)
    except NegawattError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
