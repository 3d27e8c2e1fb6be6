"""What is fsynced, and when: a file before it gets its name, a folder after, for a tree once at its end."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import Storage, durable
from storage.durable import later, sync_disks, sync_folder, sync_folders
from storage.transfer import download_tree, send_tree
from tests.servers.process import Server
from tests.storage.conftest import fresh_bucket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(`fsync` or `rename`, the place) in turn; of a renamed file its new name."""
    seen: list[tuple[str, str]] = []
    fsync, replace, sync = os.fsync, os.replace, os.sync

    def fsynced(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))

    def renamed(old: str, new: str) -> None:
        assert ("fsync", old) in seen or "quick" in new
        replace(old, new)
        seen.append(("rename", new))

    def synced() -> None:
        sync()
        seen.append(("sync", ""))

    monkeypatch.setattr(os, "fsync", fsynced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "sync", synced)
    return seen


@pytest.fixture
def bucket(servers: Callable[[str], Server]) -> Iterator[Storage]:
    with fresh_bucket(servers("emulated"), signature="obs", processes="0") as opened:
        yield opened


def plant(root: Path, count: int, size: int) -> None:
    dice = random.Random(count)
    for number in range(count):
        path = root / f"a/b{number % 3}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(size))


def test_a_tree_syncs_each_file_before_it_has_its_name_and_each_folder_once_at_the_end(
    bucket: Storage, tmp_path: Path, events: list[tuple[str, str]]
) -> None:
    plant(tmp_path / "tree", 40, 3000)
    send_tree(tmp_path / "tree", bucket, "x")
    events.clear()
    copy = tmp_path / "new" / "copy"
    download_tree(bucket, "x", copy)
    last = max(number for number, (what, _) in enumerate(events) if what == "rename")
    after = sorted(place for what, place in events[last + 1 :] if what == "fsync")
    assert after == sorted(map(str, [copy.parent, copy, copy / "a", *(copy / f"a/b{n}" for n in range(3))]))
    assert not {place for what, place in events[:last] if what == "fsync"} & set(after)
    events.clear()
    download_tree(bucket, "x", copy)
    assert events == []


def test_a_file_by_itself_syncs_its_folder_whatever_other_threads_do(
    bucket: Storage, tmp_path: Path, events: list[tuple[str, str]]
) -> None:
    bucket.write("key", b"x")
    with later:
        thread = threading.Thread(target=bucket.download, args=("key", tmp_path / "one"))
        thread.start()
        thread.join()
        assert events[-2:] == [("rename", str(tmp_path / "one")), ("fsync", str(tmp_path))]
        events.clear()
        bucket.download("key", tmp_path / "two")
        assert events[-1] == ("rename", str(tmp_path / "two"))
    sync_folder(str(tmp_path))
    assert events[-1] == ("fsync", str(tmp_path))


def test_folders_that_have_gone_are_left_out(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    (tmp_path / "root" / "there").mkdir(parents=True)
    sync_folders(str(tmp_path / "root"), ["there", "gone/deeper"])
    assert [place for _, place in events] == [
        str(place) for place in (tmp_path, tmp_path / "root", tmp_path / "root/there")
    ]


def test_what_came_in_shards_is_written_out_with_its_own_disk_only(
    bucket: Storage, tmp_path: Path, events: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "tree", 1000, 10)
    send_tree(tmp_path / "tree", bucket, "x", pack=True)
    events.clear()
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr("storage.receiving.sync_disks", lambda root, folders: asked.append((root, sorted(folders))))
    download_tree(bucket, "x", tmp_path / "quick")
    assert asked == [(str(tmp_path / "quick"), ["a/b0", "a/b1", "a/b2"])]
    sync_disks(*asked[0])
    assert not [what for what, _ in events if what != "rename"]


def test_without_a_call_for_one_disk_all_are_written_out(
    tmp_path: Path, events: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    durable.sync_disks(str(tmp_path), [])
    assert events == [("sync", "")]
