"""Trees that worker processes share: the same as without them, and nobody is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from launcher.emulator.obs import Account
from storage import Storage, errors, pipes, processes
from storage.errors import StorageError
from storage.hashcache import HashCache
from storage.manifest import Manifest, scan
from storage.obs import ObsService, ObsSettings
from storage.transfer import download_tree, send_tree, upload_tree
from tests.servers.emulated import serving
from tests.servers.metadata import Metadata, serving_metadata
from tests.servers.process import Server
from tests.storage.conftest import fresh_bucket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

SECRET = "a-secret-of-the-environment"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Trees of any size get a worker; the workers that there were."""
    children: list[subprocess.Popen[bytes]] = []
    start = processes._start

    def remembered(errand: dict[str, object]) -> subprocess.Popen[bytes] | None:
        child = start(errand)
        if child is not None:
            children.append(child)
        return child

    monkeypatch.setattr(processes, "_start", remembered)
    monkeypatch.setattr(processes, "MANY", 10)
    return children


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each worker was told at a time."""
    told: list[int] = []
    take = processes.Crew.take

    def counted(crew: processes.Crew, *given: Any) -> list[Any]:
        items = take(crew, *given)
        told.extend([len(items)] if items else [])
        return items

    monkeypatch.setattr(processes.Crew, "take", counted)
    return told


@pytest.fixture
def bucket(servers: Callable[[str], Server]) -> Iterator[Storage]:
    with fresh_bucket(servers("emulated"), signature="obs", processes="1") as opened:
        yield opened


def tree(root: Path, count: int, seed: int = 1) -> dict[str, bytes]:
    dice = random.Random(seed)
    files = {f"{dice.choice('abc')}/é{dice.choice('xyz')}/{n:05}": dice.randbytes(dice.choice((0, 9, 3000, 70_000)))
             for n in range(count)}  # fmt: skip
    files["large"] = dice.randbytes(processes.LARGEST + 1)
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        os.utime(root / path, (1e9, 1e9))
    return files


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def all_gone(children: list[subprocess.Popen[bytes]]) -> bool:
    return all(child.returncode is not None for child in children)


@pytest.mark.parametrize("seed", range(2))
def test_the_same_tree_arrives_both_ways(
    bucket: Storage, tmp_path: Path, started: list[subprocess.Popen[bytes]], seed: int
) -> None:
    files, moved = tree(tmp_path / "tree", 900, seed), [0]
    total = sum(map(len, files.values()))

    def progress(count: int) -> None:
        moved[0] += count
        if moved[0] < total / 3:
            time.sleep(0.01)  # the worker has time to start

    with HashCache(tmp_path / "hashes") as cache:
        manifest, result = send_tree(tmp_path / "tree", bucket, "a/b", cache, progress=progress)
        assert all(cache.get(path, path.stat()) for path in (tmp_path / "tree").rglob("*") if path.is_file())
    assert manifest == Manifest(scan(tmp_path / "tree").entries)
    assert (result.files, result.sent_bytes, moved[0]) == (len(files), total, total)
    moved[0] = 0
    result = download_tree(bucket, "a/b", tmp_path / "copy", progress=progress)
    assert (result.files, result.sent_bytes, moved[0]) == (len(files), total, total)
    assert contents(tmp_path / "copy") == files
    assert len(started) == 2 and all_gone(started)
    again = download_tree(bucket, "a/b", tmp_path / "copy")
    assert again.already_there == len(files)


def slow(_: int) -> None:
    time.sleep(0.002)


@pytest.mark.parametrize(
    "name", [pytest.param("seaweedfs", marks=pytest.mark.slow), pytest.param("radosgw", marks=pytest.mark.radosgw)]
)
def test_a_real_server_gets_and_gives_the_same_tree(
    servers: Callable[[str], Server],
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    helped: list[int],
    name: str,
) -> None:
    files = tree(tmp_path / "tree", 900)
    with fresh_bucket(servers(name), processes="1") as opened:
        manifest, result = send_tree(tmp_path / "tree", opened, "a/b", progress=slow)
        assert (result.sent_files, sum(helped) > 0) == (len(files), True)
        helped.clear()
        result = download_tree(opened, "a/b", tmp_path / "copy", progress=slow)
        assert (result.sent_files, sum(helped) > 0) == (len(files), True)
        assert contents(tmp_path / "copy") == files
        opened.delete(["a/b.manifest.json"])
        assert upload_tree(tmp_path / "tree", opened, "a/b", manifest).already_there == len(files)
    assert len(started) == 3 and all_gone(started)


class _Metadata(Metadata, BaseHTTPRequestHandler):
    """`current` are the keys that one gets."""

    current = "FIRST"
    asked: list[str] = []  # noqa: RUF012  # one server at a time

    def do_GET(self) -> None:
        self.asked.append(self.current)
        self.answer_keys(self.current)


def test_temporary_keys_that_end_meanwhile_are_renewed_by_the_worker_too(
    tmp_path: Path, started: list[subprocess.Popen[bytes]], helped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tree(tmp_path / "tree", 1500)
    total = sum(map(len, files.values()))
    accounts = {"FIRST": Account("s", token="t"), "SECOND": Account("s", token="t")}
    with serving(tmp_path / "root", None, None, **accounts) as server, serving_metadata(_Metadata) as metadata:
        monkeypatch.setenv("OBS_METADATA", metadata)
        _Metadata.current, _Metadata.asked = "FIRST", []
        moved = 0

        def progress(count: int) -> None:
            nonlocal moved
            moved += count
            if moved > total / 3 and _Metadata.current == "FIRST":
                until = time.monotonic() + 60
                while _Metadata.asked.count("FIRST") < 2 and time.monotonic() < until:
                    time.sleep(0.01)  # nobody here goes on before the worker has keys, too
                _Metadata.current = "SECOND"
                server.accounts["FIRST"] = Account("s", token="t", expires=1)
            slow(count)

        settings = {"credentials": "ecs", "signature": "obs", "addressing": "path", "processes": "1"}
        service = ObsService(ObsSettings(endpoint=server.endpoint, **settings))
        service.make_bucket("bucket")
        bucket = service.bucket("bucket")
        try:
            assert send_tree(tmp_path / "tree", bucket, "x", progress=progress)[1].sent_files == len(files)
        finally:
            service.close()
        assert _Metadata.asked == ["FIRST", "FIRST", "SECOND", "SECOND"]
        assert sum(helped) > 0 and all_gone(started)
        again = ObsService(ObsSettings(endpoint=server.endpoint, access_key="SECOND", secret_key="s", token="t"))
        download_tree(again.bucket("bucket"), "x", tmp_path / "copy")
        again.close()
    assert contents(tmp_path / "copy") == files


def test_an_error_of_a_worker_is_raised_as_it_was(
    bucket: Storage, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    tree(tmp_path / "tree", 1500)
    manifest = scan(tmp_path / "tree")
    for path in [entry.path for entry in manifest.entries][300:1400]:
        (tmp_path / "tree" / path).unlink()
    with pytest.raises(errors.NotFound, match="cannot read") as caught:
        upload_tree(tmp_path / "tree", bucket, "x", manifest, progress=slow)
    assert isinstance(caught.value, FileNotFoundError)
    assert started and all_gone(started)
    with pytest.raises(errors.NotFound):
        bucket.stat("x.manifest.json")


def test_a_killed_worker_is_an_error(
    bucket: Storage, tmp_path: Path, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "tree", 3000)
    tell = processes.Crew.tell

    def told(crew: processes.Crew, count: int) -> None:
        if sys._getframe(1).f_code.co_name == "_serve":
            started[0].kill()
        tell(crew, count)

    monkeypatch.setattr(processes.Crew, "tell", told)
    with pytest.raises(StorageError, match=r"a worker process .*signal 9") as caught:
        send_tree(tmp_path / "tree", bucket, "x", progress=slow)
    assert caught.value.hint
    assert all_gone(started)
    with pytest.raises(errors.NotFound):
        bucket.stat("x.manifest.json")


@pytest.mark.parametrize("program", ["", "/bin/true", "/no/python3"])
def test_without_a_python_it_is_done_here(
    bucket: Storage,
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    program: str,
) -> None:
    files = tree(tmp_path / "tree", 30)
    monkeypatch.setattr(sys, "executable", program)
    assert send_tree(tmp_path / "tree", bucket, "x")[1].sent_files == len(files)
    assert not started


def test_a_worker_that_does_not_start_is_done_without(
    bucket: Storage, tmp_path: Path, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tree(tmp_path / "tree", 300)
    monkeypatch.setattr(processes, "_FIRST", "raise SystemExit(3)")
    assert send_tree(tmp_path / "tree", bucket, "x", progress=slow)[1].sent_files == len(files)
    assert started and all_gone(started)


def test_zero_processes_are_none(
    servers: Callable[[str], Server], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    tree(tmp_path / "tree", 30)
    with fresh_bucket(servers("emulated"), signature="obs", processes="0") as opened:
        send_tree(tmp_path / "tree", opened, "x")
    assert not started


CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from storage import processes
from storage.obs import ObsService, ObsSettings
from storage.transfer import send_tree
processes.MANY = 10
start = processes._start
def told(errand):
    child = start(errand)
    print(child.pid, flush=True)
    return child
processes._start = told
settings = ObsSettings(endpoint=sys.argv[1], signature="obs", addressing="path", processes="1")
def slow(count):
    time.sleep(0.005)
send_tree(sys.argv[2], ObsService(settings).bucket(sys.argv[3]), "x", progress=slow)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(servers: Callable[[str], Server], tmp_path: Path, how: signal.Signals) -> None:
    """Nor can anybody read its keys off it."""
    tree(tmp_path / "tree", 5000)
    server = servers("emulated")
    name = server.fresh_bucket()
    keys = {"OBS_ACCESS_KEY_ID": server.access_key, "OBS_SECRET_ACCESS_KEY": server.secret_key, "OBS_MORE": SECRET}
    command = [sys.executable, "-c", CHILD, server.endpoint, str(tmp_path / "tree"), name]
    with subprocess.Popen(
        command, env={**os.environ, **keys}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(1)
        assert is_running(worker)
        seen = Path(f"/proc/{worker}/cmdline").read_bytes() + Path(f"/proc/{worker}/environ").read_bytes()
        assert seen and SECRET.encode() not in seen and b"OBS_SECRET_ACCESS_KEY" not in seen
        began = time.monotonic()
        parent.send_signal(how)
        _, err = parent.communicate(timeout=20)
        assert parent.returncode
    while is_running(worker) and time.monotonic() - began < 5:
        time.sleep(0.02)
    assert not is_running(worker)
    assert how == signal.SIGKILL or "KeyboardInterrupt" in err


@pytest.mark.parametrize(
    "error",
    [
        *(kind("what", "mend") for kind in [StorageError, *StorageError.__subclasses__()]),
        OSError(28, "no space", "x"),
        ValueError("what"),
        MemoryError("what"),
    ],
)
def test_an_error_is_the_same_behind_the_pipe(error: BaseException) -> None:
    found = pipes.to_error(pipes.from_error(error))
    assert type(found) is type(error) and str(found) == str(error)
    assert getattr(found, "hint", "") == getattr(error, "hint", "")
    assert getattr(found, "errno", None) == getattr(error, "errno", None)
    assert "in a worker process" in str(found.__cause__)


def test_what_is_not_known_here_is_an_error_of_storage() -> None:
    for name in ("exit", "KeyboardInterrupt", "UnicodeDecodeError", "Strange"):
        told = {"kind": name, "message": "what", "hint": "", "errno": None, "trace": ""}
        assert type(pipes.to_error(told)) is StorageError
