"""Settings: who wins, where each value is from, and what a project's file may not say."""

from __future__ import annotations

import pytest

from launcher.errors import SpecError, UsageError
from launcher.paths import Home
from launcher.settings import is_huaweis, load_settings, user_file

PROFILES = """
profiles:
  work: {region: cn-south-1, project_id: p-work, bucket: b-work, keys: WORK}
  private: {region: local-1, endpoint: 'https://obs.corp.example', modelarts_endpoint: 'https://ma.corp.example'}
"""


@pytest.fixture
def files(project, monkeypatch):
    """Write the user's and the project's settings."""
    for name in ("HUAWEICLOUD_SDK_PROJECT_ID", "HUAWEICLOUD_SDK_IAM_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def write(user: str = "", own: str = "") -> Home:
        user_file().parent.mkdir(parents=True, exist_ok=True)
        user_file().write_text(user)
        (project.root / "launcher.yaml").write_text(own)
        return Home(project.root)

    return write


def test_every_layer_gives_way_to_the_one_above_and_is_named(files, monkeypatch):
    def region(**flags):
        settings = load_settings(home, **flags)
        return settings.region, settings.origins["region"]

    home = files()
    assert region() == ("", "default")
    home = files(PROFILES + "profile: work\n")
    assert region() == ("cn-south-1", "profile work")
    home = files(PROFILES + "profile: work\nregion: cn-north-1\n")
    assert region() == ("cn-north-1", str(user_file()))
    home = files("region: cn-north-1\n", "region: cn-north-2\n")
    assert region() == ("cn-north-2", "launcher.yaml")
    monkeypatch.setenv("OBS_REGION", "cn-north-4")
    assert region() == ("cn-north-4", "$OBS_REGION")
    monkeypatch.setenv("LAUNCHER_REGION", "cn-north-9")
    assert region() == ("cn-north-9", "$LAUNCHER_REGION")
    assert region(region="cn-east-3") == ("cn-east-3", "--region")


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("OBS_ENDPOINT", "endpoint"),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "project_id"),
        ("HUAWEICLOUD_SDK_IAM_ENDPOINT", "iam_endpoint"),
        ("OBS_CA_FILE", "ca_file"),
        ("OBS_PROXY", "proxy"),
        ("LAUNCHER_MODELARTS_ENDPOINT", "modelarts_endpoint"),
        ("LAUNCHER_BUCKET", "bucket"),
        ("LAUNCHER_ROOT", "root"),
        ("LAUNCHER_WORKSPACE", "workspace"),
        ("LAUNCHER_POOL", "pool"),
    ],
)
def test_the_clouds_own_variables_count(variable, key, files, monkeypatch):
    monkeypatch.setenv(variable, "value")
    settings = load_settings(files())
    assert getattr(settings, key) == "value" and settings.origins[key] == f"${variable}"


def test_the_cloud_sdks_variable_for_modelarts_of_the_region(files, monkeypatch):
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_MODELARTS_CN_NORTH_4", "https://one.example, https://two.example")
    home = files("region: cn-north-4\n")
    assert load_settings(home).modelarts_endpoint == "https://one.example"
    assert load_settings(home, region="cn-south-1").modelarts_endpoint == ""
    assert load_settings(home, modelarts_endpoint="https://three.example").modelarts_endpoint == "https://three.example"


def test_a_profile_is_an_account_whole(files, monkeypatch):
    """What its owner did not say of it is not taken from another account."""
    home = files(PROFILES + "project_id: p-own\nbucket: b-own\npool: pool-own\n", "root: team\n")
    monkeypatch.setenv("OBS_ENDPOINT", "https://obs.elsewhere.example")
    settings = load_settings(home, profile="work")
    assert (settings.region, settings.project_id, settings.bucket) == ("cn-south-1", "p-work", "b-work")
    assert (settings.endpoint, settings.pool) == ("", "")
    assert settings.account and settings.account.keys == "WORK"
    assert settings.origins["bucket"] == "profile work"
    assert load_settings(home, profile="work", bucket="b-flag").bucket == "b-flag"


def test_a_profile_counts_after_whoever_chose_it(files, monkeypatch):
    home = files(PROFILES, "profile: work\nbucket: b-project\n")
    settings = load_settings(home)
    assert (settings.region, settings.bucket, settings.origins["profile"]) == (
        "cn-south-1",
        "b-project",
        "launcher.yaml",
    )
    monkeypatch.setenv("LAUNCHER_PROFILE", "private")
    monkeypatch.setenv("OBS_REGION", "local-2")
    settings = load_settings(home)
    assert (settings.region, settings.bucket) == ("local-2", "")
    assert settings.modelarts_endpoint == "https://ma.corp.example"


def test_no_profile_can_be_said_too(files, monkeypatch):
    home = files(PROFILES + "region: cn-north-1\nprofile: private\n", "profile: work\n")
    settings = load_settings(home, profile="")
    assert (settings.profile, settings.region, settings.account) == ("", "cn-north-1", None)


