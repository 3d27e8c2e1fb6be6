"""A run from start to end, under both contracts, with the surroundings of the training: no real MindSpore here."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

FILES = [
    "checkpoints/counting-1_10.ckpt",
    "checkpoints/counting-2_10.ckpt",
    "checkpoints/counting-3_10.ckpt",
    "checkpoints/manifest.json",
    "metrics.jsonl",
    "result.json",
]


MEAN = sum([0.1] * 10) / 10
"""Of ten losses of 0.1, with the rounding of a sum that was made one by one."""


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def last(output: Path) -> bytes:
    """The bytes of the newest checkpoint: for the counting job, a hash of every step that led there."""
    entries = json.loads((output / "checkpoints/manifest.json").read_text())["checkpoints"]
    return (output / "checkpoints" / entries[-1]["file"]).read_bytes()


def assert_two_lines(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("ignored: ", "warning: "))]
    assert done.returncode == code, done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    for word in words:
        assert word in done.stderr


def wait_for_line(process: subprocess.Popen[str], start: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"no line began with {start!r}: {process.communicate()}")


def test_the_new_contract(counting: Any, tmp_path: Path, verify: Any) -> None:
    """data_url and train_url are folders."""
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out")
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path / "out") == FILES
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [10, 20, 30]
    assert done.stdout.splitlines()[2].startswith("epoch 1/3 step 10 loss 0.1000 ")
    assert all((tmp_path / "out" / name).stat().st_mode & 0o777 == 0o644 for name in FILES)
    assert list(counting.cwd.iterdir()) == []


def test_the_old_contract_ends_in_the_same_files(counting: Any, tmp_path: Path, verify: Any) -> None:
    """data_url and train_url are URLs, and the boot file copies."""
    (tmp_path / "buckets/bucket/in").mkdir(parents=True)
    (tmp_path / "buckets/bucket/in/x").write_text("x")
    env = {"LAUNCHER_BUCKETS": str(tmp_path / "buckets")}
    done = counting.run("--data_url=s3://bucket/in/", "--train_url=obs://bucket/out/", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path / "buckets/bucket/out") == FILES
    assert len(verify(tmp_path / "buckets/bucket/out")) == 3
    assert list(counting.cwd.iterdir()) == []


def test_metrics_and_result(counting: Any, tmp_path: Path) -> None:
    counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--epochs=2")
    records = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"], record["loss"]) for record in records] == [(1, 10, MEAN), (2, 20, MEAN)]
    assert set(records[0]) == {"epoch", "step", "loss", "lr", "step_ms", "samples_per_second", "time"}
    assert records[0]["time"].endswith("Z")
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert set(result) == {"accuracy", "loss", "epochs", "seconds", "samples_per_second"}
    assert (result["accuracy"], result["loss"], result["epochs"]) == (1.0, 0.5, 2)


def test_arguments_may_be_separated_by_spaces_and_unknown_ones_are_ignored(counting: Any, tmp_path: Path) -> None:
    done = counting.run("--data_url", str(tmp_path / "data"), "--epochs", "1", "--foo=bar", "--ma_thing", "3")
    assert done.returncode == 0
    assert "ignored: --foo=bar" in done.stderr
    assert (counting.cwd / "output/result.json").exists(), "the default for train_url is ./output"


def test_inputs_and_outputs_may_come_as_environment_variables(counting: Any, tmp_path: Path) -> None:
    """ModelArts' access_method env."""
    env = {"data_url": str(tmp_path / "data"), "train_url": str(tmp_path / "out")}
    assert counting.run(env=env).returncode == 0
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--data_url is missing"]),
        (["--data_url="], ["--data_url is missing"]),
        (["--data_url=/nowhere"], ["/nowhere"]),
        (["--data_url=obs://Bad_Bucket/x"], ["Bad_Bucket"]),
        (["--data_url=obs://bucket/../x"], [".."]),
        (["--data_url=data", "--train_url=obs://bucket/a\x01b"], []),
        (["--data_url=data", "--epochs=three"], ["--epochs", "three"]),
        (["--data_url=data", "--epochs"], ["--epochs"]),
        (["--data_url=data", "--keep_last=0"], ["keep_last"]),
        (["--data_url=data", "--resume=perhaps"], ["perhaps"]),
        (["--data_url=data", "--device_target=TPU"], ["TPU", "Ascend"]),
        (["--data_url=data", "--device_target=ascend"], ["Ascend", "Unsupported device target"]),
        (["--data_url=data", "--train_url=data/file/out"], ["data/file"]),
    ],
)
def test_mistakes_are_told_in_two_lines(counting: Any, arguments: list[str], words: list[str]) -> None:
    (counting.cwd / "data").mkdir()
    (counting.cwd / "data/file").write_text("a file")
    done = counting.run(*arguments, env={"LAUNCHER_BUCKETS": str(counting.cwd / "buckets")})
    assert_two_lines(done, *words)
    assert tree(counting.cwd) == ["data/file"], "nothing is left behind"


