"""cp: where files go, and what is said of those that do not arrive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from storage.errors import AccessDenied
from storage.filesystem import FileSystemStorage
from tests.conftest import HOUSE
from tests.launcher.storage_verbs.conftest import tree

DATA = {"a.txt": "a", "sub/ü b.txt": "b"}


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("data/a.txt", "obs://one"), {"a.txt"}),
        (("data/a.txt", "obs://one/new"), {"new"}),
        (("data/a.txt", "obs://one/new/"), {"new/a.txt"}),
        (("data/a.txt", "data/sub/ü b.txt", "obs://one/new/"), {"new/a.txt", "new/ü b.txt"}),
        (("-r", "data", "obs://one"), {"data/a.txt", "data/sub/ü b.txt"}),
        (("-r", "data/", "obs://one"), {"a.txt", "sub/ü b.txt"}),
        (("-r", "data", "obs://one/new"), {"new/a.txt", "new/sub/ü b.txt"}),
        (("-r", "data", "obs://one/new/"), {"new/data/a.txt", "new/data/sub/ü b.txt"}),
        (("-r", "data/", "obs://one/new/"), {"new/a.txt", "new/sub/ü b.txt"}),
        (("-r", "data/", "obs://one/new"), {"new/a.txt", "new/sub/ü b.txt"}),
        (("data/*.txt", "obs://one/new/"), {"new/a.txt"}),
    ],
)
def test_up(words, keys, buckets, write, storage):
    write("data", DATA)
    answer = storage("cp", *words)
    assert answer.code == 0, answer.err
    assert set(tree(buckets / "one")) == keys


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (("obs://one/x/a.txt", "out"), {"out"}),
        (("obs://one/x/a.txt", "out/"), {"out/a.txt"}),
        (("obs://one/x/a.txt", "."), {"a.txt"}),
        (("-r", "obs://one/x", "out"), {"out/a.txt", "out/sub/ü b.txt"}),
        (("-r", "obs://one/x", "out/"), {"out/x/a.txt", "out/x/sub/ü b.txt"}),
        (("-r", "obs://one/x/", "out/"), {"out/a.txt", "out/sub/ü b.txt"}),
        (("-r", "obs://one/x/", "out"), {"out/a.txt", "out/sub/ü b.txt"}),
        (("-r", "obs://one", "out/"), {"out/x/a.txt", "out/x/sub/ü b.txt"}),
        (("obs://one/x/**/*.txt", "out/"), {"out/a.txt", "out/sub/ü b.txt"}),
    ],
)
def test_down(words, paths, buckets, project, write, storage):
    write(".launcher/buckets/one/x", DATA)
    answer = storage("cp", *words)
    assert answer.code == 0, answer.err
    assert {path for path in tree(project.root) if not path.startswith(".launcher/")} == paths


@pytest.mark.parametrize("target", ["one", "two"])
def test_across_within_a_bucket_and_between_two(target, buckets, write, storage):
    write(".launcher/buckets/one/x", DATA)
    answer = storage("cp", "-r", "obs://one/x", f"obs://{target}/y", "--json")
    assert (answer.code, answer.json["copied"]) == (0, {"files": 2, "bytes": 2})
    assert tree(buckets / target / "y") == DATA


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data", "obs://one/"), "cp -r data"),
        (("obs://one/x", "out"), "cp -r obs://one/x out"),
        (("data/a.txt", "out"), "cp -r data/a.txt out"),
        (("data/a.txt", "data/sub/ü b.txt", "obs://one/new"), "obs://one/new/"),
        (("obs://one/x/a.txt", "obs://one/x/a.txt"), "onto itself"),
        (("obs://one/x/a.txt", "obs://one/*.txt"), "cannot be a pattern"),
        (("data/a.txt", "obs://one/x/a.txt", "out/"), "both on this machine"),
        (("obs://one/x/a.txt", "obs://one/y/a.txt", "out/"), "would both become"),
        (("obs://one/x/a.txt", "-"), "storage cat"),
    ],
)
def test_what_cannot_be_meant_is_usage_and_writes_nothing(words, said, buckets, project, write, storage):
    write("data", DATA)
    write(".launcher/buckets/one/x", DATA)
    write(".launcher/buckets/one/y", DATA)
    before = tree(project.root)
    answer = storage("cp", *words)
    assert answer.code == 2 and said in answer.err, answer
    assert tree(project.root) == before


def test_it_replaces_unless_told_not_to(buckets, write, storage):
    write("data", DATA)
    write(".launcher/buckets/one", {"a.txt": "old"})
    kept = storage("cp", "-r", "--no-clobber", "data/", "obs://one", "--json").json
    assert (kept["copied"]["files"], kept["unchanged"]) == (1, 1)
    assert tree(buckets / "one")["a.txt"] == "old"
    assert storage("cp", "data/a.txt", "obs://one").code == 0
    assert tree(buckets / "one") == DATA


def test_a_dry_run_tells_each_copy_and_writes_nothing(buckets, write, storage):
    write("data", DATA)
    answer = storage("cp", "-r", "-n", "data", "obs://one")
    assert "upload data/a.txt -> obs://one/data/a.txt  (1 B)" in answer.out.splitlines()
    actions = storage("cp", "-r", "-n", "data", "obs://one", "--json").json["actions"]
    assert actions[0] == {"action": "upload", "target": "obs://one/data/a.txt", "source": "data/a.txt", "size": 1}
    assert not tree(buckets / "one")


def test_one_failure_does_not_stop_the_others_and_makes_it_1(buckets, write, storage):
    data = write("data", {**DATA, "c": "c"})
    (data / "dangling").symlink_to("nothing")
    (data / "outside").symlink_to("/etc/hostname")
    answer = storage("cp", "-r", "data", "obs://one", "--json")
    assert answer.code == 1
    assert {failure["error"] for failure in answer.json["failed"]} == {"LinkRefused"}
    assert (answer.json["copied"]["files"], answer.json["files"], len(answer.json["failed"])) == (3, 5, 2)
    told = storage("cp", "-r", "data", "obs://one")
    assert "2 failed" in told.err and "link to nothing" in told.err and "3 copied" in told.err


def test_no_key_leaves_the_target_folder(buckets, project, write, storage, monkeypatch):
    """A bucket of OBS can hold such keys; a folder cannot, so the listing is told to show them."""
    write(".launcher/buckets/one/x", DATA)
    honest = FileSystemStorage.list

    def listing(self, prefix=""):
        first = next(honest(self, prefix))
        yield from (type(first)(key, 1, 1.0) for key in ("x/../../../evil", "x//etc/evil", "x/..\\evil"))
        yield from honest(self, prefix)

    monkeypatch.setattr(FileSystemStorage, "list", listing)
    for verb in (("cp", "-r"), ("sync",)):
        answer = storage(*verb, "obs://one/x", "out", "--json")
        assert answer.code == 1
        assert [failure["error"] for failure in answer.json["failed"]] == ["UnsafeKey"] * 3
        assert tree(project.root / "out") == DATA
    assert not list(project.root.parent.rglob("*evil*"))


def test_nothing_is_written_through_a_linked_folder(buckets, project, write, storage, tmp_path):
    write(".launcher/buckets/one/x", DATA)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (project.root / "out").mkdir()
    (project.root / "out" / "sub").symlink_to(elsewhere)
    for verb in (("cp", "-r", "obs://one/x/"), ("sync", "obs://one/x")):
        answer = storage(*verb, "out", "--json")
        assert answer.code == 1 and answer.json["failed"][0]["error"] == "LinkRefused"
        assert not list(elsewhere.iterdir())
        assert (project.root / "out" / "a.txt").read_text() == "a"


def test_a_copy_into_a_committed_tree_makes_it_uncommitted(buckets, write, storage):
    """Else the manifest would vouch for what is no longer there."""
    write("data", DATA)
    assert storage("sync", "data", "obs://one/t").code == 0
    assert (buckets / "one" / "t.manifest.json").exists()
    write("data", {"a.txt": "A"})
    assert storage("cp", "data/a.txt", "obs://one/t/").code == 0
    assert not (buckets / "one" / "t.manifest.json").exists()
    write(".launcher/buckets/two", {"t.manifest.json": "mine", "t/x": "x"})
    assert storage("cp", "data/a.txt", "obs://two/t/").code == 0
    assert (buckets / "two" / "t.manifest.json").read_text() == "mine"


def test_the_launchers_own_folder_is_not_copied_into_itself(buckets, project, write, storage):
    write("", {"a.txt": "a"})
    assert storage("cp", "-r", "./", "obs://one/all/").code == 0
    assert tree(buckets / "one" / "all") == {"a.txt": "a"}


def test_stdin_becomes_an_object(buckets, storage):
    command = [sys.executable, "-m", "launcher", "storage", "cp", "-", "obs://one/from/pipe"]
    subprocess.run(
        command, input=b"abc\n", env={**os.environ, "PYTHONPATH": str(HOUSE)}, check=True, capture_output=True
    )
    assert tree(buckets / "one") == {"from/pipe": "abc\n"}
    assert storage("cp", "-", "obs://one/folder/").code == 2


def test_many_failures_in_a_row_end_it(buckets, write, storage, monkeypatch):
    write("data", {f"{i:03}": "x" for i in range(200)})

    def denied(*_, **__):
        raise AccessDenied("403: not yours", "ask for obs:object:PutObject")

    monkeypatch.setattr(FileSystemStorage, "upload", denied)
    answer = storage("cp", "-r", "data", "obs://one", "--json")
    assert answer.code == 1
    assert 25 <= len(answer.json["failed"]) < 100
    assert "were not tried" in answer.json["warnings"][0]


def test_a_bucket_that_is_not_there_is_not_made(buckets, write, storage):
    write("data", DATA)
    answer = storage("cp", "-r", "data", "obs://nobody/")
    assert answer.code == 102 and "storage mb obs://nobody" in answer.err
    assert not (buckets / "nobody").exists()
