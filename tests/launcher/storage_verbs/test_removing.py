"""rm, mb, rb, gc, presign: nothing goes that nobody meant."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from storage.filesystem import FileSystemStorage
from tests.conftest import HOUSE
from tests.launcher.storage_verbs.conftest import tree

DATA = {"a.txt": "a", "d/b.txt": "b", "d/e/c.txt": "c", "d.txt": "d"}


@pytest.fixture
def filled(buckets, write):
    write(".launcher/buckets/one", DATA)
    return buckets / "one"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("obs://one/a.txt",), {"d/b.txt", "d/e/c.txt", "d.txt"}),
        (("-y", "obs://one/*.txt"), {"d/b.txt", "d/e/c.txt"}),
        (("-y", "obs://one/**/*.txt"), set()),
        (("-y", "-r", "obs://one/d"), {"a.txt", "d.txt"}),
        (("-y", "-r", "obs://one/d/e/"), {"a.txt", "d.txt", "d/b.txt"}),
        (("-y", "obs://one/a.txt", "obs://one/d.txt"), {"d/b.txt", "d/e/c.txt"}),
        (("-y", "-r", "--all", "obs://one"), set()),
    ],
)
def test_what_goes_and_what_stays(words, left, filled, storage):
    dry = storage("rm", "--dry-run", "--json", *words)
    assert {row["target"] for row in dry.json["actions"]} == {f"obs://one/{key}" for key in DATA if key not in left}
    assert tree(filled) == DATA
    answer = storage("rm", *words)
    assert answer.code == 0, answer.err
    assert set(tree(filled)) == left


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("obs://one/d",), "rm -r obs://one/d"),
        (("obs://one/d/",), "rm -r obs://one/d/"),
        (("-y", "obs://one"), "rm -r --all"),
        (("-y", "-r", "obs://one"), "rm -r --all"),
        (("-y", "--all", "obs://one"), "rm -r --all"),
        (("-r", "obs://one/d"), "--yes"),
        (("obs://one/*.txt",), "--yes"),
        (("-r", "--all", "obs://one"), "--yes"),
        (("-y", "data"), "obs://"),
    ],
)
def test_guards_are_usage_and_remove_nothing(words, said, filled, storage):
    answer = storage("rm", *words)
    assert answer.code == 2 and said in answer.err, answer
    assert tree(filled) == DATA


@pytest.mark.parametrize(("reply", "code", "left"), [(b"y\n", 0, 2), (b"n\n", 2, 4), (b"\n", 2, 4)])
def test_in_a_terminal_it_asks(reply, code, left, filled):
    main, side = pty.openpty()
    command = [sys.executable, "-m", "launcher", "storage", "rm", "-r", "obs://one/d"]
    process = subprocess.Popen(
        command,
        stdin=side,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
    )
    os.write(main, reply)
    _, told = process.communicate(timeout=60)
    os.close(main)
    os.close(side)
    assert b"remove 2 objects, 2 B? [y/N]" in told
    assert (process.returncode, len(tree(filled))) == (code, left)


def test_removing_a_tree_takes_its_manifest_first(buckets, write, storage):
    write("data", DATA)
    storage("sync", "data", "obs://one/t")
    assert storage("rm", "obs://one/t/a.txt").code == 0
    assert not (buckets / "one/t.manifest.json").exists()
    storage("sync", "data", "obs://one/t")
    answer = storage("rm", "-r", "-y", "obs://one/t", "--json")
    assert (answer.json["deleted"], answer.json["files"], tree(buckets / "one")) == (5, 5, {})


def test_what_cannot_be_removed_is_told_and_the_rest_goes(filled, storage, monkeypatch):
    honest = FileSystemStorage.delete

    def delete(self, keys):
        for key in keys:
            if key == "d/b.txt":
                from storage.errors import AccessDenied

                raise AccessDenied("403", "ask for obs:object:DeleteObject")
            honest(self, [key])

    monkeypatch.setattr(FileSystemStorage, "delete", delete)
    answer = storage("rm", "-r", "-y", "obs://one/d", "--json")
    assert answer.code == 1
    assert [failure["name"] for failure in answer.json["failed"]] == ["obs://one/d/b.txt"]
    assert answer.json["failed"][0]["hint"] == "ask for obs:object:DeleteObject"
    assert set(tree(filled)) == {"a.txt", "d.txt", "d/b.txt"}


@pytest.mark.parametrize("name", ["abc", "a-b.c9", "9to5", "a" * 63])
def test_good_names_make_buckets(name, project, storage):
    assert storage("mb", f"obs://{name}").out == f"obs://{name}\n"
    assert [row["name"] for row in storage("ls", "--json").json] == [name]
    again = storage("mb", f"obs://{name}")
    assert again.code == 1 and "already" in again.err


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b", "192.168.0.1", "büc", "", "a b"],
)
def test_bad_names_are_usage_and_nothing_is_made(name, project, storage):
    answer = storage("mb", f"obs://{name}")
    assert answer.code == 2 and "hint" in answer.err
    assert not (project.home / "buckets").exists()


def test_mb_takes_a_bucket_only_and_git_never_sees_it(project, storage):
    assert storage("mb", "obs://abc/folder").code == 2
    assert "make obs://abc" in storage("mb", "obs://abc", "--dry-run").out
    assert not (project.home / "buckets").exists()
    storage("mb", "obs://abc")
    assert (project.home / ".gitignore").read_text() == "*\n"


def test_public_read_says_what_it_means_and_asks(project, storage):
    refused = storage("mb", "obs://abc", "--public-read")
    assert refused.code == 2 and "anyone on the internet" in refused.err
    assert not (project.home / "buckets").exists()
    assert storage("mb", "obs://abc", "--public-read", "--yes").code == 0


def test_rb(filled, storage):
    assert storage("rb", "obs://two").code == 0
    refused = storage("rb", "obs://one")
    assert refused.code == 1 and "--force" in refused.err
    assert storage("rb", "obs://one", "--force").code == 2
    assert storage("rb", "obs://one/d").code == 2
    dry = storage("rb", "obs://one", "--force", "--dry-run", "--json")
    assert [row["action"] for row in dry.json["actions"]] == ["delete"] * 4 + ["remove"]
    assert tree(filled) == DATA
    assert storage("rb", "obs://one", "--force", "--yes").code == 0
    assert storage("ls", "--json").json == []


def test_gc_removes_what_is_old_and_leaves_what_may_still_be_written(filled, storage):
    old, young = (filled / "d" / f".launcher~{digit * 16}.part" for digit in "01")
    for path, age in ((old, 100_000), (young, 60)):
        path.write_text("12345")
        os.utime(path, (time.time() - age, time.time() - age))
    dry = storage("gc", "--dry-run", "--json").json
    assert [row["size"] for row in dry["actions"]] == [5] and old.exists()
    assert storage("gc", "obs://one/x").code == 0 and old.exists()
    result = storage("gc", "obs://one", "--json").json
    assert (result["freed"]["bytes"], result["deleted"]) == (5, 1)
    assert not old.exists() and young.exists()
    assert storage("gc", "--older-than", "30s").code == 0
    assert not young.exists() and tree(filled) == DATA
    assert storage("gc", "--older-than", "soon").code == 2


def test_a_folder_signs_nothing(filled, storage):
    answer = storage("presign", "obs://one/a.txt")
    assert answer.code == 1 and "put it into OBS" in answer.err
    assert storage("presign", "obs://one/nothing").code == 102
    assert storage("presign", "obs://one/d/").code == 2
    assert storage("presign", "obs://one/a.txt", "--expires", "never").code == 2