def test_a_bug_is_told_in_two_lines_too_and_as_a_traceback_when_asked_for(counting: Any, tmp_path: Path) -> None:
    (tmp_path / "data/explode").write_text("")
    assert_two_lines(counting.run(f"--data_url={tmp_path}/data"), "RuntimeError: boom", "LAUNCHER_DEBUG=1")
    done = counting.run(f"--data_url={tmp_path}/data", env={"LAUNCHER_DEBUG": "1"})
    assert "Traceback" in done.stderr


def test_sigterm_publishes_a_last_checkpoint_and_resume_ends_where_an_untouched_run_does(
    counting: Any, tmp_path: Path, verify: Any
) -> None:
    common = [f"--data_url={tmp_path}/data", "--step_ms=30"]
    assert counting.run(*common, f"--train_url={tmp_path}/whole").returncode == 0
    process = counting.start(*common, f"--train_url={tmp_path}/out")
    wait_for_line(process, "epoch 1/3")
    time.sleep(0.1)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    assert time.monotonic() - sent < 5
    assert "stopped by SIGTERM" in out
    entries = verify(tmp_path / "out")
    assert 10 < entries[-1]["step"] < 20
    assert not (tmp_path / "out/result.json").exists()

    done = counting.run(*common, f"--train_url={tmp_path}/out", "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resuming from counting-2_" in done.stdout
    assert last(tmp_path / "out") == last(tmp_path / "whole")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert losses == [MEAN] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_the_run_at_once(counting: Any, tmp_path: Path, number: int) -> None:
    process = counting.start(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--prepare_ms=20000")
    wait_for_line(process, "preparing")
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert "before the first step" in err
    assert not (tmp_path / "out").exists()
    assert list(counting.cwd.iterdir()) == []


def test_resume_without_a_checkpoint_says_so_and_starts(counting: Any, tmp_path: Path) -> None:
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--resume")
    assert done.returncode == 0
    assert "starting from scratch" in done.stdout
    assert tree(tmp_path / "out") == FILES


def test_resume_of_a_finished_run_trains_no_more(counting: Any, tmp_path: Path) -> None:
    common = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    counting.run(*common)
    before = last(tmp_path / "out")
    done = counting.run(*common, "--resume=true")
    assert done.returncode == 0
    assert "epoch" not in done.stdout.split("steps per epoch")[1]
    assert tree(tmp_path / "out") == FILES
    assert last(tmp_path / "out") == before
    assert json.loads((tmp_path / "out/result.json").read_text())["samples_per_second"] is None
    longer = counting.run(*common, "--resume", "--epochs=4")
    assert "epoch 4/4" in longer.stdout
    assert len((tmp_path / "out/metrics.jsonl").read_text().splitlines()) == 4


def test_resume_from_another_output_leaves_that_one_alone(counting: Any, tmp_path: Path, verify: Any) -> None:
    counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/first", "--epochs=2")
    before = {name: (tmp_path / "first" / name).read_bytes() for name in tree(tmp_path / "first")}
    done = counting.run(
        f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", f"--resume_url={tmp_path}/first", "--resume"
    )
    assert done.returncode == 0, done.stderr
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [20, 30]
    assert {name: (tmp_path / "first" / name).read_bytes() for name in tree(tmp_path / "first")} == before
    counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/whole")
    assert last(tmp_path / "out") == last(tmp_path / "whole")


@pytest.mark.parametrize("remote", [False, True])
def test_resume_from_a_finished_output_ends_with_its_checkpoint(
    counting: Any, tmp_path: Path, verify: Any, remote: bool
) -> None:
    """Into an output that has other checkpoints, one of the same name among them."""
    url, env = ("obs://bucket", {"LAUNCHER_BUCKETS": str(tmp_path)}) if remote else (f"{tmp_path}/bucket", {})
    first, out = tmp_path / "bucket/first", tmp_path / "bucket/out"
    common = [f"--data_url={tmp_path}/data"]
    counting.run(*common, f"--train_url={url}/first", env=env)
    counting.run(*common, f"--train_url={url}/out", "--seed=2", env=env)
    done = counting.run(*common, f"--train_url={url}/out", f"--resume_url={url}/first", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert verify(out) == verify(first)[-1:]
    assert tree(out) == FILES[2:]
    assert (out / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    assert (out / FILES[2]).stat().st_mode & 0o777 == 0o644
    done = counting.run(*common, f"--train_url={url}/out", "--resume", "--epochs=4", "--keep_last=1", env=env)
    assert "resuming from counting-3_10.ckpt" in done.stdout
    assert [entry["step"] for entry in verify(out)] == [40]
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("remote", [False, True])
def test_a_run_killed_before_its_first_checkpoint_still_hands_on_the_one_it_resumed_from(
    counting: Any, tmp_path: Path, verify: Any, remote: bool
) -> None:
    url, env = ("obs://bucket", {"LAUNCHER_BUCKETS": str(tmp_path)}) if remote else (f"{tmp_path}/bucket", {})
    a, b, c = (tmp_path / "bucket" / name for name in "abc")
    data = f"--data_url={tmp_path}/data"
    counting.run(data, f"--train_url={url}/a", env=env)
    (a / "checkpoints/counting-3_10.ckpt").unlink()
    lines = (a / "metrics.jsonl").read_text().splitlines()
    process = counting.start(data, f"--train_url={url}/b", f"--resume_url={url}/a", "--step_ms=3000", env=env)
    wait_for_line(process, "training counting")
    process.kill()
    process.communicate()
    assert [entry["step"] for entry in verify(b)] == [20]
    assert (b / "metrics.jsonl").read_text().splitlines() == lines[:2]

    for place, options in ((c, ["--resume", f"--resume_url={url}/b"]), (b, ["--resume"])):
        done = counting.run(data, f"--train_url={url}/{place.name}", *options, env=env)
        assert f"resuming from counting-2_10.ckpt of {url}/b" in done.stdout
        assert [entry["step"] for entry in verify(place)] == [20, 30]
        assert [json.loads(line)["step"] for line in (place / "metrics.jsonl").read_text().splitlines()] == [10, 20, 30]
    counting.run(data, f"--train_url={tmp_path}/whole")
    assert last(b) == last(c) == last(tmp_path / "whole")


def test_a_run_without_resume_starts_its_output_anew(counting: Any, tmp_path: Path, verify: Any) -> None:
    common = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    counting.run(*common)
    (tmp_path / "out/checkpoints/mine.ckpt").write_text("not ours")
    counting.run(*common, "--epochs=1", "--seed=2")
    assert [entry["step"] for entry in verify(tmp_path / "out")] == [10]
    kept = ["checkpoints/counting-1_10.ckpt", "checkpoints/manifest.json", "checkpoints/mine.ckpt"]
    assert tree(tmp_path / "out") == [*kept, "metrics.jsonl", "result.json"]


def test_keep_last_deletes_what_the_manifest_no_longer_names(counting: Any, tmp_path: Path, verify: Any) -> None:
    counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--epochs=7", "--keep_last=2")
    assert [entry["epoch"] for entry in verify(tmp_path / "out")] == [6, 7]
    assert len(list((tmp_path / "out/checkpoints").glob("*.ckpt"))) == 2


@pytest.mark.parametrize("how", ["cut", "changed", "deleted"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(
    counting: Any, tmp_path: Path, verify: Any, how: str, remote: bool
) -> None:
    out = tmp_path / "buckets/bucket/out"
    url, env = ("obs://bucket/out", {"LAUNCHER_BUCKETS": str(tmp_path / "buckets")}) if remote else (str(out), {})
    common = [f"--data_url={tmp_path}/data", f"--train_url={url}"]
    counting.run(*common, env=env)
    good = last(out)
    newest = out / "checkpoints/counting-3_10.ckpt"
    content = newest.read_bytes()
    if how == "deleted":
        newest.unlink()
    else:
        newest.write_bytes(content[:-9] if how == "cut" else content[:-9] + bytes(9))
    done = counting.run(*common, "--resume", env=env)
    assert done.returncode == 0, done.stderr
    assert "warning: checkpoint counting-3_10.ckpt is damaged and skipped" in done.stderr
    assert "resuming from counting-2_10.ckpt" in done.stdout
    assert len(verify(out)) == 3
    assert last(out) == good


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--width=9", ["another network", "uint8 8x32 there", "uint8 9x32 here"]),
        ("--seed=2", ["seed=1", "pass --seed=1"]),
        ("--batch_size=4", ["batch_size=2", "pass --batch_size=2"]),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_refused_and_harms_nothing(
    counting: Any, tmp_path: Path, change: str, words: list[str]
) -> None:
    common = [f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out"]
    counting.run(*common)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in tree(tmp_path / "out")}
    assert_two_lines(counting.run(*common, "--resume", change), *words)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in tree(tmp_path / "out")} == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"job": "counting"}', '{"checkpoints": [{"file": "../../x.ckpt"}]}']
)
def test_a_manifest_that_is_none_is_refused(counting: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "out/checkpoints").mkdir(parents=True)
    (tmp_path / "out/checkpoints/manifest.json").write_text(content)
    done = counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/out", "--resume")
    assert_two_lines(done, "manifest.json")


@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="mounts a small disk")
def test_a_full_disk_leaves_the_older_checkpoint_good(counting: Any, tmp_path: Path, verify: Any) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(out)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        common = [f"--data_url={tmp_path}/data", f"--train_url={out}", "--width=2000"]  # 64 KB a checkpoint
        done = counting.run(*common)
        assert_two_lines(done, "No space left")
        entries = verify(out)
        assert [entry["step"] for entry in entries][:1] == [10]
        assert all(name.startswith(("counting-", "manifest")) for name in tree(out / "checkpoints")), "no half file"
        subprocess.run(["mount", "-o", "remount,size=1m", str(out)], check=True)
        done = counting.run(*common, "--resume", "--keep_last=1")
        assert done.returncode == 0, done.stderr
        assert [entry["step"] for entry in verify(out)] == [30]
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.parametrize("remote", [False, True])
def test_kill_at_any_moment(counting: Any, tmp_path: Path, verify: Any, remote: bool) -> None:
    """Twenty times kill -9 of a run that publishes all the time, and --resume: nothing that is named is ever torn."""
    out = tmp_path / "buckets/bucket/out"
    url, env = ("obs://bucket/out", {"LAUNCHER_BUCKETS": str(tmp_path / "buckets")}) if remote else (str(out), {})
    common = [f"--data_url={tmp_path}/data", f"--train_url={url}", "--epochs=1000", "--keep_last=3", "--resume"]
    reached = 0
    for _ in range(10):
        process = counting.start(*common, "--step_ms=0.1", "--width=4000", env=env)
        wait_for_line(process, "training counting")
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.communicate()
        entries = verify(out)
        steps = [entry["step"] for entry in entries]
        assert steps == sorted(set(steps))
        assert steps[-1:] >= [reached][: len(steps)]
        reached = steps[-1] if steps else 0
    assert reached, "it never came as far as a checkpoint"
    epochs = reached // 10 + 1
    common[2] = f"--epochs={epochs}"
    done = counting.run(*common, "--width=4000", env=env)
    assert done.returncode == 0, done.stderr
    counting.run(f"--data_url={tmp_path}/data", f"--train_url={tmp_path}/whole", f"--epochs={epochs}", "--width=4000")
    assert last(out) == last(tmp_path / "whole")
