"""What people do who do not wait: Ctrl-C again and again, two commands at once, other settings, things deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import launcher.modelarts.keeper
import launcher.modelarts.logs
from launcher.cli.common import Interrupts
from launcher.errors import LedgerError
from launcher.modelarts import jobs
from launcher.run import Run

from .conftest import HOUSE, Rig


def detached(cli, **parameters: object) -> str:
    words = [word for name, value in parameters.items() for word in ("--set", f"{name}={value}")]
    return str(cli("submit", "tiny", "--target", "modelarts", "--detach", *words).out.strip())


def test_a_second_ctrl_c_is_heard_while_a_job_is_being_created(modelarts: Rig, cli, project) -> None:
    modelarts.faults({"fault": "silent", "route": "create_training_job", "seconds": 60})
    child = subprocess.Popen(
        [sys.executable, "-m", "launcher", "submit", "tiny", "--target", "modelarts"],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with modelarts.ledger() as ledger:
        while not any(step["step"] == "create sent" for run in ledger.runs() for step in ledger.steps(run.id)):
            assert child.poll() is None
            time.sleep(0.02)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None, "one is counted: the job may be about to be there"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=15)
    run = project.last()
    assert child.returncode == 130 and "interrupted while its job was being created" in err, err
    assert f"python -m launcher show {run['id']}" in err and run["phase"] == "Creating"


def test_ctrl_c_is_only_counted_where_the_run_is_ours_to_stop() -> None:
    with Interrupts() as interrupts:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 3
        interrupts.once = True
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_stop_that_is_refused_changes_nothing(modelarts: Rig, cli, project) -> None:
    run = detached(cli, pause=5)
    modelarts.faults({"fault": "forbidden", "route": "stop_training_job"})
    assert cli("stop", run).code == 1
    assert project.last()["phase"] in ("Creating", "Pending", "Running")
    modelarts.faults()
    assert cli("stop", run, "--json").json[0]["phase"] == "Terminated"


def test_two_launchers_may_find_the_same_run(modelarts: Rig) -> None:
    run = Run("a", "a", "modelarts", "a", "Completed", "2026-01-01T00:00:00.000Z", {}, "")
    other = Run("b", "b", "modelarts", "b", "Failed", "2026-01-01T00:00:00.000Z", {}, "")
    with modelarts.ledger() as ledger:
        ledger.add_found([run])
        ledger.add_found([run, other])
        assert {row.id for row in ledger.runs()} == {"a", "b"} and len(ledger.steps("a")) == 1
        with pytest.raises(LedgerError):
            ledger.add(run)


def test_a_job_that_appears_after_it_was_given_up_and_stopped_is_stopped(
    modelarts: Rig, cli, project, monkeypatch
) -> None:
    run = detached(cli, pause=5)
    with modelarts.ledger() as ledger:  # as if the launcher had lost it, been asked to stop it, and found nothing
        remote = {key: value for key, value in ledger.get(run).remote.items() if key not in ("id", "tasks")}
        ledger.update(run, remote=remote)
        ledger.move(run, "Terminated", message="stopped before it started")
    cli("runs", "--target", "modelarts")
    ends = time.monotonic() + 15
    while modelarts.emulator.state.active() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not modelarts.emulator.state.active(), "it would have been paid for to its end"
    assert project.last()["phase"] == "Terminated"


def test_the_log_of_a_job_that_was_deleted_is_not_waited_for(modelarts: Rig, cli, monkeypatch) -> None:
    run = detached(cli)
    assert cli("wait", run).code == 0
    with modelarts.ledger() as ledger:
        target = modelarts.target()
        target.client.delete(ledger.get(run).remote["id"])
        while not target.client.is_gone(ledger.get(run).remote["id"]):
            time.sleep(0.02)
        target.close()
    monkeypatch.setattr(launcher.modelarts.logs, "LATE_SECONDS", 60.0)
    assert "line 4" in cli("logs", run).out, "it lies in the bucket yet"
    modelarts.bucket().delete([info.key for info in modelarts.bucket().list(f"launcher/runs/{run}/")])
    began = time.monotonic()
    answer = cli("logs", run)
    assert time.monotonic() - began < 20 and answer.out == ""
    assert "the job has been deleted" in answer.err


def test_a_run_is_asked_after_only_where_it_is(modelarts: Rig, cli, project, monkeypatch) -> None:
    run = detached(cli)
    assert cli("wait", run).code == 0
    monkeypatch.setenv("LAUNCHER_PROJECT_ID", "0" * 32)
    there = modelarts.emulator.environment()["HUAWEICLOUD_SDK_PROJECT_ID"]
    for verb in ("logs", "pull"):
        answer = cli(verb, run)
        assert answer.code == 2 and f"LAUNCHER_PROJECT_ID={there} python -m launcher show {run}" in answer.err
    shown = cli("show", run, "--json")
    assert shown.code == 0 and "only what is known here" in shown.err


def test_a_run_without_a_profile_is_asked_after_without_one(modelarts: Rig, cli, monkeypatch, tmp_path) -> None:
    run = detached(cli)
    config = tmp_path / "config" / "modelarts-launcher"
    config.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    (config / "config.yaml").write_text("profile: work\nprofiles: {work: {region: cn-south-1, keys: WORK}}\n")
    assert cli("wait", run).code == 0


@pytest.mark.parametrize("name", ["../../../etc", "a/b", "", "@last", "--json", "."])
def test_a_name_that_is_no_folder_s_gives_way_to_the_id(name: str) -> None:
    job = {"metadata": {"id": "5a1e-77", "name": name}, "status": {"phase": "Running"}}
    assert jobs.as_run(job, "modelarts", {}).id == "5a1e-77"


def test_odd_names_are_names() -> None:
    for name in ("x" * 64, "训练_1", "lenet5-20261121-041512-k3f9a"):
        job = {"metadata": {"id": "5a1e-77", "name": name}, "status": {"phase": "Running"}}
        assert jobs.as_run(job, "modelarts", {}).id == name


def test_jobs_of_others_are_named_as_such(modelarts: Rig, cli) -> None:
    modelarts.emulator.seed(2)
    answer = cli("runs", "--target", "modelarts")
    assert "2 are jobs that no launcher started" in answer.err and "python -m launcher adopt " in answer.err
    adopted = answer.err.rpartition("adopt ")[2].strip()
    assert cli("adopt", adopted).code == 0
