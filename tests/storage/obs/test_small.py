"""The short way of a small file: whatever breaks on it ends as on the long one, with TLS and without."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from launcher.emulator.obs import Account, Fault, Kind, ObsServer
from storage import retry
from storage.errors import Corrupt, NoCredentials, NotFound, StorageError, StorageFull, Unreachable
from storage.manifest import Entry, Manifest
from storage.obs import ObsService, ObsSettings, ObsStorage, download
from storage.transfer import download_tree
from tests.servers.emulated import serving
from tests.servers.process import ACCESS_KEY, SECRET_KEY

from .conftest import PASSING

DATA = bytes(range(256)) * 12
OLDER = b"older"


class Place(NamedTuple):
    server: ObsServer
    bucket: ObsStorage
    target: Path


@pytest.fixture(params=["direct", "tls", "sdk"])
def place(request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Place]:
    """A bucket with one object, `tree/key`."""
    tls = certificate if request.param == "tls" else None
    with serving(tmp_path / "root", tls=tls) as server:
        settings = ObsSettings(
            endpoint=f"https://localhost:{server.port}" if tls else server.endpoint,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            signature="obs",
            addressing="path",
            ca_file=str(certificate[0]) if tls else "",
            wire="sdk" if request.param == "sdk" else "direct",
            timeout=1,
        )
        service = ObsService(settings)
        service.make_bucket("bucket")
        service.bucket("bucket").write("tree/key", DATA)
        server.requests.clear()
        yield Place(server, service.bucket("bucket"), tmp_path / "copy")
        service.close()


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that went the long way."""
    keys: list[str] = []
    really = download.download

    def counted(bucket: ObsStorage, key: str, *others: Any) -> Any:
        keys.append(key)
        return really(bucket, key, *others)

    monkeypatch.setattr(download, "download", counted)
    return keys


def tree_of(data: bytes = DATA, path: str = "key") -> Manifest:
    return Manifest((Entry(path, len(data), hashlib.sha256(data).hexdigest()),))


def fetch(bucket: ObsStorage, target: Path, manifest: Manifest | None = None) -> int:
    """How many bytes were told."""
    told: list[int] = []
    download_tree(bucket, "tree", target, manifest or tree_of(), workers=1, progress=told.append)
    return sum(told)


def found_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("size", [0, 1, 5000, 1 << 16])
def test_one_request_brings_a_file_and_its_connection_is_kept(place: Place, long_way: list[str], size: int) -> None:
    data = os.urandom(size)
    names = [f"{number}" for number in range(3)]
    for name in names:
        place.bucket.write(f"tree/{name}", data)
    place.server.requests.clear()
    digest = hashlib.sha256(data).hexdigest()
    manifest = Manifest(tuple(Entry(name, size, digest) for name in names))
    assert fetch(place.bucket, place.target, manifest) == 3 * size
    assert found_in(place.target) == dict.fromkeys(names, data)
    assert long_way == []
    assert dict(place.server.requests) == {("GET", "GetObject"): 3}


