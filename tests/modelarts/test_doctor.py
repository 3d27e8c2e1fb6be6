"""``doctor``: each thing that keeps a run from starting is found before a byte is sent, with what mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from email.utils import formatdate

import pytest

from launcher.emulator.obs import Account, ObsServer
from launcher.paths import Home
from launcher.settings import user_file
from tests.modelarts.loopback import PROJECT, Cloud

pytest.importorskip("obs")
pytest.importorskip("huaweicloudsdkcore")

AK, SK = "AKDOCTOR0123456789AB", "SkDoctor0123456789SkDoctor0123456789abcd"
TARGET = ("doctor", "--target", "modelarts")


@pytest.fixture
def cloud(monkeypatch, tmp_path):
    """ModelArts, IAM and OBS, where everything is as it should be; the environment leads there."""
    for name in os.environ:
        if name.startswith("HUAWEICLOUD_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Cloud() as cloud, ObsServer(tmp_path / "obs", accounts={AK: Account(SK)}) as server:
        settings = {
            "OBS_ENDPOINT": server.endpoint,
            "OBS_ACCESS_KEY_ID": AK,
            "OBS_SECRET_ACCESS_KEY": SK,
            "LAUNCHER_MODELARTS_ENDPOINT": cloud.endpoint,
            "LAUNCHER_IAM_ENDPOINT": cloud.endpoint,
            "LAUNCHER_REGION": "cn-north-4",
            "LAUNCHER_PROJECT_ID": PROJECT,
            "LAUNCHER_BUCKET": "my-bucket",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        from storage.obs import ObsService, ObsSettings

        service = ObsService(ObsSettings.from_environment())
        service.make_bucket("my-bucket", region="cn-north-4")
        service.make_bucket("far-away", region="cn-south-1")
        service.close()
        yield cloud


@pytest.fixture
def doctor(cli, project):
    """``doctor("--job", "hello")``: the rows by their names, and the exit code."""

    def look(*words: str):
        answer = cli(*TARGET, *words, "--json")
        rows: dict[str, dict[str, str]] = {}
        for row in answer.json:
            if row["check"] not in rows or row["status"] == "fail":
                rows[row["check"]] = row
        return answer.code, rows

    return look


def test_all_is_well(cloud, doctor):
    code, rows = doctor()
    assert {row["status"] for row in rows.values()} == {"ok"}, rows
    assert code == 0 and not any(row["hint"] for row in rows.values())
    assert rows["flavor and engine"]["found"].startswith("modelarts.kat1.xlarge")
    assert "from $OBS_ACCESS_KEY_ID" in rows["keys"]["found"]
    assert rows["quota"]["found"] == "3 of 100 jobs"
    assert rows["bucket"]["found"] == "obs://my-bucket is there, in cn-north-4"


def test_it_leaves_nothing_behind(cloud, doctor, cli):
    doctor()
    assert cli("storage", "ls", "-r", "obs://my-bucket", "--storage", "obs", "--json").json == []


def test_in_words(cloud, cli, project):
    cloud.answers[r"GET .*/training-quotas"] = (200, {"quotas": [{"resource": "job-num", "quota": 5, "used": 5}]})
    answer = cli(*TARGET)
    assert answer.code == 1
    assert "fail  quota" in answer.out and "我的配额" in answer.out and "1 failed, 0 warnings" in answer.err


def refusal(status: int, code: str):
    return status, {"error_code": code, "error_msg": "told by the service"}


@pytest.mark.parametrize(
    ("answers", "check", "status", "code", "hint"),
    [
        ({r"GET .*flavors": refusal(401, "APIGW.0301")}, "modelarts", "fail", "APIGW.0301", "访问密钥"),
        ({r"GET .*flavors": refusal(403, "ModelArts.0210")}, "modelarts", "fail", "ModelArts.0210", "API凭证"),
        ({r"GET .*flavors": refusal(403, "ModelArts.0108")}, "modelarts", "fail", "ModelArts.0108", "统一身份认证"),
        ({r"GET .*flavors": refusal(400, "ModelArts.2837")}, "modelarts", "fail", "ModelArts.2837", "费用中心"),
        ({r"GET .*flavors": (200, "<html>log in</html>")}, "modelarts", "fail", None, "proxy"),
        ({r"GET .*authorizations": (200, {"auth": []})}, "agency", "fail", "ModelArts.2785", "添加授权"),
        ({r"GET .*authorizations": refusal(403, "ModelArts.2785")}, "agency", "fail", "ModelArts.2785", "添加授权"),
        ({r"GET .*authorizations": refusal(404, "ModelArts.2836")}, "agency", "skip", "ModelArts.2836", "添加授权"),
        ({r"GET .*quotas": (200, {"quotas": [{"resource": "job-num", "quota": 9, "used": 9}]})}, "quota", "fail",
         "ModelArts.2815", "我的配额"),
        ({r"GET .*quotas": refusal(403, "ModelArts.0108")}, "quota", "warn", "ModelArts.0108", "统一身份认证"),
        ({r"GET .*quotas": (200, {"quotas": []})}, "quota", "ok", None, None),
        ({r"GET .*flavors": (200, {"flavors": []})}, "flavor and engine", "warn", None, "it has none"),
        ({r"GET .*engines": (200, {"items": []})}, "flavor and engine", "warn", None, "engine"),
        ({r"GET /v3/(auth/)?projects": (200, {"projects": [{"id": "f" * 9, "name": "cn-north-4"}]})}, "project", "fail",
         "ModelArts.0210", "API凭证"),
        ({r"GET /v3/projects": (403, {"error": {"code": 403, "message": "no"}})}, "project", "warn", "403", None),
    ],
)  # fmt: skip
def test_what_the_service_says_is_explained(answers, check, status, code, hint, cloud, doctor):
    cloud.answers.update(answers)
    exit_code, rows = doctor()
    row = rows[check]
    assert (row["status"], row["code"]) == (status, code), row
    assert hint is None or hint in row["hint"], row
    assert exit_code == (status == "fail")


@pytest.mark.parametrize(
    ("variables", "check", "found", "hint"),
    [
        ({"LAUNCHER_REGION": ""}, "project", "not looked up", None),
        ({"LAUNCHER_MODELARTS_ENDPOINT": "http://127.0.0.1:1"}, "endpoint", "nobody answers", "config show"),
        ({"OBS_ACCESS_KEY_ID": "", "OBS_SECRET_ACCESS_KEY": ""}, "settings", "no keys", "config init"),
        ({"LAUNCHER_BUCKET": ""}, "bucket", "none is named", "config init --bucket"),
        ({"LAUNCHER_BUCKET": "not-there"}, "bucket", "not-there", "storage mb obs://not-there"),
        ({"LAUNCHER_BUCKET": "far-away"}, "bucket", "is in cn-south-1, ModelArts in cn-north-4", "--region cn-south-1"),
        ({"OBS_SECRET_ACCESS_KEY": "wrong" * 8}, "bucket", "my-bucket", "secret key"),
        ({"LAUNCHER_POOL": "pool-2"}, "pool", "no pool 'pool-2' (pools: pool-1)", "专属资源池"),
        ({"LAUNCHER_CLIENT": "modelarts-sdk"}, "sdk", "Huawei's wheel", "config init --client sdk"),
        ({"LAUNCHER_POOL": "pool-1"}, "pool", "pool-1 is running", None),
        ({"OBS_CREDENTIALS": "ecs", "OBS_METADATA": "http://127.0.0.1:1"}, "keys", "metadata gives no keys", "agency"),
        ({"LAUNCHER_CA_FILE": "none.pem"}, "settings", "none.pem", "config show"),
    ],
)  # fmt: skip
def test_what_is_wrong_here(variables, check, found, hint, cloud, doctor, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, rows = doctor()
    assert found in rows[check]["found"], rows[check]
    assert code == (rows[check]["status"] == "fail")
    assert hint is None or hint in rows[check]["hint"], rows[check]


def test_a_pool_that_is_not_for_training_or_not_running(cloud, doctor, monkeypatch):
    monkeypatch.setenv("LAUNCHER_POOL", "p")
    for status, code in (
        ({"phase": "Abnormal"}, "2887"),
        ({"phase": "Running", "scope": [{"scopeType": "Infer"}]}, "2886"),
    ):
        cloud.answers[r"GET .*/pools"] = (200, {"items": [{"metadata": {"name": "p"}, "status": status}]})
        assert doctor()[1]["pool"]["code"] == f"ModelArts.{code}"


@pytest.mark.parametrize(
    ("name", "status"), [("cn-north-4_team", "ok"), ("cn-south-1", "fail"), ("cn-north-44", "fail")]
)
def test_a_project_below_the_regions_own_is_fine_and_one_of_another_region_is_not(name, status, cloud, doctor):
    cloud.answers[r"GET /v3/projects"] = (200, {"projects": [{"id": "f" * 32, "name": "cn-north-4"}]})
    cloud.answers[r"GET /v3/auth/projects"] = (200, {"projects": [{"id": PROJECT, "name": name}]})
    row = doctor()[1]["project"]
    assert row["status"] == status and name in row["found"]
    assert status == "ok" or "f" * 32 in row["found"]


def test_data_that_is_used_in_place(cloud, doctor, project):
    for url, status in (
        ("obs://my-bucket/nothing/", "fail"),
        ("obs://nobodys/x/", "fail"),
        ("obs://my-bucket/there", "ok"),
    ):
        project.job("remote", "print(1)\n", data=url)
        if status == "ok":
            from storage.obs import ObsService, ObsSettings

            service = ObsService(ObsSettings.from_environment())
            service.bucket("my-bucket").write("there/a.txt", b"1")
            service.close()
        code, rows = doctor("--job", "remote")
        assert rows["data"]["status"] == status and url in rows["data"]["found"]
        assert code == (status == "fail")


def test_a_wrong_clock_is_a_warning_since_requests_are_dated_by_the_service(cloud, doctor):
    cloud.headers["Date"] = formatdate(time.time() - 3600, usegmt=True)
    code, rows = doctor()
    assert rows["clock"]["status"] == "warn" and "60 min ahead" in rows["clock"]["found"]
    assert "timedatectl" in rows["clock"]["hint"] and code == 0


def test_tls_is_verified_and_an_authority_can_be_added(cloud, doctor, monkeypatch, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    if not shutil.which("openssl") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no openssl")
    with Cloud((cert, key)) as private:
        monkeypatch.setenv("LAUNCHER_MODELARTS_ENDPOINT", private.endpoint)
        code, rows = doctor()
        assert code == 1 and "certificate is not trusted" in rows["endpoint"]["found"]
        assert "config init --ca-file" in rows["endpoint"]["hint"] and private.seen == []
        monkeypatch.setenv("LAUNCHER_CA_FILE", str(cert))
        code, rows = doctor()
        assert code == 0 and rows["modelarts"]["status"] == "ok", rows


def test_a_proxy_is_used_and_its_password_is_not_shown(cloud, cli, project, monkeypatch):
    with Cloud() as proxy:
        proxy.answers[r"GET http://.*"] = (407, "who are you")
        monkeypatch.setenv("LAUNCHER_PROXY", proxy.endpoint.replace("http://", "http://me:pass-word@"))
        answer = cli(*TARGET)
        assert [seen.path for seen in proxy.seen] == [cloud.endpoint + "/"]
        assert "Proxy-Authorization" in proxy.seen[0].headers
    assert answer.code == 1 and "export LAUNCHER_PROXY" in answer.out
    assert "http://****@127.0.0.1" in answer.out and "pass-word" not in answer.out + answer.err


def test_two_different_keys_are_a_warning(cloud, cli, project, monkeypatch):
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AKOTHER0123456789ABC")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "x")
    answer = cli(*TARGET)
    assert answer.code == 0 and "warn  settings" in answer.out and "two different keys" in answer.out


def test_what_failed_before_is_said_once(cloud, cli, project, monkeypatch):
    monkeypatch.setenv("LAUNCHER_MODELARTS_ENDPOINT", "http://127.0.0.1:1")
    started = time.monotonic()
    answer = cli(*TARGET)
    assert answer.code == 1 and answer.out.count("not looked at") == 1 and "bucket" in answer.out
    assert time.monotonic() - started < 5


def test_no_job_is_made_and_nothing_is_changed(cloud, doctor):
    doctor()
    assert {seen.method for seen in cloud.seen} == {"GET"}


def test_a_job(cloud, doctor, project):
    project.job("hello", "print(1)\n")
    code, rows = doctor("--job", "hello")
    assert "modelarts.kat1.xlarge" in rows["there are"]["found"]
    assert code == 0 and "main.py compiles" in rows["code"]["found"]
    project.job("big", "print(1)\n", resources={"flavor": "Ascend: 8*Ascend 910"})
    code, rows = doctor("--job", "big")
    assert code == 1 and rows["flavor and engine"]["status"] == "fail"
    assert "modelarts.kat1.xlarge" in rows["flavor and engine"]["found"]
    project.job("page", "<!DOCTYPE html>\n")
    assert doctor("--job", "page")[1]["job page"]["status"] == "fail"
    assert doctor("--job", "pgae")[1]["job pgae"]["hint"] == "did you mean 'page'?"


def test_the_local_target_needs_no_cloud(cli, project, monkeypatch):
    monkeypatch.setenv("HOME", str(project.root))
    project.job("hello", "print(1)\n")
    answer = cli("doctor", "--job", "hello", "--json")
    assert answer.code == 0
    assert {row["check"] for row in answer.json} >= {"python", "packages", "disk", "local target", "job hello"}
    project.job("needy", "print(1)\n", requires=["no_such_module"])
    failed = cli("doctor", "--job", "needy", "--json")
    assert failed.code == 1 and "no_such_module" in failed.out
    assert cli("doctor", "--target", "cloud").code == 2
    assert not Home(project.root).root.exists()  # a look makes no folder


def test_an_interpreter_that_is_none(cli, project, monkeypatch):
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text("python: /no/such/python\n")
    answer = cli("doctor", "--json")
    assert answer.code == 1 and "/no/such/python" in answer.out
