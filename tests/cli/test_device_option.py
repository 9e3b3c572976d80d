import importlib.util

import pytest
from terminal import Terminal


def test_a_device_is_refused_for_the_batch_layer(tmp_path):
    said = Terminal(tmp_path).run("certify", "e1", "--device", "gpu", exit_code=2)
    assert "--device is for --provisional" in said


def test_an_unknown_device_is_refused_with_those_there_are(tmp_path):
    said = Terminal(tmp_path).run("certify", "e1", "--provisional", "--device", "tpu", exit_code=2)
    assert "'cpu', 'gpu'" in said


@pytest.mark.skipif(
    any(importlib.util.find_spec(package) for package in ("cupy", "torch")), reason="CuPy or PyTorch is installed"
)
def test_without_a_gpu_a_command_says_what_to_install(tmp_path):
    terminal = Terminal(tmp_path / "workspace")
    times = "start = 2025-06-25T17:00:00+09:00", "end = 2025-06-25T19:00:00+09:00"
    event = terminal.write("e1.toml", 'id = "e1"', 'programme = "kpx-max-4-of-5"', *times)
    said = terminal.run("certify", event, "--provisional", "--device", "gpu", exit_code=1)
    assert "no GPU can be used" in said
    assert "pip install cupy-cuda12x" in " ".join(said.split())
