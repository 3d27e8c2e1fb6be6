"""``config``: every value with its origin and no secret; ``init`` checks, writes 0600, and asks where it may."""

from __future__ import annotations

import io
import json
import os

import pytest
import yaml

from launcher.configuring import changed, hidden, write_private
from launcher.paths import Home
from launcher.settings import load_settings, user_file
from tests.modelarts.loopback import PROJECT, Cloud
from tests.modelarts.test_doctor import AK, SK, cloud  # noqa: F401  (a fixture)


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path, project):
    for name in os.environ:
        if name.startswith("HUAWEICLOUD_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def written():
    """The user file as YAML."""
    return lambda: yaml.safe_load(user_file().read_text()) if user_file().exists() else None


def test_show_has_every_value_and_its_origin(cli, monkeypatch, project):
    (project.root / "launcher.yaml").write_text("bucket: team-bucket\n")
    monkeypatch.setenv("OBS_REGION", "cn-north-4")
    monkeypatch.setenv("OBS_ACCESS_KEY_ID", AK)
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", SK)
    shown = cli("config", "show", "--json").json
    assert shown["region"] == {"value": "cn-north-4", "origin": "$OBS_REGION"}
    assert shown["bucket"] == {"value": "team-bucket", "origin": "launcher.yaml"}
    assert shown["modelarts_endpoint"]["value"] == "https://modelarts.cn-north-4.myhuaweicloud.com"
    assert shown["iam_endpoint"]["origin"] == "made from the region cn-north-4"
    assert shown["access key"] == {"value": "****" + AK[-4:], "origin": "$OBS_ACCESS_KEY_ID"}
    assert shown["secret key"]["value"] == "****"
    assert set(shown) >= {"target", "storage", "project_id", "root", "workspace", "pool", "client", "ca_file", "proxy"}
    table = cli("config", "show", "--origin").out
    assert "$OBS_REGION" in table and "launcher.yaml" in table and SK not in table
    plain = cli("config", "show")
    assert "$OBS_REGION" not in plain.out and "--origin" in plain.err


def test_show_never_fails_for_what_is_not_set_or_wrong(cli, monkeypatch, project):
    assert cli("config", "show", "--json").json["access key"]["origin"] == "not set"
    user_file().parent.mkdir(parents=True)
    user_file().write_text("profiles: {work: {region: cn-north-4, keys: WORK}}\n")
    shown = cli("config", "show", "-P", "work", "--json").json
    assert shown["access key"]["origin"].startswith("the profile 'work' needs WORK_ACCESS_KEY_ID")
    (project.root / "launcher.yaml").write_text("endpoint: https://obs.evil.example\n")
    assert "which you have not said" in cli("config", "show", "--json").json["endpoint"]["origin"]
    monkeypatch.setenv("LAUNCHER_PROXY", "http://me:pass-word@proxy.example:80")
    assert cli("config", "show", "--json").json["proxy"]["value"] == "http://****@proxy.example:80"


def test_little_is_shown_of_a_key():
    assert hidden("A" * 16 + "1234") == "****1234"
    assert hidden("short") == "****"


def test_path(cli):
    assert cli("config", "path").out == f"{user_file()}\n"
    assert cli("config", "path", "--json").json == {"path": str(user_file()), "exists": False}


def test_init_checks_online_and_writes_for_oneself_alone(cloud: Cloud, cli, written):  # noqa: F811
    answer = cli("config", "init", "--region", "cn-north-4", "--bucket", "my-bucket", "--project-id", PROJECT)
    assert answer.code == 0, answer
    assert written() == {"region": "cn-north-4", "bucket": "my-bucket", "project_id": PROJECT}
    assert user_file().stat().st_mode & 0o777 == 0o600
    assert (
        "ok: bucket" in answer.err and "ok: project" in answer.err and "next: python -m launcher doctor" in answer.err
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bucket", "not-there"), "bucket: "),
        (("--project-id", "f" * 32), "is none of this account's"),
        (("--modelarts-endpoint", "http://127.0.0.1:1"), "nobody answers"),
        (("--client", "curl"), "there is no client 'curl'"),
        (("--region", "cn-north-44", "--modelarts-endpoint", ""), "no region 'cn-north-44'"),
        (("--keys", SK), "no source of keys"),
        (("--keys", "file"), "has no keys"),
        (("--profile", "a/b"), "no name for a profile"),
        (("--proxy", "http://me:pass-word@127.0.0.1:9", "--offline"), "a proxy with a password is a secret"),
        (("--profile", "w", "--target", "local"), "not a matter of one account"),
    ],
)
def test_what_does_not_work_is_not_written(words, said, cloud: Cloud, cli, written):  # noqa: F811
    answer = cli("config", "init", *words)
    assert answer.code == 2 and said in answer.err, answer
    assert SK not in answer.err and "pass-word" not in answer.err
    assert written() is None


def test_offline_writes_what_cannot_be_checked_now(cli, written):
    assert cli("config", "init", "--region", "cn-north-4", "--bucket", "later", "--offline").code == 0
    assert written() == {"region": "cn-north-4", "bucket": "later"}
    assert cli("config", "init", "--region", "cn-noth-4", "--offline").code == 2


