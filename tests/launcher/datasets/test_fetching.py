"""Whatever happens to a prepare, a final name has the whole file or none, and the next prepare completes."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.datasets import fetching, places
from launcher.errors import DataError

ROOT = Path(__file__).resolve().parents[3]

CHILD = """
    import sys
    from pathlib import Path
    from launcher.datasets import fetching
    from launcher.datasets.download import Limits
    from launcher.datasets.registry import DataFile, Dataset, Source
    dataset, source = eval(sys.argv[1]), eval(sys.argv[2])
    print("ready", flush=True)
    fetching.bring(dataset, Path(sys.argv[3]), sources=[source], say=lambda line: print(line, flush=True))
"""


@pytest.fixture(autouse=True)
def children() -> Iterator[list[subprocess.Popen[str]]]:
    yield CHILDREN
    while CHILDREN:
        with CHILDREN.pop() as process:
            process.kill()


CHILDREN: list[subprocess.Popen[str]] = []


def child(kit: Any, source: Any, dest: Path) -> subprocess.Popen[str]:
    """A process that prepares the synthetic data set; started, and its imports done."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), repr(kit.tiny.dataset(source)), repr(source), str(dest)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    CHILDREN.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def bring(kit: Any, dest: Path, source: Any, **options: Any) -> list[str]:
    said: list[str] = []
    fetching.bring(kit.tiny.dataset(source), dest, sources=[source], say=said.append, limits=kit.limits, **options)
    return said


def test_what_is_there_and_right_is_not_fetched_again(kit: Any, tmp_path: Path) -> None:
    source = kit.archive()
    bring(kit, tmp_path / "data", source)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")}
    assert bring(kit, tmp_path / "data", source) == [f"Synthetic is already in {tmp_path / 'data'}, and right"]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")} == before
    assert len(kit.web.asked) == 1


def test_force_fetches_again(kit: Any, tmp_path: Path) -> None:
    source = kit.archive()
    bring(kit, tmp_path / "data", source)
    bring(kit, tmp_path / "data", source, force=True)
    assert len(kit.web.asked) == 2
    assert kit.tiny.is_whole(tmp_path / "data")


def test_only_the_missing_and_the_damaged_are_fetched(kit: Any, tmp_path: Path) -> None:
    source = kit.gzips()
    dest = kit.tiny.write(tmp_path / "data")
    first, second, *_ = kit.tiny.content
    (dest / first).unlink()
    (dest / second).write_bytes(b"short")
    bring(kit, dest, source)
    assert kit.tiny.is_whole(dest)
    assert kit.web.asked == [f"/mirror/{Path(first).name}.gz", f"/mirror/{Path(second).name}.gz"]


def test_a_whole_file_of_other_content_is_not_replaced_unasked(kit: Any, tmp_path: Path) -> None:
    source = kit.archive()
    dest = kit.tiny.write(tmp_path / "data")
    first = next(iter(kit.tiny.content))
    other = bytes(len(kit.tiny.content[first]))
    (dest / first).write_bytes(other)
    with pytest.raises(DataError, match="is whole but is not Synthetic's; it was left as it is") as caught:
        bring(kit, dest, source, keep_others=True)
    assert "--force" in caught.value.hint
    assert (dest / first).read_bytes() == other
    bring(kit, dest, source, keep_others=False)
    assert kit.tiny.is_whole(dest)


