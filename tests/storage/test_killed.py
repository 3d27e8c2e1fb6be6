"""Uploads that are killed or interrupted in the middle, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import Storage
from storage.filesystem import FileSystemStorage
from storage.manifest import manifest_key, scan
from storage.transfer import download_tree, upload_tree

Plant = Callable[..., Path]

COMMIT = manifest_key("data/set")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects(storage: Storage, prefix: str = "") -> dict[str, bytes]:
    found = {}
    for info in storage.list(prefix):
        with storage.read(info.key) as stream:
            found[info.key[len(prefix) :]] = stream.read()
    return found


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
from storage.filesystem import FileSystemStorage
from storage.manifest import scan
from storage.transfer import upload_tree
def step(count):
    print("step", flush=True)
    sys.stdin.readline()
manifest = scan(sys.argv[1])
upload_tree(sys.argv[1], FileSystemStorage(sys.argv[2]), "data/set", manifest, workers=3, progress=step)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[Path], subprocess.Popen[str]]:
    """An upload in a process of its own that goes on by one step for each line that it gets."""

    def begin(tree: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tree), str(tmp_path / "bucket")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 9, 11])
def test_an_upload_that_is_killed_is_completed_by_the_next(
    start: Callable[[Path], subprocess.Popen[str]], plant: Plant, tmp_path: Path, steps: int
) -> None:
    files = {f"folder-{index % 3}/file-{index}": bytes([index]) * 1_500_000 for index in range(6)}  # two steps each
    tree = plant(tmp_path / "tree", files)
    child = start(tree)
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "step\n"
    for _ in range(steps):
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "step\n"
    child.kill()
    child.communicate()
    bucket = FileSystemStorage(tmp_path / "bucket")
    there = objects(bucket, "data/set/")
    assert there.items() <= files.items()  # nothing torn, no manifest
    assert len(there) <= steps
    result = upload_tree(tree, bucket, "data/set", scan(tree))
    assert (result.already_there, result.sent_files) == (len(there), 6 - len(there))
    assert download_tree(bucket, "data/set", tmp_path / "copy").files == 6
    assert contents(tmp_path / "copy") == files


def test_ctrl_c_stops_an_upload_promptly_and_commits_nothing(
    start: Callable[[Path], subprocess.Popen[str]], plant: Plant, tmp_path: Path
) -> None:
    child = start(plant(tmp_path / "tree", {f"file-{index}": b"x" * 3_000_000 for index in range(50)}))
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "step\n"
    child.send_signal(signal.SIGINT)
    child.stdin.write("\n" * 3)  # of 150 steps
    child.stdin.flush()
    _, err = child.communicate(timeout=20)
    assert "KeyboardInterrupt" in err.splitlines()[-1]
    assert child.returncode in (1, -signal.SIGINT)
    there = [info.key for info in FileSystemStorage(tmp_path / "bucket").list()]
    assert len(there) < 50 and COMMIT not in there
