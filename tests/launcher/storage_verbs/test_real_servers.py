"""Every verb against servers that are not ours: the way of a bucket from ``mb`` to ``rb``."""

from __future__ import annotations

import contextlib
import secrets
import urllib.request
from collections.abc import Iterator

import pytest

from tests.launcher.storage_verbs.conftest import tree
from tests.servers.emulated import emulated
from tests.servers.process import Server
from tests.servers.radosgw import radosgw
from tests.servers.seaweedfs import seaweedfs

SERVERS = {"emulated": emulated, "seaweedfs": seaweedfs, "radosgw": radosgw}
MARKS = {"seaweedfs": pytest.mark.slow, "radosgw": pytest.mark.radosgw}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in SERVERS])
def server(request) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(SERVERS[request.param]())


@pytest.fixture
def verb(server, storage, monkeypatch):
    """``verb("ls", …)``: the verb against the server; it must succeed."""
    variables = {"OBS_ENDPOINT": server.endpoint, "OBS_ACCESS_KEY_ID": server.access_key}
    variables.update(OBS_SECRET_ACCESS_KEY=server.secret_key, OBS_ADDRESSING="path", LAUNCHER_STORAGE="obs")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(*words: str):
        answer = storage(*words)
        assert answer.code == 0, (words, answer)
        return answer

    return run


def test_the_way_of_a_bucket(verb, storage, write, tmp_path) -> None:
    bucket = f"obs://verbs-{secrets.token_hex(6)}"
    verb("mb", bucket)
    assert bucket in verb("ls").out
    files = {"a.txt": "first", "deep/b c.txt": "a space", "deep/er/数字.txt": "Chinese", "empty": ""}
    folder = write("data", files)
    assert verb("cp", "-r", str(folder), f"{bucket}/data", "--json").json["copied"]["files"] == 4
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 80_000)  # in parts
    verb("cp", str(large), f"{bucket}/large")
    listed = {entry["key"]: entry["size"] for entry in verb("ls", "-r", bucket, "--json").json}
    assert listed == {"data/" + path: len(text.encode()) for path, text in files.items()} | {"large": 20_480_000}
    assert verb("cat", f"{bucket}/data/deep/er/数字.txt").out == "Chinese"
    assert verb("du", bucket, "--json").json[0]["bytes"] == sum(listed.values())
    assert verb("stat", f"{bucket}/large", "--json").json["size"] == 20_480_000
    url = verb("presign", f"{bucket}/data/a.txt").out.strip()
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.read() == b"first"
    verb("cp", "-r", f"{bucket}/data", str(tmp_path / "home"))
    assert tree(tmp_path / "home") in (files, {f"data/{path}": text for path, text in files.items()})
    verb("cp", f"{bucket}/large", str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == large.read_bytes()
    verb("cp", f"{bucket}/large", f"{bucket}/copy")
    (folder / "a.txt").write_text("1irst")
    (folder / "empty").unlink()
    verb("sync", "--delete", str(folder), f"{bucket}/data")
    assert verb("cat", f"{bucket}/data/a.txt").out == "1irst"
    assert "data/empty" not in verb("ls", "-r", bucket).out
    assert verb("gc", bucket, "--json").json["freed"]["leftovers"] == []
    assert storage("rb", bucket).code == 1  # not empty
    verb("rm", "-r", "-y", f"{bucket}/data")
    verb("rm", "-y", f"{bucket}/large", f"{bucket}/copy")
    verb("rb", bucket)
    assert bucket not in verb("ls").out
