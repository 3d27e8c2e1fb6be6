"""``kill -9`` of launcher, supervisor and job at random moments: no run is lost, doubled or left alive."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = {"supervisor": "supervisor.py", "job": "main.py"}
"""What each shows in a list of processes."""
HOUSE = str(Path(__file__).resolve().parents[2])
JOB = """
import os, pathlib, time
witness = pathlib.Path({witness!r})
with open(witness, "a") as stream:
    stream.write(os.environ["JOB_ID"] + "\\n")
for i in range(5):
    print("line", i)
    time.sleep(0.03)
"""


def processes(*marks: str) -> list[int]:
    """The processes whose command line or working folder has all the ``marks`` in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes().decode("utf-8", "replace") + os.readlink(folder / "cwd")
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                continue
            if all(mark in words for mark in marks) and state != "Z":
                found.append(int(folder.name))
    return found


def kill(pids: list[int]) -> int:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("seed", [pytest.param(0, id="8"), pytest.param(1, id="50", marks=pytest.mark.slow)])
def test_killed_at_random_moments(seed, project, cli, tmp_path):
    rounds = 50 if seed else 8
    witness = tmp_path / "witness"
    project.job("tiny", JOB.format(witness=str(witness)))
    (project.root / "data").mkdir()
    for i in range(20):
        (project.root / "data" / f"{i}.bin").write_bytes(os.urandom(20000))
    chance = random.Random(seed)
    began = time.monotonic()
    assert cli("submit", "tiny", "--data", "data", "--name", "untouched").code == 0
    whole = time.monotonic() - began  # what a submit takes here and now
    submitted, killed = ["untouched"], collections.Counter()
    for round_ in range(rounds):
        (project.root / "data" / "0.bin").write_bytes(os.urandom(20000))  # so that there is something to upload
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", "submit", "tiny", "--data", "data", "--name", f"round-{round_}"],
            env={**os.environ, "PYTHONPATH": HOUSE},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        who = chance.choice(["launcher", "supervisor", "job", "launcher and supervisor"])
        if "launcher" in who:
            time.sleep(chance.uniform(0.1, 1.7) * whole)
            process.kill()
        else:  # wait until there is one to kill, and a little longer
            while process.poll() is None and not processes(str(project.home), PROGRAM[who]):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.2))
        if "supervisor" in who:
            killed["supervisor"] += kill(processes(str(project.home), PROGRAM["supervisor"]))
        if who == "job":
            killed["job"] += kill(processes(str(project.home), PROGRAM["job"]))
        assert process.wait(timeout=60) in (-signal.SIGKILL, 0, 100)
        process.stderr.close()
        submitted.append(f"round-{round_}")
    deadline = time.monotonic() + 60
    while cli("runs", "--active", "--json").json:
        assert time.monotonic() < deadline, cli("runs").out
        time.sleep(0.05)
    runs = cli("runs", "--json").json
    assert rounds < 50 or min(killed["supervisor"], killed["job"]) > 3, f"too few were hit: {killed}"
    assert len({run["name"] for run in runs}) == len(runs), "a submit made two runs"
    assert {run["name"] for run in runs} <= set(submitted)
    starts = witness.read_text().split() if witness.exists() else []
    assert len(starts) == len(set(starts)), "a job was started twice"
    assert set(starts) <= {run["id"] for run in runs}, "a job ran that nobody knows of"
    for run in runs:
        assert run["phase"] in ("Completed", "Failed", "Abnormal"), run
        assert run["phase"] != "Completed" or run["id"] in starts
        assert run["ended_at"]
    with sqlite3.connect(project.home / "ledger.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    deadline = time.monotonic() + 20  # an end is written down before the process that wrote it is gone
    while processes(str(project.home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(str(project.home)) == [], "something is left running"
    answer = cli("submit", "tiny", "--data", "data")
    assert answer.code == 0, answer
    assert answer.out.splitlines() == [f"line {i}" for i in range(5)]


@pytest.mark.slow
def test_a_thousand_one_line_jobs(project, cli):
    """No line is lost, and none comes twice, whether it is followed or read afterwards."""
    project.job("tiny", "import sys; print('line of', sys.argv[1])")
    for number in range(1000):
        answer = cli("submit", "tiny", "--no-pull", "--", str(number))
        assert answer.code == 0, answer
        assert [line.split()[:2] for line in answer.out.splitlines()] == [["line", "of"]], answer


def test_many_launchers_at_once(project):
    """Twelve launchers begin with no ledger at all; each run is there once."""
    project.job("tiny", "print('hello')")
    command = [sys.executable, "-m", "launcher", "submit", "tiny", "--json"]
    env = {**os.environ, "PYTHONPATH": HOUSE}
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(12)
    ]
    answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 12, answers
    with sqlite3.connect(project.home / "ledger.sqlite") as db:
        assert db.execute("SELECT phase, count(*) FROM runs GROUP BY phase").fetchall() == [("Completed", 12)]
    db.close()
