"""Runs on ModelArts all the way round, against the emulator: real SDK core, real HTTP, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .conftest import HOUSE, Rig, only_spoken, spoken


def test_the_same_verbs(modelarts: Rig, cli, project) -> None:
    answer = cli("submit", "tiny", "--target", "modelarts", "--detach")
    assert "Ascend: 1*Ascend 910" in answer.err and "mindspore_2.0.0" in answer.err
    run = answer.out.strip()
    assert modelarts.jobs == [run] and cli("wait", run).code == 0
    [listed] = cli("runs", "--target", "modelarts", "--json").json
    assert listed["id"] == run and listed["phase"] == "Completed"
    shown = cli("show", run, "--json").json
    assert shown["machine"].startswith("modelarts.kat1.xlarge") and shown["cost"] is None
    assert any("training started" in event["message"] for event in shown["events"])
    assert [stage["name"] for stage in shown["stages"]][:1] == ["scheduling"]
    log = cli("logs", run)
    assert only_spoken(log.out) == spoken(5)
    assert only_spoken(cli("logs", run, "--tail", "2").out)[-1:] == spoken(5)[-1:]
    files = cli("pull", run, str(project.root / "there"), "--json").json["files"]
    assert files == ["metrics.jsonl", "model.bin", "result.json"]
    logs = cli("pull", run, "--logs", "--json").json
    assert any(name.endswith("-worker-0.log") for name in logs["files"])
    assert cli("delete", run, "--yes").code == 0
    assert modelarts.jobs == [] and cli("show", run).code == 102
    assert not list(modelarts.bucket().list(f"launcher/runs/{run}/"))


def test_the_old_contract_gives_urls(modelarts: Rig, cli, project) -> None:
    project.job("old", "import sys; print(*sys.argv[1:])\n", contract="old", data="obs://my-bucket/set/")
    modelarts.bucket().write("set/one", b"1")
    answer = cli("submit", "old", "--target", "modelarts")
    assert answer.code == 0, answer
    assert "--data_url=s3://my-bucket/set/" in answer.out and "--train_url=s3://my-bucket/launcher/runs/" in answer.out


def test_data_in_the_bucket_is_used_in_place(modelarts: Rig, cli, project) -> None:
    project.job("reads", "import os,sys; print(os.listdir(sys.argv[1][11:]))\n", data="obs://my-bucket/course/set/")
    modelarts.bucket().write("course/set/one.txt", b"1")
    answer = cli("submit", "reads", "--target", "modelarts")
    assert answer.code == 0 and "['one.txt']" in answer.out, answer
    assert not list(modelarts.bucket().list("launcher/data/"))
    refused = cli("submit", "reads", "--target", "modelarts", "--data", "obs://my-bucket/nothing/here/")
    assert refused.code == 1 and "obs://my-bucket/nothing/here/" in refused.err


def test_a_bucket_that_is_not_there_is_named_with_its_command(modelarts: Rig, cli, monkeypatch) -> None:
    monkeypatch.setenv("LAUNCHER_BUCKET", "not-there")
    answer = cli("submit", "tiny", "--target", "modelarts")
    assert answer.code == 1 and "error: there is no bucket 'not-there' at http://127.0.0.1:" in answer.err, answer
    assert "python -m launcher storage mb obs://not-there --storage obs" in answer.err and modelarts.jobs == []


def test_ctrl_c_detaches(modelarts: Rig, cli, project) -> None:
    command = [sys.executable, "-m", "launcher", "submit", "tiny", "--target", "modelarts", "--set", "pause=0.5"]
    child = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    while "line 0" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    run = project.last()["id"]
    assert f"python -m launcher logs -f {run}" in err and f"python -m launcher stop {run}" in err
    assert cli("wait", run).code == 0, "the run went on"


def test_another_machine_sees_the_same_runs(modelarts: Rig, cli, project, tmp_path, monkeypatch) -> None:
    run = cli("submit", "tiny", "--target", "modelarts", "--json").json
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "jobs").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    [seen] = cli("runs", "--target", "modelarts", "--json").json
    for key in ("id", "job", "phase", "exit_code", "created_at", "started_at", "result", "metrics", "output"):
        assert seen[key] == run[key] or key == "created_at", key
    assert only_spoken(cli("logs", run["id"]).out) == spoken(5)
    assert cli("pull", run["id"]).code == 0


def test_adopt_makes_a_foreign_job_a_run(modelarts: Rig, cli, project, tmp_path, monkeypatch) -> None:
    run = cli("submit", "tiny", "--target", "modelarts", "--json").json
    job_id = cli("show", run["id"], "--json").json["job_id"]
    assert cli("adopt", job_id).code == 2, "it is a run already"
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "jobs").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    adopted = cli("adopt", job_id, "--json")
    assert adopted.code == 0 and adopted.json["phase"] == "Completed" and adopted.json["id"] == run["id"]
    assert cli("adopt", "no-such-job").code == 102


def test_queueing_is_shown_with_its_reason(modelarts: Rig, cli) -> None:
    modelarts.change(queuing=1.0)
    answer = cli("submit", "tiny", "--target", "modelarts")
    assert answer.code == 0 and "Pending: Training job is queuing, waiting for resources." in answer.err, answer


def test_a_price_gives_a_cost_and_tags_are_set(modelarts: Rig, cli, project) -> None:
    keys = {"resources": {"price_per_hour": 3600}, "tags": {"项目": "lenet"}, "retries": 1}
    project.job("priced", "import time; time.sleep(0.5)\n", **keys)
    run = cli("submit", "priced", "--target", "modelarts", "--json").json
    shown = cli("show", run["id"], "--json").json
    assert 0.3 < shown["cost"] < 20
    tags = modelarts.emulator.state.tags(shown["job_id"])
    assert "lenet" in json.dumps(tags, ensure_ascii=False)


def test_a_job_deleted_elsewhere_ends_the_run(modelarts: Rig, cli, project) -> None:
    run = cli("submit", "tiny", "--target", "modelarts", "--detach", "--set", "pause=5").out.strip()
    with modelarts.ledger() as ledger:
        target = modelarts.target()
        target.client.delete(ledger.get(run).remote["id"])
        ends = time.monotonic() + 10
        while not target.refresh(ledger.get(run), ledger).final and time.monotonic() < ends:
            time.sleep(0.05)
        target.close()
    assert project.last()["phase"] == "Abnormal"
    assert cli("delete", run, "--yes").code == 0


def test_a_failed_run_tells_its_cause(modelarts: Rig, cli, project) -> None:
    project.job("broken", "import nosuchmodule\n")
    answer = cli("submit", "broken", "--target", "modelarts")
    assert answer.code == 100 and "cause:" in answer.err and "nosuchmodule" in answer.err and "mend:" in answer.err
    causes = cli("show", project.last()["id"], "--json").json["causes"]
    assert causes and set(causes[0]) == {"kind", "what", "evidence", "hint"}
    assert "cause" in cli("show", project.last()["id"]).out


def test_an_outage_does_not_end_what_follows(modelarts: Rig, cli, project, monkeypatch) -> None:
    monkeypatch.setattr("storage.retry.TRIES", 2)
    details = {"route": "show_training_job_details", "fault": "503", "times": 12, "after": 2}
    modelarts.faults(details, {"route": "show_training_job_logs_from_aom", "fault": "reset", "times": 3, "after": 1})
    answer = cli("submit", "tiny", "--target", "modelarts", "--set", "pause=0.1")
    assert answer.code == 0 and only_spoken(answer.out) == spoken(5), answer
    assert answer.err.count("trying again") >= 1


def test_an_engine_of_the_old_kind_hands_urls_over_itself(modelarts: Rig, cli, project) -> None:
    engine = "MindSpore-1.3.0-c78-python3.7-euleros2.8-aarch64"
    project.job("old", "import sys; print(*sys.argv[1:])\n", contract="old", engine=engine, data="obs://my-bucket/set/")
    modelarts.bucket().write("set/one", b"1")
    plan = cli("submit", "old", "--target", "modelarts", "--dry-run", "--json").json
    assert [row["name"] for row in plan["request"]["algorithm"]["inputs"]] == ["data_url"]
    answer = cli("submit", "old", "--target", "modelarts")
    assert answer.code == 0 and "--data_url=s3://my-bucket/set/" in answer.out, answer


def test_a_run_that_has_ended_is_shown_without_the_cloud(modelarts: Rig, cli, project, monkeypatch) -> None:
    run = cli("submit", "tiny", "--target", "modelarts", "--json").json["id"]
    for name in ("OBS_ACCESS_KEY_ID", "HUAWEICLOUD_SDK_AK"):
        monkeypatch.delenv(name)
    answer = cli("show", run, "--json")
    assert answer.code == 0 and answer.json["phase"] == "Completed" and "only what is known here" in answer.err
    assert cli("runs", "--json").json[0]["id"] == run


def test_a_stalled_run_is_called_out_once() -> None:
    from launcher.modelarts.following import Follower
    from launcher.run import Run

    class Idle:
        def metrics(self, *_: object) -> list[dict[str, object]]:
            return [{"metric": "npuUtil", "value": [0.0] * 20}]

    run = Run("r", "j", "modelarts", "r", "Running", "2026-01-01T00:00:00Z", {}, "", remote={"id": "x"})
    follower = Follower(Idle())  # type: ignore[arg-type]
    assert follower.notice(run, 10) == []
    [line] = follower.notice(run, 700)
    assert "no log for 11 min" in line and "python -m launcher stop r" in line
    assert follower.notice(run, 800) == []


@pytest.mark.parametrize("paging", ["page", "record"])
def test_runs_lists_every_job_of_the_workspace(modelarts: Rig, cli, project, paging: str) -> None:
    modelarts.emulator.seed(230)
    modelarts.change(paging=paging, list_detail="short")
    run = cli("submit", "tiny", "--target", "modelarts", "--json").json["id"]
    listed = cli("runs", "--target", "modelarts", "--json").json
    assert len({row["id"] for row in listed}) == len(listed) == 231 and listed[0]["id"] == run
    assert [row["created_at"] for row in listed] == sorted((row["created_at"] for row in listed), reverse=True)
    [mine] = cli("runs", "--target", "modelarts", "--mine", "--json").json
    assert mine["id"] == run
    failed = cli("runs", "--target", "modelarts", "--phase", "Failed", "--json").json
    assert failed and {row["phase"] for row in failed} == {"Failed"}
    assert len(cli("runs", "--target", "modelarts", "-n", "7", "--json").json) == 7
    assert [row["id"] for row in cli("runs", "--json").json] == [run], "what is not ours is not written down"
