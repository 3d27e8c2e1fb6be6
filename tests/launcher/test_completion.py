"""Tab completes verbs, flags, jobs and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = str(Path(__file__).resolve().parents[2])


def complete(line: str, tmp_path: Path) -> set[str]:
    """What argcomplete offers after ``line``, over the protocol that the shells' scripts use."""
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n", "PYTHONPATH": HOUSE}
    subprocess.run([sys.executable, "-m", "launcher"], env={**os.environ, **asked}, check=True, timeout=60)
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


@pytest.fixture
def runs(project, cli):
    project.job("tiny", "pass")
    assert cli("submit", "tiny").code == 0
    return [run["id"] for run in cli("runs", "--json").json]


def test_verbs(tmp_path):
    assert complete("launcher s", tmp_path) >= {"submit", "show", "stop"}


def test_flags(tmp_path):
    assert complete("launcher submit --dry", tmp_path) == {"--dry-run"}


def test_jobs(project, tmp_path):
    project.job("tiny", "pass")
    assert {"tiny", "lenet5"} <= complete("launcher submit ", tmp_path)


def test_runs(runs, tmp_path):
    assert set(runs) | {"@last"} <= complete("launcher logs ", tmp_path)


def test_data_sets(tmp_path):
    assert "mnist" in complete("launcher data prepare ", tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell, cli):
    answer = cli("completion", shell)
    assert answer.code == 0 and "launcher" in answer.out
    assert cli("completion", shell, "--json").json == {"shell": shell, "script": answer.out[:-1]}


def test_bash_takes_the_script(cli):
    script = cli("completion", "bash").out
    done = subprocess.run(["bash", "-c", script + "\ncomplete -p launcher"], capture_output=True, text=True)
    assert done.returncode == 0 and "launcher" in done.stdout
