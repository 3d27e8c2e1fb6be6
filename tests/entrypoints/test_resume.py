"""Runs that are killed, restarted and resumed end as if nothing had been; with a job that trains nothing, quickly."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from entrypoints import drill
from jobs import JobError


def last(output: Path) -> bytes:
    """The bytes of the newest checkpoint: a hash of every step that led there."""
    entries = json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"]
    return (output / "checkpoints" / entries[-1]["file"]).read_bytes()


def metrics(output: Path) -> list[tuple[Any, ...]]:
    """What must be equal of each epoch's line."""
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(record["epoch"], record["step"], record["loss"], record["lr"]) for record in records]


def assert_two_lines(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"], done.stderr
    for word in words:
        assert word in done.stderr


def run_id(name: str) -> dict[str, str]:
    return {"MA_VJ_NAME": name}


def kill_at(step: float) -> dict[str, str]:
    return {"LAUNCHER_DRILL": f"kill@{step}"}


@pytest.fixture
def whole(counting: Any, tmp_path: Path) -> Path:
    """The output of a run that nobody touched."""
    assert counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/whole").returncode == 0
    return tmp_path / "whole"


@pytest.mark.parametrize("step", [1, 9, 10, 11, 20, 29, 30])
def test_a_run_that_the_platform_starts_again_goes_on_by_itself(
    counting: Any, tmp_path: Path, whole: Path, verify: Any, step: int
) -> None:
    """Same command, same run, no --resume; wherever it was killed, even before the first and after the last epoch."""
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    killed = counting.run(*command, env={**run_id("ma-job-7"), **kill_at(step)})
    assert killed.returncode == -9
    arrived = len(verify(tmp_path / "out"))
    again = counting.run(*command, env=run_id("ma-job-7"))
    assert (again.returncode, again.stderr) == (0, "")
    assert ("the platform started ma-job-7 again" in again.stdout) is bool(arrived)
    assert arrived >= (step - 1) // 10 - 1, "at most the checkpoint that was on its way is lost"
    assert last(tmp_path / "out") == last(whole)
    assert metrics(tmp_path / "out") == metrics(whole)


@pytest.mark.parametrize(
    ("env", "options"), [(run_id("ma-job-8"), []), ({}, []), (run_id("ma-job-7"), ["--resume=no"])]
)
def test_another_run_is_never_taken_for_an_earlier_one(
    counting: Any, tmp_path: Path, env: dict[str, str], options: list[str]
) -> None:
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    counting.run(*command, env=run_id("ma-job-7"))
    done = counting.run(*command, *options, "--seed=2", env=env)
    assert done.returncode == 0, done.stderr
    assert "resuming" not in done.stdout
    assert "epoch 1/3" in done.stdout


def test_a_foreign_manifest_does_not_stop_a_run_that_was_not_told_to_resume(counting: Any, tmp_path: Path) -> None:
    (tmp_path / "out/checkpoints").mkdir(parents=True)
    (tmp_path / "out/checkpoints/manifest.json").write_text("mine")
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", env=run_id("ma-job-7"))
    assert done.returncode == 0, done.stderr


def test_a_run_resumes_from_the_step_that_was_asked_for(counting: Any, tmp_path: Path, whole: Path) -> None:
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", f"--resume_url={whole}"]
    done = counting.run(*command, "--resume_step=10")
    assert "resuming from counting-1_10.ckpt" in done.stdout
    assert last(tmp_path / "out") == last(whole)
    assert metrics(tmp_path / "out") == metrics(whole)
    assert_two_lines(counting.run(*command, "--resume_step=15"), "no checkpoint of step 15", "10, 20, 30")
    (whole / "checkpoints/counting-2_10.ckpt").write_bytes(b"torn")
    assert_two_lines(counting.run(*command, "--resume_step=20"), "counting-2_10.ckpt is damaged")


@pytest.mark.parametrize("asked", [[], ["--resume=yes"]])
def test_a_run_that_resumed_from_a_step_and_is_started_again_goes_on_from_its_own(
    counting: Any, tmp_path: Path, whole: Path, verify: Any, asked: list[str]
) -> None:
    """The step was for the first start: its checkpoint may be gone by then."""
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", f"--resume_url={whole}"]
    command += ["--resume_step=10", "--keep_last=1", "--step_ms=30", *asked]
    killed = counting.run(*command, env={**run_id("ma-job-9"), **kill_at(25), "LAUNCHER_DRILL_AGAIN": "1"})
    assert killed.returncode == -9
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [20]
    again = counting.run(*command, env=run_id("ma-job-9"))
    assert "resuming from counting-2_10.ckpt" in again.stdout, again.stderr
    assert last(tmp_path / "out") == last(whole)
    assert metrics(tmp_path / "out") == metrics(whole)


def test_what_a_resumed_run_does_otherwise_is_said(counting: Any, tmp_path: Path, whole: Path) -> None:
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={whole}", "--resume", "--epochs=4")
    assert "epochs is 4 from here on; up to step 30 it was 3" in done.stdout


def test_the_best_checkpoint_stays_whatever_its_age(counting: Any, tmp_path: Path, verify: Any) -> None:
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--keep_last=2", "--good_epoch=3"]
    assert counting.run(*command, "--epochs=8").returncode == 0
    assert [entry["epoch"] for entry in verify(tmp_path / "out")] == [3, 7, 8]
    manifest = json.loads((tmp_path / "out/checkpoints/manifest.json").read_text())
    assert manifest["best"] == "counting-3_10.ckpt"
    assert len(list((tmp_path / "out/checkpoints").glob("*.ckpt"))) == 3
    done = counting.run(*command, "--epochs=9", "--resume")
    assert "resuming from counting-8_10.ckpt" in done.stdout
    assert [entry["epoch"] for entry in verify(tmp_path / "out")] == [3, 8, 9]


def test_an_accuracy_decides_which_is_best_and_is_measured_as_often_as_asked(
    counting: Any, tmp_path: Path, verify: Any
) -> None:
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--evaluate_every=2", "--good_epoch=1"]
    done = counting.run(*command, "--epochs=5")
    assert done.stdout.count("evaluated") == 3
    assert ["accuracy" in entry["metrics"] for entry in verify(tmp_path / "out")] == [False, True, False, True, False]
    assert json.loads((tmp_path / "out/checkpoints/manifest.json").read_text())["best"] == "counting-4_10.ckpt"
    done = counting.run(*command, "--epochs=6", "--resume")
    assert done.stdout.count("evaluated") == 1, "the last epoch's evaluation is the result's"


def test_checkpoints_within_an_epoch(counting: Any, tmp_path: Path, verify: Any) -> None:
    command = [f"--data_url={tmp_path}/data", "--step_ms=100", "--keep_last=99", "--epochs=2"]
    counting.run(*command, f"--train_url={tmp_path}/out", "--checkpoint_minutes=0.001")
    steps = [entry["step"] for entry in verify(tmp_path / "out")]
    assert {10, 20} < set(steps)
    assert len(steps) > 6
    counting.run(*command, f"--train_url={tmp_path}/few", "--checkpoint_minutes=0")
    assert [entry["step"] for entry in verify(tmp_path / "few")] == [10, 20]
    assert last(tmp_path / "out") == last(tmp_path / "few")
    first = next(entry for entry in verify(tmp_path / "out") if entry["step"] % 10)
    again = counting.run(
        *command, f"--train_url={tmp_path}/third", f"--resume_url={tmp_path}/out", f"--resume_step={first['step']}"
    )
    assert again.returncode == 0, again.stderr
    assert metrics(tmp_path / "third") == metrics(tmp_path / "few"), "the loss of a resumed epoch too, to the bit"


@pytest.mark.slow
def test_a_hundred_kills_at_random_steps(counting: Any, tmp_path: Path, verify: Any) -> None:
    """Twenty runs, each killed five times and started again by the platform, all end with the same bits."""
    command = [
        f"--data_url={tmp_path}/data",
        "--checkpoint_minutes=0.0001",
        "--keep_last=2",
        "--epochs=6",
        "--step_ms=1",
    ]
    assert counting.run(*command, f"--train_url={tmp_path}/whole").returncode == 0
    numbers = random.Random(5)
    for chain in range(20):
        out = tmp_path / f"out-{chain}"
        steps = sorted(numbers.sample(range(1, 61), 5))
        for count, step in enumerate(steps):
            entries = verify(out)
            env = {**run_id(f"ma-job-{chain}"), "LAUNCHER_DRILL_AGAIN": "1", **kill_at(step)}
            killed = counting.run(*command, f"--train_url={out}", env=env)
            assert killed.returncode == -9, (count, step, killed.stdout, killed.stderr)
            assert not entries or entries[-1]["step"] <= step
        done = counting.run(*command, f"--train_url={out}", env=run_id(f"ma-job-{chain}"))
        assert done.returncode == 0, done.stderr
        verify(out)
        assert last(out) == last(tmp_path / "whole"), steps
        assert metrics(out) == metrics(tmp_path / "whole"), steps


@pytest.mark.parametrize(
    ("text", "step"), [("kill@0.5", 15), ("kill@.01", 1), ("kill@1", 1), ("kill@30", 30), ("", -1)]
)
def test_the_point_of_a_drill(text: str, step: int) -> None:
    assert drill.kill_step({"LAUNCHER_DRILL": text}, 30) == step


@pytest.mark.parametrize("text", ["kill", "kill@", "kill@0", "kill@31", "kill@-1", "stop@0.5"])
def test_a_drill_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="no point of a training"):
        drill.kill_step({"LAUNCHER_DRILL": text}, 30)


