"""Boot files run as ModelArts runs them: as processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.digits import write_digits

HOUSE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Boot:
    """A boot file, in a working folder of its own."""

    file: Path
    cwd: Path
    stub: bool

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
        stub = {"PYTHONPATH": str(HERE / "stub")} if self.stub else {}
        return subprocess.Popen(
            [sys.executable, str(self.file), *arguments],
            cwd=self.cwd,
            env={**kept, "LAUNCHER_CACHE": str(self.cwd), "PYTHONDONTWRITEBYTECODE": "1", **stub, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def lenet5(tmp_path: Path) -> Boot:
    """The real boot file."""
    (tmp_path / "cwd").mkdir()
    return Boot(HOUSE / "entrypoints" / "lenet5.py", tmp_path / "cwd", stub=False)


@pytest.fixture
def counting(tmp_path: Path) -> Boot:
    """A job that does nothing, on a MindSpore that does nothing: all that surrounds the training, quickly."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "data").mkdir()
    return Boot(HERE / "counting.py", tmp_path / "cwd", stub=True)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A synthetic MNIST: ten steps an epoch."""
    return write_digits(tmp_path / "MNIST")


Verify = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture
def verify() -> Verify:
    """The checkpoints that an output's manifest names, each found whole; none if there is no manifest."""

    def check(output: Path) -> list[dict[str, Any]]:
        manifest = output / "checkpoints" / "manifest.json"
        if not manifest.exists():
            return []
        entries = json.loads(manifest.read_text())["checkpoints"]
        for entry in entries:
            content = (output / "checkpoints" / entry["file"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"]), entry[
                "file"
            ]
        return entries

    return check
