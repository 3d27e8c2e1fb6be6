"""``--resume RUN@STEP``, ``--keep-last`` and ``--drill`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher import drill
from launcher.errors import UsageError
from launcher.run import Run
from storage.filesystem import FileSystemStorage
from tests.jobs.digits import write_digits
from tests.jobs.photos import write_photos

KEEPS_CHECKPOINTS = """
import argparse, json, os, pathlib, signal, sys
parser = argparse.ArgumentParser()
for name in ("data_url", "train_url", "resume_url", "resume_step", "keep_last", "seed"):
    parser.add_argument("--" + name, default="")
args, unknown = parser.parse_known_args()
out = pathlib.Path(args.train_url)
print("keep", args.keep_last, "step", args.resume_step, "resumed", bool(args.resume_url))
(out / "metrics.jsonl").write_text(" ")
(out / "checkpoints").mkdir()
entries = [{"file": f"x-{n}.ckpt", "step": n, "sha256": f"{n}{args.seed if args.resume_url else ''}"} for n in (10, 20)]
if args.seed != "early":
    (out / "checkpoints" / "manifest.json").write_text(json.dumps({"checkpoints": entries, "best": "x-10.ckpt"}))
if os.environ.get("LAUNCHER_DRILL") and args.seed != "deaf":
    os.kill(os.getpid(), signal.SIGKILL)
