"""Where obs:// URLs lead: said by a flag, a variable or a file, never by keys that lie around; and OBS itself."""

from __future__ import annotations

import urllib.request

import pytest

from launcher.objects.places import open_place
from launcher.paths import Home
from launcher.settings import user_file
from tests.launcher.storage_verbs.conftest import tree

KEYS = {"OBS_ACCESS_KEY_ID": "AK", "OBS_SECRET_ACCESS_KEY": "SK"}
PROFILES = """
profiles:
  other: {region: ap-southeast-3, keys: OTHER}
  named: {endpoint: 'https://obs.example.org', keys: OTHER}
  lost: {keys: OTHER}
"""


@pytest.fixture
def home(project, monkeypatch) -> Home:
    for name in ("OBS_ENDPOINT", "OBS_REGION", *KEYS):
        monkeypatch.delenv(name, raising=False)
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text(PROFILES)
    return Home(project.root)


def test_keys_alone_lead_nowhere(home, monkeypatch):
    for name, value in {**KEYS, "OBS_REGION": "cn-north-4"}.items():
        monkeypatch.setenv(name, value)
    assert open_place(home).label == "local buckets in .launcher/buckets"


def test_flag_variable_project_and_user_file_in_that_order(home, project, monkeypatch):
    monkeypatch.setenv("OBS_REGION", "cn-north-4")
    user_file().write_text("storage: obs\n")
    assert open_place(home).name == "obs"
    (project.root / "launcher.yaml").write_text("storage: local\n")
    assert open_place(home).name == "local"
    monkeypatch.setenv("LAUNCHER_STORAGE", "obs")
    assert open_place(home).label == "OBS at https://obs.cn-north-4.myhuaweicloud.com"
    assert open_place(home, storage="local").name == "local"


@pytest.mark.parametrize(
    ("endpoint", "flags", "label"),
    [
        ("", {"region": "cn-south-1"}, "https://obs.cn-south-1.myhuaweicloud.com"),
        (
            "https://obs.cn-north-4.myhuaweicloud.com",
            {"region": "cn-south-1"},
            "https://obs.cn-south-1.myhuaweicloud.com",
        ),
        ("http://127.0.0.1:9", {"region": "cn-south-1"}, "http://127.0.0.1:9"),
        ("http://127.0.0.1:9", {"endpoint": "https://obs.example.org"}, "https://obs.example.org"),
        ("http://127.0.0.1:9", {"profile": "other"}, "https://obs.ap-southeast-3.myhuaweicloud.com (profile other)"),
        ("", {"profile": "named"}, "https://obs.example.org (profile named)"),
        ("", {"profile": "named", "endpoint": "http://127.0.0.1:9"}, "http://127.0.0.1:9 (profile named)"),
    ],
)
def test_the_endpoint(endpoint, flags, label, home, monkeypatch):
    if endpoint:
        monkeypatch.setenv("OBS_ENDPOINT", endpoint)
    monkeypatch.setenv("OTHER_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("OTHER_SECRET_ACCESS_KEY", "S")
    assert open_place(home, **{"storage": "obs", **flags}).label == f"OBS at {label}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--storage", "s3"), "known: local, obs"),
        (("--profile", "othe"), "did you mean 'other'?"),
        (("--profile", "other"), "export OTHER_ACCESS_KEY_ID"),
        (("--profile", "lost"), "neither endpoint nor region"),
        (("--profile", "other", "--storage", "local"), "leave out"),
    ],
)
def test_what_names_no_place_is_usage(words, said, home, storage):
    answer = storage("ls", *words)
    assert answer.code == 2 and said in answer.err, answer


def test_profiles_stand_in_the_users_file_only(home, project, storage):
    (project.root / "launcher.yaml").write_text(PROFILES)
    assert "unknown key 'profiles'" in storage("ls").err


def test_another_folder_of_buckets(home, tmp_path, storage, monkeypatch):
    (tmp_path / "shelf" / "abc").mkdir(parents=True)
    monkeypatch.setenv("LAUNCHER_BUCKETS", str(tmp_path / "shelf"))
    answer = storage("ls")
    assert "obs://abc" in answer.out and f"local buckets in {tmp_path / 'shelf'}" in answer.err


@pytest.fixture
def obs(home, project, monkeypatch, tmp_path):
    """OBS on the loopback, as the place of every verb."""
    pytest.importorskip("obs")
    from launcher.emulator.obs import Account, ObsServer

    with ObsServer(tmp_path / "server", accounts={"AK": Account("SK")}) as server:
        settings = {"OBS_ENDPOINT": server.endpoint, "OBS_SIGNATURE": "obs", **KEYS, "LAUNCHER_STORAGE": "obs"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield server


def test_every_verb_on_obs(obs, project, write, storage):
    data = {"a.txt": "a", "sub/ü b.txt": "b"}
    write("data", data)
    assert storage("mb", "obs://one").code == 0
    assert storage("mb", "obs://two").code == 0
    assert f"OBS at {obs.endpoint}" in storage("ls").err
    assert [row["name"] for row in storage("ls", "--json").json] == ["one", "two"]
    first = storage("sync", "data", "obs://one/t", "--json")
    assert first.code == 0 and first.json["copied"]["files"] == 2, first
    assert storage("sync", "data", "obs://one/t", "--json").json["unchanged"] == 2
    assert storage("sync", "data", "obs://two", "--json").json["copied"]["files"] == 2
    assert storage("sync", "data", "obs://two", "--json").json["unchanged"] == 2
    assert storage("sync", "obs://one/t", "out").code == 0
    assert tree(project.root / "out") == data
    assert storage("sync", "obs://one/t", "out", "--json").json["unchanged"] == 2
    assert storage("cp", "-r", "obs://one/t", "obs://two/copied").code == 0
    assert storage("cp", "obs://one/t/a.txt", "obs://one/b.txt").code == 0
    assert storage("cat", "obs://two/copied/sub/*").out == "b"
    assert storage("stat", "obs://one/b.txt", "--digest", "--json").json["size"] == 1
    assert storage("du", "obs://two", "--json").json[-1]["objects"] == 4
    assert storage("rm", "-r", "-y", "obs://two/copied").code == 0
    assert [row["key"] for row in storage("ls", "-r", "obs://two", "--json").json] == ["a.txt", "sub/ü b.txt"]
    assert storage("gc").code == 0
    refused = storage("rb", "obs://two")
    assert refused.code == 1 and "--force" in refused.err
    assert storage("rb", "obs://two", "--force", "--yes").code == 0
    url = storage("presign", "obs://one/b.txt").out.strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"a"


def test_what_is_missing_in_obs(obs, write, storage):
    write("data", {"a": "a"})
    for words in (("ls", "obs://nobody"), ("sync", "data", "obs://nobody/t"), ("cp", "data/a", "obs://nobody/a")):
        answer = storage(*words)
        assert answer.code == 102 and "obs://nobody" in answer.err, answer
    storage("mb", "obs://one")
    assert storage("stat", "obs://one/nothing").code == 102


def test_wrong_keys_are_one_error_with_a_hint(obs, storage, monkeypatch):
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "wrong")
    answer = storage("ls")
    assert answer.code == 1 and answer.err.count("\n") <= 3 and "hint" in answer.err
    assert "wrong" not in answer.err.replace("wrongly", "")
