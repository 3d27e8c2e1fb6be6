"""Both jobs on ModelArts and here, on one node and two: the emulator as a process, real HTTP, real MindSpore."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.photos import write_photos

pytestmark = pytest.mark.slow


@pytest.fixture
def submit(launch, project, mnist, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``submit("lenet5", "--set", "epochs=1")``: on an emulator, if no ``--target`` says otherwise."""
    state = ("--state", str(tmp_path / "emulator"))
    started = launch("emulator", "--background", "--json", *state, cwd=project.root)
    assert started.code == 0, started
    environment = {**started.json, "LAUNCHER_TARGET": "modelarts"}

    def run(*words: str) -> Any:
        return launch("submit", *words, "--json", cwd=project.root, env=environment, timeout=600)

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
    answer = submit("lenet5")
    assert answer.code == 0, answer
    run = answer.json
    assert (run["target"], run["phase"], run["exit_code"]) == ("modelarts", "Completed", 0)
    assert run["result"]["accuracy"] >= 0.97
    log = answer.err.splitlines()
    for epoch in (1, 2, 3):
        assert sum(line.startswith(f"epoch {epoch}/3 step 1875 ") for line in log) == 1, answer.err
    assert verified(project.home / "outputs" / run["id"]) == [1, 2, 3]


@pytest.mark.parametrize("target", ["local", "modelarts"])
def test_two_nodes_train_together_and_publish_once(submit, project, target):
    """Each sees half of the pictures in each step, so there are half as many steps; the first one tells."""
    answer = submit("lenet5", "--set", "epochs=1", "--nodes", "2", "--target", target)
    assert answer.code == 0, answer
    assert answer.err.count("2 devices together") == 1, answer.err
    assert answer.err.count("[worker-0] epoch 1/1 step 937 ") == 1, answer.err
    assert answer.json["result"]["accuracy"] >= 0.95
    assert verified(project.home / "outputs" / answer.json["id"]) == [1]


@pytest.mark.parametrize("nodes", ["1", "2"])
@pytest.mark.parametrize("target", ["local", "modelarts"])
def test_resnet_trains(submit, project, tmp_path, target, nodes):
    """On a handful of synthetic pictures: what is shown is the way there and back, not that it learns."""
    settings = {"network": "small", "image_size": 8, "batch_size": 16 // int(nodes), "epochs": 2, "warmup_epochs": 1}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    data = write_photos(tmp_path / "photos")
    answer = submit("resnet50", "--data", str(data), *words, "--nodes", nodes, "--target", target)
    assert answer.code == 0, answer
    assert (answer.json["target"], answer.json["phase"]) == (target, "Completed")
    assert answer.err.count("epoch 2/2 step 5 ") == 1, answer.err
    assert answer.err.count("Evaluation result: {'acc': ") == 1, answer.err
    assert verified(project.home / "outputs" / answer.json["id"]) == [1, 2]
