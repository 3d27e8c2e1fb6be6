"""The cache of hashes: never wrong, at worst empty."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import files, manifest
from storage.manifest import Entry, HashCache, Manifest, scan

Plant = Callable[..., Path]

TREE = {"a": b"1", "a-b": b"", "a.d/b": b"22", "数据/文 件": b"333", "z/y/x": b"4444"}
OLD = (1e9, 1e9)


def of(files: dict[str, bytes]) -> Manifest:
    return Manifest(Entry.of(path, data) for path, data in files.items())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really read."""
    seen: list[str] = []

    class Watched(files.SourceFile):
        def __init__(self, path: str, progress: object = None) -> None:
            seen.append(os.path.basename(path))
            super().__init__(path)

    monkeypatch.setattr(manifest, "SourceFile", Watched)
    return seen


def aged(root: Path) -> Path:
    for path in root.rglob("*"):
        os.utime(path, OLD)
    return root


def test_a_file_that_has_not_changed_is_not_read_again(plant: Plant, tmp_path: Path, reads: list[str]) -> None:
    root = aged(plant(tmp_path / "tree", TREE))
    with HashCache(tmp_path / "cache/hashes") as cache:
        first = scan(root, cache=cache)
    assert len(reads) == len(TREE)
    reads.clear()
    steps: list[int] = []
    assert scan(root, cache=HashCache(tmp_path / "cache/hashes"), progress=steps.append) == first
    assert reads == []
    assert sum(steps) == first.total_bytes


@pytest.mark.parametrize("change", ["size", "mtime", "inode", "path"])
def test_a_file_that_may_have_changed_is_read_again(
    plant: Plant, tmp_path: Path, reads: list[str], change: str
) -> None:
    root = aged(plant(tmp_path / "tree", {"file": b"older"}))
    cache = HashCache(tmp_path / "hashes")
    scan(root, cache=cache)
    reads.clear()
    file, path = root / "file", "file"
    if change == "size":
        file.write_bytes(b"newer!")
        os.utime(file, OLD)
    elif change == "mtime":
        file.write_bytes(b"newer")
    elif change == "inode":
        (root / "other").write_bytes(b"newer")
        os.utime(root / "other", OLD)
        os.replace(root / "other", file)
    else:
        path = "moved"
        file.rename(root / path)
    assert scan(root, cache=cache) == of({path: (root / path).read_bytes()})
    assert reads == [path]


def test_a_file_written_just_now_is_not_trusted(plant: Plant, tmp_path: Path, reads: list[str]) -> None:
    root = plant(tmp_path / "tree", {"now": b"1", "future": b"2", "then": b"3"})
    os.utime(root / "future", (time.time() + 1000,) * 2)
    os.utime(root / "then", (time.time() - 3,) * 2)
    cache = HashCache(tmp_path / "hashes")
    scan(root, cache=cache)
    reads.clear()
    scan(root, cache=cache)
    assert sorted(reads) == ["future", "now"]


@pytest.mark.parametrize("damage", ["garbage", "cut", "a page", "a folder", "another table"])
def test_a_damaged_cache_is_just_empty(plant: Plant, tmp_path: Path, damage: str) -> None:
    root = aged(plant(tmp_path / "tree", {f"file-{index:04}": b"%d" % index for index in range(300)}))
    place = tmp_path / "hashes"
    with HashCache(place) as cache:
        expected = scan(root, cache=cache)
    data = place.read_bytes()
    place.unlink()
    if damage == "garbage":
        place.write_bytes(b"no database" * 1000)
    elif damage == "cut":
        place.write_bytes(data[: len(data) // 2])
    elif damage == "a page":
        place.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])
    elif damage == "a folder":
        place.mkdir()
    else:
        import sqlite3

        database = sqlite3.connect(place)
        database.execute("CREATE TABLE hashes (path)")
        database.close()
    for _ in range(3):
        with HashCache(place) as cache:
            assert scan(root, cache=cache) == expected


def test_a_damaged_cache_recovers(plant: Plant, tmp_path: Path, reads: list[str]) -> None:
    root = aged(plant(tmp_path / "tree", TREE))
    (tmp_path / "hashes").write_bytes(b"no database" * 1000)
    for _ in range(2):
        reads.clear()
        with HashCache(tmp_path / "hashes") as cache:
            scan(root, cache=cache)
    assert reads == []


def test_a_cache_on_a_full_or_forbidden_disk_costs_only_time(plant: Plant, tmp_path: Path) -> None:
    root = aged(plant(tmp_path / "tree", TREE))
    for place in ("/dev/full/hashes", "/proc/hashes"):
        with HashCache(place) as cache:
            assert scan(root, cache=cache) == of(TREE)


