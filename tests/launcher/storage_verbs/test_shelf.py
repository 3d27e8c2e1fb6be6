"""A folder of buckets keeps what `Service` promises."""

from __future__ import annotations

import os

import pytest

from storage.errors import Conflict, InvalidUrl, NotFound, StorageError
from storage.service import Leftover
from storage.shelf import Shelf

PART = ".launcher~0123456789abcdef.part"


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def test_buckets_are_the_folders_with_a_buckets_name(shelf, tmp_path):
    assert shelf.buckets() == []
    for name in ("two", "one"):
        shelf.make_bucket(name)
    for name in (".hidden", "Not_One", "ab"):
        os.mkdir(os.path.join(shelf.folder, name))
    with open(os.path.join(shelf.folder, "a-file"), "w"):
        pass
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", os.path.join(shelf.folder, "linked"))
    assert [bucket.name for bucket in shelf.buckets()] == ["linked", "one", "two"]
    assert all(bucket.created > 1e9 for bucket in shelf.buckets())


def test_only_make_bucket_makes_one(shelf, tmp_path):
    (tmp_path / "file").write_text("x")
    bucket = shelf.bucket("one")
    tries = [
        lambda: bucket.write("a", b"x"),
        lambda: bucket.upload(tmp_path / "file", "a"),
        lambda: bucket.copy("a", "b"),
        lambda: bucket.delete(["a"]),
        lambda: bucket.list(),
        lambda: bucket.read("a"),
        lambda: bucket.stat("a"),
        lambda: bucket.download("a", tmp_path / "there"),
        lambda: shelf.leftovers("one"),
        lambda: shelf.remove_bucket("one"),
    ]
    for action in tries:
        with pytest.raises(NotFound, match="no bucket one"):
            action()
    assert not os.path.exists(shelf.folder)
    shelf.make_bucket("one")
    assert bucket.write("a", b"x").size == 1
    with pytest.raises(NotFound, match="there is no obs://one/b"):
        bucket.stat("b")


def test_a_name_is_taken_once(shelf):
    shelf.make_bucket("one", region="cn-north-4", public_read=True)
    with pytest.raises(Conflict, match="already"):
        shelf.make_bucket("one")
    with pytest.raises(InvalidUrl):
        shelf.make_bucket("../one")


def test_only_an_empty_bucket_goes(shelf, tmp_path):
    shelf.make_bucket("one")
    bucket = shelf.bucket("one")
    bucket.write("a/b", b"x")
    with pytest.raises(Conflict, match="not empty"):
        shelf.remove_bucket("one")
    bucket.delete(["a/b"])
    os.makedirs(os.path.join(shelf.folder, "one", "empty", "folders"))
    leftover = os.path.join(shelf.folder, "one", PART)
    with open(leftover, "w"):
        pass
    with pytest.raises(Conflict, match="unfinished"):
        shelf.remove_bucket("one")
    os.unlink(leftover)
    os.symlink(tmp_path, os.path.join(shelf.folder, "one", "link"))
    with pytest.raises(Conflict, match="links"):
        shelf.remove_bucket("one")
    os.unlink(os.path.join(shelf.folder, "one", "link"))
    shelf.remove_bucket("one")
    assert shelf.buckets() == []


def test_a_linked_bucket_goes_and_what_it_leads_to_stays(shelf, tmp_path):
    os.makedirs(shelf.folder)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", os.path.join(shelf.folder, "linked"))
    shelf.remove_bucket("linked")
    assert shelf.buckets() == [] and (tmp_path / "elsewhere").is_dir()


def test_leftovers_are_found_by_prefix_and_discarded(shelf):
    shelf.make_bucket("one")
    bucket = shelf.bucket("one")
    long = "n" * 300
    for key in ("a/b", f"{long}/c"):
        bucket.write(key, b"x")
    for folder, _, files in list(os.walk(os.path.join(shelf.folder, "one"))):
        if files:
            with open(os.path.join(folder, PART), "w") as file:
                file.write("123")
    found = list(shelf.leftovers("one"))
    assert [left.key for left in found] == [f"{long}/{PART}", f"a/{PART}"] and {left.bytes for left in found} == {3}
    assert [left.key for left in shelf.leftovers("one", "a/")] == [f"a/{PART}"]
    for left in [*found, found[0]]:  # one that has gone is fine
        shelf.discard("one", left)
    assert list(shelf.leftovers("one")) == []
    assert [info.key for info in bucket.list()] == ["a/b", f"{long}/c"]


def test_nothing_but_a_leftover_can_be_discarded(shelf, tmp_path):
    shelf.make_bucket("one")
    info = shelf.bucket("one").write("a", b"x")
    outside = tmp_path / PART
    outside.write_text("x")
    for path in (os.path.join(shelf.folder, "one", "a"), str(outside)):
        with pytest.raises(InvalidUrl):
            shelf.discard("one", Leftover("a", path, info.mtime, 1))
        assert os.path.exists(path)


def test_there_is_no_url_of_a_file(shelf):
    with pytest.raises(StorageError) as caught:
        shelf.presign("one", "a", 60)
    assert caught.value.hint
