"""The other routes, by the official SDK where it has them, and what create refuses."""

from __future__ import annotations

import time
import urllib.request
from typing import Any

import huaweicloudsdkmodelarts.v1 as sdk
import pytest

from tests.emulator.modelarts.conftest import Cloud, Make


def codes(cloud: Cloud, *bodies: dict[str, Any]) -> list[str]:
    """The code that each body is refused with; "" for one that is taken."""
    answers = [cloud.ask("POST", cloud.url(), body) for body in bodies]
    return [answer.json.get("error_code", "") for answer in answers]


def test_create_refuses_as_the_service_does(make: Make) -> None:
    cloud = make(queuing=600)
    good = cloud.body()
    obs = {"obs": {"obs_url": "/my-bucket/nothing/"}}

    def changed(part: str, **values: Any) -> dict[str, Any]:
        return {**good, part: {**good[part], **values}}

    cases = {
        "ModelArts.2788": [
            {**good, "kind": "edge_job"},
            changed("metadata", name="a b"),
            changed("metadata", name="x" * 65),
            changed("metadata", description="x" * 257),
            changed("algorithm", environments={"1A": "x"}),
            changed("spec", auto_stop={"time_unit": "HOURS", "duration": 0}),
            changed("spec", schedule_policy={"priority": 4}),
            changed("spec", volumes=[{"nfs": {"local_path": "/cache"}}]),
        ],
        "ModelArts.2755": [{**good, "algorithm": {"id": "an-algorithm"}}],
        "ModelArts.2825": [changed("algorithm", parameters=[{"name": "a", "value": 1}])],
        "ModelArts.2767": [changed("algorithm", parameters=[{"name": "a", "value": "1"}] * 2)],
        "ModelArts.2780": [changed("algorithm", engine={"engine_id": "mindspore_9"})],
        "ModelArts.2832": [
            changed("algorithm", engine={"engine_id": "mindspore_1.6.0-cann_5.0.3.6-py_3.7-euler_2.8.3-aarch64"})
        ],
        "ModelArts.2840": [
            changed("algorithm", engine={"engine_id": "pytorch_1.8.0-cuda_10.2-py_3.7-ubuntu_18.04-x86_64"})
        ],
        "ModelArts.2781": [changed("spec", resource={"flavor_id": "nothing", "node_count": 1})],
        "ModelArts.2793": [changed("spec", resource={"flavor_id": "modelarts.kat1.2xlarge", "node_count": 2})],
        "ModelArts.2890": [changed("spec", resource={"pool_id": "mine", "node_count": 1})],
        "ModelArts.2757": [changed("algorithm", code_dir="/my-bucket/nowhere/", boot_file="/my-bucket/nowhere/a.py")],
        "ModelArts.2758": [changed("algorithm", boot_file="/my-bucket/jobs/hello/code/other.py")],
        "ModelArts.2792": [changed("algorithm", boot_file="/my-bucket/data/mnist/one.txt")],
        "ModelArts.2802": [changed("algorithm", code_dir="/my-bucket/jobs/hello/code")],
        "ModelArts.2791": [
            changed("algorithm", inputs=[{"name": "data_url", "remote": obs}]),
            changed("algorithm", outputs=[{"name": "o", "remote": {"obs": {"obs_url": "/my-bucket/out"}}}]),
            changed("algorithm", outputs=[{"name": "o", "remote": {"obs": {"obs_url": "/no-such-bucket/out/"}}}]),
            changed("algorithm", outputs=[{"name": "o", "remote": {"obs": {"obs_url": "my-bucket/out/"}}}]),
            changed("spec", log_export_path={"obs_url": "/no-such-bucket/log/"}),
        ],
        "ModelArts.2753": [changed("algorithm", inputs=[{"name": "data_url"}])],
        "ModelArts.2816": [changed("algorithm", environments={f"A{i}": "" for i in range(101)})],
    }
    for code, bodies in cases.items():
        assert codes(cloud, *bodies) == [code] * len(bodies), code
    answer = cloud.ask("POST", cloud.url(), good)
    assert answer.status == 201
    assert codes(cloud, good) == ["ModelArts.2751"]
    names = cloud.ask("GET", f"/v2/{cloud.project}/training-job-names?job_name=hello&workspace_id=0")
    assert names.json == {"is_duplicate": True}


def test_a_job_as_it_is_told_can_be_created_again(make: Make) -> None:
    """As macli copies a job: the object of the reply, with another name and less of its metadata."""
    cloud = make(queuing=600)
    told = cloud.ask("POST", cloud.url(), cloud.body(environments={"A": "1"})).json
    kept = ("name", "description", "workspace_id", "annotations", "user_name", "ai_project")
    again = {name: told[name] for name in ("kind", "algorithm", "spec", "endpoints")}
    again["metadata"] = {**{name: told["metadata"][name] for name in kept}, "name": "copy"}
    answer = cloud.ask("POST", cloud.url(), again)
    assert answer.status == 201
    for part in ("algorithm", "spec"):
        assert answer.json[part] == told[part]