(out / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": 0.5, "lr": 0.1, "time": os.getpid()}) + "\\n")
(out / "result.json").write_text(json.dumps({"accuracy": 0.5, "seconds": os.getpid()}))
"""


@pytest.fixture
def job(project: Any) -> Any:
    project.job("tiny", KEEPS_CHECKPOINTS, parameters={"keep_last": 5, "seed": ""})
    return project


def test_a_step_is_passed_on_and_must_be_there(job: Any, cli: Any) -> None:
    run = cli("submit", "tiny", "--json").json["id"]
    assert "step  resumed True" in cli("submit", "tiny", "--resume", run).out
    assert "step 10 resumed True" in cli("submit", "tiny", "--resume", f"{run}@10").out
    assert "step 10 resumed True" in cli("submit", "tiny", "--resume", f"{run}@best").out
    assert "step 20 resumed True" in cli("submit", "tiny", "--resume", "@last@20").out
    before = len(cli("runs", "--json").json)
    answer = cli("submit", "tiny", "--resume", f"{run}@15")
    assert answer.code == 1
    assert f"run {run} has no checkpoint 15; it has 10, 20" in answer.err
    assert f"submit tiny --resume {run}@20" in answer.err
    assert len(cli("runs", "--json").json) == before, "nothing was started"


def test_a_step_of_a_run_without_checkpoints(job: Any, cli: Any) -> None:
    job.job("empty", "import sys; open(sys.argv[-1].partition('=')[2] + '/other', 'w').close()\n")
    run = cli("submit", "empty", "--json").json["id"]
    answer = cli("submit", "tiny", "--resume", f"{run}@10")
    assert (answer.code, "it has none at all" in answer.err) == (1, True), answer
    assert f"python -m launcher logs {run} --tail 50" in answer.err


def test_keep_last_is_a_parameter_of_the_job(job: Any, cli: Any) -> None:
    assert "keep 2 " in cli("submit", "tiny", "--keep-last", "2").out
    job.job("plain", "print(1)\n")
    assert "has no parameter 'keep_last'" in cli("submit", "plain", "--keep-last", "2").err


def test_a_drill_is_three_runs_and_a_comparison(job: Any, cli: Any) -> None:
    answer = cli("submit", "tiny", "--drill", "kill@0.5", "--json")
    assert answer.code == 0, answer
    assert answer.json["equal"] is True
    assert [part["equal"] for part in answer.json["parts"]] == [True] * 4
    runs = cli("runs", "--json").json
    assert [run["phase"] for run in runs] == ["Completed", "Completed", "Failed"]
    assert runs[2]["exit_code"] == 137
    other = cli("submit", "tiny", "--drill", "kill@0.5", "--set", "seed=7")
    assert other.code == 100
    assert other.out.splitlines()[-4].startswith("DIFFERENT weights")
    assert "the resumed run differs" in other.err


def test_a_job_that_a_drill_cannot_kill(job: Any, cli: Any) -> None:
    answer = cli("submit", "tiny", "--drill", "kill@0.5", "--set", "seed=deaf")
    assert answer.code == 1
    assert "the drill did not kill run tiny-" in answer.err
    assert "entrypoints.training" in answer.err


def test_a_drill_that_leaves_nothing_to_resume_proves_nothing(job: Any, cli: Any) -> None:
    answer = cli("submit", "tiny", "--drill", "kill@0.5", "--set", "seed=early")
    assert answer.code == 1
    assert "before its first checkpoint" in answer.err and "--drill kill@0.9" in answer.err
    assert len(cli("runs", "--json").json) == 1


@pytest.mark.parametrize("words", [["kill@0.5", "--detach"], ["kill@0.5", "-n"], ["kill"], ["kill@0"], ["stop@0.5"]])
def test_drills_that_cannot_be_typed(job: Any, cli: Any, words: list[str]) -> None:
    answer = cli("submit", "tiny", "--drill", *words)
    assert answer.code == 2
    assert "kill@" in answer.err
    assert cli("runs", "--json").json == []


@pytest.mark.parametrize("point", ["kill@0.5", "kill@.25", "kill@1", "kill@1234"])
def test_drills_that_can(point: str) -> None:
    drill.check(point)
    with pytest.raises(UsageError):
        drill.check(point + "x")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("checkpoints/manifest.json", {"checkpoints": [{"sha256": "b"}]}),
        ("metrics.jsonl", {"epoch": 1, "loss": 0.5000000001, "lr": 0.1}),
        ("metrics.jsonl", {"epoch": 1, "loss": 0.5, "lr": 0.2}),
        ("result.json", {"accuracy": 0.51}),
    ],
)
def test_every_difference_is_found(tmp_path: Path, file: str, change: dict[str, Any]) -> None:
    outputs = []
    for name in ("a", "b"):
        output = tmp_path / "bucket" / name
        (output / "checkpoints").mkdir(parents=True)
        (output / "checkpoints/manifest.json").write_text(json.dumps({"checkpoints": [{"sha256": "a"}]}))
        (output / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": 0.5, "lr": 0.1, "time": name}))
        (output / "result.json").write_text(json.dumps({"accuracy": 0.5, "seconds": name}))
        outputs.append(Run(name, "job", "local", name, "Completed", "", {}, f"obs://bucket/{name}/"))
    storage = FileSystemStorage(tmp_path / "bucket", "bucket")
    assert all(part.equal for part in drill.compare(*outputs, storage))
    (tmp_path / "bucket/b" / file).write_text(json.dumps(change))
    assert [part.equal for part in drill.compare(*outputs, storage)].count(False) == 1


SMALL = ["network=small", "image_size=8", "batch_size=16", "epochs=3", "warmup_epochs=1"]


@pytest.mark.slow
@pytest.mark.parametrize("contract", ["new", "old"])
@pytest.mark.parametrize(("name", "settings"), [("lenet5", []), ("resnet50", SMALL)])
def test_a_drill_of_a_real_job(project: Any, launch: Any, name: str, settings: list[str], contract: str) -> None:
    write = {"lenet5": write_digits, "resnet50": write_photos}[name]
    words = ["submit", name, "--data", str(write(project.root / "data")), "--contract", contract]
    words += [word for setting in settings for word in ("--set", setting)]
    answer = launch(*words, "--drill", "kill@0.5", cwd=project.root, timeout=600)
    assert answer.code == 0, answer
    assert "to the bit" in answer.err
    assert answer.out.splitlines()[-4].startswith("equal     weights")


def test_a_kernel_that_ran_out_of_memory_is_named(project: Any, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor counts what the kernel killed; the run is told what to do."""
    from launcher.targets import container

    counts = iter([4, 4])
    monkeypatch.setattr(container, "oom_kills", lambda: next(counts))
    assert "ran out of memory" in container.out_of_memory(137, 3)
    assert container.out_of_memory(1, 3) == ""
    assert container.out_of_memory(137, 4) == ""
