"""The switchboard: every fault does what it says, as often as it says, and lets the next request through."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
from typing import Any

import huaweicloudsdkmodelarts.v1 as sdk
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException, ServiceResponseException

from launcher.emulator.modelarts.faults import KNOWN, REPLIES, Faults
from tests.emulator.modelarts.conftest import Cloud, Make
from tests.emulator.modelarts.test_jobs import wait_until

ROUTE = "show_training_job_engines"
STATUS = {
    "429": 429, "gateway-429": 429, "500": 500, "502": 502, "503": 503, "504": 504, "done-504": 504, "html": 200,
    "done-html": 200, "redirect": 302, "empty": 200, "no-content": 204, "not-json": 200, "expired-token": 401,
    "quota": 400, "agency": 403, "forbidden": 403, "arrears": 400, "error": 418,
}  # fmt: skip
BROKEN = ("reset", "done-reset", "cut", "reset-body", "silent")


def engines(cloud: Cloud) -> tuple[int, bytes]:
    """Status and body, or what the connection raises."""
    host = cloud.emulator.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        headers = {"X-Auth-Token": cloud.token()}
        connection.request("GET", f"/v2/{cloud.project}/training-job-engines", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_every_fault_of_a_reply_is_tested() -> None:
    assert {*STATUS, *BROKEN, "slow"} == set(REPLIES)


@pytest.mark.parametrize("name", STATUS)
def test_a_reply_is_spoilt_once(shared: Cloud, name: str) -> None:
    shared.faults({"fault": name, "route": ROUTE, "times": 1, "status": 418} if name == "error" else once(name))
    status, body = engines(shared)
    assert status == STATUS[name]
    if name in ("429", "gateway-429", "expired-token", "quota", "agency", "forbidden", "arrears", "500"):
        assert json.loads(body)["error_code"].startswith(("ModelArts.", "APIGW."))
    if name in ("html", "done-html", "502", "503", "504", "done-504"):
        assert b"<html>" in body
    if name in ("empty", "no-content"):
        assert body == b""
    status, body = engines(shared)
    assert status == 200 and json.loads(body)["total"] > 0
    assert shared.happened() == {name: 1}


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_is_broken_once(shared: Cloud, name: str) -> None:
    shared.faults({**once(name), "seconds": 0.1})
    with pytest.raises((ConnectionError, http.client.IncompleteRead, http.client.RemoteDisconnected)):
        engines(shared)
    assert engines(shared)[0] == 200


def test_a_reply_that_is_slow_comes(cloud: Cloud) -> None:
    cloud.faults({"fault": "slow", "route": ROUTE, "seconds": 5})
    host, port = cloud.emulator.endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=0.2)
    with pytest.raises((TimeoutError, socket.timeout)):
        connection.request("GET", f"/v2/{cloud.project}/training-job-engines", headers={"X-Auth-Token": cloud.token()})
        connection.getresponse()
    connection.close()


def once(name: str) -> dict[str, Any]:
    return {"fault": name, "route": ROUTE, "times": 1}


def test_the_sdk_meets_them_as_the_facts_say(shared: Cloud) -> None:
    """It loses a 429's code, takes a page of HTML for an empty success, and raises for the rest."""
    shared.faults(once("429"), once("html"), once("500"), once("reset"))
    request = sdk.ShowTrainingJobEnginesRequest()
    with pytest.raises(SdkException) as caught:
        shared.sdk.show_training_job_engines(request)
    assert "ModelArts.2799" not in str(caught.value)
    assert shared.sdk.show_training_job_engines(request).items is None
    with pytest.raises(ServiceResponseException) as answered:
        shared.sdk.show_training_job_engines(request)
    assert (answered.value.status_code, answered.value.error_code) == (500, "ModelArts.0010")
    with pytest.raises(SdkException):
        shared.sdk.show_training_job_engines(request)
    assert shared.sdk.show_training_job_engines(request).total > 0


@pytest.mark.parametrize("name", ["done-504", "done-reset", "done-html"])
def test_a_create_that_seems_to_fail_has_made_the_job(make: Make, name: str) -> None:
    cloud = make(queuing=600)
    cloud.faults({"fault": name, "route": "create_training_job", "times": 1})
    body = cloud.body()
    try:
        cloud.ask("POST", cloud.url(), body)
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
        assert name == "done-reset"
    assert cloud.emulator.state.count() == 1
    assert cloud.ask("POST", cloud.url(), body).json["error_code"] == "ModelArts.2751"


def test_faults_wait_repeat_and_are_drawn_from_a_seed() -> None:
    def pattern(**values: Any) -> str:
        faults = Faults()
        faults.set([{"fault": "500", **values}])
        return "".join("x" if faults.draw("500", ROUTE) else "." for _ in range(12))

    assert pattern(after=2, times=3) == "..xxx......."
    assert pattern(probability=0.5, seed=7) == pattern(probability=0.5, seed=7) != pattern(probability=0.5, seed=8)
    assert pattern(route="other") == "." * 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "500"},
        [{"fault": "thunder"}],
        [{"fault": "500", "route": "nowhere"}],
        [{"fault": "500", "times": "two"}],
        [{"fault": "500", "colour": 1}],
    ],
)
def test_what_cannot_be_is_said(shared: Cloud, wrong: Any) -> None:
    answer = shared.ask("PUT", "/_emulator/faults", wrong)
    assert answer.status == 400
    assert shared.ask("GET", "/_emulator/faults").json["faults"] == []


