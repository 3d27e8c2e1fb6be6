"""Trees up and down, on every back end: planned, verified, committed, resumed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import Storage
from storage.errors import Corrupt, LinkRefused, NotFound, SourceChanged, StorageFull, UnsafeKey
from storage.manifest import Entry, Manifest, committed, manifest_key, scan
from storage.transfer import TransferResult, download_tree, upload_tree

Plant = Callable[..., Path]

TREE = {"a": b"1", "b/empty": b"", "b/数据 1": b"22", ".hidden/x": b"333", "z" * 255: b"4444", "big": b"5" * 2_500_000}
SIZE = sum(len(data) for data in TREE.values())
COMMIT = manifest_key("data/set")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects(storage: Storage, prefix: str = "") -> dict[str, bytes]:
    found = {}
    for info in storage.list(prefix):
        with storage.read(info.key) as stream:
            found[info.key[len(prefix) :]] = stream.read()
    return found


@pytest.fixture
def tree(plant: Plant, tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", TREE)


@pytest.fixture
def sent(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were uploaded or written, in order."""
    keys: list[str] = []
    upload, write = storage.upload, storage.write

    def recorded_upload(path: str, key: str, sha256: str = "", progress: Any = None) -> object:
        keys.append(key)
        return upload(path, key, sha256, progress)

    def recorded_write(key: str, data: bytes) -> object:
        keys.append(key)
        return write(key, data)

    monkeypatch.setattr(storage, "upload", recorded_upload)
    monkeypatch.setattr(storage, "write", recorded_write)
    return keys


@pytest.mark.parametrize("prefix", ["set", "data/set"])
@pytest.mark.parametrize("workers", [1, None, 30])
def test_a_tree_goes_up_and_comes_down_the_same(
    storage: Storage, tree: Path, tmp_path: Path, prefix: str, workers: int | None
) -> None:
    up: list[int] = []
    down: list[int] = []
    manifest = scan(tree)
    result = upload_tree(tree, storage, prefix, manifest, workers=workers, progress=up.append)
    assert result == TransferResult(6, SIZE, 0, 6, SIZE)
    result = download_tree(storage, prefix, tmp_path / "copy", workers=workers, progress=down.append)
    assert result == TransferResult(6, SIZE, 0, 6, SIZE)
    assert contents(tmp_path / "copy") == TREE
    assert sum(up) == sum(down) == SIZE


def test_a_tree_has_a_place_of_its_own(storage: Storage, tree: Path) -> None:
    with pytest.raises(UnsafeKey, match="prefix"):
        upload_tree(tree, storage, "", scan(tree))
    assert list(storage.list()) == []


def test_the_manifest_is_written_last(storage: Storage, tree: Path, sent: list[str]) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    assert sent[-1] == COMMIT
    assert sorted(sent[:-1]) == sorted(f"data/set/{path}" for path in TREE)


def test_an_empty_tree_is_a_tree(storage: Storage, tmp_path: Path) -> None:
    assert upload_tree(tmp_path, storage, "none", Manifest([])) == TransferResult(0, 0, 0, 0, 0)
    assert download_tree(storage, "none", tmp_path / "copy").files == 0
    assert (tmp_path / "copy").is_dir()


