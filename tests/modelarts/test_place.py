"""Where runs go, and as whom: endpoints by region, keys by one order, and no account's keys at another's endpoint."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.modelarts.place import find_place
from launcher.modelarts.regions import REGIONS, endpoint_of
from launcher.paths import Home
from launcher.settings import load_settings, user_file
from storage.errors import NoCredentials

PROFILES = """
profiles:
  work: {region: cn-south-1, project_id: p-work, bucket: work-bucket, keys: WORK}
  private:
    region: local
    endpoint: 'https://obs.corp.example'
    modelarts_endpoint: 'https://ma.corp.example/'
    iam_endpoint: iam.corp.example:31943
    bucket: corp-bucket
"""


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A person without keys, in a home of their own."""
    for name in os.environ:
        if name.startswith(("HUAWEICLOUD_", "WORK_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def place(project, monkeypatch):
    """``place(region="cn-north-4")``: by flags; a bucket and a project are named."""
    monkeypatch.setenv("LAUNCHER_BUCKET", "my-bucket")
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(PROFILES)

    def found(needs_bucket: bool = True, **flags: str):
        return find_place(load_settings(Home(project.root), **flags), needs_bucket)

    return found


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("OBS_ACCESS_KEY_ID", "AK-OBS")
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "SK-OBS")


@pytest.fixture
def file(tmp_path):
    """Write the cloud SDKs' own file."""

    def write(text: str, mode: int = 0o600):
        path = tmp_path / ".huaweicloud" / "credentials"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_the_endpoints_follow_from_the_region(place, keys):
    found = place(region="cn-north-4", project_id="p1")
    assert found.endpoint == "https://modelarts.cn-north-4.myhuaweicloud.com"
    assert found.iam_endpoint == "https://iam.cn-north-4.myhuaweicloud.com"
    assert found.obs.url == "https://obs.cn-north-4.myhuaweicloud.com"
    assert (found.bucket, found.root, found.workspace, found.pool, found.client) == (
        "my-bucket", "launcher", "0", "", "sdk",
    )  # fmt: skip


def test_the_table_is_the_sdks():
    found = importlib.util.find_spec("huaweicloudsdkmodelarts")  # read, not imported: that takes seconds
    if found is None or not found.origin:
        pytest.skip("the SDK is not installed")
    source = Path(found.origin).parent / "v1" / "region" / "modelarts_region.py"
    table = dict(re.findall(r'Region\("([a-z0-9-]+)",\s*"(https://[^"]+)"\)', source.read_text()))
    assert {region: endpoint_of("modelarts", region) for region in REGIONS} == table
    assert endpoint_of("modelarts", "ap-southeast-1").endswith(".myhuaweicloud.cn")
    assert endpoint_of("obs", "ap-southeast-1").endswith(".myhuaweicloud.com")


@pytest.mark.parametrize(
    ("flags", "said", "hint"),
    [
        ({"region": "cn-north-44"}, "no region 'cn-north-44'", "did you mean 'cn-north-4"),
        ({}, "no region is named", "config init --region"),
        ({"modelarts_endpoint": "https://ma.corp.example"}, "where is its OBS?", "config init --endpoint"),
        (
            {"modelarts_endpoint": "http://127.0.0.1:9", "endpoint": "http://127.0.0.1:8", "region": "cn-north-4"},
            "neither the project's id nor IAM's endpoint",
            "config init --project-id",
        ),
        ({"region": "cn-north-4", "bucket": "B!"}, "B!", "3 to 63"),
        ({"region": "cn-north-4", "root": "../up"}, "..", ""),
        ({"region": "cn-north-4", "project_id": "a/../b"}, "a/../b", "--help"),
        ({"region": "cn-north-4", "workspace": "0?x=1"}, "0?x=1", "--help"),
        ({"region": "cn-north-4", "modelarts_endpoint": "https://u:pw@ma.example"}, "****@ma.example", "write it as"),
        ({"profile": "work"}, "needs WORK_ACCESS_KEY_ID and WORK_SECRET", "export WORK_ACCESS_KEY_ID"),
        ({"region": "cn-north-4", "credentials": "sts"}, "needs an IAM token", "export LAUNCHER_IAM_TOKEN"),
    ],
)
def test_what_is_missing_or_wrong_is_two_lines(flags, said, hint, place, keys):
    with pytest.raises(UsageError) as found:
        place(**flags)
    assert said in found.value.message and hint in found.value.hint


def test_no_bucket(place, keys, monkeypatch):
    monkeypatch.delenv("LAUNCHER_BUCKET")
    with pytest.raises(UsageError, match="no bucket"):
        place(region="cn-north-4")
    assert place(needs_bucket=False, region="cn-north-4").bucket == ""
    assert place(region="cn-north-4", bucket="obs://mine/").bucket == "mine"


def test_no_keys(place, monkeypatch):
    with pytest.raises(UsageError, match="no keys") as found:
        place(region="cn-north-4")
    assert "config init" in found.value.hint
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "secret-of-mine")
    with pytest.raises(UsageError) as found:
        place(region="cn-north-4")
    assert "($HUAWEICLOUD_SDK_SK is set, $HUAWEICLOUD_SDK_AK is not)" in found.value.message
    assert "secret-of-mine" not in found.value.message