def test_init_keeps_what_else_is_there_and_takes_out_what_is_emptied(cli, written):
    user_file().parent.mkdir(parents=True)
    user_file().write_text("# mine\npool: p\nregion: cn-south-1\nprofiles: {other: {region: cn-east-3}}\n")
    user_file().chmod(0o644)
    answer = cli("config", "init", "--region", "cn-north-4", "--pool", "", "--offline")
    assert written() == {"profiles": {"other": {"region": "cn-east-3"}}, "region": "cn-north-4"}
    assert user_file().stat().st_mode & 0o777 == 0o600
    before = user_file().with_name("config.yaml.before")
    assert "# mine" in before.read_text() and str(before) in answer.err


def test_init_of_a_profile(cloud: Cloud, cli, written, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WORK_ACCESS_KEY_ID", AK)
    monkeypatch.setenv("WORK_SECRET_ACCESS_KEY", SK)
    monkeypatch.delenv("OBS_ACCESS_KEY_ID")
    words = [
        "--region",
        "cn-north-4",
        "--bucket",
        "my-bucket",
        "--keys",
        "WORK",
        "--modelarts-endpoint",
        cloud.endpoint,
    ]
    endpoints = ["--iam-endpoint", cloud.endpoint, "--endpoint", os.environ["OBS_ENDPOINT"]]
    answer = cli("config", "init", "--profile", "work", *words, *endpoints, "--json")
    assert answer.code == 0, answer
    assert written()["profiles"]["work"]["keys"] == "WORK"
    assert answer.json["profile"] == "work"
    shown = cli("config", "show", "-P", "work", "--json").json
    assert shown["bucket"] == {"value": "my-bucket", "origin": "profile work"}
    assert shown["access key"]["origin"] == "$WORK_ACCESS_KEY_ID"
    assert SK not in user_file().read_text() and AK not in user_file().read_text()


def test_the_candidate_is_what_will_be_loaded(project, cli):
    """`changed` and the file it stands for give the same settings."""
    home = Home(project.root)
    for profile in ("", "work"):
        words = ["--region", "cn-north-4", "--bucket", "b-1", *(["--profile", profile] if profile else [])]
        wanted = changed(load_settings(home), {"region": "cn-north-4", "bucket": "b-1"}, profile)
        assert cli("config", "init", *words, "--offline").code == 0
        found = load_settings(home, profile=profile or None)
        for key in ("region", "bucket", "workspace", "root", "client", "credentials", "profile"):
            assert getattr(found, key) == getattr(wanted, key), key


def test_keys_are_stored_only_when_asked_for(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("OBS_ACCESS_KEY_ID", AK)
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", SK)
    path = tmp_path / ".huaweicloud" / "credentials"
    cli("config", "init", "--region", "cn-north-4", "--offline")
    assert not path.exists() and SK not in user_file().read_text()
    path.parent.mkdir()
    path.write_text("[global]\nak = other\n[basic]\nak = old\nsecurity_token = old\n")
    answer = cli("config", "init", "--region", "cn-north-4", "--offline", "--store-keys")
    assert answer.code == 0 and str(path) in answer.err and SK not in answer.err + answer.out
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().split() == f"[global] ak = other [basic] ak = {AK} sk = {SK}".split()
    for name in ("OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert cli("config", "show", "--json").json["access key"] == {"value": "****" + AK[-4:], "origin": str(path)}
    assert cli("config", "init", "--region", "cn-north-4", "--offline", "--store-keys").code == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_init_asks_and_checks_each_answer(cloud: Cloud, cli, written, monkeypatch):  # noqa: F811
    answers = ["cn-north-44", "n", "cn-north-4", "", "not-there", "", "my-bucket"]
    monkeypatch.delenv("LAUNCHER_MODELARTS_ENDPOINT")  # so that the region counts; then given as a flag below
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers) + "\n"))
    monkeypatch.delenv("LAUNCHER_BUCKET")
    monkeypatch.setattr("launcher.modelarts.regions.endpoint_of", lambda service, region: cloud.endpoint)
    monkeypatch.setattr(
        "launcher.modelarts.place.endpoint_of",
        lambda service, region: cloud.endpoint if region == "cn-north-4" else _none(region),
    )
    answer = cli("config", "init")
    assert answer.code == 0, answer
    assert written() == {"region": "cn-north-4", "project_id": PROJECT, "bucket": "my-bucket"}
    assert "keep it all the same?" in answer.err and "ok: bucket: obs://my-bucket is there" in answer.err


def _none(region: str) -> str:
    from launcher.errors import UsageError

    raise UsageError(f"no region {region!r}", "")


def test_init_asks_where_keys_come_from_if_it_finds_none(cli, monkeypatch, written):
    monkeypatch.setattr("sys.stdin", Terminal("env\n"))
    answer = cli("config", "init")
    assert answer.code == 2 and "export HUAWEICLOUD_SDK_AK" in answer.err
    monkeypatch.setattr("sys.stdin", Terminal("ecs\ncn-north-4\n\nmy-bucket\n"))
    assert cli("config", "init", "--offline").code == 0
    assert written() == {"credentials": "ecs", "region": "cn-north-4", "bucket": "my-bucket"}


def test_nobody_answers(cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal(""))
    answer = cli("config", "init")
    assert answer.code == 2 and "nobody answers" in answer.err


def test_a_private_file_is_never_open(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError):
        write_private(path, "three")
    assert [p.name for p in path.parent.iterdir()] == ["b"] and json.dumps(path.read_text()) == '"two"'
