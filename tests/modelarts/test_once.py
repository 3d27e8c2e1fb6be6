"""A submit makes its job once, whatever happens: answers that are lost, and kill -9 at every step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import launcher.modelarts.keeper

from .conftest import HOUSE, Rig, only_spoken, spoken

KILLED = """
import sys
import launcher.modelarts.client as client, launcher.modelarts.keeper as keeper
from tests.killing import kill_at
step = sys.argv.pop(1)

kill_at(*{
    "before it is sent": (client.Client, "create", True),
    "after it was sent": (client.Client, "create", False),
    "before it is taken over": (keeper.Keeper, "take_over", True),
    "after it was taken over": (keeper.Keeper, "take_over", False),
}[step])
from launcher.__main__ import main
main(["submit", "tiny", "--target", "modelarts"])
"""
STEPS = {
    "before it is sent": 0,
    "after it was sent": 1,
    "before it is taken over": 1,
    "after it was taken over": 1,
}
"""Where the launcher is killed -> the jobs that there are then; for the other steps see tests/targets."""


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_the_job_is_made_the_run_is_there_once_or_not_at_all(
    modelarts: Rig, cli, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, step],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    monkeypatch.setattr(launcher.modelarts.keeper, "APPEARS_SECONDS", 0.0)
    runs = cli("runs", "--json").json
    assert len(modelarts.jobs) == STEPS[step]
    assert len(runs) == 1
    if STEPS[step]:
        run = runs[0]["id"]
        assert cli("wait", run).code == 0
        assert modelarts.jobs == [run] and only_spoken(cli("logs", run).out) == spoken(5)
    else:
        assert runs[0]["phase"] == "Abnormal" and "created" in runs[0]["message"]
    assert cli("submit", "tiny", "--target", "modelarts").code == 0, "the next submit completes what was staged"


@pytest.mark.parametrize("fault", ["done-504", "done-reset", "done-html", "cut", "504", "reset", "429", "500", "html"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_makes_no_second_job(modelarts: Rig, cli, project, fault: str, times: int) -> None:
    modelarts.faults({"fault": fault, "route": "create_training_job", "times": times, "retry_after": 0})
    answer = cli("submit", "tiny", "--target", "modelarts")
    assert answer.code == 0, answer
    assert modelarts.jobs == [project.last()["id"]] and only_spoken(answer.out) == spoken(5)


def test_what_cannot_be_known_is_said_and_found_out_later(modelarts: Rig, cli, project) -> None:
    lists = {"fault": "500", "route": "list_training_jobs"}
    modelarts.faults({"fault": "done-504", "route": "create_training_job", "times": 1}, lists)
    answer = cli("submit", "tiny", "--target", "modelarts")
    run = project.last()
    assert answer.code == 1 and run["phase"] == "Creating"
    assert f"python -m launcher show {run['id']}" in answer.err
    modelarts.faults()
    assert cli("wait", run["id"]).code == 0
    assert modelarts.jobs == [run["id"]]


def test_a_refusal_after_a_lost_answer_does_not_hide_the_job(modelarts: Rig, cli, project) -> None:
    """The first create came through and was not listed yet; the second meets the quota that the first used."""
    route = {"route": "create_training_job"}
    modelarts.faults({"fault": "done-504", **route, "times": 1}, {"fault": "quota", **route, "times": 1})
    target = modelarts.target()
    looks = []

    def named(name: str, real=target.client.named) -> object:
        looks.append(name)
        return real(name) if len(looks) > 3 else None

    target.client.named = named  # type: ignore[method-assign]
    from launcher.modelarts.jobs import create_once

    plan = cli("submit", "tiny", "--target", "modelarts", "--dry-run", "--json").json
    cli("submit", "tiny", "--target", "modelarts", "--detach")
    modelarts.faults({"fault": "done-504", **route, "times": 1}, {"fault": "quota", **route, "times": 1})
    job = create_once(target.client, plan["request"])
    assert job["metadata"]["name"] == plan["run"] and modelarts.jobs.count(plan["run"]) == 1
    target.close()


def test_a_job_given_up_for_lost_that_appears_after_all_is_taken_over(
    modelarts: Rig, cli, project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {"fault": "500", "route": "list_training_jobs"}
    modelarts.faults({"fault": "done-504", "route": "create_training_job", "times": 1}, lists)
    cli("submit", "tiny", "--target", "modelarts")
    run = project.last()["id"]
    modelarts.faults()
    with modelarts.ledger() as ledger:
        ledger.move(run, "Abnormal", message="given up")
    assert cli("runs", "--target", "modelarts").code == 0
    assert cli("wait", run).code == 0 and project.last()["phase"] == "Completed"


@pytest.mark.parametrize("fault", ["quota", "agency", "forbidden", "arrears"])
def test_a_refusal_ends_the_run_with_its_reason(modelarts: Rig, cli, project, fault: str) -> None:
    modelarts.faults({"fault": fault, "route": "create_training_job"})
    answer = cli("submit", "tiny", "--target", "modelarts")
    assert answer.code == 1 and modelarts.jobs == []
    assert project.last()["phase"] == "Failed" and "ModelArts." in answer.err and "hint:" in answer.err
