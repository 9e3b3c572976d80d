import importlib.util

import array_api_strict
import numpy as np
import pytest
from domain_builders import assert_equal_columns
from random_blocks import PLANS, random_block

from domain.certification import certify, expected
from speed.devices import (
    Device,
    DeviceError,
    certify_on,
    meters_at_once,
    open_device,
    to_device,
    to_host,
)

PLAN = PLANS["capped"]
BLOCK = random_block(PLAN, seed=5, top=1000, quiet_days=0.3, gaps=0.01, estimates=0.02, homes=50)


def a_device(free_bytes=None):
    """A place whose arrays aren't numpy's, with so much memory."""
    return Device(
        "strict", "array-api-strict", array_api_strict.asarray, np.asarray, lambda: free_bytes, lambda: None
    )


def test_a_device_certifies_as_numpy_does():
    for device in (open_device("cpu"), a_device()):
        assert_equal_columns(certify_on(device, PLAN, BLOCK), certify(PLAN, BLOCK))


@pytest.mark.parametrize("meters", [1, 7, 49, 50])
def test_a_block_that_does_not_fit_goes_in_parts_and_comes_back_whole(meters):
    per_meter = 8 * BLOCK.wh[0].nbytes
    device = a_device(per_meter * meters)
    assert meters_at_once(device, BLOCK) == meters
    assert_equal_columns(certify_on(device, PLAN, BLOCK), certify(PLAN, BLOCK))


def test_one_meter_is_tried_even_where_memory_is_short():
    assert meters_at_once(a_device(10), BLOCK) == 1


def test_results_come_back_as_arrays_of_numpy():
    device = a_device()
    result = to_host(expected(PLAN, to_device(BLOCK, device)), device)
    assert isinstance(result.baseline_wh, np.ndarray)
    assert_equal_columns(result, expected(PLAN, BLOCK))


def test_an_unknown_device_is_refused_with_those_there_are():
    with pytest.raises(DeviceError, match="'tpu': expected one of cpu, gpu"):
        open_device("tpu")


NEITHER = not any(importlib.util.find_spec(package) for package in ("cupy", "torch"))


@pytest.mark.skipif(not NEITHER, reason="CuPy or PyTorch is installed")
def test_without_a_package_for_gpus_it_is_said_what_to_install():
    with pytest.raises(DeviceError, match="cupy is not installed; torch is not installed") as refused:
        open_device("gpu")
    assert "pip install cupy-cuda12x" in str(refused.value)
    assert "--device cpu" in str(refused.value)


@pytest.mark.skipif(NEITHER, reason="neither CuPy nor PyTorch is installed")
def test_a_gpu_gives_the_same_integers_where_there_is_one():
    try:
        gpu = open_device("gpu")
    except DeviceError as none:
        pytest.skip(str(none))
    assert_equal_columns(certify_on(gpu, PLAN, BLOCK), certify(PLAN, BLOCK))
