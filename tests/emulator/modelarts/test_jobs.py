"""A job's life by the official SDK's own client: create, list, show, read its logs, stop, delete."""

from __future__ import annotations

import configparser
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import huaweicloudsdkmodelarts.v1 as sdk
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from storage.errors import AccessDenied, StorageError
from storage.obs import ObsService
from tests.emulator.modelarts.conftest import OLD_ENGINE, Cloud, Make


def test_a_job_runs_and_its_output_and_log_reach_the_bucket(cloud: Cloud) -> None:
    script = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--data_url"); parser.add_argument("--train_url"); parser.add_argument("--epochs", type=int)
args, _ = parser.parse_known_args()
print("read", open(os.path.join(args.data_url, "one.txt")).read(), "epochs", args.epochs)
open(os.path.join(args.train_url, "model.ckpt"), "w").write("weights")
"""
    job_id = cloud.create(cloud.body(script))
    job = cloud.wait(job_id)
    assert (job.status.phase, job.status.secondary_phase) == ("Completed", "Completed")
    assert [(s.task, s.exit_code) for s in job.status.task_statuses] == [("worker-0", 0)]
    assert "read 1 epochs 3\n" in cloud.log(job_id)
    with cloud.bucket.read("jobs/hello/output/model.ckpt") as stream:
        assert stream.read() == b"weights"
    with cloud.bucket.read(f"jobs/hello/log/modelarts-job-{job_id}-worker-0.log") as stream:
        assert stream.read().decode() == cloud.raw_log(job_id)
    assert cloud.raw_log(job_id).endswith("[Modelarts Service Log]Training end with return code: 0\n")


def test_a_job_is_told_as_the_service_tells_it(cloud: Cloud) -> None:
    cloud.emulator.house.change({"creating": 0.3})
    body = cloud.body(parameters=[{"name": "lr", "value": "0.01"}], annotations={"fault-tolerance/job-retry-num": "1"})
    answer = cloud.ask("POST", cloud.url(), body)
    assert answer.status == 201
    job = answer.json
    assert job["status"] == {
        "phase": "Creating",
        "secondary_phase": "Creating",
        "duration": 0,
        "start_time": 0,
        "node_count_metrics": None,
        "tasks": ["worker-0"],
    }
    assert abs(job["metadata"]["create_time"] - time.time() * 1000) < 60_000, "milliseconds"
    assert job["metadata"]["annotations"]["job_template"] == "Template DL"
    [parameter] = job["algorithm"]["parameters"]
    assert (parameter["value"], parameter["description"], parameter["i18n_description"]) == ("0.01", "", None)
    assert parameter["constraint"]["type"] == "String"
    assert job["algorithm"]["inputs"][0]["local_dir"] == "/home/ma-user/modelarts/inputs/data_url_0"
    output = job["algorithm"]["outputs"][0]
    assert (output["mode"], output["period"]) == ("upload_periodically", 30)
    assert job["algorithm"]["engine"]["v1_compatible"] is False
    assert job["spec"]["resource"]["flavor_name"] == "Ascend: 1*Ascend 910"
    assert job["spec"]["resource"]["flavor_detail"]["flavor_type"] == "Ascend"
    done = cloud.wait(job["metadata"]["id"])
    assert done.status.start_time >= job["metadata"]["create_time"] + 300
    assert 0 < done.status.duration < 60_000
    [record] = done.status.running_records
    assert record.start_at == done.status.start_time // 1000, "seconds"
    assert record.start_type == "init_or_rescheduled"


def test_events_stages_and_tasks_tell_what_happened(cloud: Cloud) -> None:
    job_id = cloud.create(cloud.body("raise SystemExit(3)"))
    job = cloud.wait(job_id)
    assert job.status.phase == "Failed"
    assert job.status.task_statuses[0].exit_code == 3
    told = cloud.events(job_id)
    order = [
        "Training job created.",
        "Training job is queuing, waiting for resources.",
        "[worker-0] Training code downloading.",
        "[worker-0] Training input (parameter name: data_url) downloading.",
        "[worker-0] training started.",
        "[worker-0] Training finished. Exit code 3.",
        "[worker-0] Training output(parameter name: train_url) Uploading.",
        "[worker-0] Training output(parameter name: train_url) uploaded.",
        "Training job failed.",
    ]
    assert [event for event in told if event in order] == order
    raw = cloud.ask("GET", cloud.url(f"/{job_id}/events?limit=1&level=Error")).json
    assert (raw["events"][0]["message"], raw["events"][0]["source"]) == ("Training job failed.", "Job")
    assert raw["events"][0]["time"].endswith("+08:00")
    stages = cloud.sdk.list_training_job_stages(sdk.ListTrainingJobStagesRequest(training_job_id=job_id))
    names = [(stage.name, stage.stage_order) for stage in stages.running_records[0].stages]
    assert names == [("scheduling", 1), ("preparing", 2), ("running", 3), ("end", 4)]
    tasks = cloud.sdk.list_training_job_tasks(sdk.ListTrainingJobTasksRequest(training_job_id=job_id))
    assert [(task.task, task.schedule_count) for task in tasks.body] == [("worker-0", 0)]


def test_a_stop_gives_the_job_a_signal_and_time(cloud: Cloud) -> None:
    script = """
