"""The boot file of LeNet-5 with the real MindSpore. What surrounds the training is in test_run.py, which is quicker."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.digits import write_digits


def weights(output: Path) -> bytes:
    """The newest checkpoint, to the bit."""
    newest = json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"][-1]
    return (output / "checkpoints" / newest["file"]).read_bytes()


def wait_for(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout
    assert any(line.startswith(start) for line in process.stdout), process.communicate()


@pytest.fixture
def many_digits(tmp_path: Path) -> Path:
    """A synthetic MNIST of 300 steps an epoch, which is three calls."""
    return write_digits(tmp_path / "MANY", train=9600)


def test_by_hand_from_any_folder(lenet5: Any, digits: Path, verify: Any) -> None:
    done = lenet5.run(f"--data_url={digits}", "--epochs=2", "--keep_last=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "training lenet5 on CPU" in done.stdout
    output = lenet5.cwd / "output"
    assert [entry["file"] for entry in verify(output)] == ["lenet5-2_10.ckpt"]
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 2
    assert 0 <= json.loads((output / "result.json").read_text())["accuracy"] <= 1
    assert [path.name for path in lenet5.cwd.iterdir()] == ["output"], "no litter of MindSpore's"


def test_a_resumed_run_ends_with_the_same_bits(lenet5: Any, many_digits: Path, tmp_path: Path, verify: Any) -> None:
    """After SIGTERM in the middle of the second epoch, and from the end of the first epoch by way of another output."""
    data = f"--data_url={many_digits}"
    whole = lenet5.run(data, f"--train_url={tmp_path}/whole", "--epochs=3")
    assert whole.returncode == 0, whole.stderr

    process = lenet5.start(data, f"--train_url={tmp_path}/out", "--epochs=3")
    wait_for(process, "epoch 1/3")
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, ""), out
    assert time.monotonic() - sent < 15
    assert 300 < verify(tmp_path / "out")[-1]["step"] <= 600

    resumed = lenet5.run(data, f"--train_url={tmp_path}/out", "--epochs=3", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")

    for newer in (tmp_path / "whole/checkpoints").glob("lenet5-[23]_*"):
        newer.unlink()
    other = lenet5.run(data, f"--train_url={tmp_path}/third", "--epochs=3", f"--resume_url={tmp_path}/whole")
    assert "resuming from lenet5-1_300.ckpt" in other.stdout
    assert weights(tmp_path / "third") == weights(tmp_path / "out")


def test_a_bad_folder_is_told_in_two_lines_before_mindspore_is_imported(lenet5: Any, digits: Path) -> None:
    (digits / "test/t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01")
    begun = time.monotonic()
    done = lenet5.run(f"--data_url={digits}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert done.stderr.startswith("error: ")
    assert "t10k-labels" in done.stderr
    assert time.monotonic() - begun < 30
    assert list(lenet5.cwd.iterdir()) == []


def test_a_device_that_was_asked_for_is_not_replaced_by_another(lenet5: Any, digits: Path) -> None:
    done = lenet5.run(f"--data_url={digits}", "--device_target=GPU")
    assert done.returncode == 1
    assert done.stderr.startswith("error: device_target is GPU")
    assert done.stderr.count("\n") == 2


def test_a_loss_that_is_no_number_ends_the_run(lenet5: Any, digits: Path) -> None:
    done = lenet5.run(f"--data_url={digits}", "--lr=1e30")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is ")
    assert "--lr" in done.stderr


@pytest.mark.slow
def test_three_epochs_on_the_real_mnist_reach_the_accuracy(lenet5: Any, mnist: Path) -> None:
    done = lenet5.run(f"--data_url={mnist}")
    assert done.returncode == 0, done.stderr
    result = json.loads((lenet5.cwd / "output/result.json").read_text())
    assert result["accuracy"] >= 0.97
    assert result["epochs"] == 3
    records = [json.loads(line) for line in (lenet5.cwd / "output/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1875, 3750, 5625]


@pytest.mark.slow
def test_sigterm_at_any_moment_ends_with_143(lenet5: Any, many_digits: Path, verify: Any) -> None:
    for _ in range(15):
        process = lenet5.start(f"--data_url={many_digits}", "--epochs=200")
        time.sleep(random.uniform(0.3, 6))
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 143, out + err
        assert time.monotonic() - sent < 15
        verify(lenet5.cwd / "output")


@pytest.mark.slow
def test_kill_at_any_moment_then_resume(lenet5: Any, many_digits: Path, verify: Any, tmp_path: Path) -> None:
    reached = 0
    for _ in range(20):
        process = lenet5.start(f"--data_url={many_digits}", "--epochs=200", "--resume", "--keep_last=3")
        wait_for(process, "training lenet5")
        time.sleep(random.uniform(0, 2))
        process.kill()
        process.communicate()
        entries = verify(lenet5.cwd / "output")
        assert not entries or entries[-1]["step"] >= reached
        reached = entries[-1]["step"] if entries else 0
    epochs = reached // 300 + 1
    done = lenet5.run(f"--data_url={many_digits}", f"--epochs={epochs}", "--resume")
    assert done.returncode == 0, done.stderr
    lenet5.run(f"--data_url={many_digits}", f"--epochs={epochs}", f"--train_url={tmp_path}/whole")
    assert weights(lenet5.cwd / "output") == weights(tmp_path / "whole")
