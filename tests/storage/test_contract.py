"""What every back end must do; the numbers are those of the guarantees in `storage.base.Storage`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import Storage
from storage.errors import Corrupt, NotFound, SourceChanged, StorageError, UnsafeKey

ODD_KEYS = [
    "plain",
    "a folder/with spaces/and a  file ",
    "数据/训练/图像.png",
    "emoji 🚀/é/é",  # precomposed and decomposed
    "+%&=?#'\"*!~;,$@()[]{}<>|^`",
    "%2e%2e/%2F",
    ".hidden/.launcher-manifest.json",
    ".launcher~",
    ".launcher~=x/.launcher~+y",
    ".launcher~0123456789abcdef.part",
    "x" * 1024,
    "字" * 341,
    "/".join(["d" * 255] * 4),
    "-rf",
]

UNSAFE_KEYS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    ".",
    "a/./b",
    "a//b",
    "a/",
    "C:/x",
    "a/c:x",
    "a\\..\\x",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "a\x85b",
    "\udcff",
    "x" * 1025,
    "字" * 342,
    "...",
    ".. /x",
]


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("data", [b"", b"some bytes"])
def test_a_legal_key_of_any_kind_holds_its_bytes(storage: Storage, tmp_path: Path, key: str, data: bytes) -> None:
    (tmp_path / "in").write_bytes(data)
    assert storage.write(key, data).size == len(data)
    assert storage.upload(tmp_path / "in", key).key == key
    with storage.read(key) as stream:
        assert stream.read() == data
    assert storage.stat(key).size == len(data)
    assert [(info.key, info.size) for info in storage.list()] == [(key, len(data))]
    storage.download(key, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    storage.copy(key, "copied")
    storage.delete([key])
    assert [info.key for info in storage.list()] == ["copied"]


@pytest.mark.parametrize("key", UNSAFE_KEYS)
def test_an_unsafe_key_is_refused_by_every_method(storage: Storage, tmp_path: Path, key: str) -> None:
    storage.write("there", b"x")
    (tmp_path / "file").write_bytes(b"x")
    for attempt in (
        lambda: storage.stat(key),
        lambda: storage.read(key),
        lambda: storage.write(key, b"x"),
        lambda: storage.upload(tmp_path / "file", key),
        lambda: storage.download(key, tmp_path / "out"),
        lambda: storage.delete([key]),
        lambda: storage.copy("there", key),
        lambda: storage.copy(key, "target"),
    ):
        with pytest.raises(UnsafeKey):
            attempt()
    assert [info.key for info in storage.list()] == ["there"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../b", "a\0"])
def test_an_unsafe_prefix_is_refused(storage: Storage, prefix: str) -> None:
    with pytest.raises(UnsafeKey):
        next(storage.list(prefix), None)


def test_a_missing_object_is_not_found(storage: Storage, tmp_path: Path) -> None:
    storage.write("folder/file", b"x")
    for key in ("none", "folder", "folder/file/below", "folder/none"):
        for attempt in (
            lambda key=key: storage.stat(key),
            lambda key=key: storage.read(key),
            lambda key=key: storage.download(key, tmp_path / "out"),
            lambda key=key: storage.copy(key, "target"),
        ):
            with pytest.raises(NotFound) as caught:
                attempt()
            assert isinstance(caught.value, FileNotFoundError)
            assert key in str(caught.value)
    with pytest.raises(NotFound):
        storage.upload(tmp_path / "none", "key")
    assert [info.key for info in storage.list()] == ["folder/file"]


def test_stat_tells_size_time_and_on_request_the_digest(storage: Storage, sha256: Callable[[bytes], str]) -> None:
    storage.write("a", b"older")
    before = storage.stat("a", digest=True)
    storage.write("a", b"newer!")
    after = storage.stat("a", digest=True)
    assert (before.size, after.size) == (5, 6)
    assert (before.sha256, after.sha256) == (sha256(b"older"), sha256(b"newer!"))
    assert before.mtime <= after.mtime
    assert not before.etag or before.etag != after.etag


def test_list_is_recursive_by_string_prefix_and_in_byte_order(storage: Storage) -> None:
    long = "m" * 300
    keys = ["a", "a-b", "a.b", "data/x", "data/y/z", "data-2", "day", "é", "z", "字", "🚀", "data/" + long + "/k", "Z"]
    keys += [long + "a", long + "z", long + "/x", "m" * 240, "m" * 250, "m" * 250 + "z", "m" * 249 + "é" * 30]
    for key in keys[::-1]:
        storage.write(key, b"")
    in_order = sorted(keys, key=lambda key: key.encode())
    for prefix in (
        "",
        "a",
        "da",
        "data",
        "data/",
        "data/y",
        "data/m",
        "data/y/z",
        "m",
        "m" * 245,
        long,
        "é",
        "none",
        "none/",
    ):
        found = [info.key for info in storage.list(prefix)]
        assert found == [key for key in in_order if key.startswith(prefix)], prefix


@pytest.mark.parametrize("start", [0, 1, 4, 9, 10, 11, 99])
@pytest.mark.parametrize("length", [None, 0, 1, 5, 10, 99])
def test_a_range_gives_what_there_is(storage: Storage, start: int, length: int | None) -> None:
    data = b"0123456789"
    storage.write("key", data)
    with storage.read("key", start, length) as stream:
        assert stream.read() == data[start:][:length]
        assert stream.read() == b""


def test_a_range_can_be_read_in_pieces(storage: Storage) -> None:
    storage.write("key", bytes(range(256)) * 1000)
    with storage.read("key", 10, 100_000) as stream:
        pieces = [stream.read(999) for _ in range(200)]
    assert b"".join(pieces) == (bytes(range(256)) * 1000)[10:100_010]


def test_a_negative_range_is_refused(storage: Storage) -> None:
    storage.write("key", b"x")
    for start, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError):
            storage.read("key", start, length)


def test_delete_takes_many_and_does_not_mind_missing_ones(storage: Storage) -> None:
    for key in ("a/b/c", "a/b/d", "a/e"):
        storage.write(key, b"x")
    storage.delete(key for key in ("a/b/c", "a/b/c", "none/at/all", "a", "a/b", "a/e/below"))
    assert [info.key for info in storage.list()] == ["a/b/d", "a/e"]
    storage.delete([])
    storage.delete(["a/b/d", "a/e"])
    assert list(storage.list()) == []
    storage.write("a", b"what was a folder can be an object now")


def test_copy_replaces_and_may_be_onto_itself(storage: Storage) -> None:
    storage.write("a", b"one")
    storage.write("b", b"two")
    assert storage.copy("a", "b").key == "b"
    storage.copy("a", "a")
    for key in "ab":
        with storage.read(key) as stream:
            assert stream.read() == b"one"


def test_progress_adds_up_to_the_bytes_moved(storage: Storage, tmp_path: Path) -> None:
    size = 5_000_000
    (tmp_path / "in").write_bytes(b"x" * size)
    up: list[int] = []
    down: list[int] = []
    storage.upload(tmp_path / "in", "key", progress=up.append)
    storage.download("key", tmp_path / "out", progress=down.append)
    assert sum(up) == sum(down) == size
    assert len(up) > 1 and len(down) > 1


def test_2_a_progress_callback_that_raises_stops_the_transfer_and_harms_nothing(
    storage: Storage, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(_: int) -> None:
        raise Stop

    storage.write("key", b"older")
    (tmp_path / "file").write_bytes(b"newer" * 1_000_000)
    with pytest.raises(Stop):
        storage.upload(tmp_path / "file", "key", progress=stop)
    with storage.read("key") as stream:
        assert stream.read() == b"older"
    with pytest.raises(Stop):
        storage.download("key", tmp_path / "file", progress=stop)
    assert (tmp_path / "file").read_bytes() == b"newer" * 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_3_an_upload_that_is_not_what_was_hashed_is_not_visible(
    storage: Storage, tmp_path: Path, sha256: Callable[[bytes], str]
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(SourceChanged):
        storage.upload(tmp_path / "file", "key", sha256=sha256(b"another"))
    with pytest.raises(NotFound):
        storage.stat("key")
    storage.upload(tmp_path / "file", "key", sha256=sha256(b"content"))


@pytest.mark.parametrize("how", ["grows", "shrinks", "is edited"])
def test_3_a_file_that_changes_while_it_is_uploaded_is_noticed(storage: Storage, tmp_path: Path, how: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 5_000_000)
    os.utime(file, (1e9, 1e9))  # so that no clock is too coarse to tell the edit from this moment
    storage.write("key", b"older")

    def change(_: int) -> None:
        if how == "grows":
            with file.open("ab") as stream:
                stream.write(b"more")
        elif how == "shrinks":
            with file.open("r+b") as stream:
                stream.truncate(2_000_000)
        else:
            with file.open("r+b") as stream:
                stream.seek(4_500_000)
                stream.write(b"b")

    with pytest.raises(SourceChanged) as caught:
        storage.upload(file, "key", progress=change)
    assert str(file) in str(caught.value)
    with storage.read("key") as stream:
        assert stream.read() == b"older"
    assert [info.key for info in storage.list()] == ["key"]


def test_3_a_damaged_download_leaves_the_older_file(
    storage: Storage, tmp_path: Path, sha256: Callable[[bytes], str]
) -> None:
    storage.write("key", b"damaged")
    (tmp_path / "file").write_bytes(b"older")
    with pytest.raises(Corrupt):
        storage.download("key", tmp_path / "file", sha256=sha256(b"content"))
    with pytest.raises(NotFound):
        storage.download("none", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_download_makes_folders_and_replaces_a_file(
    storage: Storage, tmp_path: Path, sha256: Callable[[bytes], str]
) -> None:
    for data in (b"longer than the next", b"next"):
        storage.write("key", data)
        info = storage.download("key", tmp_path / "new/folder/file", sha256=sha256(data))
        assert info.size == len(data)
        assert (tmp_path / "new/folder/file").read_bytes() == data
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["file"]


def test_5_a_read_gives_one_version_while_the_object_is_replaced(storage: Storage) -> None:
    storage.write("key", b"1" * 3_000_000)
    with storage.read("key") as stream:
        got = stream.read(1000)
        storage.write("key", b"2" * 3_000_000)
        try:
            got += stream.read()
        except StorageError:
            return
    assert got == b"1" * 3_000_000


def test_7_threads_that_write_one_key_never_tear_it(storage: Storage) -> None:
    versions = [bytes([65 + index]) * (100_000 + index) for index in range(6)]
    storage.write("key", versions[0])
    done = threading.Event()
    torn: list[int] = []

    def look() -> None:
        while not done.is_set():
            try:
                with storage.read("key") as stream:
                    data = stream.read()
            except StorageError:  # guarantee 5: one version, or an error
                continue
            if data not in versions:
                torn.append(len(data))

    writers = [
        threading.Thread(target=lambda data=data: [storage.write("key", data) for _ in range(20)]) for data in versions
    ]
    reader = threading.Thread(target=look)
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert torn == []
    assert storage.stat("key").size in {len(data) for data in versions}


def test_special_and_missing_local_files_are_refused_by_upload(storage: Storage, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StorageError):
            storage.upload(path, "key")
    assert list(storage.list()) == []
