"""Runs on the local target, all the way round: bucket, supervisor, log, output, ledger, exit codes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import LedgerError
from launcher.ledger import Ledger
from launcher.paths import Home

HOUSE = str(Path(__file__).resolve().parents[2])

WRITES_OUTPUT = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--data_url"); parser.add_argument("--train_url"); parser.add_argument("--epochs", type=int)
args, unknown = parser.parse_known_args()
print("epochs", args.epochs, "unknown", unknown)
out = pathlib.Path(args.train_url)
(out / "model.bin").write_bytes(b"weights")
(out / "result.json").write_text(json.dumps({"accuracy": 0.5, "loss": float("nan")}))
(out / "metrics.jsonl").write_text('{"epoch": 1}\\n{"epoch": 2}\\n')
"""


def test_parameters_reach_the_job_and_what_is_no_number_is_null(project, cli):
    project.job("tiny", WRITES_OUTPUT, parameters={"epochs": 2})
    answer = cli("submit", "tiny", "--set", "epochs=5")
    assert answer.code == 0, answer
    assert answer.out == "epochs 5 unknown []\n"
    run = project.last()
    assert run["parameters"] == {"epochs": 5}
    assert run["result"] == {"accuracy": 0.5, "loss": None}
    bucket = project.home / "buckets" / "local" / "launcher" / "runs" / run["id"]
    assert (bucket / "log" / f"modelarts-job-{run['id']}-worker-0.log").read_bytes() == answer.out.encode()


def test_json_prints_the_run_and_nothing_else(project, cli):
    project.job("tiny", "print('hello')\n")
    answer = cli("submit", "tiny", "--json")
    keys = "id job target name phase exit_code created_at started_at ended_at parameters metrics result output"
    assert set(keys.split()) <= set(answer.json)
    assert answer.json["phase"] == "Completed"
    assert "hello" in answer.err
    listed = cli("runs", "--json").json
    assert [run["id"] for run in listed] == [answer.json["id"]]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import os; os.abort()", 134),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("1 / 0", 1),
        ("raise SystemExit(255)", 255),
    ],
)
def test_a_failure_is_told_with_the_jobs_own_code(script, code, project, cli):
    project.job("tiny", script)
    answer = cli("submit", "tiny")
    assert answer.code == 100 and f"exit code {code}" in answer.err
    assert (project.last()["exit_code"], project.last()["phase"]) == (code, "Failed")


def test_both_contracts_give_the_same_output(project, cli):
    script = f"""
import argparse, os, sys
sys.path.insert(0, {HOUSE!r})
from storage import locate
parser = argparse.ArgumentParser()
parser.add_argument("--data_url"); parser.add_argument("--train_url")
args, _ = parser.parse_known_args()
print(args.data_url.split("/")[0])
source, prefix = locate(args.data_url)
with source.read((prefix.rstrip("/") + "/digits.txt").lstrip("/")) as stream:
    text = stream.read()
target, prefix = locate(args.train_url)
target.write((prefix.rstrip("/") + "/copy.txt").lstrip("/"), text * 2)
"""
    project.job("tiny", script)
    (project.root / "data").mkdir()
    (project.root / "data" / "digits.txt").write_text("123")
    outputs = []
    for contract, head in (("old", "s3:"), ("new", "")):
        answer = cli("submit", "tiny", "--data", "data", "--contract", contract)
        assert answer.code == 0, answer
        assert answer.out.strip() == head
        outputs.append((project.home / "outputs" / project.last()["id"] / "copy.txt").read_text())
    assert outputs == ["123123", "123123"]


def test_a_dry_run_writes_nothing(project, cli):
    project.job("tiny", "print(1)\n")
    before = sorted(project.root.rglob("*"))
    assert cli("submit", "tiny", "--dry-run").code == 0
    plan = cli("submit", "tiny", "--dry-run", "--json").json
    assert {"run", "code", "data", "request", "upload"} <= set(plan)
    assert {"hash", "files"} <= set(plan["code"])
    assert set(plan["code"]["files"][0]) == {"path", "size", "rule"}
    assert sorted(project.root.rglob("*")) == before