def test_a_body_that_is_no_json_is_2787(cloud: Cloud) -> None:
    request = urllib.request.Request(cloud.emulator.endpoint + cloud.url(), b"{", {"X-Auth-Token": cloud.token()})
    with pytest.raises(urllib.request.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert b"ModelArts.2787" in error.read()


def test_a_job_of_a_dedicated_pool(make: Make) -> None:
    cloud = make(queuing=600)
    [pool] = cloud.sdk.list_pools(sdk.ListPoolsRequest()).items
    resource = {"pool_id": pool.metadata.name, "flavor_id": "modelarts.pool.visual.xlarge", "node_count": 1}
    body = cloud.body(resource=resource, schedule_policy={"priority": 1})
    job = cloud.ask("POST", cloud.url(), body).json
    assert job["spec"]["resource"]["pool_id"] == pool.metadata.name
    assert job["spec"]["schedule_policy"] == {"priority": 1}
    request = sdk.ShowTrainingFlavorMaxAvailableResourceRequest(
        flavor_id="modelarts.pool.visual.xlarge", pool_id=pool.metadata.name
    )
    assert cloud.sdk.show_training_flavor_max_available_resource(request).cpu_core_num == 24


def test_a_job_can_be_changed_while_it_waits(make: Make) -> None:
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    change = {"description": "another", "spec": {"schedule_policy": {"priority": 2}}}
    answer = cloud.ask("PUT", cloud.url(f"/{job_id}"), change)
    assert (answer.status, answer.body) == (200, b"null")
    job = cloud.show(job_id)
    assert (job.metadata.description, job.spec.schedule_policy.priority) == ("another", 2)


def test_ten_thousand_jobs_are_listed_completely_and_quickly(cloud: Cloud) -> None:
    """With the paging that is complete under both readings of `offset`."""
    cloud.ask("PUT", "/_emulator/seed", {"jobs": 10_000})
    began, seen, offset = time.monotonic(), set(), 0
    while True:
        body = sdk.JobSearches(offset=offset, limit=50)
        page = cloud.sdk.list_training_jobs(sdk.ListTrainingJobsRequest(body=body)).items
        seen |= {item.metadata.id for item in page}
        offset += 1
        if len(page) < 50:
            break
    assert len(seen) == 10_000
    assert time.monotonic() - began < 60


def test_a_search_is_by_page_or_by_record(make: Make) -> None:
    cloud = make(queuing=600)
    cloud.ask("PUT", "/_emulator/seed", {"jobs": 7})

    def names(**body: Any) -> list[str]:
        answer = cloud.ask("POST", f"/v2/{cloud.project}/training-job-searches", body)
        return [item["metadata"]["name"][-1] for item in answer.json["items"]]

    assert names(limit=3) == ["6", "5", "4"], "newest first"
    assert names(limit=3, offset=1) == ["3", "2", "1"]
    assert names(limit=3, offset=1, order="asc", sort_by="name") == ["3", "4", "5"]
    cloud.ask("PUT", "/_emulator/settings", {"paging": "record"})
    assert names(limit=3, offset=1) == ["5", "4", "3"]
    assert cloud.ask("PUT", "/_emulator/settings", {"paging": "none"}).status == 400


def test_searches_filter(make: Make) -> None:
    cloud = make(queuing=600)
    cloud.ask("PUT", "/_emulator/seed", {"jobs": 20})
    job_id = cloud.create(cloud.body(name="mine"))
    cloud.wait(job_id, "Pending")

    def found(*filters: tuple[str, str, list[str]], **body: Any) -> Any:
        listed = [{"key": key, "operator": operator, "value": value} for key, operator, value in filters]
        return cloud.ask("POST", f"/v2/{cloud.project}/training-job-searches", {"filters": listed, "limit": 50, **body})

    answer = found(("name", "like", ["ine"]), ("phase", "in", [""]), ("user_id", "in", []))
    assert [item["metadata"]["id"] for item in answer.json["items"]] == [job_id]
    assert (answer.json["count"], answer.json["total"]) == (1, 21)
    assert len(found(("phase", "in", ["Pending", "Running"])).json["items"]) == 1
    assert len(found(("phase", "not", ["Pending"])).json["items"]) == 20
    now = int(time.time() * 1000)
    assert len(found(("create_time", "between", [str(now - 330_000), str(now + 1000)])).json["items"]) == 6
    assert found(("color", "in", ["x"])).json["error_code"] == "ModelArts.2807"
    assert found(("name", "near", ["x"])).json["error_code"] == "ModelArts.2808"
    assert found(("name", "in", "x")).json["error_code"] == "ModelArts.2809"  # type: ignore[arg-type]
    assert found(limit=51).json["error_code"] == "ModelArts.2764"
    assert found(sort_by="color").json["error_code"] == "ModelArts.2790"
    assert cloud.sdk.list_training_jobs(sdk.ListTrainingJobsRequest()).total == 21, "an empty body"
    cloud.emulator.house.change({"list_detail": "short"})
    [item] = found(("name", "like", ["mine"])).json["items"]
    assert item["status"]["phase"] == "Pending" and not item["algorithm"]


def test_tags_have_routes_of_their_own(make: Make) -> None:
    cloud = make(queuing=600)
    job_id = cloud.create(cloud.body())
    tags = [sdk.TmsTag(key="project", value="lenet"), sdk.TmsTag(key="团队", value="a/b")]
    create = sdk.CreateTrainJobTagsRequest(training_job_id=job_id, body=sdk.CreateTmsTagsRequest(tags=tags))
    assert cloud.sdk.create_train_job_tags(create).status_code == 204
    shown = cloud.sdk.show_train_job_tags(sdk.ShowTrainJobTagsRequest(training_job_id=job_id)).tags
    assert {(tag.key, tag.value) for tag in shown} == {("project", "lenet"), ("团队", "a/b")}
    everything = cloud.sdk.list_training_job_tags(sdk.ListTrainingJobTagsRequest(limit=10, offset=0)).tags
    assert {tag.key for tag in everything} == {"project", "团队"}
    base = f"/v2/{cloud.project}/modelarts-training-job"
    wanted = {"tags": [{"key": "project", "values": ["lenet"]}]}
    assert cloud.ask("POST", f"{base}/resource-instances/count", wanted).json == {"total_count": 1}
    assert cloud.ask("POST", f"{base}/resource-instances/filter", wanted).json["resources"][0]["resource_id"] == job_id
    search = {"tags": [{"key": "project", "values": ["lenet"]}]}
    refused = cloud.ask("POST", f"/v2/{cloud.project}/training-job-searches", search)
    assert refused.json["error_code"] == "ModelArts.2764", "a search by tags needs a window of time"
    window = [str(int(time.time() * 1000) - 60_000), str(int(time.time() * 1000) + 60_000)]
    search["filters"] = [{"key": "create_time", "operator": "between", "value": window}]  # type: ignore[list-item]
    assert cloud.ask("POST", f"/v2/{cloud.project}/training-job-searches", search).json["count"] == 1
    answer = cloud.ask("DELETE", f"{base}/{job_id}/tags/delete", {"tags": [{"key": "团队"}]})
    assert (answer.status, answer.body) == (204, b"")
    shown = cloud.sdk.show_train_job_tags(sdk.ShowTrainJobTagsRequest(training_job_id=job_id)).tags
    assert [tag.key for tag in shown] == ["project"]


def test_many_jobs_are_deleted_at_once(cloud: Cloud) -> None:
    cloud.ask("PUT", "/_emulator/seed", {"jobs": 3})
    search = f"/v2/{cloud.project}/training-job-searches"
    ids = [item["metadata"]["id"] for item in cloud.ask("POST", search, {}).json["items"]]
    wanted = {"jobs": [{"kind": "job", "metadata": {"id": job_id}} for job_id in ids[:2]]}
    assert cloud.ask("POST", cloud.url("/batch-delete"), wanted).status == 202
    assert [item["metadata"]["id"] for item in cloud.ask("POST", search, {}).json["items"]] == ids[2:]


def test_quotas_limit_the_number_of_jobs(make: Make) -> None:
    cloud = make(queuing=600)
    cloud.create(cloud.body(name="one"))
    path = f"/v2/{cloud.project}/training-quotas"
    change = {"user_id": "u", "quotas": [{"resource": "job-num", "quota": 1}]}
    assert cloud.ask("PUT", path, change).status == 200
    assert cloud.ask("GET", path + "?resource=job-num").json["quotas"] == [
        {"resource": "job-num", "quota": 1, "used": 1}
    ]
    assert codes(cloud, cloud.body(name="two")) == ["ModelArts.2815"]
    quota = cloud.sdk.show_os_quota(sdk.ShowOsQuotaRequest()).quotas
    assert quota.resources[0].used == "1"


def test_small_lists(cloud: Cloud) -> None:
    engines = cloud.sdk.show_training_job_engines(sdk.ShowTrainingJobEnginesRequest()).items
    assert all(engine.engine_id == engine.engine_version for engine in engines)
    assert "event-categories" in cloud.ask("GET", f"/v2/{cloud.project}/training-event-categories").json
    assert cloud.sdk.list_workspace(sdk.ListWorkspaceRequest()).workspaces[0].id == "0"
    assert cloud.ask("GET", f"/v2/{cloud.project}/training-job-flavors?flavor_type=TPU").status == 400
