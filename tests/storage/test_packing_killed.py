"""Packed trees whose transfer is killed in the middle, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.filesystem import FileSystemStorage
from storage.manifest import committed
from storage.packing import MANY
from storage.transfer import download_tree, send_tree

Plant = Callable[..., Path]

PREFIX = "data/set"
ALL = {"large": b"L" * 200_000, **{f"class-{index % 7}/{index:05}.bin": b"%d" % index * 40 for index in range(MANY)}}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


CHILD = """
import sys
from storage import packing
from storage.filesystem import FileSystemStorage
from storage.transfer import download_tree, send_tree
packing.SHARD = 300_000
def step(count):
    print("step", flush=True)
    sys.stdin.readline()
bucket = FileSystemStorage(sys.argv[3])
if sys.argv[1] == "up":
    send_tree(sys.argv[2], bucket, "data/set", progress=step, pack=True)
else:
    download_tree(bucket, "data/set", sys.argv[2], progress=step)
"""


@pytest.mark.parametrize(("way", "steps"), [("up", 0), ("up", 1), ("up", 3), ("down", 0), ("down", 5), ("down", 700)])
def test_what_is_killed_is_completed_by_the_next(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, steps: int
) -> None:
    tree, temporary = plant(tmp_path / "tree", ALL), plant(tmp_path / "temporary", {})
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    bucket = FileSystemStorage(tmp_path / "bucket")
    copy = tmp_path / "copy"
    if way == "down":
        send_tree(tree, bucket, PREFIX, pack=True)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, way, str(tree if way == "up" else copy), bucket.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "step\n"
    for _ in range(steps):
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "step\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert (committed(bucket, PREFIX) is None) == (way == "up")
    if way == "down":
        there = {path: data for path, data in contents(copy).items() if ".launcher~" not in path}
        assert there.items() <= ALL.items() and len(there) >= steps
    for left in [*temporary.iterdir(), *copy.rglob(".launcher~*")]:
        os.utime(left, (1e9, 1e9))  # an hour later
    send_tree(tree, bucket, PREFIX, pack=True)
    result = download_tree(bucket, PREFIX, copy)
    assert result.already_there >= steps * (way == "down")
    assert contents(copy) == ALL
    if way == "up":
        assert list(temporary.glob(".launcher~*")) == []
