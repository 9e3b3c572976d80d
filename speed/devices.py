"""Where the certification kernel runs: on this machine's processor, or on a GPU by CuPy or PyTorch.

The kernel is the same code on all of them and its integers are the same, so a device is a matter of speed alone. A
large block crosses to a GPU in parts of whole meters that fit its memory; only results come back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.certification import Expected, LoadBlock, Reductions, certify
from domain.errors import NegawattError
from domain.plans import EventPlan

DEVICES = ("cpu", "gpu")

Result = TypeVar("Result", Reductions, Expected)

_TEMPORARIES = 8
"""Memory that the kernel takes at most, as a multiple of a part's readings."""


class DeviceError(NegawattError):
    """A device that was asked for isn't there, or its package isn't."""


@dataclass(frozen=True)
class Device:
    """A place for arrays.

    Attributes
    ----------
    name : str
        Of `DEVICES`.
    title : str
        What it is, for people: ``NVIDIA H100 by PyTorch 2.6.0``.
    put : callable
        Takes an array of numpy there.
    get : callable
        Brings an array back as one of numpy.
    free_bytes : callable
        Memory that is free on it now; None where blocks need not be split for it. [bytes]
    wait : callable
        Returns when all that was asked of it is done.
    """

    name: str
    title: str
    put: Callable[[NDArray[Any]], Any]
    get: Callable[[Any], NDArray[Any]]
    free_bytes: Callable[[], int | None]
    wait: Callable[[], None]


def open_device(name: str) -> Device:
    """The device of a name.

    Parameters
    ----------
    name : str
        ``cpu``, or ``gpu``: the first CUDA device, by CuPy where it is installed, else by PyTorch.

    Raises
    ------
    DeviceError
        There is no such device, or no package that reaches it.
    """
    if name == "cpu":
        return Device("cpu", f"numpy {np.__version__}", np.asarray, np.asarray, lambda: None, lambda: None)
    if name != "gpu":
        raise DeviceError(f"device {name!r}: expected one of {', '.join(DEVICES)}")
    problems = []
    for package, open_with in (("cupy", _cupy_device), ("torch", _torch_device)):
        try:
            return open_with(importlib.import_module(package))
        except ImportError as failed:
            missing = isinstance(failed, ModuleNotFoundError) and failed.name == package
            problems.append(f"{package} {'is not installed' if missing else f'does not load ({failed})'}")
        except DeviceError as failed:
            problems.append(str(failed))
    raise DeviceError(
        f"no GPU can be used: {'; '.join(problems)}. On a machine with an NVIDIA GPU and its driver, install CuPy "
        "(pip install cupy-cuda12x) or PyTorch (pip install torch). With --device cpu the result is the same"
    )


def to_device(block: LoadBlock, device: Device) -> LoadBlock:
    """A block whose arrays lie on the device. The meters' names stay here."""
    estimated = None if block.estimated is None else device.put(block.estimated)
    return LoadBlock(block.meters, device.put(block.wh), estimated)


def to_host(result: Result, device: Device) -> Result:
    """What the kernel gave on a device, in arrays of numpy."""
    names = [field.name for field in fields(result) if field.name != "meters"]
    return type(result)(result.meters, *(device.get(getattr(result, name)) for name in names))


def certify_on(device: Device, plan: EventPlan, block: LoadBlock) -> Reductions:
    """`domain.certification.certify` on a device, in parts that fit its memory.

    Parameters
    ----------
    device : Device
    plan : EventPlan
    block : LoadBlock
        In arrays of numpy.

    Returns
    -------
    Reductions
        In arrays of numpy, equal to what ``certify(plan, block)`` gives.
    """
    size = meters_at_once(device, block)
    if size >= len(block.meters):
        return to_host(certify(plan, to_device(block, device)), device)
    parts = []
    for first in range(0, len(block.meters), size):
        part = slice(first, first + size)
        estimated = None if block.estimated is None else block.estimated[part]
        some = LoadBlock(block.meters[part], block.wh[part], estimated)
        parts.append(to_host(certify(plan, to_device(some, device)), device))
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Reductions))
    return Reductions(*map(np.concatenate, columns))


def meters_at_once(device: Device, block: LoadBlock) -> int:
    """How many meters of a block fit the device's free memory with the kernel's temporaries; at least one."""
    free = device.free_bytes()
    if free is None or block.wh.size == 0:
        return max(1, len(block.meters))
    bytes_per_meter = block.wh.nbytes // len(block.meters)
    return max(1, min(len(block.meters), free // (_TEMPORARIES * bytes_per_meter)))


def _cupy_device(cupy: Any) -> Device:
    try:
        found = cupy.cuda.runtime.getDeviceCount()
        if found:
            gpu = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except cupy.cuda.runtime.CUDARuntimeError as failed:
        raise DeviceError(f"CuPy finds no GPU ({failed})") from failed
    if not found:
        raise DeviceError("CuPy finds no GPU")

    def free_bytes() -> int:
        pool = cupy.get_default_memory_pool()
        return int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())

    return Device(
        "gpu",
        f"{gpu} by CuPy {cupy.__version__}",
        cupy.asarray,
        cupy.asnumpy,
        free_bytes,
        cupy.cuda.get_current_stream().synchronize,
    )


def _torch_device(torch: Any) -> Device:
    if not torch.cuda.is_available():
        raise DeviceError("PyTorch finds no GPU")

    def free_bytes() -> int:
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + int(unused)

    return Device(
        "gpu",
        f"{torch.cuda.get_device_name(0)} by PyTorch {torch.__version__}",
        # torch takes no memory that it must not write to, though it would not write here
        lambda array: torch.from_numpy(np.require(array, requirements=["C", "W"])).to("cuda"),
        lambda tensor: np.asarray(tensor.cpu()),
        free_bytes,
        torch.cuda.synchronize,
    )
