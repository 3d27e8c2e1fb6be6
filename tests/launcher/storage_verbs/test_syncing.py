"""sync: what is sent, what is deleted, and above all what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launcher.objects import trees
from storage import errors
from storage.filesystem import FileSystemStorage
from storage.manifest import scan
from storage.packing import MANY
from storage.transfer import upload_tree
from tests.conftest import HOUSE
from tests.launcher.storage_verbs.conftest import tree

DATA = {"a.txt": "a", "sub/ü b.txt": "b", "sub/c": "c"}


@pytest.fixture(params=["folder", "root"])
def target(request) -> tuple[str, str]:
    """A URL, and where it lies: a folder of a bucket, which can have a manifest, and a whole bucket, which cannot."""
    return ("obs://one/t", "one/t") if request.param == "folder" else ("obs://one", "one")


def sync(storage, *words, code=0):
    answer = storage("sync", *words, "--json")
    assert answer.code == code, answer
    return answer.json


def test_up_and_the_second_time_nothing(target, buckets, write, storage):
    write("data", DATA)
    url, place = target
    assert sync(storage, "data", url)["copied"] == {"files": 3, "bytes": 3}
    assert tree(buckets / place) == DATA
    again = sync(storage, "data", url)
    assert (again["copied"]["files"], again["unchanged"], again["files"]) == (0, 3, 3)


def test_a_second_sync_writes_nothing_at_all(buckets, write, storage, monkeypatch):
    write("data", DATA)
    sync(storage, "data", "obs://one/t")
    for name in ("upload", "write", "delete", "copy"):
        monkeypatch.setattr(FileSystemStorage, name, lambda *_, **__: pytest.fail("something was written"))
    assert sync(storage, "data", "obs://one/t", "--delete")["unchanged"] == 3


def test_down_and_across_and_the_second_time_nothing(buckets, project, write, storage):
    write(".launcher/buckets/one/t", DATA)
    for where, place in (("out", project.root / "out"), ("obs://two/u", buckets / "two/u"), ("obs://two", None)):
        assert sync(storage, "obs://one/t", where)["copied"]["files"] == 3
        assert place is None or tree(place) == DATA
        assert sync(storage, "obs://one/t", where)["unchanged"] == 3


@pytest.mark.parametrize("committed", [True, False])
def test_an_edit_of_the_same_size_with_an_older_mtime_is_found(committed, target, buckets, project, write, storage):
    data = write("data", DATA)
    url, place = target
    sync(storage, "data", url)
    if not committed:
        (buckets / "one/t.manifest.json").unlink(missing_ok=True)
    (data / "a.txt").write_text("A")
    os.utime(data / "a.txt", (1e9, 1e9))
    assert sync(storage, "data", url)["copied"]["files"] == 1
    assert tree(buckets / place)["a.txt"] == "A"
    write("out", {**DATA, "a.txt": "x"})
    os.utime(project.root / "out/a.txt", (2e9, 2e9))
    assert sync(storage, url, "out")["copied"]["files"] == 1
    assert (project.root / "out/a.txt").read_text() == "A"


def test_a_touched_file_is_not_sent(target, buckets, write, storage):
    data = write("data", DATA)
    sync(storage, "data", target[0])
    os.utime(data / "a.txt")
    assert sync(storage, "data", target[0])["copied"]["files"] == 0


@pytest.mark.parametrize("direction", ["up", "down", "across"])
def test_extras_stay_unless_delete_is_said(direction, buckets, project, write, storage):
    write("data", DATA)
    write(".launcher/buckets/one/t", DATA)
    source, where, place = {
        "up": ("data", "obs://two/u", buckets / "two/u"),
        "down": ("obs://one/t", "out", project.root / "out"),
        "across": ("obs://one/t", "obs://two/u", buckets / "two/u"),
    }[direction]
    place.joinpath("old").mkdir(parents=True)
    place.joinpath("old/x").write_text("x")
    assert sync(storage, source, where)["deleted"] == 0
    assert tree(place) == {**DATA, "old/x": "x"}
    dry = sync(storage, source, where, "--delete", "--dry-run")
    assert [action["action"] for action in dry["actions"]] == ["delete"]
    assert dry["actions"][0]["target"].endswith("old/x")
    assert sync(storage, source, where, "--delete")["deleted"] == 1
    assert tree(place) == DATA and not (place / "old").exists()


@pytest.mark.parametrize("source", ["empty", "obs://two", "obs://two/nothing"])
def test_an_empty_source_empties_nothing_unless_that_is_said(source, buckets, project, write, storage):
    (project.root / "empty").mkdir()
    for where, place in (("obs://one/t", buckets / "one/t"), ("out", project.root / "out")):
        if source == where or (source == "empty" and where == "out"):
            continue
        write(place.relative_to(project.root).as_posix(), DATA)
        for words in ((), ("--delete",), ("--delete", "--dry-run")):
            assert storage("sync", source, where, *words).code in (0, 1, 102)
            assert tree(place) == DATA
        assert storage("sync", source, where, "--delete").code != 0
        assert sync(storage, source, where, "--delete", "--allow-empty")["deleted"] == 3
        assert not place.exists() or tree(place) == {}


def test_a_missing_source_deletes_nothing_even_if_empty_is_allowed(buckets, write, storage):
    write(".launcher/buckets/one/t", DATA)
    assert storage("sync", "nothing", "obs://one/t", "--delete", "--allow-empty").code == 102
    assert storage("sync", "obs://nobody", "obs://one/t", "--delete", "--allow-empty").code == 102
    assert tree(buckets / "one/t") == DATA


@pytest.mark.parametrize("where", ["out", "obs://two/u"])
def test_a_listing_that_breaks_off_deletes_nothing(where, buckets, project, write, storage, monkeypatch):
    write(".launcher/buckets/one/t", DATA)
    for place in ("out", ".launcher/buckets/two/u"):
        write(place, {"old": "x"})
    honest = FileSystemStorage.list

    def listing(self, prefix=""):
        for number, info in enumerate(honest(self, prefix)):
            if number == 2:
                raise errors.Unreachable("the connection broke", "try again")
            yield info

    monkeypatch.setattr(FileSystemStorage, "list", listing)
    answer = storage("sync", "obs://one/t", where, "--delete", "--allow-empty")
    assert answer.code == 1 and "the connection broke" in answer.err
    assert tree(project.root / "out") == {"old": "x"} and tree(buckets / "two/u") == {"old": "x"}


def test_a_source_folder_that_cannot_be_listed_deletes_nothing(buckets, write, storage, monkeypatch):
    write("data", DATA)
    write(".launcher/buckets/one/t", {"old": "x"})
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith("data/sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    answer = storage("sync", "data", "obs://one/t", "--delete")
    assert answer.code == 1 and "data/sub" in answer.err
    assert (buckets / "one/t/old").exists()


def test_links_are_reported_the_rest_is_sent_and_nothing_deleted(target, buckets, write, storage):
    data = write("data", DATA)
    (data / "dangling").symlink_to("nothing")
    os.mkfifo(data / "pipe")
    url, place = target
    write(f".launcher/buckets/{place}", {"old": "x"})
    result = sync(storage, "data", url, "--delete", code=1)
    assert [failure["error"] for failure in result["failed"]] == ["LinkRefused", "LinkRefused"]
    assert "nothing was deleted" in result["warnings"][0]
    assert tree(buckets / place) == {**DATA, "old": "x"}


def test_filters_and_what_they_leave_out_stays_on_the_other_side(target, buckets, write, storage):
    write("data", {"a.jpg": "a", "b.png": "b", "sub/c.jpg": "c", "sub/d": "d"})
    url, place = target
    write(f".launcher/buckets/{place}", {"z.png": "z", "z.jpg": "z"})
    sync(storage, "data", url, "--exclude", "*", "--include", "*.jpg", "--exclude", "sub/", "--delete")
    assert tree(buckets / place) == {"a.jpg": "a", "z.png": "z"}


def test_gitignore_counts_only_if_asked_for(buckets, write, storage):
    write("data", {".gitignore": "*.log\n!keep.log\nbuild/\n", "a.log": "a", "keep.log": "k", "build/x": "x",
                   "sub/.gitignore": "!b.log\n", "sub/b.log": "b", ".git/config": "g"})  # fmt: skip
    sync(storage, "data", "obs://one/all")
    assert len(tree(buckets / "one/all")) == 7
    sync(storage, "data", "obs://one/some", "--gitignore")
    assert set(tree(buckets / "one/some")) == {".gitignore", "keep.log", "sub/.gitignore", "sub/b.log"}
    assert storage("sync", "obs://one/all", "out", "--gitignore").code == 2


@pytest.mark.parametrize("verb", [("sync", "data", "obs://one/t"), ("sync", "obs://two/d", "out")])
def test_interrupted_it_says_so_and_goes_on_from_there(verb, buckets, project, write, storage, monkeypatch):
    files = {f"{i:02}": str(i) for i in range(40)}
    write("data", files)
    write(".launcher/buckets/two/d", files)
    done, lock = [], threading.Lock()
    name = "upload" if verb[1] == "data" else "download"
    honest = getattr(FileSystemStorage, name)

    def interrupted(self, *args, **keywords):
        with lock:
            if len(done) == 10:
                raise KeyboardInterrupt
            done.append(1)
        return honest(self, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, name, interrupted)
        answer = storage(*verb)
    assert answer.code == 130 and "To go on: the same command" in answer.err
    place = buckets / "one/t" if name == "upload" else project.root / "out"
    there = len(tree(place))
    assert 0 < there <= 10 and not (buckets / "one/t.manifest.json").exists()
    result = sync(storage, *verb[1:])
    assert (result["copied"]["files"], result["unchanged"]) == (40 - there, there)
    assert tree(place) == files


def test_a_file_that_vanishes_midway_is_no_failure_of_a_tree(buckets, write, storage, monkeypatch):
    data = write("data", DATA)
    honest = FileSystemStorage.upload

    def upload(self, path, *args, **keywords):
        if str(path).endswith("/c"):
            (data / "sub/c").unlink(missing_ok=True)
        return honest(self, path, *args, **keywords)

    monkeypatch.setattr(FileSystemStorage, "upload", upload)
    sync(storage, "data", "obs://one/t")
    assert set(tree(buckets / "one/t")) == {"a.txt", "sub/ü b.txt"}
    assert (buckets / "one/t.manifest.json").exists()


def test_a_file_that_never_holds_still_is_reported_and_the_tree_not_committed(buckets, write, storage, monkeypatch):
    data = write("data", DATA)
    honest, count = FileSystemStorage.upload, iter(range(1000))

    def upload(self, path, *args, **keywords):
        if str(path).endswith("a.txt"):
            (data / "a.txt").write_text(f"growing {next(count)}" * 3)
            raise errors.SourceChanged(f"{path} changed while it was read", "wait")
        return honest(self, path, *args, **keywords)

    monkeypatch.setattr(FileSystemStorage, "upload", upload)
    result = sync(storage, "data", "obs://one/t", code=1)
    assert [failure["error"] for failure in result["failed"]] == ["SourceChanged"]
    assert set(tree(buckets / "one/t")) == {"sub/ü b.txt", "sub/c"}
    assert not (buckets / "one/t.manifest.json").exists()


def test_a_dry_run_says_what_then_happens(target, buckets, write, storage):
    write("data", DATA)
    url, place = target
    write(f".launcher/buckets/{place}", {"a.txt": "a", "sub/c": "C"})
    before = tree(buckets)
    told = {action["target"] for action in sync(storage, "data", url, "--dry-run")["actions"]}
    assert tree(buckets) == before
    assert told == {f"{url}/sub/c", f"{url}/sub/ü b.txt"}
    assert sync(storage, "data", url)["copied"]["files"] == 2


def test_keys_that_differ_by_case_warn_only_where_case_is_ignored(buckets, write, storage, monkeypatch):
    write(".launcher/buckets/one/t", {"Read.me": "1", "read.me": "2"})
    assert sync(storage, "obs://one/t", "out")["warnings"] == []
    monkeypatch.setattr(trees, "ignores_case", lambda folder: True)
    assert "differ by case only" in sync(storage, "obs://one/t", "out2")["warnings"][0]


def test_objects_changed_behind_a_manifest_are_not_lost(buckets, project, write, storage):
    """Another tool has put something beside what the manifest names: the listing is believed."""
    write("data", DATA)
    sync(storage, "data", "obs://one/t")
    write(".launcher/buckets/one/t", {"new": "n", "a.txt": "longer"})
    sync(storage, "obs://one/t", "out")
    assert tree(project.root / "out") == {**DATA, "new": "n", "a.txt": "longer"}
    assert sync(storage, "data", "obs://one/t", "--full")["copied"]["files"] == 1
    assert tree(buckets / "one/t")["a.txt"] == "a"


def test_delete_never_follows_a_link_to_what_is_wanted(buckets, project, write, storage):
    write(".launcher/buckets/one/t", {"real/x": "x"})
    sync(storage, "obs://one/t", "out")
    (project.root / "out/alias").symlink_to("real")
    storage("sync", "obs://one/t", "out", "--delete")
    assert (project.root / "out/real/x").read_text() == "x"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data", "out"), "both on this machine"),
        (("data/a.txt", "obs://one/t"), "storage cp data/a.txt"),
        (("obs://one/*", "out"), "not patterns"),
        (("obs://one/t", "obs://one/t/sub"), "lie in each other"),
        (("obs://one", "obs://one/t"), "lie in each other"),
        (("data", "obs://one/t", "--allow-empty"), "--delete"),
        (("obs://one/t", "data/a.txt"), "is a file"),
    ],
)
def test_what_cannot_be_meant_is_usage(words, said, buckets, write, storage):
    write("data", DATA)
    write(".launcher/buckets/one/t", DATA)
    answer = storage("sync", *words)
    assert answer.code == 2 and said in answer.err, answer


def test_a_packed_tree_is_unpacked_and_its_shards_are_no_extras(buckets, project, write, storage):
    files = {f"{i:04}": str(i) for i in range(MANY)}
    data = write("data", files)
    bucket = FileSystemStorage(buckets / "one")
    upload_tree(data, bucket, "t", scan(data), pack=True)
    packed = tree_names(buckets / "one")
    assert len(packed) < 10
    assert sync(storage, "data", "obs://one/t", "--delete")["unchanged"] == MANY
    assert tree_names(buckets / "one") == packed
    sync(storage, "obs://one/t", "out", "--delete")
    assert tree(project.root / "out") == files
    (data / "0000").write_text("changed")
    assert sync(storage, "data", "obs://one/t", "--delete")["copied"]["files"] == MANY
    assert tree(buckets / "one/t") == {**files, "0000": "changed"}


def test_a_real_ctrl_c_stops_the_workers_and_what_is_there_is_whole(buckets, write):
    files = {f"{i:04}": "x" * 20_000 + str(i) for i in range(3000)}
    write("data", files)
    command = [sys.executable, "-m", "launcher", "storage", "sync", "data", "obs://one/t"]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not (buckets / "one/t/0050").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert b"To go on: the same command" in told
    there = tree(buckets / "one/t")
    assert 50 <= len(there) < 3000 and there.items() <= files.items()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert tree(buckets / "one/t") == files


def tree_names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
