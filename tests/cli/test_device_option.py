import importlib.util

import pytest
from click.testing import CliRunner

from negawatt.cli import main


def run(folder, *words):
    return CliRunner().invoke(main, ["-w", str(folder), *words])


def test_a_device_is_refused_for_the_batch_layer(tmp_path):
    result = run(tmp_path, "certify", "e1", "--device", "gpu")
    assert result.exit_code == 2
    assert "--device is for --provisional" in result.output


def test_an_unknown_device_is_refused_with_those_there_are(tmp_path):
    result = run(tmp_path, "certify", "e1", "--provisional", "--device", "tpu")
    assert result.exit_code == 2
    assert "'cpu', 'gpu'" in result.output


@pytest.mark.skipif(
    any(importlib.util.find_spec(package) for package in ("cupy", "torch")), reason="CuPy or PyTorch is installed"
)
def test_without_a_gpu_a_command_says_what_to_install(tmp_path):
    event = tmp_path / "e1.toml"
    event.write_text(
        'id = "e1"\nprogramme = "kpx-max-4-of-5"\n'
        "start = 2025-06-25T17:00:00+09:00\nend = 2025-06-25T19:00:00+09:00\n"
    )
    result = run(tmp_path / "workspace", "certify", str(event), "--provisional", "--device", "gpu")
    assert result.exit_code == 1
    assert "no GPU can be used" in result.output
    assert "pip install cupy-cuda12x" in " ".join(result.output.split())
