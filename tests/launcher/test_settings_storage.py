"""The storage verbs go by the same settings: profile, credentials, token; and by nobody else's variables."""

from __future__ import annotations

import os

import pytest

from launcher.errors import UsageError
from launcher.objects.places import open_place
from launcher.paths import Home
from launcher.settings import user_file

PROFILES = """
storage: obs
profiles:
  work: {region: cn-south-1, keys: WORK}
  far: {endpoint: 'https://obs.corp.example', keys: WORK}
"""


@pytest.fixture
def home(project, monkeypatch, tmp_path) -> Home:
    for name in os.environ:
        if name.startswith("HUAWEICLOUD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WORK_ACCESS_KEY_ID", "AK-W")
    monkeypatch.setenv("WORK_SECRET_ACCESS_KEY", "SK-W")
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(PROFILES)
    return Home(project.root)


def settings_of(place):
    return place.service.channel.settings


def test_a_profile_chosen_by_a_variable_or_a_file_counts(home, project, monkeypatch):
    monkeypatch.setenv("LAUNCHER_PROFILE", "work")
    place = open_place(home)
    assert place.label == "OBS at https://obs.cn-south-1.myhuaweicloud.com (profile work)"
    assert settings_of(place).access_key == "AK-W"
    monkeypatch.delenv("LAUNCHER_PROFILE")
    (project.root / "launcher.yaml").write_text("profile: work\n")
    assert settings_of(open_place(home)).access_key == "AK-W"
    assert open_place(home, storage="local").name == "local"


def test_a_variable_of_another_account_does_not_fill_what_a_profile_leaves_out(home, monkeypatch):
    monkeypatch.setenv("OBS_REGION", "cn-north-4")
    monkeypatch.setenv("OBS_ENDPOINT", "https://obs.cn-north-4.myhuaweicloud.com")
    found = settings_of(open_place(home, profile="far"))
    assert (found.url, found.region) == ("https://obs.corp.example", "")


def test_credentials_and_tokens_count(home, monkeypatch):
    user_file().write_text("storage: obs\nregion: cn-north-4\ncredentials: ecs\n")
    assert settings_of(open_place(home)).credentials == "ecs"
    monkeypatch.setenv("LAUNCHER_IAM_TOKEN", "a-token")
    monkeypatch.setenv("LAUNCHER_CREDENTIALS", "auto")
    assert settings_of(open_place(home)).iam_token == "a-token"


def test_a_private_clouds_token_is_not_shown_to_huawei(home, monkeypatch):
    user_file().write_text("storage: obs\nregion: cn-north-4\nendpoint: https://obs.corp.example\n")
    monkeypatch.setenv("LAUNCHER_IAM_TOKEN", "a-token")
    with pytest.raises(UsageError, match="need an IAM endpoint"):
        open_place(home)
    monkeypatch.setenv("LAUNCHER_IAM_ENDPOINT", "https://iam.corp.example")
    assert settings_of(open_place(home)).iam_endpoint == "https://iam.corp.example"


def test_a_project_file_leads_no_storage_verb_away(home, project, cli):
    (project.root / "launcher.yaml").write_text("endpoint: https://obs.evil.example\n")
    answer = cli("storage", "ls")
    assert answer.code == 2 and "https://obs.evil.example" in answer.err and "trusted:" in answer.err
