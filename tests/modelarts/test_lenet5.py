"""The main job on ModelArts: the emulator as a process, real HTTP, real MNIST, real MindSpore."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def submit(launch, project, mnist, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``submit("--set", "epochs=1")``: LeNet-5 on an emulator that runs in the background."""
    state = ("--state", str(tmp_path / "emulator"))
    started = launch("emulator", "--background", "--json", *state, cwd=project.root)
    assert started.code == 0, started
    environment = {**started.json, "LAUNCHER_TARGET": "modelarts"}

    def run(*words: str) -> Any:
        return launch("submit", "lenet5", *words, "--json", cwd=project.root, env=environment, timeout=600)

    yield run
    assert launch("emulator", "--stop", *state, cwd=project.root).code == 0


def verified(output: Path) -> list[int]:
    """The epochs of the checkpoints at home, each of which has the hash that the manifest names."""
    folder = output / "checkpoints"
    checkpoints = json.loads((folder / "manifest.json").read_text())["checkpoints"]
    for checkpoint in checkpoints:
        assert hashlib.sha256((folder / checkpoint["file"]).read_bytes()).hexdigest() == checkpoint["sha256"]
    return [checkpoint["epoch"] for checkpoint in checkpoints]


def test_lenet5_trains_on_the_whole_mnist(submit, project):
    answer = submit()
    assert answer.code == 0, answer
    run = answer.json
    assert (run["target"], run["phase"], run["exit_code"]) == ("modelarts", "Completed", 0)
    assert run["result"]["accuracy"] >= 0.97
    log = answer.err.splitlines()
    for epoch in (1, 2, 3):
        assert sum(line.startswith(f"epoch {epoch}/3 step 1875 ") for line in log) == 1, answer.err
    assert verified(project.home / "outputs" / run["id"]) == [1, 2, 3]


def test_two_nodes_train_together_and_publish_once(submit, project):
    """Each sees half of the pictures in each step, so there are half as many steps; the first one tells."""
    answer = submit("--set", "epochs=1", "--nodes", "2")
    assert answer.code == 0, answer
    assert answer.err.count("2 devices together") == 1, answer.err
    assert answer.err.count("[worker-0] epoch 1/1 step 937 ") == 1, answer.err
    assert answer.json["result"]["accuracy"] >= 0.95
    assert verified(project.home / "outputs" / answer.json["id"]) == [1]