def test_a_read_only_folder_that_is_right_is_enough(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    dest = kit.tiny.write(tmp_path / "data")
    monkeypatch.setattr(fetching, "_workplace", refuse)
    assert "already" in bring(kit, dest, kit.archive())[0]


def test_a_folder_that_cannot_be_written(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the data set to .*: (Not a directory|File exists)"):
        bring(kit, tmp_path / "file", kit.archive())
    with pytest.raises(DataError, match="cannot write the data set to"):
        bring(kit, tmp_path / "file" / "below", kit.archive())


def test_other_files_in_the_folder_stay(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    bring(kit, tmp_path / "data", kit.archive())
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "data" / ".dataset").exists()


def test_stamp_is_void_after_any_change(kit: Any, tmp_path: Path) -> None:
    source = kit.archive()
    dataset, dest = kit.tiny.dataset(source), tmp_path / "data"
    assert places.read_stamp(dataset, dest) is None
    bring(kit, dest, source)
    stamp = places.read_stamp(dataset, dest)
    assert stamp is not None and stamp["source"] == "good"
    for path in kit.tiny.content:
        status = (dest / path).stat()
        os.utime(dest / path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert places.read_stamp(dataset, dest) is None
        os.utime(dest / path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert places.read_stamp(dataset, dest) is not None
    (dest / path).unlink()
    assert places.read_stamp(dataset, dest) is None


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b"null", b'{"files": 3}', b"\xff\xfe", b"{" * 5000])
def test_a_damaged_stamp_is_no_stamp(junk: bytes, kit: Any, tmp_path: Path, cache: Path) -> None:
    source = kit.archive()
    bring(kit, tmp_path / "data", source)
    (stamp,) = (cache / "datasets" / ".verified").iterdir()
    stamp.write_bytes(junk)
    assert places.read_stamp(kit.tiny.dataset(source), tmp_path / "data") is None
    bring(kit, tmp_path / "data", source)
    assert places.read_stamp(kit.tiny.dataset(source), tmp_path / "data") is not None


def test_a_cache_that_cannot_be_written_only_costs_the_stamp(kit: Any, tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file in the way")
    bring(kit, tmp_path / "data", kit.archive())
    assert kit.tiny.is_whole(tmp_path / "data")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LAUNCHER_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/modelarts-launcher"),
        ({"XDG_CACHE_HOME": "relative"}, "/h/.cache/modelarts-launcher"),
        ({}, "/h/.cache/modelarts-launcher"),
    ],
)
def test_cache_dir(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/h")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert places.cache_dir() == Path(expected)


def test_kill_9_at_random_moments(kit: Any, tmp_path: Path) -> None:
    """The download alone takes 0.2 s here; the kills are spread over it and over what comes after."""
    source = kit.archive(kit.serve(kit.tiny.zip(), piece=4096, pause=0.012))
    dest, moments = tmp_path / "data", random.Random(5)
    for _ in range(15):
        process = child(kit, source, dest)
        time.sleep(moments.uniform(0, 0.35))
        process.kill()
        process.communicate()
        for path, data in kit.tiny.content.items():
            assert not (dest / path).exists() or (dest / path).read_bytes() == data
        if kit.tiny.is_whole(dest):
            shutil.rmtree(dest)
    bring(kit, dest, source)
    assert kit.tiny.is_whole(dest), "the left-overs are gone and the data is whole"


def test_kill_between_any_two_renames(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of putting into place is a place to stop at; the next prepare goes on from there."""
    source, real = kit.archive(), fetching._put

    for stop in range(4):
        calls: list[Path] = []

        def put(path: Path, final: Path, stop: int = stop, calls: list[Path] = calls) -> None:
            if len(calls) == stop:
                raise KeyboardInterrupt
            calls.append(final)
            real(path, final)

        dest = tmp_path / str(stop)
        monkeypatch.setattr(fetching, "_put", put)
        with pytest.raises(KeyboardInterrupt):
            bring(kit, dest, source)
        assert len([p for p in dest.rglob("*") if p.is_file()]) == stop
        assert not (dest / ".dataset").exists()
        monkeypatch.setattr(fetching, "_put", real)
        bring(kit, dest, source)
        assert kit.tiny.is_whole(dest)


def test_ctrl_c_ends_the_client_and_all_its_children(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    script = f"#!/bin/sh\nsleep 300 & echo $! $$ > {tmp_path}/pids\nwait\n"
    (tmp_path / "bin" / "npm").write_text(script)
    (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    process = child(kit, kit.client("npm"), tmp_path / "data")
    deadline = time.monotonic() + 10
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert not (tmp_path / "data").exists()
    for pid in (tmp_path / "pids").read_text().split():
        assert not _alive(int(pid)), "nothing of the client's group is left"


def _alive(pid: int) -> bool:
    """A zombie that nobody reaps (as in a container without an init) is not alive."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_five_at_once_fetch_once(kit: Any, tmp_path: Path) -> None:
    source = kit.archive(kit.serve(kit.tiny.zip(), piece=8192, pause=0.02))
    processes = [child(kit, source, tmp_path / "data") for _ in range(5)]
    outputs = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, outputs
    assert kit.tiny.is_whole(tmp_path / "data")
    assert len(kit.web.asked) == 1


def test_the_next_in_line_takes_over_from_a_killed_one(kit: Any, tmp_path: Path) -> None:
    source = kit.archive(kit.mute(kit.tiny.zip()[:100]))
    first = child(kit, source, tmp_path / "data")
    deadline = time.monotonic() + 10
    while not kit.web.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kit.archive()  # the same URL serves from now on
    second = child(kit, source, tmp_path / "data")
    assert second.stdout is not None
    assert second.stdout.readline() == f"another prepare is at work in {tmp_path / 'data'}; waiting for it\n"
    first.kill()
    first.communicate()
    _, complaint = second.communicate(timeout=10)
    assert second.returncode == 0, complaint
    assert kit.tiny.is_whole(tmp_path / "data")


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 160 KiB: the data has 63 KB, the download about as much."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k,mode=0700", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("filler", range(0, 160, 8))
def test_disk_full_leaves_no_half_file(
    filler: int, kit: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk runs full at twenty different moments; the check beforehand is switched off to get there."""
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: Usage(1 << 40, 0, 1 << 40))
    (small_disk / "filler").write_bytes(bytes(filler * 1024))
    dest = small_disk / "data"
    try:
        bring(kit, dest, kit.archive())
    except DataError as error:
        assert error.message == f"the disk of {dest} is full; nothing half-written was kept"
        assert filler > 8
    else:
        assert filler < 48
    for path, data in kit.tiny.content.items():
        assert not (dest / path).exists() or (dest / path).read_bytes() == data
    assert not (dest / ".dataset").exists()
    (small_disk / "filler").write_bytes(b"")
    bring(kit, dest, kit.archive())
    assert kit.tiny.is_whole(dest)


def test_disk_full_is_seen_before_anything_is_fetched(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: Usage(1 << 40, 1 << 40, 1000))
    with pytest.raises(DataError, match="is full"):
        bring(kit, tmp_path / "data", kit.archive())
    assert kit.web.asked == []


def test_a_client_that_fills_the_disk_is_not_called_broken(
    kit: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pip and npm report a full disk in words of their own; what counts is that the disk is full."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nhead -c 1000000 /dev/zero > big\n")
    (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(DataError, match="is full"):
        bring(kit, small_disk / "data", kit.client("npm"))
