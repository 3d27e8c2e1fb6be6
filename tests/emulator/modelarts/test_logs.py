"""The four ways to a log, and how they lie."""

from __future__ import annotations

import urllib.request

import huaweicloudsdkmodelarts.v1 as sdk
import pytest

from storage.errors import NotFound
from tests.emulator.modelarts.conftest import Cloud, Make
from tests.emulator.modelarts.test_jobs import wait_until

FIVE = "for n in range(1, 6): print('line', n)"


def test_before_there_is_a_log(make: Make) -> None:
    """204 without a body, 400 ModelArts.2818, or nothing in it: the facts have all three."""
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    path = cloud.url(f"/{job_id}/tasks/worker-0/logs/preview")
    answer = cloud.ask("GET", path)
    assert (answer.status, answer.body) == (204, b"")
    assert cloud.raw_log(job_id) == "", "the SDK raises nothing"
    cloud.ask("PUT", "/_emulator/settings", {"not_ready": "400"})
    assert cloud.ask("GET", path).json["error_code"] == "ModelArts.2818"
    cloud.ask("PUT", "/_emulator/settings", {"not_ready": "empty"})
    assert cloud.ask("GET", path).json == {"content": "", "current_size": 0, "full_size": 0}
    assert cloud.ask("GET", cloud.url(f"/{job_id}/tasks/worker-1/logs/preview")).json["error_code"] == "ModelArts.2788"
    assert cloud.ask("GET", cloud.url(f"/{job_id}/metrics/worker-0")).status == 204


def test_a_preview_has_sizes_in_bytes_and_may_be_cut(make: Make) -> None:
    cloud = make(closing_line="no")
    job_id = cloud.create(cloud.body("import sys; sys.stdout.buffer.write('训练'.encode())"))
    cloud.wait(job_id)
    path = cloud.url(f"/{job_id}/tasks/worker-0/logs/preview")
    assert cloud.ask("GET", path).json == {"content": "训练", "current_size": 6, "full_size": 6}
    cloud.faults({"fault": "preview-cut", "bytes": 4})
    assert cloud.ask("GET", path).json == {"content": "\ufffd练", "current_size": 4, "full_size": 6}
    cloud.faults({"fault": "preview-sizes"})
    assert cloud.ask("GET", path).json == {"content": "训练", "current_size": 126548, "full_size": 5242880}


def test_a_link_is_good_for_everybody(cloud: Cloud) -> None:
    job_id = cloud.create(cloud.body(FIVE))
    cloud.wait(job_id)
    path = cloud.url(f"/{job_id}/tasks/worker-0/logs/url?Content-Type=text/plain")
    with urllib.request.urlopen(cloud.ask("GET", path).json["obs_url"]) as reply:
        assert reply.read().decode() == cloud.raw_log(job_id)
    hosted = cloud.create(cloud.body(name="hosted", log_export_path={}))
    cloud.wait(hosted)
    assert "hello" in cloud.log(hosted)
    answer = cloud.ask("GET", cloud.url(f"/{hosted}/tasks/worker-0/logs/url"))
    assert answer.json["error_code"] == "ModelArts.2822"


def test_lines_are_read_on(make: Make) -> None:
    """`asc` from the start in pieces, exclusive or inclusive; `desc` from the end."""
    cloud = make(closing_line="no")
    job_id = cloud.create(cloud.body(FIVE))
    cloud.wait(job_id)

    def lines(**words: str) -> tuple[str, str, int, list[str]]:
        request = sdk.ShowTrainingJobLogsFromAomRequest(training_job_id=job_id, task_id="worker-0", **words)
        found = cloud.sdk.show_training_job_logs_from_aom(request)
        return found.start_line, found.end_line, found.lines, [line[-1] for line in found.content.splitlines()]

    assert lines(order="asc", lines="2") == ("1", "2", 2, ["1", "2"])
    assert lines(order="asc", lines="2", base_line="2") == ("3", "4", 2, ["3", "4"])
    assert lines(order="asc", base_line="5") == ("5", "5", 0, [])
    assert lines(lines="2") == ("4", "5", 2, ["4", "5"])
    assert lines(lines="2", base_line="4") == ("2", "3", 2, ["2", "3"])
    cloud.ask("PUT", "/_emulator/settings", {"base_line": "inclusive"})
    assert lines(order="asc", lines="2", base_line="2") == ("2", "3", 2, ["2", "3"])
    cloud.faults({"fault": "aom-inclusive", "times": 1})
    assert lines(order="asc", lines="2", base_line="2") == ("3", "4", 2, ["3", "4"])
    for wrong in ({"lines": "501"}, {"order": "up"}, {"base_line": "x"}):
        query = "&".join(f"{key}={value}" for key, value in wrong.items())
        assert cloud.ask("GET", cloud.url(f"/{job_id}/logs/worker-0?{query}")).json["error_code"] == "ModelArts.2764"


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_the_end_of_a_log_may_be_late(make: Make, late: float) -> None:
    cloud = make(log_period=60, late_log=late)
    job_id = cloud.create(cloud.body(FIVE))
    cloud.wait(job_id)
    if not late:
        assert "line 5" in cloud.log(job_id)
    cloud.wait_for_log(job_id, "line 5")
    name = f"jobs/hello/log/modelarts-job-{job_id}-worker-0.log"
    wait_until(lambda: cloud.bucket.stat(name).size == len(cloud.raw_log(job_id)), NotFound)


def test_a_late_log_of_two_nodes_comes_whole(make: Make) -> None:
    cloud = make(log_period=60, late_log=0.3)
    resource = {"flavor_id": "modelarts.kat1.xlarge", "node_count": 2}
    job_id = cloud.create(cloud.body(FIVE, resource=resource))
    cloud.wait(job_id)
    for worker in ("worker-0", "worker-1"):
        wait_until(lambda worker=worker: "return code: 0" in cloud.raw_log(job_id, worker))