def test_what_is_recalled_at_once_is_what_is_asked_for_one_by_one(plant: Plant, tmp_path: Path) -> None:
    root = aged(plant(tmp_path / "tree", TREE))
    beside = aged(plant(tmp_path / "tree-2", {"x": b"1"}))
    (root / "linked").symlink_to(beside)
    with HashCache(tmp_path / "hashes") as cache:
        scan(root, cache=cache, follow_outside=True)
        found = [path for path in [*root.rglob("*"), *beside.rglob("*")] if path.is_file()]
        os.utime(root / "a", (1e9 - 5, 1e9 - 5))  # the same size, an older mtime
        (root / "new").write_bytes(b"")
        for folder in (root, beside, tmp_path / "none", "/"):
            lookup = cache.recall(folder)
            for path in [*found, root / "a", root / "new"]:
                assert lookup(str(path), path.stat()) == cache.get(path, path.stat())
        known = [path for path in found if cache.recall(root)(str(path), path.stat())]
    assert len(known) == len(TREE), "all but the edited one, and the one beside"


def test_what_was_put_just_now_is_recalled(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1")
    os.utime(file, OLD)
    with HashCache(tmp_path / "hashes") as cache:
        cache.put(file, file.stat(), "0" * 64, time.time_ns())
        assert cache.recall(tmp_path)(str(file), file.stat()) == "0" * 64


def test_a_whole_folder_costs_one_question(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = aged(plant(tmp_path / "tree", TREE))
    with HashCache(tmp_path / "hashes") as cache:
        expected = scan(root, cache=cache)
        monkeypatch.setattr(cache, "get", lambda *_: pytest.fail("asked about one file"))
        assert scan(root, cache=cache) == expected


@pytest.mark.parametrize(
    "damage",
    [
        "sha256 = 'x'",
        "sha256 = 'x' WHERE path LIKE '%/a'",
        "sha256 = upper(sha256) WHERE path LIKE '%/a-b'",
        "sha256 = substr(sha256, 1, 40) || ' ' || substr(sha256, 42) WHERE path LIKE '%/a'",
        "sha256 = iif(path LIKE '%/a', sha256 || '00', substr(sha256, 3)) WHERE path LIKE '%/a' OR path LIKE '%/a-b'",
        "sha256 = 1 WHERE path LIKE '%/a'",
        "sha256 = NULL WHERE path LIKE '%/a'",
        "sha256 = x'00' WHERE path LIKE '%/a'",
    ],
)
def test_a_hash_in_the_cache_that_is_none_is_not_used(plant: Plant, tmp_path: Path, damage: str) -> None:
    import sqlite3

    root = aged(plant(tmp_path / "tree", TREE))
    with HashCache(tmp_path / "hashes") as cache:
        expected = scan(root, cache=cache)
    for paths in (None, TREE):  # all at once, one by one
        with sqlite3.connect(tmp_path / "hashes") as database:
            assert database.execute(f"UPDATE hashes SET {damage}").rowcount
        database.close()
        with HashCache(tmp_path / "hashes") as cache:
            assert scan(root, cache=cache, paths=paths) == expected


CHILD = """
import sys
from storage.errors import SourceChanged
from storage.manifest import HashCache, scan
cache = HashCache(sys.argv[2])
print("ready", flush=True)
while True:
    try:
        scan(sys.argv[1], cache=cache, workers=2)
    except SourceChanged:  # another child has just touched the file
        continue
    print("done", flush=True)
    import os
    for name in os.listdir(sys.argv[1])[::7]:
        os.utime(os.path.join(sys.argv[1], name), ns=(10**18, 10**18 + os.getpid() * 10**6))
"""


def test_many_processes_share_a_cache_and_may_be_killed_at_any_moment(plant: Plant, tmp_path: Path) -> None:
    contents = {f"file-{index:04}": b"%d" % index for index in range(200)}
    root = aged(plant(tmp_path / "tree", contents))
    place = tmp_path / "hashes"
    for _ in range(3):
        children = [
            subprocess.Popen([sys.executable, "-c", CHILD, str(root), str(place)], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for child in children:
            assert child.stdout is not None
            assert [child.stdout.readline(), child.stdout.readline()] == ["ready\n", "done\n"]
            os.kill(child.pid, signal.SIGKILL)
        for child in children:
            child.communicate()
        with HashCache(place) as cache:
            assert scan(root, cache=cache) == of(contents)
            assert any(cache.get(root / name, (root / name).stat()) for name in contents)
