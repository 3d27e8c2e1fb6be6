"""The periodic copy-out of a live folder, on every back end."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import Storage
from storage.errors import LinkRefused, NotFound, UnsafeKey
from storage.transfer import known_tree, sync_tree

Plant = Callable[..., Path]
Seen = dict[str, tuple[int, int]]


def objects(storage: Storage) -> dict[str, bytes]:
    found = {}
    for info in storage.list("out/"):
        with storage.read(info.key) as stream:
            found[info.key[len("out/") :]] = stream.read()
    return found


def aged(root: Path) -> Path:
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return root


@pytest.fixture
def before_upload(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """`before_upload(name, act)`: act once, in the middle of a round, just before that file is uploaded."""
    actions: dict[str, Callable[[], object]] = {}
    upload = storage.upload

    def hooked(path: str, key: str, sha256: str = "", progress: Any = None) -> object:
        act = actions.pop(os.path.basename(path), None)
        if act is not None:
            act()
        return upload(path, key, sha256, progress)

    monkeypatch.setattr(storage, "upload", hooked)
    return actions.__setitem__


def test_only_what_is_new_or_changed_is_sent(storage: Storage, plant: Plant, tmp_path: Path) -> None:
    root = aged(plant(tmp_path / "out", {"a": b"1", "b/c": b"22", "manifest.json": b"{}"}))
    seen: Seen = {}
    steps: list[int] = []
    first = sync_tree(root, storage, "out", seen, progress=steps.append)
    assert (first.sent_files, first.sent_bytes, first.later, first.refused) == (3, 5, (), ())
    assert sum(steps) == 5
    assert set(seen) == {"a", "b/c", "manifest.json"}
    assert sync_tree(root, storage, "out", seen).sent_files == 0
    (root / "a").write_bytes(b"changed")
    (root / "new").write_bytes(b"new")
    (root / "b/c").unlink()
    assert sync_tree(root, storage, "out", seen).sent_files == 2
    assert objects(storage) == {"a": b"changed", "b/c": b"22", "manifest.json": b"{}", "new": b"new"}


def test_a_round_with_nothing_new_asks_the_bucket_nothing(
    storage: Storage, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = aged(plant(tmp_path / "out", {"a": b"1", "manifest.json": b"{}"}))
    seen: Seen = {}
    sync_tree(root, storage, "out", seen)
    for method in ("stat", "list", "read", "write", "upload"):
        monkeypatch.setattr(storage, method, lambda *_, **__: pytest.fail("not needed"))
    assert sync_tree(root, storage, "out", seen).sent_files == 0


def test_an_empty_memory_costs_no_sending(storage: Storage, plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "out", {"a": b"1", "manifest.json": b"{}"})
    assert sync_tree(root, storage, "out", {}).sent_files == 2
    assert sync_tree(root, storage, "out", {}).sent_files == 0


def test_a_file_rewritten_within_the_same_tick_of_the_clock_is_not_missed(
    storage: Storage, plant: Plant, tmp_path: Path
) -> None:
    root = plant(tmp_path / "out", {"a": b"1", "manifest.json": b"1"})
    seen: Seen = {}
    sync_tree(root, storage, "out", seen)
    for name in ("a", "manifest.json"):
        status = (root / name).stat()
        (root / name).write_bytes(b"2")
        os.utime(root / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sync_tree(root, storage, "out", seen).sent_files == 2
    assert objects(storage) == {"a": b"2", "manifest.json": b"2"}


def test_temporary_names_are_left_out(storage: Storage, plant: Plant, tmp_path: Path) -> None:
    names = ["a.ckpt.tmp", "b.part", "c/manifest.json.tmp", ".launcher~0123456789abcdef.part", "tmp", "part.txt"]
    sync_tree(plant(tmp_path / "out", dict.fromkeys(names, b"x")), storage, "out", {})
    assert sorted(objects(storage)) == ["part.txt", "tmp"]


def test_links_and_names_that_cannot_be_copied_are_reported_and_block_nothing(
    storage: Storage, plant: Plant, tmp_path: Path
) -> None:
    root = plant(tmp_path / "out", {"a": b"1", "bad\nname": b"2", "manifest.json": b"{}"})
    (root / "latest").symlink_to("a")
    (root / "gone").symlink_to("nowhere")
    (root / "outside").symlink_to("/etc")
    result = sync_tree(root, storage, "out", {})
    assert objects(storage) == {"a": b"1", "latest": b"1", "manifest.json": b"{}"}
    assert sorted(type(error).__name__ for error in result.refused) == ["LinkRefused", "LinkRefused", "UnsafeKey"]
    assert {type(error) for error in result.refused} == {LinkRefused, UnsafeKey}
    assert result.later == ()


def test_a_missing_folder_is_not_found(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none"):
        sync_tree(tmp_path / "none", storage, "out", {})


def test_a_bucket_that_is_not_found_is_an_error_and_not_left_for_later(
    storage: Storage, plant: Plant, tmp_path: Path, before_upload: Callable[[str, Callable[[], object]], None]
) -> None:
    def missing() -> None:
        raise NotFound("there is no bucket")

    before_upload("a", missing)
    with pytest.raises(NotFound, match="no bucket"):
        sync_tree(plant(tmp_path / "out", {"a": b"1"}), storage, "out", {})


@pytest.mark.parametrize("commit", ["manifest.json", "deep/manifest.json"])
@pytest.mark.parametrize("fate", ["vanishes", "changes"])
def test_a_file_that_does_not_hold_still_is_left_for_later_with_its_commit_file(
    storage: Storage,
    plant: Plant,
    tmp_path: Path,
    before_upload: Callable[[str, Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    fate: str,
    commit: str,
) -> None:
    files = {"deep/er/ckpt": b"x" * 3_000_000, commit: b"names ckpt", "other/manifest.json": b"names x", "other/x": b""}
    root = aged(plant(tmp_path / "out", files))
    ckpt = root / "deep/er/ckpt"
    upload, left = storage.upload, [1]

    def disturbed(path: str, key: str, sha256: str = "", progress: Any = None) -> object:
        def append(count: int) -> None:
            if left and key.endswith("ckpt"):
                left.clear()
                with ckpt.open("ab") as stream:
                    stream.write(b"y")

        return upload(path, key, sha256, append)

    if fate == "changes":
        monkeypatch.setattr(storage, "upload", disturbed)
    else:
        before_upload("ckpt", ckpt.unlink)
    seen: Seen = {}
    result = sync_tree(root, storage, "out", seen)
    assert result.later == tuple(sorted(["deep/er/ckpt", commit]))
    assert sorted(objects(storage)) == ["other/manifest.json", "other/x"]
    assert sync_tree(root, storage, "out", seen).later == ()
    assert objects(storage)[commit] == b"names ckpt"
    assert ("deep/er/ckpt" in objects(storage)) == (fate == "changes")


def test_commit_files_go_last_and_as_they_were_before_the_others_were_copied(
    storage: Storage, plant: Plant, tmp_path: Path, before_upload: Callable[[str, Callable[[], object]], None]
) -> None:
    root = plant(tmp_path / "out", {"ckpt-1": b"1", "manifest.json": b"names ckpt-1"})

    def publish() -> None:
        assert "manifest.json" not in objects(storage)
        plant(root, {"ckpt-2": b"2", "manifest.json": b"names ckpt-1 and ckpt-2"})

    before_upload("ckpt-1", publish)
    seen: Seen = {}
    sync_tree(root, storage, "out", seen)
    assert objects(storage) == {"ckpt-1": b"1", "manifest.json": b"names ckpt-1"}
    sync_tree(root, storage, "out", seen)
    assert objects(storage)["manifest.json"] == b"names ckpt-1 and ckpt-2"
    assert objects(storage)["ckpt-2"] == b"2"


def test_a_commit_file_that_changed_before_the_others_were_found_is_held_back(
    storage: Storage, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job takes ckpt-1 out of its manifest and deletes it after the manifest was read, before ckpt-1 was found."""
    from storage import sync

    root = plant(tmp_path / "out", {"ckpt-1": b"1", "manifest.json": b"names ckpt-1"})
    read = sync._snapshot
    turns = iter(range(100))

    def read_then_publish(found: Any) -> object:
        commit = read(found)
        turn = next(turns)
        plant(root, {f"ckpt-{turn + 2}": b"2", "manifest.json": b"names ckpt-%d" % (turn + 2)})
        (root / f"ckpt-{turn + 1}").unlink()
        return commit

    monkeypatch.setattr(sync, "_snapshot", read_then_publish)
    assert sync_tree(root, storage, "out", {}).later == ("manifest.json",)
    assert "manifest.json" not in objects(storage)
    monkeypatch.setattr(sync, "_snapshot", read)
    assert sync_tree(root, storage, "out", {}).later == ()
    named = objects(storage)["manifest.json"].split()[-1].decode()
    assert named in objects(storage)