def test_a_committed_tree_costs_one_small_read(
    storage: Storage, tree: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = scan(tree)
    upload_tree(tree, storage, "data/set", manifest)
    sent.clear()
    for method in ("list", "stat", "delete"):
        monkeypatch.setattr(storage, method, lambda *_, **__: pytest.fail("not needed"))
    steps: list[int] = []
    result = upload_tree("/nowhere", storage, "data/set", manifest, progress=steps.append)
    assert result == TransferResult(6, SIZE, 6, 0, 0)
    assert sent == []
    assert sum(steps) == SIZE


def test_what_is_there_whole_is_not_sent_again_and_what_is_torn_is(
    storage: Storage, tree: Path, sent: list[str]
) -> None:
    storage.write("data/set/a", b"1")
    storage.write("data/set/big", b"5" * 2_499_999 + b"6")  # the right size only
    storage.write("data/set/b/数据 1", b"2")
    storage.write("data/set/foreign", b"stays")
    sent.clear()
    steps: list[int] = []
    result = upload_tree(tree, storage, "data/set", scan(tree), progress=steps.append)
    assert "data/set/a" not in sent and {"data/set/big", "data/set/b/数据 1"} <= set(sent)
    assert result == TransferResult(6, SIZE, 1, 5, SIZE - 1)
    assert sum(steps) == SIZE
    assert objects(storage, "data/set/") == {**TREE, "foreign": b"stays"}


def test_given_content_replaces_the_files_own(storage: Storage, plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "code", {"run.sh": b"#!/bin/sh\r\n", "other": b"\r\n"})
    manifest = Manifest([Entry.of("run.sh", b"#!/bin/sh\n"), Entry.of("other", b"\r\n"), Entry.of("made", b"no file")])
    steps: list[int] = []
    content = {"run.sh": b"#!/bin/sh\n", "made": b"no file"}
    upload_tree(root, storage, "code", manifest, content=content, progress=steps.append)
    download_tree(storage, "code", tmp_path / "copy")
    assert contents(tmp_path / "copy") == {"run.sh": b"#!/bin/sh\n", "other": b"\r\n", "made": b"no file"}
    assert sum(steps) == manifest.total_bytes


@pytest.mark.parametrize("content", [{"a": b"2"}, {"not there": b""}])
def test_content_that_the_manifest_does_not_name_is_refused(
    storage: Storage, tree: Path, content: dict[str, bytes]
) -> None:
    with pytest.raises(SourceChanged, match=next(iter(content))):
        upload_tree(tree, storage, "data/set", scan(tree), content=content)
    assert list(storage.list()) == []


@pytest.mark.parametrize("how", ["edited", "gone", "changed meanwhile"])
def test_a_source_that_is_not_what_was_scanned_is_not_committed(storage: Storage, tree: Path, how: str) -> None:
    manifest = scan(tree)
    progress = None
    if how == "edited":
        (tree / "a").write_bytes(b"2")
    elif how == "gone":
        (tree / "a").unlink()
    else:

        def progress(_: int) -> None:
            with (tree / "big").open("ab") as stream:
                stream.write(b"more")

    with pytest.raises(NotFound if how == "gone" else SourceChanged, match="big" if progress else "a"):
        upload_tree(tree, storage, "data/set", manifest, progress=progress)
    assert committed(storage, "data/set") is None


def test_another_manifest_is_taken_away_before_its_objects_are_replaced(storage: Storage, tree: Path) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    (tree / "a").write_bytes(b"2")
    changed = scan(tree)
    (tree / "a").unlink()
    with pytest.raises(NotFound):
        upload_tree(tree, storage, "data/set", changed)
    with pytest.raises(NotFound):
        storage.stat(COMMIT)
    (tree / "a").write_bytes(b"2")
    assert upload_tree(tree, storage, "data/set", changed).sent_files == 1
    with storage.read(COMMIT) as stream:
        assert Manifest.from_json(stream.read()) == changed


def test_a_damaged_manifest_is_replaced_by_an_upload_and_refused_by_a_download(
    storage: Storage, tree: Path, tmp_path: Path
) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    storage.write(COMMIT, b"{torn")
    with pytest.raises(Corrupt):
        download_tree(storage, "data/set", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert upload_tree(tree, storage, "data/set", scan(tree)).already_there == 6
    download_tree(storage, "data/set", tmp_path / "copy")


def test_the_first_error_stops_the_others(storage: Storage, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = storage.upload
    waiting = threading.Event()
    stopped: list[str] = []

    def faulty(path: str, key: str, sha256: str = "", progress: Any = None) -> object:
        if key.endswith("/a"):
            waiting.wait(10)
            raise StorageFull("no space")
        if key.endswith("/big"):
            waiting.set()
            try:
                while True:  # an upload that never ends by itself
                    progress(0)
            finally:
                stopped.append(key)
        return upload(path, key, sha256, progress)

    monkeypatch.setattr(storage, "upload", faulty)
    with pytest.raises(StorageFull):
        upload_tree(tree, storage, "data/set", scan(tree), workers=2)
    assert stopped == ["data/set/big"]
    assert committed(storage, "data/set") is None


def test_files_are_not_taken_up_faster_than_they_are_sent(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(Entry.of(f"{index:05}", b"") for index in range(2000))
    busy: list[int] = []
    lock = threading.Lock()
    now = 0

    def upload(path: str, key: str, sha256: str = "", progress: Any = None) -> None:
        nonlocal now
        with lock:
            now += 1
            busy.append(now)
        with lock:
            now -= 1

    monkeypatch.setattr(storage, "upload", upload)
    upload_tree(tmp_path, storage, "many", manifest, workers=4)
    assert len(busy) == 2000
    assert max(busy) <= 4


# -- downloads


def test_a_download_keeps_what_is_right_and_mends_what_is_not(
    storage: Storage, tree: Path, tmp_path: Path, plant: Plant
) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    plant(tmp_path / "copy", {"a": b"1", "big": b"6" * 2_500_000, "b/数据 1": b"torn", "own": b"kept"})
    before = (tmp_path / "copy/a").stat().st_ino
    result = download_tree(storage, "data/set", tmp_path / "copy")
    assert result == TransferResult(6, SIZE, 1, 5, SIZE - 1)
    assert contents(tmp_path / "copy") == {**TREE, "own": b"kept"}
    assert (tmp_path / "copy/a").stat().st_ino == before
    assert download_tree(storage, "data/set", tmp_path / "copy").sent_files == 0


def test_a_tree_without_a_manifest_comes_down_by_listing(storage: Storage, tmp_path: Path) -> None:
    for key in ("raw/a", "raw/b/c", "raw-2/x"):
        storage.write(key, key.encode())
    assert download_tree(storage, "raw", tmp_path / "copy").files == 2
    assert contents(tmp_path / "copy") == {"a": b"raw/a", "b/c": b"raw/b/c"}
    assert download_tree(storage, "raw", tmp_path / "copy").sent_files == 0
    storage.write("raw/a", b"RAW/A")
    assert download_tree(storage, "raw", tmp_path / "copy").sent_files == 1
    assert contents(tmp_path / "copy")["a"] == b"RAW/A"


def test_nothing_at_a_prefix_is_not_found(storage: Storage, tmp_path: Path) -> None:
    storage.write("data-2/x", b"")
    with pytest.raises(NotFound, match="data"):
        download_tree(storage, "data", tmp_path / "copy")


def test_an_object_that_is_missing_or_damaged_fails_the_download(storage: Storage, tree: Path, tmp_path: Path) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    storage.write("data/set/a", b"2")
    with pytest.raises(Corrupt, match="a"):
        download_tree(storage, "data/set", tmp_path / "copy")
    storage.delete(["data/set/a"])
    with pytest.raises(NotFound, match="data/set/a"):
        download_tree(storage, "data/set", tmp_path / "copy")
    assert not (tmp_path / "copy/a").exists()


@pytest.mark.parametrize("key", ["raw/../../evil", "raw//etc/evil", "raw/a\\..\\evil", "raw/C:evil", "raw/./evil"])
def test_names_that_climb_out_are_refused_before_anything_is_written(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Others write to buckets too: OBS lists any key that someone has put there."""
    info = storage.write("raw/good", b"x")
    evil = type(info)(key, 1, 0.0)
    monkeypatch.setattr(storage, "list", lambda prefix="": iter([info, evil]))
    with pytest.raises(UnsafeKey, match="evil"):
        download_tree(storage, "raw", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_folder_markers_of_the_console_are_not_files(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = storage.write("raw/good", b"x")
    markers = [type(info)(key, 0, 0.0) for key in ("raw/", "raw/dir/")]
    monkeypatch.setattr(storage, "list", lambda prefix="": iter([markers[0], markers[1], info]))
    assert download_tree(storage, "raw", tmp_path / "copy").files == 1
    assert contents(tmp_path / "copy") == {"good": b"x"}


def test_links_in_the_destination_are_not_written_through(storage: Storage, tmp_path: Path, plant: Plant) -> None:
    outside = plant(tmp_path / "outside", {"file": b"mine"})
    for key in ("raw/folder/file", "raw/file"):
        storage.write(key, b"theirs")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/folder").symlink_to(outside)
    (tmp_path / "copy/file").symlink_to(outside / "file")
    with pytest.raises(LinkRefused, match="folder"):
        download_tree(storage, "raw", tmp_path / "copy")
    assert contents(outside) == {"file": b"mine"}
    (tmp_path / "copy/folder").unlink()
    download_tree(storage, "raw", tmp_path / "copy")
    assert contents(outside) == {"file": b"mine"}
    assert not (tmp_path / "copy/file").is_symlink()
    assert (tmp_path / "copy/file").read_bytes() == b"theirs"


def test_a_download_sweeps_what_a_killed_one_left_an_hour_ago(storage: Storage, tmp_path: Path, plant: Plant) -> None:
    storage.write("raw/folder/file", b"x")
    names = [f".launcher~{digit * 16}.part" for digit in "ab"]
    copy = plant(tmp_path / "copy", {f"folder/{name}": b"torn" for name in names})
    os.utime(copy / "folder" / names[0], (1e9, 1e9))
    download_tree(storage, "raw", copy)
    assert sorted(contents(copy)) == [f"folder/{names[1]}", "folder/file"]


def test_a_full_disk_fails_a_download_with_no_half_file(storage: Storage, tiny_disk: Path, tree: Path) -> None:
    upload_tree(tree, storage, "data/set", scan(tree))
    with pytest.raises(StorageFull):
        download_tree(storage, "data/set", tiny_disk / "copy")
    assert contents(tiny_disk / "copy").items() <= TREE.items()