def test_a_loss_that_is_no_number_ends_the_run_and_names_step_and_checkpoint(
    counting: Any, tmp_path: Path, verify: Any
) -> None:
    command = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    done = counting.run(*command, "--bad_step=17")
    assert_two_lines(done, "the loss is nan in epoch 2, step 7", "--lr", "counting-1_10.ckpt")
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [10]
    assert not (tmp_path / "out/result.json").exists()
    assert_two_lines(counting.run(f"--data_url={tmp_path}/data", "--bad_step=1"), "epoch 1, step 1")


def test_weights_that_are_no_numbers_are_not_saved(counting: Any, tmp_path: Path, verify: Any) -> None:
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--bad_weights=20")
    assert_two_lines(done, "after step 20 the weights are no numbers any more", "counting-1_10.ckpt")
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [10]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Ascend error: Device is occupied, device id 0", "the device is occupied"),
        ("Malloc for kernel output failed, Memory isn't enough", "out of memory"),
        ("Out of memory!!! total[1] (dynamic[2])", "out of memory"),
        ("something else", "RuntimeError: something else"),
    ],
)
def test_what_a_device_says_is_told_in_two_lines(counting: Any, tmp_path: Path, said: str, words: str) -> None:
    assert_two_lines(counting.run(f"--data_url={tmp_path}/data", f"--fail={said}"), words)