def test_a_private_cloud_has_endpoints_of_its_own(place, keys):
    found = place(profile="private")
    assert found.endpoint == "https://ma.corp.example"
    assert found.iam_endpoint == "https://iam.corp.example:31943"
    assert found.obs.url == "https://obs.corp.example"
    assert (found.bucket, found.project_id, found.region) == ("corp-bucket", "", "local")


def test_a_private_clouds_keys_are_not_shown_to_huawei(place, keys):
    """Neither IAM's nor OBS' endpoint is made from a region where ModelArts' is not Huawei's."""
    own = {"region": "cn-north-4", "modelarts_endpoint": "https://ma.corp.example", "project_id": "p"}
    with pytest.raises(UsageError, match="where is its OBS"):
        place(**own)
    assert place(**own, endpoint="https://obs.corp.example").iam_endpoint == ""


def source(found) -> tuple[str, str, str, str]:
    known = found.credentials.current()
    return found.keys_from, known.access, known.secret, known.token


def test_keys_of_the_environment(place, keys, monkeypatch):
    assert source(place(region="cn-north-4")) == ("$OBS_ACCESS_KEY_ID", "AK-OBS", "SK-OBS", "")
    monkeypatch.setenv("OBS_SECURITY_TOKEN", "T-OBS")
    assert source(place(region="cn-north-4"))[3] == "T-OBS"
    monkeypatch.delenv("OBS_ACCESS_KEY_ID")
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AK-SDK")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "SK-SDK")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SECURITY_TOKEN", "T-SDK")
    with pytest.raises(NoCredentials, match="is not"):  # half a pair does not lead to another account
        source(place(region="cn-north-4"))
    monkeypatch.delenv("OBS_SECRET_ACCESS_KEY")
    assert source(place(region="cn-north-4")) == ("$HUAWEICLOUD_SDK_AK", "AK-SDK", "SK-SDK", "T-SDK")


def test_of_two_different_pairs_one_wins_and_that_is_said(place, keys, monkeypatch):
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AK-SDK")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "SK-SDK")
    found = place(region="cn-north-4")
    assert source(found)[:3] == ("$OBS_ACCESS_KEY_ID", "AK-OBS", "SK-OBS")
    assert "two different keys: $OBS_ACCESS_KEY_ID is used" in found.notes[0]
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AK-OBS")
    assert place(region="cn-north-4").notes == ()