def test_a_profile_that_is_none(files):
    with pytest.raises(UsageError, match="no profile 'wrok'") as found:
        load_settings(files(PROFILES), profile="wrok")
    assert found.value.hint == "did you mean 'work'?"


def test_huaweis_endpoint_of_another_region_does_not_stay(files, monkeypatch):
    monkeypatch.setenv("OBS_ENDPOINT", "https://obs.cn-north-4.myhuaweicloud.com")
    home = files()
    assert load_settings(home).endpoint == "https://obs.cn-north-4.myhuaweicloud.com"
    assert load_settings(home, region="cn-south-1").endpoint == ""
    monkeypatch.setenv("OBS_ENDPOINT", "https://obs.corp.example")
    assert load_settings(home, region="cn-south-1").endpoint == "https://obs.corp.example"


EVIL = [
    ("modelarts_endpoint", "https://modelarts.evil.example"),
    ("iam_endpoint", "https://iam.cn-north-4.myhuaweicloud.com.evil.example"),
    ("endpoint", "https://obs.evil.example"),
    ("endpoint", "http://obs.cn-north-4.myhuaweicloud.com"),
    ("endpoint", "https://evil.obs.cn-north-4.myhuaweicloud.com"),
    ("endpoint", "https://modelarts.cn-north-4.myhuaweicloud.com"),
    ("proxy", "http://evil.example:8080"),
    ("ca_file", "evil.pem"),
]


@pytest.mark.parametrize(("key", "value"), EVIL)
@pytest.mark.parametrize("flags", [{"storage": "obs"}, {"target": "modelarts"}])
def test_a_projects_file_leads_no_keys_away(flags, key, value, files, monkeypatch):
    monkeypatch.setitem(__import__("launcher.targets").targets.TARGETS, "modelarts", "nowhere:Nothing")
    home = files("", f"{key}: '{value}'\n")
    with pytest.raises(UsageError) as found:
        load_settings(home, **flags)
    assert value in found.value.message and f"export LAUNCHER_{key.upper()}={value}" in found.value.hint
    assert load_settings(home).refused == {key: value}  # what stays on this machine goes on
    assert getattr(load_settings(home), key) == ""
    assert getattr(load_settings(home, **flags, **{key: "https://mine.example"}), key) == "https://mine.example"
    assert load_settings(files(f"trusted: ['{value}/']\n", f"{key}: '{value}'\n"), **flags).refused == {}
    mine = f"profiles: {{own: {{{key}: '{value}'}}}}\n"
    assert getattr(load_settings(files(mine, f"{key}: '{value}'\n"), **flags), key) == value


def test_a_projects_password_is_not_repeated(files):
    with pytest.raises(UsageError) as found:
        load_settings(files("", "proxy: 'http://me:pass-word@evil.example'\n"), storage="obs")
    assert "pass-word" not in found.value.message + found.value.hint and "evil.example" in found.value.message


def test_a_projects_file_may_name_huaweis_own_and_a_bucket(files):
    endpoint = "https://obs.ap-southeast-1.myhuaweicloud.com"
    settings = load_settings(files("", f"endpoint: {endpoint}\nbucket: team\nregion: ap-southeast-1\n"), storage="obs")
    assert (settings.endpoint, settings.bucket) == (endpoint, "team")


def test_a_profile_from_above_makes_the_projects_endpoint_no_matter(files):
    home = files(PROFILES, "endpoint: https://obs.evil.example\n")
    settings = load_settings(home, profile="work", storage="obs")
    assert settings.endpoint == "" and settings.refused == {}


@pytest.mark.parametrize("key", ["profiles", "trusted", "credentials"])
def test_what_only_a_person_may_say(key, files):
    with pytest.raises(SpecError, match=f"unknown key '{key}'"):
        load_settings(files("", f"{key}: x\n"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"region": "evil.example/#"}, "'evil.example/#' is no region's id"),
        ({"client": "curl"}, "there is no client 'curl'"),
        ({"credentials": "magic"}, "there are no credentials 'magic'"),
    ],
)
def test_values_that_cannot_be(flags, said, files):
    with pytest.raises(UsageError, match=said):
        load_settings(files(), **flags)


@pytest.mark.parametrize(
    ("url", "huaweis"),
    [
        ("https://modelarts.ap-southeast-1.myhuaweicloud.cn", True),
        ("modelarts.cn-north-4.myhuaweicloud.com/", True),
        ("http://modelarts.cn-north-4.myhuaweicloud.com", False),
        ("https://modelarts.cn-north-4.myhuaweicloud.com@evil.example", False),
        ("https://a.modelarts.cn-north-4.myhuaweicloud.com", False),
        ("https://modelarts.cn-north-4.myhuaweicloud.com/a", False),
    ],
)
def test_what_is_huaweis(url, huaweis):
    assert is_huaweis(url, "modelarts") is huaweis