def test_larger_files_and_those_without_a_sha256_go_the_long_way(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom((1 << 16) + 1)
    place.bucket.write("tree/large", data)

    def unexpected(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ObsStorage, "download_small", unexpected)
    assert fetch(place.bucket, place.target, tree_of(data, "large")) == len(data)
    download_tree(place.bucket, "tree", tmp_path / "listed")
    assert found_in(tmp_path / "listed") == {"key": DATA, "large": data}


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.RESET), *PASSING],
    ids=lambda fault: fault.kind.value,
)
def test_what_passes_is_got_over(place: Place, long_way: list[str], fault: Fault) -> None:
    """On the short way, and on the long one after it."""
    times = 1 if fault.kind is Kind.SILENT else 2
    place.server.faults.once("GetObject", fault, times)
    assert fetch(place.bucket, place.target) == len(DATA)
    assert found_in(place.target) == {"key": DATA}
    assert place.server.faults.injected[fault.kind] == times
    assert long_way == ["tree/key"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(Kind.FLIPPED_DOWNLOAD, after=2), Corrupt),
        (Fault(Kind.SLOW_DOWN), Unreachable),
        (Fault(Kind.TRUNCATED), Unreachable),
        (Fault(Kind.LOST_REPLY), Unreachable),
        (Fault(Kind.EXPIRED_TOKEN), NoCredentials),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_what_stays_ends_in_the_error_of_the_long_way(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: Fault, expected: type[StorageError]
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    place.target.mkdir()
    (place.target / "key").write_bytes(OLDER)
    errors: list[StorageError] = []
    for way in (place.bucket.download_small, None):
        monkeypatch.setattr(ObsStorage, "download_small", way)
        place.server.faults.once("GetObject", fault, times=99)
        with pytest.raises(expected) as caught:
            fetch(place.bucket, place.target)
        errors.append(caught.value)
        place.server.faults.clear()
    (short, long) = errors
    assert type(short) is type(long)
    assert short.hint == long.hint
    assert short.message.partition(" (")[0].partition("; ")[0] == long.message.partition(" (")[0].partition("; ")[0]
    assert found_in(place.target) == {"key": OLDER}


def test_another_object_than_the_manifest_says_is_corrupt_and_asked_for_four_times(place: Place) -> None:
    for data in (b"x" * len(DATA), b"shorter"):
        place.server.requests.clear()
        with pytest.raises(Corrupt, match=r"sha256 is .* and must be"):
            fetch(place.bucket, place.target, tree_of(data))
        assert place.server.requests["GET", "GetObject"] == 4
        assert found_in(place.target) == {}


def test_an_object_that_is_not_there_is_asked_for_once(place: Place) -> None:
    with pytest.raises(NotFound, match="cannot read obs://bucket/tree/none"):
        fetch(place.bucket, place.target, tree_of(path="none"))
    assert place.server.requests["GET", "GetObject"] == 1


def test_a_full_disk_is_told_and_leaves_nothing(place: Place, tiny_disk: Path) -> None:
    target = tiny_disk / "copy"
    target.mkdir()
    (target / "key").write_bytes(OLDER)
    with (tiny_disk / "rest").open("wb", 0) as rest, pytest.raises(OSError, match="No space"):
        while True:
            rest.write(bytes(1024))
    with pytest.raises(StorageFull, match=r"cannot write .*key: No space") as caught:
        fetch(place.bucket, target)
    assert "free some space" in caught.value.hint
    assert found_in(target) == {"key": OLDER}
    assert place.server.requests["GET", "GetObject"] == 1


def test_a_folder_in_the_way_is_told_as_ever(place: Place) -> None:
    (place.target / "key").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*key"):
        fetch(place.bucket, place.target)
    assert [path.name for path in place.target.iterdir()] == ["key"]


@pytest.mark.parametrize("wire", ["direct", "sdk"])
def test_keys_that_end_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: str) -> None:
    with serving(tmp_path / "root", NEWER=Account("newer-secret")) as server:
        monkeypatch.setenv("OBS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", SECRET_KEY)
        service = ObsService(ObsSettings(endpoint=server.endpoint, signature="obs", wire=wire))
        service.make_bucket("bucket")
        bucket = service.bucket("bucket")
        bucket.write("tree/key", DATA)
        server.faults.once("GetObject", Fault(Kind.EXPIRED_TOKEN))
        monkeypatch.setenv("OBS_ACCESS_KEY_ID", "NEWER")
        monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "newer-secret")
        assert fetch(bucket, tmp_path / "copy") == len(DATA)
        assert found_in(tmp_path / "copy") == {"key": DATA}
        service.close()


def test_ctrl_c_while_it_comes_leaves_nothing_and_keeps_no_connection(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        place.target.mkdir()
        with pytest.raises(KeyboardInterrupt):
            place.bucket.download_small("tree/key", str(place.target / "key"), *tree_of().entries[0][1:])
    assert found_in(place.target) == {}
    assert not retry.WAITS
    assert fetch(place.bucket, place.target) == len(DATA)


def chunks(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


ODD = {
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n" + chunks(DATA),
    "chunked, with a length": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(DATA) + chunks(DATA),
    "no length": b"Connection: close\r\n\r\n" + DATA,
    "shorter": b"Content-Length: %d\r\n\r\n" % (len(DATA) - 1) + DATA[:-1],
    "longer": b"Content-Length: %d\r\n\r\n" % (len(DATA) + 1) + DATA + b"x",
    "cut off": b"Content-Length: %d\r\n\r\n" % len(DATA) + DATA[:-1],
    "more than was said": b"Content-Length: %d\r\n\r\n" % len(DATA) + DATA + b"HTTP/1.1 200 OK\r\n\r\n",
    "empty": b"Content-Length: 0\r\n\r\n",
    "no answer": b"",
}


@pytest.fixture
def odd_server() -> Iterator[tuple[int, list[bytes]]]:
    """Its port, and what it answers to the next requests; to all others, as it should. A connection ends with its
    answer."""
    answers: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line:
                while b"\r\n\r\n" not in line.recv(1 << 16):
                    pass
                right = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(DATA) + DATA
                answer = answers.pop(0) if answers else right
                if answer:
                    line.sendall(b"HTTP/1.1 200 OK\r\n" + answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1], answers
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("names", [*itertools.combinations(ODD, 1), *itertools.pairwise(ODD)], ids="+".join)
def test_odd_answers_are_not_taken_for_the_file(
    odd_server: tuple[int, list[bytes]], tmp_path: Path, names: tuple[str, ...]
) -> None:
    port, answers = odd_server
    answers += [ODD[name] for name in names]
    settings = ObsSettings(endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="s", addressing="path")
    service = ObsService(settings)
    assert fetch(service.bucket("bucket"), tmp_path / "copy") == len(DATA)
    assert found_in(tmp_path / "copy") == {"key": DATA}
    service.close()