def test_the_cloud_sdks_own_file(place, file):
    path = file("[basic]\nak = AK-F\nsk = SK%F\nproject_id = p-file\niam_endpoint = https://iam.corp.example\n")
    found = place(region="cn-north-4")
    assert source(found) == (str(path), "AK-F", "SK%F", "")
    assert (found.project_id, found.iam_endpoint, found.notes) == ("p-file", "https://iam.corp.example", ())
    path.chmod(0o644)
    assert "chmod 600" in place(region="cn-north-4").notes[0]
    assert place(region="cn-north-4", project_id="p-flag").project_id == "p-flag"


def test_a_file_that_cannot_be_read_shows_no_line_of_it(place, file):
    file("ak = AK-F\nsk = SK-F\n")
    with pytest.raises(UsageError) as found:
        place(region="cn-north-4")
    assert "SK-F" not in found.value.message + found.value.hint and "--store-keys" in found.value.hint


def test_keys_of_a_profile_and_of_nobody_else(place, keys, monkeypatch):
    monkeypatch.setenv("WORK_ACCESS_KEY_ID", "AK-W")
    monkeypatch.setenv("WORK_SECRET_ACCESS_KEY", "SK-W")
    monkeypatch.setenv("LAUNCHER_IAM_TOKEN", "of-someone-else")
    monkeypatch.setenv("OBS_ENDPOINT", "https://obs.elsewhere.example")
    found = place(profile="work")
    assert source(found) == ("$WORK_ACCESS_KEY_ID", "AK-W", "SK-W", "")
    assert (found.obs.url, found.token) == ("https://obs.cn-south-1.myhuaweicloud.com", "")
    assert (found.bucket, found.project_id) == ("work-bucket", "p-work")


def test_an_iam_token(place, keys, monkeypatch):
    monkeypatch.setenv("LAUNCHER_IAM_TOKEN", "MII-token")
    found = place(region="cn-north-4")
    assert found.token == "MII-token" and found.credentials.current().access == "AK-OBS"
    monkeypatch.delenv("OBS_ACCESS_KEY_ID")
    found = place(region="cn-north-4")
    assert (found.keys_from, found.obs.credentials, found.obs.iam_token) == ("$LAUNCHER_IAM_TOKEN", "sts", "MII-token")
    assert found.obs.iam_endpoint == "https://iam.cn-north-4.myhuaweicloud.com"
    sts = place(region="cn-north-4", credentials="sts")
    assert (sts.token, sts.obs.iam_token) == ("", "MII-token")


def test_a_place_shows_no_secret(place, monkeypatch):
    monkeypatch.setenv("WORK_ACCESS_KEY_ID", "AK-W")
    monkeypatch.setenv("WORK_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setenv("WORK_IAM_TOKEN", "the-token")
    monkeypatch.setenv("WORK_SECURITY_TOKEN", "the-session")
    monkeypatch.setenv("LAUNCHER_PROXY", "http://me:the-password@proxy.example:80")
    shown = repr(place(profile="work", proxy="http://me:the-password@proxy.example:80"))
    assert not [word for word in ("the-secret", "the-token", "the-session", "the-password") if word in shown]


def test_no_tls_is_noted_but_on_the_loopback(place, keys):
    own = {"region": "x", "project_id": "p", "endpoint": "http://127.0.0.1:8"}
    assert place(**own, modelarts_endpoint="http://127.0.0.1:9").notes == ()
    assert "no TLS" in place(**own, modelarts_endpoint="http://ma.corp.example").notes[0]


def test_the_proxy(place, keys, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    assert place(region="cn-north-4").proxy == "http://proxy.example:3128"
    assert place(region="cn-north-4", proxy="http://other:1").proxy == "http://other:1"
    private = {"region": "x", "project_id": "p", "endpoint": "https://obs.corp.example"}
    assert place(**private, modelarts_endpoint="https://ma.corp.example").proxy == ""
    assert place(**private, modelarts_endpoint="http://127.0.0.1:9").proxy == ""
