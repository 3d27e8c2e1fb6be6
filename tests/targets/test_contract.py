"""What `launcher.targets.base.Target` guarantees, of every target. The number before a test is the guarantee's."""

from __future__ import annotations

import json
import signal
import time

import pytest

import launcher.modelarts.keeper
from launcher.output import Output
from launcher.run import Run
from launcher.submit import planned, stage, start
from tests.modelarts.conftest import only_spoken, spoken

from .conftest import Place

KILLED = """
import sys
import launcher.ledger as ledger, launcher.submit as submit, launcher.targets as targets
from tests.killing import kill_at
target, step = sys.argv[1:]
module, _, name = targets.TARGETS[target].partition(":")
kind = getattr(__import__(module, fromlist=[name]), name)
kill_at(*{
    "before it is written down": (ledger.Ledger, "add", True),
    "before it is staged": (submit, "stage", True),
    "before it is created": (kind, "create", True),
    "after it was created": (kind, "create", False),
    "while it is followed": (kind, "read_log", False),
}[step])
from launcher.__main__ import main
main(["submit", "tiny", "--target", target])
"""
THERE = {
    "before it is written down": None,
    "before it is staged": False,
    "before it is created": False,
    "after it was created": True,
    "while it is followed": True,
}
"""Where the launcher is killed -> whether the run is there then; None: nobody knows of it."""
POLITE = """
import signal, sys, time
def end(*_):
    print("saving", flush=True); sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


def ended(place: Place, run: str, seconds: float = 60) -> Run:
    """The run once its target says that it has ended."""
    deadline = time.monotonic() + seconds
    with place.opened() as (target, ledger):
        while not target.refresh(ledger.get(run), ledger).final:
            assert time.monotonic() < deadline, ledger.get(run)
            time.sleep(0.05)
        return ledger.get(run)


def ready(place: Place, run: str, nodes: int = 1) -> None:
    """Wait until the job says so, on all its nodes."""
    deadline = time.monotonic() + 60
    while place.cli("logs", run).out.count("ready") < nodes:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("step", THERE)
def test_1_2_3_killed_at_any_step_the_run_is_there_once_or_not_at_all(
    place: Place, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = place.python("-c", KILLED, place.name, step)
    _, err = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, err
    monkeypatch.setattr(launcher.modelarts.keeper, "APPEARS_SECONDS", 0.0)
    runs = place.cli("runs", "--json").json
    assert len(runs) == (0 if THERE[step] is None else 1)
    if THERE[step]:
        assert ended(place, runs[0]["id"]).phase == "Completed"
        assert only_spoken(place.cli("logs", runs[0]["id"]).out) == spoken(5)
    elif runs:
        assert runs[0]["phase"] == "Abnormal" and "killed" in runs[0]["message"]
    assert place.starts == bool(THERE[step])
    answer = place.submit()
    assert answer.code == 0, f"the next submit completes what was staged: {answer}"


def test_1_create_does_nothing_to_a_run_that_is_there(place: Place) -> None:
    place.write_job(pause=0.1)
    with place.opened() as (target, ledger):
        plan = place.plan(target)
        run = start(
            planned(plan, target), target, ledger, lambda: stage(plan, target, ledger, Output("quiet").progress, never)
        )
        while (run := target.refresh(run, ledger)).phase == "Creating":
            time.sleep(0.02)
        target.create(run, ledger)
        assert ledger.get(run.id).phase in ("Pending", "Running")
    assert ended(place, run.id).phase == "Completed" and place.starts == 1


def test_2_a_run_goes_on_when_its_launcher_is_killed(place: Place) -> None:
    child = place.python("-m", "launcher", "submit", "tiny", "--target", place.name, "--set", "pause=0.3")
    assert child.stdout and child.stderr
    while "line 0" not in (line := child.stdout.readline()):
        assert line, child.stderr.read()
    child.kill()
    child.communicate()
    run = place.project.last()["id"]
    with place.opened() as (target, ledger):
        assert not target.refresh(ledger.get(run), ledger).final, "nobody was there to end it"
    found = ended(place, run)
    assert (found.phase, found.exit_code, place.starts) == ("Completed", 0, 1)
    assert only_spoken(place.cli("logs", run).out) == spoken(5)


@pytest.mark.parametrize(
    ("script", "code", "phase", "shell"),
    [
        ("raise SystemExit(7)", 7, "Failed", 100),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "Failed", 100),
        ("pass", 0, "Completed", 0),
    ],
)
def test_3_the_end_is_told_as_it_was(place: Place, script: str, code: int, phase: str, shell: int) -> None:
    place.project.job("ends", script)
    answer = place.submit("ends", "--json")
    assert answer.code == shell
    assert (answer.json["exit_code"], answer.json["phase"]) == (code, phase)
    run = answer.json["id"]
    assert place.cli("wait", run).code == place.cli("logs", "-f", run).code == shell
    assert place.cli("logs", run).code == 0


def test_3_a_run_that_is_claimed_is_nobody_elses_and_one_whose_claim_has_gone_is_ended(place: Place) -> None:
    with place.opened() as (target, ledger), place.opened() as (other, _):
        run = planned(place.plan(target), target)
        with target.claim(run.id):
            ledger.add(run)
            assert other.refresh(run, ledger).phase == "Creating"
        found = other.refresh(run, ledger)
        assert (found.phase, found.message) == ("Abnormal", found.message) and "killed" in found.message
        assert other.refresh(found, ledger) == found
    assert place.starts == 0


def test_4_the_read_after_a_final_phase_has_the_last_byte(place: Place) -> None:
    place.project.job("tiny", "import sys; print('first 你好'); sys.stdout.write('x' * 100_000 + '\\nthe very end')")
    run = place.submit("tiny", "--detach").out.strip()
    text, cursor = b"", 0
    with place.opened() as (target, ledger):
        final = False
        while not final:
            final = target.refresh(ledger.get(run), ledger).final
            while data := (chunk := target.read_log(ledger.get(run), 0, cursor)).data:
                text += data
                cursor = chunk.cursor
            cursor = chunk.cursor
        assert not target.read_log(ledger.get(run), 0, cursor).data
    lines = [line for line in text.decode().splitlines() if "odelArts" not in line and "odelarts" not in line]
    assert lines == ["first 你好", "x" * 100_000, "the very end"]


def test_4_whoever_looks_once_sees_a_line_that_may_go_on(place: Place) -> None:
    place.project.job("polite", POLITE)
    run = place.submit("polite", "--detach", "--nodes", "2").out.strip()
    ready(place, run, nodes=2)
    lines = ["[worker-0] ready", "[worker-1] ready"]
    assert place.cli("logs", run, "--json").json["log"].splitlines() == lines
    assert place.cli("logs", run, "--tail", "1").out.splitlines() == lines[1:]
    assert place.cli("stop", "--now", run).code == 0


def test_5_stop_lets_the_job_end_itself_and_the_end_stays(place: Place) -> None:
    place.project.job("polite", POLITE)
    run = place.submit("polite", "--detach").out.strip()
    ready(place, run)
    assert place.cli("delete", "--yes", run).code == 1, "it is running"
    answer = place.cli("stop", run, "--json")
    assert answer.code == 0 and answer.json[0]["phase"] == "Terminated"
    assert answer.json[0]["exit_code"] == 143 and "saving" in place.cli("logs", run).out
    assert place.cli("wait", run).code == 103
    before = place.project.last()
    assert place.cli("stop", run).code == 0, "stopping what has ended changes nothing"
    with place.opened() as (target, ledger):
        target.stop(ledger.get(run), ledger)
        assert target.refresh(ledger.get(run), ledger).phase == "Terminated"
    assert place.project.last() == before


def test_5_a_run_that_is_stopped_before_it_is_created_never_starts(place: Place) -> None:
    with place.opened() as (target, ledger):
        plan = place.plan(target)

        def stage_and_stop() -> None:
            stage(plan, target, ledger, Output("quiet").progress, never)
            target.stop(ledger.get(plan.run), ledger)

        run = start(planned(plan, target), target, ledger, stage_and_stop)
        assert target.refresh(run, ledger).phase == "Terminated"
    assert place.starts == 0


@pytest.mark.parametrize("words", [[], ["--keep-output"]])
def test_6_delete_leaves_nothing_or_the_output_alone(place: Place, words: list[str]) -> None:
    run = place.submit("tiny", "--json").json["id"]
    assert place.cli("delete", run).code == 2, "there is nobody to ask"
    assert place.left_of(run)
    assert place.cli("delete", "--yes", run, *words).code == 0
    assert place.cli("show", run).code == 102
    left = [path for path in place.left_of(run) if "/output" not in path]
    if words:
        assert place.bucket().stat(f"launcher/runs/{run}/output/model.bin").size == 25600
    else:
        assert place.left_of(run) == left == []


def test_7_pull_brings_whole_files_or_none(place: Place, tmp_path) -> None:
    run = place.submit("tiny", "--no-pull", "--json").json["id"]
    assert not (place.project.home / "outputs").exists()
    there = tmp_path / "there"
    there.mkdir()
    (there / "model.bin").write_bytes(b"torn")

    def interrupts(count: int) -> None:
        raise KeyboardInterrupt

    with place.opened() as (target, ledger):
        with pytest.raises(KeyboardInterrupt):
            target.pull(ledger.get(run), tmp_path / "none", progress=interrupts)
        assert not (tmp_path / "none" / "model.bin").exists() or whole(tmp_path / "none")
        files = target.pull(ledger.get(run), there)
    assert list(files) == ["metrics.jsonl", "model.bin", "result.json"] and whole(there)
    assert place.cli("pull", run, str(there), "--json").json["files"] == list(files), "again changes nothing"


def test_a_run_goes_all_the_way_round(place: Place) -> None:
    answer = place.submit()
    assert answer.code == 0, answer
    assert only_spoken(answer.out) == spoken(5)
    run = place.project.last()
    assert (run["phase"], run["exit_code"], run["target"]) == ("Completed", 0, place.name)
    assert run["result"] == {"accuracy": 0.5} and run["metrics"] == {"epoch": 2}
    assert run["output"].startswith("obs://") and run["output"].endswith(f"/launcher/runs/{run['id']}/output/")
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert whole(place.project.home / "outputs" / run["id"])
    bucket, folder = place.bucket(), f"launcher/runs/{run['id']}"
    assert bucket.stat(f"{folder}/output/model.bin").size == 25600
    [log] = [info.key for info in bucket.list(f"{folder}/log/") if info.key.endswith("-worker-0.log")]
    with bucket.read(log) as stream:
        assert only_spoken(stream.read().decode()) == spoken(5)
    with bucket.read(f"{folder}/run.json") as stream:
        assert json.load(stream)["id"] == run["id"]
    [listed] = place.cli("runs", "--target", place.name, "--json").json
    assert listed == run


def test_several_workers_are_read_apart(place: Place) -> None:
    place.project.job("tiny", SEVERAL)
    answer = place.submit("tiny", "--nodes", "2")
    assert answer.code == 0, answer
    for worker in (0, 1):
        mine = [line for line in answer.out.splitlines() if f"worker-{worker}]" in line and "odel" not in line]
        assert mine == [f"[worker-{worker}] node {worker} of 2 {worker} 2", f"[worker-{worker}] no line end"], answer
    with place.opened() as (target, ledger):
        assert target.workers(ledger.find("@last")) == 2


def test_code_and_data_are_sent_once(place: Place) -> None:
    folder = place.project.root / "data"
    folder.mkdir()
    (folder / "x").write_bytes(b"x" * 1000)
    words = ("tiny", "--data", "data")
    first = place.submit(*words, "--dry-run", "--json").json
    assert first["upload"]["files"] == 3 and first["upload"]["already_there"] == 0
    assert place.submit(*words, "--no-pull").code == 0
    second = place.submit(*words, "--dry-run", "--json").json
    assert second["upload"] == {"files": 0, "bytes": 0, "already_there": 3, "packed": None}
    stored = {info.key: info for info in place.bucket().list() if "/runs/" not in info.key}
    assert place.submit(*words, "--no-pull").code == 0
    assert {info.key: info for info in place.bucket().list() if "/runs/" not in info.key} == stored


def test_again_runs_the_same_code(place: Place) -> None:
    first = place.submit("tiny", "--json").json
    place.project.job("tiny", "raise SystemExit(9)", parameters={"lines": 5, "pause": 0.0, "code": 0})
    again = place.cli("resubmit", first["id"], "--set", "lines=2", "--json")
    assert again.code == 0, again
    assert again.json["id"] != first["id"] and again.json["parameters"]["lines"] == 2
    assert again.json["output"] == first["output"].replace(first["id"], again.json["id"])
    assert only_spoken(place.cli("logs", again.json["id"]).out) == spoken(2)
    assert whole(place.project.home / "outputs" / again.json["id"])
    assert place.cli("resubmit", first["id"], "--set", "nope=2").code == 2


SEVERAL = """
import os, sys
env = os.environ
print("node", env["VC_TASK_INDEX"], "of", env["VC_WORKER_NUM"], env["RANK_ID"], env["RANK_SIZE"])
sys.stdout.write("no line end")
"""


def whole(folder) -> bool:
    return bool((folder / "model.bin").read_bytes() == bytes(range(256)) * 100)


def never() -> None:
    """No check ends the submit."""