def test_the_environment_is_the_platforms(project, cli, monkeypatch):
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "not-for-jobs")
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "not-for-jobs")
    script = "import json, os; print(json.dumps(dict(os.environ, CWD=os.getcwd())))"
    project.job("tiny", script, environment={"COLOUR": "红 blue"})
    environment = json.loads(cli("submit", "tiny", "--env", "SHAPE=round").out)
    assert environment["COLOUR"] == "红 blue" and environment["SHAPE"] == "round"
    assert "not-for-jobs" not in environment.values()
    for name in ("MA_HOME", "MA_JOB_DIR", "MA_MOUNT_PATH", "MA_LOG_DIR", "MA_CURRENT_IP", "MA_VJ_NAME", "DEVICE_ID"):
        assert environment[name], name
    assert (environment["MA_NUM_HOSTS"], environment["VC_TASK_INDEX"], environment["VC_WORKER_NUM"]) == ("1", "0", "1")
    assert environment["MA_MOUNT_PATH"] == environment["MA_HOME"] + "/modelarts"
    assert environment["CWD"].startswith(environment["MA_JOB_DIR"])
    assert json.loads(environment["MA_OUTPUTS"])["outputs"][0]["local_dir"].endswith("/outputs/train_url_0")


def test_one_failing_node_ends_the_run(project, cli):
    script = """
import os, time
if os.environ["VC_TASK_INDEX"] == "1":
    raise SystemExit(9)
time.sleep(600)
"""
    project.job("tiny", script, resources={"nodes": 3})
    answer = cli("submit", "tiny")
    assert answer.code == 100
    assert project.last()["exit_code"] == 9
    assert "worker-1" in project.last()["message"]


def test_the_time_limit_stops_a_run(project, cli):
    project.job("tiny", "import time; time.sleep(600)", time_limit="1s")
    answer = cli("submit", "tiny")
    assert answer.code == 103
    assert project.last()["phase"] == "Terminated"
    assert "time limit" in answer.err


def test_bytes_that_are_not_utf8_pass_unchanged(project, launch):
    project.job("tiny", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)")
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "submit", "tiny"],
        env={**os.environ, "PYTHONPATH": HOUSE},
        capture_output=True,
        timeout=60,
    )
    assert done.stdout == bytes(range(256)) * 3


def test_a_hundred_megabytes_of_log(project, tmp_path):
    script = """
import sys
for i in range(1600):
    sys.stdout.write("".join(f"{i:08}-{j:06}\\n" for j in range(4096)))
"""
    project.job("tiny", script)
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "submit", "tiny"],
            env={**os.environ, "PYTHONPATH": HOUSE},
            stdout=out,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
    assert done.returncode == 0
    expected = "".join(f"{0:08}-{j:06}\n" for j in range(4096))
    size = (tmp_path / "out").stat().st_size
    assert size == 1600 * len(expected) >= 100_000_000
    with open(tmp_path / "out") as lines:
        for number, line in enumerate(lines):
            assert line == f"{number // 4096:08}-{number % 4096:06}\n"


def test_tail(project, cli):
    project.job("tiny", "for i in range(100): print(i)")
    assert cli("submit", "tiny").code == 0
    assert cli("logs", "--tail", "3").out == "97\n98\n99\n"
    assert cli("logs", "--tail", "0").out == ""
    assert cli("logs", "--tail", "1000").out == "".join(f"{i}\n" for i in range(100))
    assert cli("logs", "-f", "--tail", "2").out == "98\n99\n"
    assert cli("logs", "--tail", "2", "--json").json["log"] == "98\n99\n"


def test_a_prefix_that_names_two_runs_is_refused(project, cli):
    project.job("tiny", "pass")
    assert cli("submit", "tiny").code == cli("submit", "tiny").code == 0
    answer = cli("show", "tiny-")
    assert answer.code == 102 and "more than one" in answer.err


