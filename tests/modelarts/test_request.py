"""The body of "create job", to the letter; and what job.yaml's words mean in a region."""

from __future__ import annotations

import json

import pytest

from launcher.emulator.modelarts.catalogue import engines_reply, flavors_reply
from launcher.errors import PreflightError
from launcher.modelarts.request import choose, describe
from launcher.spec import JobSpec, Resources

from .conftest import Rig
from .test_client import place

FLAVORS = flavors_reply("")["flavors"]
ENGINES = engines_reply()["items"]


def spec(flavor: str = "Ascend: 1*Ascend 910", engine: str = "MindSpore >= 2", **keys) -> JobSpec:
    resources = Resources(flavor=flavor, **{k: keys.pop(k) for k in ("nodes", "devices", "pool") if k in keys})
    return JobSpec(name="a", boot_file="a.py", resources=resources, engine=engine, **keys)


def chosen(**keys) -> tuple[str, str]:
    choice = choose(spec(**keys), place("http://127.0.0.1:1"), FLAVORS, ENGINES)
    return choice.flavor, choice.engine["engine_id"]


MINDSPORE_2 = "mindspore_2.0.0-cann_6.3.0-py_3.7-euler_2.8.3-aarch64"
MINDSPORE_1 = "mindspore_1.7.0-cann_5.1.0-py_3.7-euler_2.8.3-aarch64"


def test_devices_say_how_many_cards_and_a_flavor_that_has_others_is_refused() -> None:
    assert chosen(devices=8)[0] == "modelarts.kat1.8xlarge"
    assert chosen(flavor="modelarts.kat1.8xlarge", devices=8)[0] == "modelarts.kat1.8xlarge"
    for flavor in ("modelarts.kat1.8xlarge", "Ascend: 8*Ascend 910"):
        with pytest.raises(PreflightError, match="has 8 cards a node, and devices says 2"):
            chosen(flavor=flavor, devices=2)


def test_only_an_ascend_starts_a_process_for_each_card() -> None:
    assert chosen(flavor="GPU: 1*V100(32GB)", engine="PyTorch 1.8", devices=1)[0] == "modelarts.p3.large.public"
    two = [{**flavor, "flavor_info": {**flavor["flavor_info"], "gpu": {**gpu, "unit_num": 2}}}
           for flavor in FLAVORS if (gpu := flavor["flavor_info"].get("gpu"))]  # fmt: skip
    wanted = spec(flavor="modelarts.p3.large.public", engine="PyTorch 1.8", devices=2)
    with pytest.raises(PreflightError, match="starts the boot file once a node, and devices says 2"):
        choose(wanted, place("http://127.0.0.1:1"), two, ENGINES)


def test_a_pools_share_of_an_npu_is_one_of_an_ascend() -> None:
    wanted = {"pool": "pool-1", "devices": 8}
    assert chosen(flavor="NPU: 8*Ascend 910", **wanted) == chosen(flavor="Ascend: 8*Ascend 910", **wanted)


@pytest.mark.parametrize(("cards", "said"), [(8, ", 8 processes a node)"), (1, "public pool)")])
def test_what_was_chosen_says_how_many_processes_train_together(cards: int, said: str) -> None:
    wanted = spec(flavor=f"Ascend: {cards}*Ascend 910")
    assert said in choose(wanted, place("http://127.0.0.1:1"), FLAVORS, ENGINES).reason


@pytest.mark.parametrize(
    ("flavor", "found"),
    [
        ("Ascend: 1*Ascend 910", "modelarts.kat1.xlarge"),
        ("Ascend: 1*Ascend 910(32GB) | ARM: 24 核 96GB", "modelarts.kat1.xlarge"),
        ("ascend: 1 * snt9", "modelarts.kat1.xlarge"),
        ("NPU: 8*Ascend910A", "modelarts.kat1.8xlarge"),
        ("Ascend：1×Ascend 910", "modelarts.kat1.xlarge"),
        ("modelarts.kat1.2xlarge", "modelarts.kat1.2xlarge"),
    ],
)
def test_a_flavor_is_found_by_the_consoles_words_or_its_id(flavor: str, found: str) -> None:
    assert chosen(flavor=flavor) == (found, MINDSPORE_2)


