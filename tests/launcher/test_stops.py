"""Runs that are left alone, stopped, interrupted, or out of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOUSE = str(Path(__file__).resolve().parents[2])


def wait_until(condition, timeout=30):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_detach_prints_the_id_alone(project, cli):
    project.job("tiny", "import time; time.sleep(3); print('later')")
    answer = cli("submit", "tiny", "--detach")
    run = answer.out.strip()
    assert answer.code == 0 and answer.out == run + "\n"
    assert cli("wait", run, "--timeout", "0").code == 101
    waited = cli("wait", run, "--timeout", "1")
    assert waited.code == 101 and f"waiting for {run} (" in waited.err
    followed = cli("logs", "-f", run)
    assert followed.code == 0 and "Running: waiting for its first line" in followed.err
    assert cli("wait", run).code == 0
    assert cli("logs", run[:-1]).out == "later\n"


def test_stop_does_not_wait_for_the_data(project, cli):
    """A run that is still being staged in ends at once, and its job never starts."""
    project.job("tiny", "print('started')")
    (project.root / "data").mkdir()
    for number in range(8):
        with open(project.root / "data" / f"{number}.bin", "wb") as stream:
            for _ in range(100):
                stream.write(os.urandom(1 << 20))
    run = cli("submit", "tiny", "--data", "data", "--detach").out.strip()
    assert cli("stop", run).code == 0
    assert project.last()["phase"] == "Terminated" and project.last()["exit_code"] is None
    assert cli("logs", run).out == ""


def test_stop_now_kills_what_never_reads_sigterm(project, cli):
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    project.job("tiny", script)
    run = cli("submit", "tiny", "--detach").out.strip()
    wait_until(lambda: "deaf" in cli("logs", run).out)
    assert cli("stop", "--now", run).code == 0
    assert project.last()["exit_code"] == 137


@pytest.mark.slow
def test_output_is_copied_out_while_the_job_runs(project, cli):
    """Every 30 s, as ModelArts does it."""
    script = """
import argparse, pathlib, time
parser = argparse.ArgumentParser(); parser.add_argument("--train_url")
out = pathlib.Path(parser.parse_known_args()[0].train_url)
(out / "early.txt").write_text("early")
time.sleep(40)
(out / "late.txt").write_text("late")
"""
    project.job("tiny", script)
    run = cli("submit", "tiny", "--detach").out.strip()
    output = project.home / "buckets" / "local" / "launcher" / "runs" / run / "output"
    wait_until((output / "early.txt").exists, timeout=60)
    assert project.last()["phase"] == "Running" and not (output / "late.txt").exists()
    assert cli("wait", run).code == 0
    assert (output / "late.txt").read_text() == "late"


@pytest.mark.slow
def test_a_deaf_job_is_killed_after_the_grace(project, cli):
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    project.job("tiny", script)
    run = cli("submit", "tiny", "--detach").out.strip()
    wait_until(lambda: "deaf" in cli("logs", run).out)
    answer = cli("stop", run)
    assert answer.code == 0 and f"waiting for {run} to end" in answer.err
    assert (project.last()["phase"], project.last()["exit_code"]) == ("Terminated", 137)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_stops_a_local_run(presses, project, launch):
    polite = "def end(*_):\n    print('bye'); sys.exit(143)\nsignal.signal(signal.SIGTERM, end)\n"
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script = "import signal, sys, time\n" + (polite if presses == 1 else deaf) + "print('ready')\ntime.sleep(600)\n"
    project.job("tiny", script)
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "submit", "tiny"],
        env={**os.environ, "PYTHONPATH": HOUSE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "target local" in process.stderr.readline()
    told = process.stderr.readline()
    assert "stopping" in (process.stderr.readline() if "first line" in told else told), "a slow machine is told of"
    if presses == 2:
        process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ("bye\n" if presses == 1 else "")
    assert project.last()["phase"] == "Terminated"


SWEEP = """
import os, signal, sys, threading, time
from launcher.__main__ import main
threading.Timer(float(sys.argv[1]), lambda: os.kill(os.getpid(), signal.SIGINT)).start()
sys.exit(main(sys.argv[2:]))
"""


def test_ctrl_c_at_any_moment_leaves_nothing_running(project, cli):
    """Wherever it hits a submit, the job has ended, or never began, when the launcher returns."""
    project.job("tiny", "import time; time.sleep(60)")
    project.job("short", "pass")
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "launcher", "submit", "short"], env={**os.environ, "PYTHONPATH": HOUSE})
    whole = time.monotonic() - began  # what a submit takes here and now; the last moments lie in the job's own time
    assert cli("delete", "--yes", "@last").code == 0
    for step in range(12):
        moment = whole * (0.4 + step * 0.08)
        command = [sys.executable, "-c", SWEEP, str(moment), "submit", "tiny", "--no-pull"]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": HOUSE}, capture_output=True, timeout=60)
        assert done.returncode == 130, done.stderr
        with_run = cli("runs", "--json").json
        assert not [run for run in with_run if run["phase"] != "Terminated"], with_run
    assert cli("runs", "--json").json, "no run was ever begun: the moments are wrong"


@pytest.mark.parametrize("where", ["claim", "create", "_follow"])
def test_ctrl_c_between_two_steps(where, project, cli, monkeypatch):
    """The moments that a sweep seldom hits: just after the claim, inside the hand-over, just before following."""
    from launcher.cli import submit as verb
    from launcher.targets.local import LocalTarget

    project.job("tiny", "import time; time.sleep(60)")
    owner = verb if where == "_follow" else LocalTarget
    inner = getattr(owner, where)

    def interrupted(*args, **keywords):
        if where == "create":
            inner(*args, **keywords)
        os.kill(os.getpid(), signal.SIGINT)
        return None if where == "create" else inner(*args, **keywords)

    monkeypatch.setattr(owner, where, interrupted)
    assert cli("submit", "tiny").code == 130
    runs = cli("runs", "--json").json
    assert [run["phase"] for run in runs] in ([], ["Terminated"])
