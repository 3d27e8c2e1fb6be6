"""A job that the platform starts again goes on from its own checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.modelarts.conftest import HOUSE, Rig

COUNTING = f"""
import os, runpy, sys
if os.environ["VC_TASK_INDEX"] != "0":
    os.environ.pop("LAUNCHER_DRILL", "")
sys.path.insert(1, {str(HOUSE / "tests/entrypoints/stub")!r})
runpy.run_path({str(HOUSE / "tests/entrypoints/counting.py")!r}, run_name="__main__")
"""


@pytest.fixture
def counting(modelarts: Rig, project: Any, tmp_path: Path) -> Path:
    """A job of 30 steps, of which each tenth is followed by a checkpoint; the folder of its data."""
    data = tmp_path / "numbers"
    data.mkdir()
    (data / "one").write_text("1")
    project.job(
        "counting",
        COUNTING,
        parameters={"step_ms": 50},
        environment={"LAUNCHER_DRILL": "kill@18"},
        retries=1,
    )
    return data


def test_a_job_started_again_goes_on_from_its_checkpoint(
    counting: Path, modelarts: Rig, cli: Any, project: Any
) -> None:
    answer = cli("submit", "counting", "--target", "modelarts", "--data", str(counting), "--json")
    assert answer.code == 0, answer
    run = answer.json
    assert answer.err.count("started ma-job-") == 1, answer.err
    assert answer.err.count("resuming from counting-1_10.ckpt of ") == 1, answer.err
    output = project.home / "outputs" / run["id"]
    steps = [entry["step"] for entry in json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"]]
    assert steps == [10, 20, 30]
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]


def test_an_output_is_filled_only_for_those_who_read_it(counting: Path, cli: Any, project: Any) -> None:
    def filled(*words: str) -> Any:
        words = ("submit", "counting", "--target", "modelarts", "--data", str(counting), "-n", "--json", *words)
        [output] = cli(*words).json["request"]["algorithm"]["outputs"]
        return output.get("prefetch_to_local")

    assert filled() is True
    project.job("counting", COUNTING)
    assert filled() is None
    assert filled("--", "--resume=yes") is True
    assert filled("--", "--resume=no") is None