@pytest.mark.parametrize("flavor", ["Ascend: 1*Ascend 910B", "Ascend: 3*Ascend 910", "Ascend: 1*Ascend 310", "what"])
def test_a_flavor_that_is_not_there_is_told_with_what_is(flavor: str) -> None:
    with pytest.raises(PreflightError) as caught:
        chosen(flavor=flavor)
    assert flavor in caught.value.message and caught.value.hint


def test_a_flavor_for_one_node_takes_no_two() -> None:
    with pytest.raises(PreflightError, match="at most 1 nodes"):
        chosen(flavor="Ascend: 2*Ascend 910", nodes=2)
    assert chosen(nodes=2)[0] == "modelarts.kat1.xlarge"


def test_masked_chips_are_known() -> None:
    names = {
        "snt9": "910",
        "Ascend-snt9": "910",
        "Snt9b": "910B",
        "Ascend 910B": "910B",
        "ascend-d910b": "910B",
        "Ascend910": "910",
    }
    for product, chip in names.items():
        flavor = {"flavor_type": "Ascend", "flavor_info": {"npu": {"unit_num": 1, "product_name": product}}}
        assert describe(flavor) == f"Ascend: 1*Ascend {chip}"


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("MindSpore >= 2", MINDSPORE_2),
        ("mindspore 1.7", MINDSPORE_1),
        ("MindSpore>=1.7", MINDSPORE_2),
        ("mindspore", MINDSPORE_2),
        (MINDSPORE_1, MINDSPORE_1),
    ],
)
def test_an_engine_is_the_newest_that_fits_the_chip(wish: str, found: str) -> None:
    assert chosen(engine=wish)[1] == found


@pytest.mark.parametrize("wish", ["MindSpore >= 3", "MindSpore 2.3", "PyTorch >= 1", "?"])
def test_an_engine_that_is_not_there_is_told(wish: str) -> None:
    with pytest.raises(PreflightError) as caught:
        chosen(engine=wish)
    assert wish in caught.value.message


def test_a_chip_of_its_own_gets_the_engine_built_for_it() -> None:
    flavor = {
        "flavor_id": "x",
        "flavor_type": "Ascend",
        "flavor_info": {"npu": {"unit_num": 1, "product_name": "snt9b"}},
    }
    choice = choose(spec(flavor="Ascend: 1*Ascend 910B"), place("http://127.0.0.1:1"), [flavor], ENGINES)
    assert choice.engine["engine_id"].endswith("-snt9b")


def test_a_pool_has_flavors_of_its_own() -> None:
    assert chosen(pool="pool-1", flavor="Ascend: 8*Ascend 910")[0] == "modelarts.pool.visual.8xlarge"