import signal, sys, time, pathlib
def end(*_):
    pathlib.Path(sys.argv[-1].split("=")[1], "last.ckpt").write_text("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("ready")
while True: time.sleep(0.01)
"""
    job_id = cloud.create(cloud.body(script))
    cloud.wait_for_log(job_id, "ready")
    assert cloud.stop(job_id).status.phase == "Terminating"
    job = cloud.wait(job_id)
    assert (job.status.phase, job.status.task_statuses[0].exit_code) == ("Terminated", 143)
    assert cloud.bucket.stat("jobs/hello/output/last.ckpt").size == 5
    refused = cloud.ask("POST", cloud.url(f"/{job_id}/actions"), {"action_type": "terminate"})
    assert (refused.status, refused.json["error_code"]) == (409, "ModelArts.2796")


def test_a_job_that_waits_can_be_stopped(make: Make) -> None:
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    assert cloud.wait(job_id, "Pending").status.secondary_phase == "Queuing"
    cloud.stop(job_id)
    job = cloud.wait(job_id)
    assert (job.status.phase, job.status.start_time, job.status.duration) == ("Terminated", 0, 0)


def test_a_deleted_job_is_400_and_leaves_no_process(cloud: Cloud) -> None:
    job_id = cloud.create(cloud.body("import time, os\nprint('pid', os.getpid())\ntime.sleep(600)"))
    pid = int(cloud.wait_for_log(job_id, "pid").split()[-1])
    answer = cloud.ask("DELETE", cloud.url(f"/{job_id}"))
    assert (answer.status, answer.body) == (202, b'""')
    gone = cloud.ask("GET", cloud.url(f"/{job_id}"))
    assert (gone.status, gone.json["error_code"]) == (400, "ModelArts.2775")
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: not list((cloud.emulator.folder / "home" / "runs").iterdir()))
    cloud.create(cloud.body())  # the name is free again


def test_the_sdk_stops_and_deletes(cloud: Cloud) -> None:
    job_id = cloud.create(cloud.body("import time; time.sleep(600)"))
    cloud.wait(job_id, "Running")
    cloud.stop(job_id)
    cloud.wait(job_id)
    cloud.delete(job_id)
    with pytest.raises(ClientRequestException) as caught:
        cloud.show(job_id)
    assert (caught.value.status_code, caught.value.error_code) == (400, "ModelArts.2775")
    assert caught.value.request_id


def test_auto_stop_ends_a_job(make: Make) -> None:
    cloud = make(hour=0.4)
    stop = {"time_unit": "HOURS", "duration": 1}
    job_id = cloud.create(cloud.body("import time; time.sleep(600)", auto_stop=stop))
    job = cloud.wait(job_id)
    assert job.status.phase == "Terminated"
    assert 400 <= job.status.duration < 16_000


def test_a_job_finds_the_platforms_variables_and_rank_table(cloud: Cloud) -> None:
    script = """
import json, os
table = json.load(open(os.environ["RANK_TABLE_FILE"]))
print(table["status"], table["group_list"][0]["instance_list"][0]["pod_name"] == os.environ["MA_CURRENT_INSTANCE_NAME"])
names = "MA_JOB_DIR MA_LOG_DIR MA_MOUNT_PATH MA_NUM_HOSTS MA_TASK_NAME MA_INPUTS VC_WORKER_HOSTS RANK_SIZE S3_ENDPOINT"
print([name for name in names.split() if not os.environ.get(name)], os.environ["MA_NUM_GPUS"], os.environ["MA_VJ_NAME"])
"""
    job_id = cloud.create(cloud.body(script))
    cloud.wait(job_id)
    assert cloud.log(job_id) == f"completed True\n[] 1 ma-job-{job_id}\n"
    beside = [info.key for info in cloud.bucket.list("jobs/hello/log/")]
    assert f"jobs/hello/log/modelarts-job-{job_id}-proc-rank-0-device-0.txt" in beside
    assert any("/plog-" in key for key in beside)


def test_two_nodes_have_ranks_logs_and_one_fate(cloud: Cloud) -> None:
    script = """
import os, sys
index, count = os.environ["VC_TASK_INDEX"], os.environ["MA_NUM_HOSTS"]
print("node", index, "of", count)
out = [a for a in sys.argv if a.startswith("--train_url=")][0].split("=")[1]
open(os.path.join(out, f"part-{index}"), "w").write(index)
"""
    resource = {"flavor_id": "modelarts.kat1.xlarge", "node_count": 2}
    job_id = cloud.create(cloud.body(script, resource=resource))
    job = cloud.wait(job_id)
    assert (job.status.phase, job.status.tasks) == ("Completed", ["worker-0", "worker-1"])
    for index in (0, 1):
        assert f"node {index} of 2" in cloud.log(job_id, f"worker-{index}")
        assert cloud.bucket.stat(f"jobs/hello/output/part-{index}").size == 1
        assert cloud.bucket.stat(f"jobs/hello/log/modelarts-job-{job_id}-worker-{index}.log")


def test_the_old_contract_gives_urls_and_moxing(cloud: Cloud) -> None:
    script = """
import argparse
import moxing as mox
parser = argparse.ArgumentParser()
parser.add_argument("--data_url"); parser.add_argument("--train_url")
args, _ = parser.parse_known_args()
print(args.data_url, args.train_url)
mox.file.copy_parallel(args.data_url, "data")
mox.file.write(args.train_url + "seen.txt", open("data/one.txt").read() + "!")
"""
    job_id = cloud.create(cloud.body(script, engine={"engine_id": OLD_ENGINE}))
    job = cloud.wait(job_id)
    assert job.status.phase == "Completed", cloud.log(job_id)
    assert "s3://my-bucket/data/mnist/ s3://my-bucket/jobs/hello/output/" in cloud.log(job_id)
    with cloud.bucket.read("jobs/hello/output/seen.txt") as stream:
        assert stream.read() == b"1!"


def test_a_jobs_keys_are_its_own_and_are_not_shown(cloud: Cloud) -> None:
    """They are temporary, stand in no variable, and open nothing when the job is over."""
    script = """
import os, time, pathlib
place = os.environ["HUAWEICLOUD_SDK_CREDENTIALS_FILE"]
print(oct(os.stat(place).st_mode & 0o777), dict(os.environ))
pathlib.Path(os.environ["KEYS"]).write_text(pathlib.Path(place).read_text())
"""
    keys = cloud.emulator.folder.parent / "keys.ini"
    job_id = cloud.create(cloud.body(script, environments={"KEYS": str(keys)}))
    cloud.wait(job_id)
    found = configparser.ConfigParser(interpolation=None)
    found.read(keys)
    secret, log = found["basic"]["sk"], cloud.log(job_id)
    assert log.startswith("0o600 ")
    assert secret != cloud.emulator.account.secret_key
    for value in (*found["basic"].values(), cloud.emulator.account.secret_key):
        assert value not in log
        assert not any(value in path.read_text("utf-8", "replace") for path in files(cloud.emulator.folder / "home"))
    settings = replace(cloud.objects.channel.settings, access_key=found["basic"]["ak"], secret_key=secret)
    with closing(ObsService(replace(settings, token=found["basic"]["security_token"]))) as service:
        bucket = service.bucket("my-bucket")
        wait_until(lambda: is_refused(lambda: bucket.stat("data/mnist/one.txt")))


def test_a_failed_job_is_started_again_in_the_same_output(cloud: Cloud) -> None:
    script = """
import sys, pathlib
out = pathlib.Path([a for a in sys.argv if a.startswith("--train_url=")][0].split("=")[1])
before = sorted(p.name for p in out.iterdir())
print("found", before)
out.joinpath(f"step-{len(before)}").write_text("x")
sys.exit(0 if len(before) == 2 else 1)
"""
    body = cloud.body(script, annotations={"fault-tolerance/job-retry-num": "3"})
    body["algorithm"]["outputs"][0]["prefetch_to_local"] = True
    job_id = cloud.create(body)
    job = cloud.wait(job_id)
    assert job.status.phase == "Completed", cloud.log(job_id)
    assert cloud.log(job_id) == "found []\nfound ['step-0']\nfound ['step-0', 'step-1']\n"
    assert [record.start_type for record in job.status.running_records] == ["init_or_rescheduled", *["restarted"] * 2]
    tasks = cloud.sdk.list_training_job_tasks(sdk.ListTrainingJobTasksRequest(training_job_id=job_id))
    assert [task.schedule_count for task in tasks.body] == [0, 1, 2]


@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_lost_node_takes_its_processes_along(cloud: Cloud, retries: str) -> None:
    """The supervisor is killed: the job is Failed / Lost, or started again; nothing of it goes on unwatched."""
    body = cloud.body("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)")
    body["metadata"]["annotations"] = {"fault-tolerance/job-retry-num": retries}
    job_id = cloud.create(body)
    pid = int(cloud.wait_for_log(job_id, "pid").split()[-1])
    [supervisor] = supervisors(job_id)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid) and not is_alive(supervisor))
    if retries == "0":
        job = cloud.wait(job_id)
        assert (job.status.phase, job.status.secondary_phase) == ("Failed", "Lost")
    else:
        wait_until(lambda: cloud.log(job_id).count("pid") == 2)
        cloud.stop(job_id)
        assert cloud.wait(job_id).status.phase == "Terminated"
    wait_until(lambda: not supervisors(job_id))


def supervisors(job_id: str) -> list[int]:
    """Their processes, which stand in the run's folder; zombies too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            if "supervisor" in command and (process / "cwd").readlink().name == job_id:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    """A zombie is dead."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_retries_end(make: Make) -> None:
    cloud = make(restart_log="fresh")
    job_id = cloud.create(
        cloud.body("print('try'); raise SystemExit(5)", annotations={"fault-tolerance/job-retry-num": "1"})
    )
    job = cloud.wait(job_id)
    assert (job.status.phase, len(job.status.running_records)) == ("Failed", 2)
    assert cloud.log(job_id) == "try\n", "a fresh log is the last attempt's"


def test_outputs_and_log_come_while_the_job_runs(cloud: Cloud) -> None:
    script = """
import os, sys, time
out = [a for a in sys.argv if a.startswith("--train_url=")][0].split("=")[1]
open(os.path.join(out, "early.txt"), "w").write("x")
n = 0
while True:
    print("line", n, flush=True); n += 1; time.sleep(0.001)
"""
    job_id = cloud.create(cloud.body(script))
    wait_until(lambda: cloud.objects.bucket("my-bucket").stat("jobs/hello/output/early.txt").size == 1, StorageError)
    first = cloud.wait_for_log(job_id, "line 3\n")
    wait_until(lambda: len(cloud.log(job_id)) > len(first))
    assert cloud.log(job_id).startswith(first)
    cloud.stop(job_id)
    cloud.wait(job_id)


def test_a_custom_image_runs_its_command(cloud: Cloud) -> None:
    body = cloud.body()
    del body["algorithm"]["boot_file"]
    body["algorithm"]["engine"] = {"image_url": "org/image:1"}
    refused = cloud.ask("POST", cloud.url(), body)
    assert refused.json["error_code"] == "ModelArts.2806"
    body["algorithm"]["command"] = "echo in $(basename $PWD) with"
    job_id = cloud.create(body)
    assert cloud.wait(job_id).status.phase == "Completed"
    assert cloud.log(job_id).startswith("in code with --epochs=3 --data_url=")


def test_an_input_may_be_one_file_and_come_as_a_variable(cloud: Cloud) -> None:
    body = cloud.body("import os; print(os.listdir(os.environ['data_url']))")
    body["algorithm"]["inputs"][0].update(
        access_method="env", remote={"obs": {"obs_url": "obs://my-bucket/data/mnist/one.txt"}}
    )
    job_id = cloud.create(body)
    cloud.wait(job_id)
    assert cloud.log(job_id) == "['one.txt']\n"


def test_metrics_come_once_a_minute(make: Make) -> None:
    cloud = make(hour=6)
    job_id = cloud.create(cloud.body("while True: pass"))
    request = sdk.ShowTrainingJobMetricsRequest(training_job_id=job_id, task_id="worker-0")
    wait_until(lambda: bool(cloud.sdk.show_training_job_metrics(request).metrics))
    values = {metric.metric: metric.value for metric in cloud.sdk.show_training_job_metrics(request).metrics}
    assert set(values) == {"cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage"}
    assert values["npuUtil"][0] > 0 and values["gpuUtil"] == [-1.0] * len(values["gpuUtil"])


def is_refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except AccessDenied:
        return True
    return False


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def wait_until(true: Callable[[], bool], *errors: type[Exception], seconds: float = 30) -> None:
    """Until it is; what it raises meanwhile, if it is one of `errors`, does not count."""
    ends = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except errors:
            pass
        assert time.monotonic() < ends
        time.sleep(0.02)