def test_missing_module_is_found_before_the_start(project, cli):
    project.job("tiny", "pass", requires=["no_such_module"])
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "no_such_module" in answer.err and "pip install" in answer.err
    assert cli("runs", "--json").json == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_job_that_fills_the_disk(project, cli, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        monkeypatch.setenv("LAUNCHER_HOME", str(disk / "home"))
        script = """
import argparse, pathlib
parser = argparse.ArgumentParser(); parser.add_argument("--train_url")
out = pathlib.Path(parser.parse_known_args()[0].train_url)
with open(out / "big", "wb", buffering=0) as stream:
    while stream.write(bytes(1 << 16)):
        pass
"""
        project.job("tiny", script)
        answer = cli("submit", "tiny")
        assert answer.code == 100, answer
        listed = cli("runs", "--json").json
        assert [(run["phase"], run["exit_code"]) for run in listed] == [("Failed", 1)]
        bucket = disk / "home" / "buckets" / "local" / "launcher" / "runs" / listed[0]["id"]
        assert not list(bucket.rglob("big")), "half a file is in the bucket"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_no_output_is_lost(project, cli):
    """Names that look temporary are copied at the end; what can be no object stays where it is, and is told."""
    script = """
import argparse, os, pathlib
parser = argparse.ArgumentParser(); parser.add_argument("--train_url")
out = pathlib.Path(parser.parse_known_args()[0].train_url)
(out / "shard.part").write_text("a"); (out / "a.tmp").write_text("b")
if os.environ.get("ODD"):
    (out / "line\\nbreak").write_text("c")
"""
    project.job("tiny", script)
    answer = cli("submit", "tiny", "--env", "ODD=1")
    assert answer.code == 0 and "1 outputs stay in" in answer.err
    home = project.home / "outputs" / project.last()["id"]
    assert sorted(path.name for path in home.iterdir()) == ["a.tmp", "shard.part"]
    kept = [path for path in (project.home / "runs").rglob("*") if path.name == "line\nbreak"]
    assert kept and kept[0].read_text() == "c"


def test_a_damaged_tree_in_the_bucket_is_sent_anew(project, cli):
    project.job("tiny", "print('whole')")
    assert cli("submit", "tiny").code == 0
    stored = next((project.home / "buckets/local/launcher/code").glob("*/jobs/tiny/main.py"))
    stored.write_text("print('other')")
    answer = cli("submit", "tiny")
    assert answer.code == 100 and "sent anew" in answer.err
    answer = cli("submit", "tiny")
    assert answer.code == 0 and answer.out == "whole\n"


def test_damaged_data_used_in_place_is_left_alone(project, cli):
    """A manifest beside data that somebody else keeps in the bucket is theirs, whatever it says."""
    project.job("tiny", "pass")
    mine = project.home / "buckets" / "local" / "mine"
    mine.mkdir(parents=True)
    (mine / "x").write_text("x")
    manifest = mine.with_name("mine.manifest.json")
    manifest.write_text("something else")
    answer = cli("submit", "tiny", "--data", "obs://local/mine/")
    assert answer.code == 100 and "sent anew" not in answer.err
    assert manifest.read_text() == "something else"


def test_a_supervisor_that_cannot_start_is_an_error(project, cli, monkeypatch):
    from launcher.targets import driver

    monkeypatch.setattr(driver, "SUPERVISOR", project.root / "nowhere.py")
    project.job("tiny", "pass")
    answer = cli("submit", "tiny", "--detach")
    assert answer.code == 1 and answer.out == "" and "did not start" in answer.err
    assert project.last()["phase"] == "Failed"


def test_resuming_a_run_without_output_is_refused_before_anything_starts(project, cli):
    project.job("tiny", "pass")
    assert cli("submit", "tiny").code == 0
    for reference in ("@last", project.last()["id"] + "@3"):
        answer = cli("submit", "tiny", "--resume", reference)
        assert answer.code == 1 and "is Completed and has left nothing to go on from" in answer.err
        assert f"logs {project.last()['id']} --tail 50" in answer.err
    assert len(cli("runs", "--json").json) == 1


def test_json_is_always_json(project, cli):
    project.job("tiny", "print('x')", parameters={"lr": 0.1})
    assert cli("submit", "tiny").code == 0
    assert cli("logs", "@last", "--json").json["log"] == "x\n"
    assert cli("submit", "tiny", "--js", "--dry-run").code == 2, "no abbreviations"


def test_a_reader_that_goes_away_is_told_by_the_exit_code(project):
    project.job("tiny", "for i in range(100000): print(i)")
    line = f"set -o pipefail; {sys.executable} -m launcher submit tiny 2>/dev/null | head -1"
    done = subprocess.run(
        ["bash", "-c", line], env={**os.environ, "PYTHONPATH": HOUSE}, capture_output=True, timeout=60
    )
    assert done.stdout == b"0\n" and done.returncode == 141


def test_a_folder_that_cannot_be_made_is_looked_for_where_something_is(project, cli, monkeypatch):
    project.job("tiny", "pass")
    (project.root / "file").write_text("")
    monkeypatch.setenv("LAUNCHER_HOME", str(project.root / "file" / ".launcher" / "deep"))
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "Not a directory" in answer.err, answer
    assert f"ls -ld {project.root / 'file'}, or" in answer.err and "LAUNCHER_HOME=" in answer.err


@pytest.mark.parametrize("said", ["disk I/O error", "database or disk is full"])
def test_a_ledger_on_a_full_disk_is_not_to_be_thrown_away(said, tmp_path):
    with Ledger(Home(tmp_path), create=True) as ledger:
        with pytest.raises(LedgerError) as caught, ledger._errors():
            raise sqlite3.OperationalError(said)
        assert caught.value.hint == f"is the disk full, or ill? df {tmp_path / '.launcher'}"