def test_the_body_to_the_letter(modelarts: Rig, cli, project) -> None:
    project.job(
        "full",
        "print(1)\n",
        description="说明",
        parameters={"epochs": 3, "lr": 0.1, "shuffle": True, "none": None},
        environment={"GLOG_v": "2"},
        data="obs://share-course/dataset/MNIST/",
        time_limit="90m",
        retries=2,
        resources={"nodes": 2, "pool": "pool-emulated0001", "priority": 2, "preemptible": True},
        volumes=[{"nfs": "192.168.0.82:/", "path": "/home/ma-user/nfs"}, {"obs": "/b/x", "path": "/mnt/x"}],
        notification={"topic": "urn:smn:cn-north-4:0:t"},
    )
    modelarts.objects.make_bucket("share-course")
    modelarts.objects.bucket("share-course").write("dataset/MNIST/one", b"1")
    answer = cli("submit", "full", "--target", "modelarts", "--dry-run", "--json", "--", "--more=1", "--and", "2")
    assert answer.code == 0, answer
    plan = answer.json
    run, code = plan["run"], plan["code"]["hash"]
    assert plan["request"] == {
        "kind": "job",
        "metadata": {
            "name": run,
            "workspace_id": "0",
            "description": "说明",
            "annotations": {
                "job_template": "Template DL",
                "fault-tolerance/job-retry-num": "2",
                "fault-tolerance/job-unconditional-retry": "true",
            },
        },
        "algorithm": {
            "code_dir": f"/my-bucket/launcher/code/{code}/",
            "boot_file": f"/my-bucket/launcher/code/{code}/jobs/full/main.py",
            "engine": {
                "engine_id": MINDSPORE_2,
                "engine_name": "Ascend-Powered-Engine",
                "engine_version": MINDSPORE_2,
            },
            "parameters": [
                {"name": "epochs", "value": "3"},
                {"name": "lr", "value": "0.1"},
                {"name": "shuffle", "value": "true"},
                {"name": "more", "value": "1"},
                {"name": "and", "value": "2"},
            ],
            "inputs": [
                {
                    "name": "data_url",
                    "access_method": "parameter",
                    "remote": {"obs": {"obs_url": "/share-course/dataset/MNIST/"}},
                }
            ],
            "outputs": [
                {
                    "name": "train_url",
                    "access_method": "parameter",
                    "remote": {"obs": {"obs_url": f"/my-bucket/launcher/runs/{run}/output/"}},
                    "prefetch_to_local": True,
                }
            ],
            "environments": {"GLOG_v": "2", "LAUNCHER_RUN_ID": run},
            "policies": {},
        },
        "spec": {
            "resource": {
                "flavor_id": "modelarts.pool.visual.xlarge",
                "node_count": 2,
                "pool_id": "pool-emulated0001",
            },
            "log_export_path": {"obs_url": f"/my-bucket/launcher/runs/{run}/log/"},
            "auto_stop": {"time_unit": "HOURS", "duration": 2},
            "volumes": [
                {
                    "nfs": {
                        "nfs_server_path": "192.168.0.82:/",
                        "local_path": "/home/ma-user/nfs",
                        "read_only": False,
                    }
                },
                {"obs": {"obs_path": "/b/x", "local_path": "/mnt/x"}},
            ],
            "schedule_policy": {"priority": 2, "preemptible": True},
            "notification": {"topic_urn": "urn:smn:cn-north-4:0:t", "events": ["JobCompleted", "JobFailed"]},
        },
    }
    assert modelarts.jobs == [] and not list(modelarts.bucket().list())


@pytest.mark.parametrize("words", [["plain"], ["-x"], ["--flag"], ["--lines=3"]])
def test_what_modelarts_cannot_pass_is_refused(modelarts: Rig, cli, words: list[str]) -> None:
    answer = cli("submit", "tiny", "--target", "modelarts", "--dry-run", "--", *words)
    assert answer.code == 2 and (words[0].lstrip("-").partition("=")[0] in answer.err)


def test_no_secret_is_in_the_request_the_ledger_or_the_bucket(modelarts: Rig, cli, project) -> None:
    answer = cli("submit", "tiny", "--target", "modelarts", "--json")
    assert answer.code == 0
    secret = modelarts.emulator.account.secret_key.encode()
    texts = [answer.out.encode(), answer.err.encode(), (project.home / "ledger.sqlite").read_bytes()]
    for info in modelarts.bucket().list():
        with modelarts.bucket().read(info.key) as stream:
            texts.append(stream.read())
    texts.append(json.dumps([job.body for job in modelarts.emulator.state.search("1", [], "number", 9, 0)]).encode())
    assert not any(secret in text for text in texts)


def test_times_are_told_in_utc() -> None:
    from launcher.modelarts.jobs import utc

    assert utc("2022-11-26T16:03:41+08:00") == "2022-11-26T08:03:41.000Z"
    assert utc(1772331300000) == utc("1772331300000") == "2026-03-01T02:15:00.000Z"
    assert utc(0) is utc(None) is utc("") is None