def test_faults_are_shown_and_cleared(shared: Cloud) -> None:
    shared.faults(once("500"))
    [shown] = shared.ask("GET", "/_emulator/faults").json["faults"]
    assert (shown["fault"], shown["route"], shown["times"], shown["happened"]) == ("500", ROUTE, 1, 0)
    assert shared.ask("DELETE", "/_emulator/faults").json["faults"] == []
    assert engines(shared)[0] == 200
    assert set(shared.ask("GET", "/_emulator").json["faults"]) == set(KNOWN)


def test_jobs_queue_for_ever_or_fail_at_once(cloud: Cloud) -> None:
    cloud.faults({"fault": "queue-for-ever"}, {"fault": "create-failed", "after": 1})
    waits = cloud.create(cloud.body(name="waits"))
    fails = cloud.create(cloud.body(name="fails"))
    job = cloud.wait(fails)
    assert (job.status.phase, job.status.secondary_phase) == ("Abnormal", "CreateFailed")
    assert cloud.show(waits).status.phase == "Pending"
    cloud.faults()
    assert cloud.wait(waits).status.phase == "Completed"


def test_without_an_agency_nothing_runs(make: Make) -> None:
    cloud = make(queuing=600)
    path = f"/v2/{cloud.project}/authorizations"
    assert cloud.ask("GET", path).json["auth"][0]["type"] == "agency"
    cloud.faults({"fault": "no-agency"})
    assert cloud.ask("GET", path).json["auth"] == []
    answer = cloud.ask("POST", cloud.url(), cloud.body())
    assert (answer.status, answer.json["error_code"]) == (403, "ModelArts.2785")


def test_a_job_whose_keys_open_nothing_fails(cloud: Cloud) -> None:
    cloud.faults({"fault": "obs-forbidden", "times": 1})
    job_id = cloud.create(cloud.body())
    assert cloud.wait(job_id).status.phase == "Failed"
    assert any("could not be started" in event for event in cloud.events(job_id))


def test_a_node_that_fails_is_made_good(cloud: Cloud) -> None:
    script = """
import pathlib, signal, sys, time
out = pathlib.Path([a for a in sys.argv if a.startswith("--train_url=")][0].split("=")[1])
signal.signal(signal.SIGTERM, lambda *_: (out.joinpath("saved").write_text("x"), sys.exit(143)))
if out.joinpath("saved").exists(): sys.exit("resumed" and 0)
time.sleep(600)
"""
    cloud.faults({"fault": "node-fault", "times": 1})
    body = cloud.body(script, annotations={"fault-tolerance/job-retry-num": "1"})
    body["algorithm"]["outputs"][0]["prefetch_to_local"] = True
    job = cloud.wait(cloud.create(body))
    assert (job.status.phase, len(job.status.running_records)) == ("Completed", 2)


def test_the_rate_is_limited(make: Make) -> None:
    """With bursts of twice the rate: one request, and then one in two seconds."""
    cloud = make(rate=0.5)
    answers = [engines(cloud) for _ in range(4)]
    assert answers[0][0] == 200
    refused = [json.loads(body)["error_code"] for status, body in answers if status == 429]
    assert refused and set(refused) == {"ModelArts.2799"}


def test_the_log_begins_anew_and_loses_nothing(cloud: Cloud) -> None:
    script = """
import time
for n in range(2000): print(n, flush=True); time.sleep(0.0005)
"""
    cloud.faults({"fault": "log-rotated", "route": "engine", "times": 2, "after": 1})
    job_id = cloud.create(cloud.body(script))
    cloud.wait(job_id)
    name = f"jobs/hello/log/modelarts-job-{job_id}-worker-0.log"
    parts = []
    for key in (f"{name}.1", f"{name}.2", name):
        with cloud.bucket.read(key) as stream:
            parts.append(stream.read().decode())
    lines = [line for line in "".join(parts).splitlines() if line.isdigit()]
    assert lines == [str(n) for n in range(2000)]


def test_the_log_shrinks_and_comes_back(cloud: Cloud) -> None:
    cloud.faults({"fault": "log-shrunk", "route": "show_training_job_logs_preview", "times": 1})
    job_id = cloud.create(cloud.body("print('x' * 100)"))
    cloud.emulator.faults.clear()
    cloud.wait(job_id)
    whole = cloud.log(job_id)
    cloud.faults({"fault": "log-shrunk", "route": "show_training_job_logs_preview", "times": 1})
    assert len(cloud.raw_log(job_id)) < len(whole)
    assert cloud.log(job_id) == whole


def test_aom_may_be_missing(cloud: Cloud) -> None:
    job_id = cloud.create(cloud.body())
    cloud.wait(job_id)
    cloud.faults({"fault": "aom-missing"})
    assert cloud.ask("GET", cloud.url(f"/{job_id}/logs/worker-0")).status == 404
    cloud.faults({"fault": "aom-rejects"})
    assert cloud.ask("GET", cloud.url(f"/{job_id}/logs/worker-0")).status == 400


def test_the_object_shrinks_until_it_is_copied_out_again(make: Make) -> None:
    cloud = make(log_period=0.3)
    cloud.faults({"fault": "log-shrunk", "route": "engine", "times": 1})
    script = "import time\nfor n in range(10**6): print(n, flush=True); time.sleep(0.01)"
    job_id = cloud.create(cloud.body(script))
    cloud.wait_for_log(job_id, "1\n")
    wait_until(lambda: cloud.happened() == {"log-shrunk": 1})
    cloud.stop(job_id)
    cloud.wait(job_id)
    with cloud.bucket.read(f"jobs/hello/log/modelarts-job-{job_id}-worker-0.log") as stream:
        assert stream.read().decode() == cloud.raw_log(job_id)
