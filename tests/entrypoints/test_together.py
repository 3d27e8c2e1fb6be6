"""Two ranks that train together on MindSpore's own distributed engine: real processes, on CPUs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.entrypoints.conftest import HOUSE, Boot
from tests.entrypoints.test_hundred_kills import SMALL, outcome
from tests.jobs.photos import write_photos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Ended = list[subprocess.CompletedProcess[str]]


class Ranks:
    """A boot file as a platform starts it on two devices of one machine."""

    def __init__(self, boot: Boot, *arguments: str, env: dict[str, str] | None = None, size: int = 2) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        common = {"RANK_SIZE": str(size), "MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": port, **(env or {})}
        self.processes = [boot.start(*arguments, env={**common, "RANK_ID": str(rank)}) for rank in range(size)]

    def wait_for(self, words: str) -> None:
        """Until the first rank, the only one that tells how it goes, says so."""
        out = self.processes[0].stdout
        assert out is not None
        for line in out:
            if words in line:
                return
        raise AssertionError(self.end())

    def end(self, timeout: float = 240) -> Ended:
        ended = []
        for process in self.processes:
            out, err = process.communicate(timeout=timeout)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return ended


def weights(output: Path) -> dict[str, np.ndarray]:
    code = (
        "import sys, mindspore, pickle; "
        "pickle.dump({n: p.asnumpy() for n, p in mindspore.load_checkpoint(sys.argv[1]).items()}, sys.stdout.buffer)"
    )
    newest = json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"][-1]["file"]
    command = [sys.executable, "-c", code, str(output / "checkpoints" / newest)]
    import pickle

    loaded: dict[str, np.ndarray] = pickle.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return loaded


def test_two_ranks_do_what_one_does_with_batches_twice_as_large(lenet5: Boot, digits: Path, tmp_path: Path) -> None:
    """The same pictures in the same steps, and the mean of their gradients: equal but for the order of additions."""
    first, second = Ranks(lenet5, f"--data_url={digits}", f"--train_url={tmp_path}/two", "--batch_size=16").end()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "2 devices together" in first.stdout and "10 steps per epoch" in first.stdout
    assert (second.stdout, second.stderr) == ("", ""), "one rank is enough to tell how it goes"
    assert lenet5.run(f"--data_url={digits}", f"--train_url={tmp_path}/one", "--batch_size=32").returncode == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
    (_, metrics_one, result_one), (_, metrics_two, result_two) = outcome(tmp_path / "one"), outcome(tmp_path / "two")
    np.testing.assert_allclose(metrics_two, metrics_one, rtol=1e-5)
    assert result_two["accuracy"] == pytest.approx(result_one["accuracy"], abs=1e-9)
    assert result_two["loss"] == pytest.approx(result_one["loss"], rel=1e-5)


def test_ranks_that_are_stopped_or_killed_end_together_and_resume_to_the_same_bits(
    lenet5: Boot, digits: Path, tmp_path: Path, verify: Any
) -> None:
    common = [f"--data_url={digits}", "--batch_size=16", "--epochs=300", "--checkpoint_minutes=0.01"]
    whole = Ranks(lenet5, *common, f"--train_url={tmp_path}/whole").end()
    assert [rank.returncode for rank in whole] == [0, 0], whole
    out = f"--train_url={tmp_path}/out"

    ranks = Ranks(lenet5, *common, out)
    ranks.wait_for("epoch 5/300")
    for process in ranks.processes:
        process.send_signal(signal.SIGTERM)
    stopped = ranks.end(timeout=60)
    assert [rank.returncode for rank in stopped] == [143, 143], stopped
    assert "stopped by SIGTERM" in stopped[0].stdout
    reached = verify(tmp_path / "out")[-1]["step"]
    assert 50 <= reached < 3000

    ranks = Ranks(lenet5, *common, out, "--resume")
    ranks.wait_for("epoch 60/300")
    ranks.processes[1].kill()
    time.sleep(1)
    ranks.processes[0].terminate()
    asked = time.monotonic()
    killed = ranks.end(timeout=60)
    assert [rank.returncode for rank in killed] == [143, -9], killed
    assert time.monotonic() - asked < 30, "it does not wait for the one that is gone"
    assert verify(tmp_path / "out")[-1]["step"] > reached

    resumed = Ranks(lenet5, *common, out, "--resume").end()
    assert [rank.returncode for rank in resumed] == [0, 0], resumed
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")

    alone = lenet5.run(*common, out, "--resume", f"--batch_size={16}")
    assert alone.returncode == 1
    assert "trained with devices=2, and this run has devices=1" in alone.stderr


def test_resnet_on_two_ranks_kills_itself_and_ends_with_the_bits_of_one_that_was_left_alone(tmp_path: Path) -> None:
    """Its moving statistics are each rank's own: what is published, and resumed from, are the first one's."""
    (tmp_path / "cwd").mkdir()
    boot = Boot(HOUSE / "entrypoints" / "resnet50.py", tmp_path / "cwd", stub=False)
    common = [f"--data_url={write_photos(tmp_path / 'data')}", *SMALL, "--batch_size=8", "--epochs=4"]
    common += ["--evaluate_every=2"]
    whole = Ranks(boot, *common, f"--train_url={tmp_path}/whole").end()
    assert [rank.returncode for rank in whole] == [0, 0], whole
    again = {"MA_VJ_NAME": "ma-job-7"}
    killed = Ranks(boot, *common, f"--train_url={tmp_path}/out", env={**again, "LAUNCHER_DRILL": "kill@13"}).end()
    codes = [rank.returncode for rank in killed]
    assert -9 in codes and 0 not in codes, killed  # the other one may have noticed first
    done = Ranks(boot, *common, f"--train_url={tmp_path}/out", env=again).end()
    assert [rank.returncode for rank in done] == [0, 0], done
    assert "resuming from resnet50-2_5.ckpt" in done[0].stdout
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")


def start_msrun(boot: Boot, *arguments: str) -> subprocess.Popen[str]:
    """MindSpore's own msrun, as ModelArts calls it with MA_RUN_METHOD=msrun, with two workers of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    program = Path(sys.executable).with_name("msrun")
    words = ["--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--join=True", "--log_dir=logs"]
    return subprocess.Popen(
        [str(program), *words, str(boot.file), *arguments],
        cwd=boot.cwd,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "LAUNCHER_CACHE": str(boot.cwd)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def msrun(boot: Boot, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start_msrun(boot, *arguments)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_under_msrun_a_stop_reaches_the_workers_and_they_save(
    lenet5: Boot, digits: Path, tmp_path: Path, verify: Any
) -> None:
    """By itself msrun ends alone, and they train on for as long as they can."""
    output = tmp_path / "out"
    common = [f"--data_url={digits}", f"--train_url={output}", "--batch_size=16", "--epochs=100000"]
    process = start_msrun(lenet5, *common)
    deadline = time.monotonic() + 200
    while not list(output.glob("checkpoints/*.ckpt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.terminate()
    process.wait(timeout=60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leaves a `tail` of a log behind
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while workers(lenet5):
        assert time.monotonic() < deadline, "they train on"
        time.sleep(0.1)
    log = (lenet5.cwd / "logs/worker_0.log").read_text()
    assert f"stopped by SIGTERM; --resume continues after step {verify(output)[-1]['step']}" in log


def workers(boot: Boot) -> list[int]:
    """The processes that run a boot file."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(boot.file).encode() in command.read_bytes() and str(boot.cwd) == os.readlink(command.parent / "cwd"):
                found.append(int(command.parent.name))
    return found


def test_under_msrun(lenet5: Boot, digits: Path, tmp_path: Path, verify: Any) -> None:
    done = msrun(lenet5, f"--data_url={digits}", f"--train_url={tmp_path}/out", "--batch_size=16", "--epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [10, 20]
    assert json.loads((tmp_path / "out/result.json").read_text())["epochs"] == 2


def test_under_msrun_a_rank_that_dies_ends_the_run_within_seconds(
    lenet5: Boot, digits: Path, tmp_path: Path, verify: Any
) -> None:
    """By itself msrun would wait for its scheduler, which takes a minute to notice."""
    common = [f"--data_url={digits}", f"--train_url={tmp_path}/out", "--batch_size=16", "--epochs=100000"]
    started = subprocess.Popen(
        [sys.executable, "-c", KILLER, str(tmp_path / "out"), str(lenet5.file)], stdout=subprocess.PIPE, text=True
    )
    done = msrun(lenet5, *common)
    ended = time.monotonic()
    killed, _ = started.communicate(timeout=10)
    assert done.returncode != 0
    assert ended - float(killed) < 20, done.stdout + done.stderr
    assert verify(tmp_path / "out")


KILLER = """
import os, signal, sys, time
from pathlib import Path
while not list(Path(sys.argv[1]).glob("checkpoints/*.ckpt")):
    time.sleep(0.1)
for stat in Path("/proc").glob("[0-9]*/environ"):
    try:
        told = stat.read_bytes().split(b"\\0")
        command = stat.with_name("cmdline").read_bytes()
    except OSError:
        continue
    if b"RANK_ID=1" in told and b"MS_ROLE=MS_WORKER" in told and sys.argv[2].encode() in command:
        os.kill(int(stat.parent.name), signal.SIGKILL)
        print(time.monotonic())
"""
