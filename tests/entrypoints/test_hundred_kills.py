"""A hundred kills at random steps, of each job: all resumed, all with the bits of a run that nobody touched."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.conftest import HOUSE, Boot
from tests.jobs.digits import write_digits
from tests.jobs.photos import write_photos

pytestmark = pytest.mark.slow
CHAINS = int(os.environ.get("CHAINS", "4"))
"""Of 25 kills each."""

SMALL = ["--network=small", "--image_size=8", "--batch_size=16", "--warmup_epochs=1"]
JOBS: dict[str, tuple[Callable[[Path], Path], list[str], int, int]] = {
    "lenet5": (write_digits, [], 10, 4),
    "resnet50": (write_photos, SMALL, 5, 8),
}
"""Name -> synthetic data, arguments, steps an epoch, epochs: forty steps."""


def outcome(output: Path) -> tuple[bytes, list[Any], dict[str, Any]]:
    """Weights, moments and step; loss and rate of each epoch; the result. Without times."""
    newest = json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"][-1]
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    metrics = [[record[name] for name in ("epoch", "step", "loss", "lr")] for record in records]
    result = json.loads((output / "result.json").read_text())
    weights = (output / "checkpoints" / newest["file"]).read_bytes()
    return weights, metrics, {name: result[name] for name in ("accuracy", "loss", "epochs")}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", JOBS)
def test_a_hundred_kills_at_random_steps(job: str, tmp_path: Path, verify: Any) -> None:
    """Runs that are killed 25 times each with SIGKILL after a step, and each time started again by the platform."""
    write, own, steps, epochs = JOBS[job]
    (tmp_path / "cwd").mkdir()
    boot = Boot(HOUSE / "entrypoints" / f"{job}.py", tmp_path / "cwd", stub=False)
    data = f"--data_url={write(tmp_path / 'data')}"
    command = [data, *own, f"--epochs={epochs}", "--checkpoint_minutes=0.00001", "--keep_last=2"]
    whole = boot.run(*command, f"--train_url={tmp_path}/whole")
    assert f"{steps} steps per epoch" in whole.stdout, whole.stderr
    numbers = random.Random(11)
    for chain in range(CHAINS):
        out, name = tmp_path / f"out-{chain}", {"MA_VJ_NAME": f"{job}-{chain}"}
        for step in sorted(numbers.sample(range(1, steps * epochs + 1), 25)):
            env = {**name, "LAUNCHER_DRILL": f"kill@{step}", "LAUNCHER_DRILL_AGAIN": "1"}
            killed = boot.run(*command, f"--train_url={out}", env=env)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            verify(out)
        done = boot.run(*command, f"--train_url={out}", env=name)
        assert done.returncode == 0, done.stderr
        assert outcome(out) == outcome(tmp_path / "whole")