def test_a_live_job_can_publish_as_fast_as_it_likes(storage: Storage, tmp_path: Path) -> None:
    """After every round, all that the bucket's manifest names is there and has its hash."""
    root = tmp_path / "out"
    root.mkdir()
    enough = threading.Event()
    published = [0]

    def put(name: str, data: bytes) -> None:
        (root / f"{name}.tmp").write_bytes(data)
        os.replace(root / f"{name}.tmp", root / name)

    def job() -> None:
        kept: dict[str, str] = {}
        while not enough.is_set():
            published[0] += 1
            name = f"ckpt-{published[0]}"
            data = os.urandom(20_000)
            put(name, data)
            kept[name] = hashlib.sha256(data).hexdigest()
            dropped = list(kept)[:-3]
            for old in dropped:
                del kept[old]
            put("manifest.json", json.dumps(kept).encode())
            for old in dropped:
                (root / old).unlink()

    def check() -> dict[str, str]:
        there = objects(storage)
        named: dict[str, str] = json.loads(there.get("manifest.json", b"{}"))
        for name, sha256 in named.items():
            assert hashlib.sha256(there[name]).hexdigest() == sha256
        return named

    writer = threading.Thread(target=job)
    writer.start()
    seen: Seen = {}
    try:
        for _ in range(40):
            sync_tree(root, storage, "out", seen)
            check()
    finally:
        enough.set()
        writer.join()
    result = sync_tree(root, storage, "out", seen)
    assert result.later == ()
    assert published[0] > 40
    assert f"ckpt-{published[0]}" in check()


def test_a_folder_that_came_from_the_bucket_is_not_sent_back(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "filled"
    (source / "checkpoints").mkdir(parents=True)
    (source / "checkpoints/manifest.json").write_text("old")
    (source / "weights").write_text("old")
    seen = known_tree(source)
    storage.write("out/checkpoints/manifest.json", b"another node's, and newer")
    (source / "weights").write_text("newer")
    sync_tree(source, storage, "out", seen)
    assert objects(storage) == {"checkpoints/manifest.json": b"another node's, and newer", "weights": b"newer"}
