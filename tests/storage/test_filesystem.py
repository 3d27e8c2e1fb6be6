"""What is particular to buckets that are folders."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import AccessDenied, Conflict, LinkRefused, NotFound, SourceChanged, StorageFull, UnsafeKey
from storage.files import SourceFile
from storage.filesystem import FileSystemStorage
from storage.urls import check_key

LEFTOVER = ".launcher~0123456789abcdef.part"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def bucket(root: Path) -> FileSystemStorage:
    return FileSystemStorage(root, "bucket")


def keys_of(bucket: FileSystemStorage) -> list[str]:
    return [info.key for info in bucket.list()]


def is_legal(key: str) -> bool:
    try:
        check_key(key)
    except UnsafeKey:
        return False
    return True


SEGMENTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=20),
    st.builds(lambda text, times: text * times, st.sampled_from(["a", "é", "字", "🚀", "ab"]), st.integers(50, 400)),
    st.builds(".launcher~{}".format, st.text("+=~ab.0123456789part", max_size=300)),
)
LEGAL_KEYS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(is_legal)


@settings(deadline=None)
@given(st.lists(LEGAL_KEYS, min_size=1, max_size=4, unique=True))
def test_every_legal_key_comes_back_from_its_file_name(keys: list[str]) -> None:
    keys = [key for key in keys if not any(other.startswith(key + "/") for other in keys)]
    with tempfile.TemporaryDirectory() as folder:
        bucket = FileSystemStorage(folder)
        for key in keys:
            bucket.write(key, key.encode())
        assert keys_of(bucket) == sorted(keys, key=str.encode)
        for key in keys:
            with bucket.read(key) as stream:
                assert stream.read() == key.encode()
        bucket.delete(keys)
        assert os.listdir(folder) == []


def test_ordinary_keys_are_ordinary_files(bucket: FileSystemStorage, root: Path) -> None:
    bucket.write("data/MNIST 数据/100%.txt", b"x")
    assert (root / "data/MNIST 数据/100%.txt").read_bytes() == b"x"
    (root / "data/other").write_bytes(b"y")
    assert keys_of(bucket) == ["data/MNIST 数据/100%.txt", "data/other"]


def test_a_key_and_a_key_below_it_conflict(bucket: FileSystemStorage) -> None:
    bucket.write("a/b", b"x")
    bucket.write("c", b"x")
    for key in ("a", "a/b/c", "a/b/c/d", "c/d"):
        with pytest.raises(Conflict) as caught:
            bucket.write(key, b"y")
        assert f"obs://bucket/{key}" in str(caught.value)
        assert caught.value.hint
    assert keys_of(bucket) == ["a/b", "c"]


def test_an_empty_folder_is_no_object_and_in_no_ones_way(bucket: FileSystemStorage, root: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    assert keys_of(bucket) == []
    bucket.write("a", b"x")
    assert keys_of(bucket) == ["a"]


def test_a_bucket_that_was_never_written_to_is_empty_and_is_not_made_by_looking(
    bucket: FileSystemStorage, root: Path
) -> None:
    assert keys_of(bucket) == []
    bucket.delete(["x"])
    with pytest.raises(NotFound):
        bucket.stat("x")
    assert not root.exists()


def test_names_on_disk_that_are_no_encoding_of_ours_are_no_objects(bucket: FileSystemStorage, root: Path) -> None:
    (root / ".launcher~+ab").mkdir(parents=True)
    for path in (
        ".launcher~=short",
        ".launcher~other",
        ".launcher~+ab/foreign",
        ".launcher~+ab/.launcher~=c",
        ".launcher~+",
    ):
        (root / path).write_bytes(b"x")
    assert keys_of(bucket) == []


def test_temporary_leftovers_are_invisible_and_swept_by_a_listing_after_an_hour(
    bucket: FileSystemStorage, root: Path
) -> None:
    bucket.write("a/b", b"x")
    fresh, stale = root / "a" / LEFTOVER, root / "a" / LEFTOVER.replace("0", "f")
    for path in (fresh, stale):
        path.write_bytes(b"torn")
    os.utime(stale, (1e9, 1e9))
    assert keys_of(bucket) == ["a/b"]
    assert fresh.exists() and not stale.exists()
    bucket.write(f"a/{LEFTOVER}", b"a key of that name is an object")
    assert keys_of(bucket) == [f"a/{LEFTOVER}", "a/b"]
    assert fresh.read_bytes() == b"torn"


def test_links_in_a_bucket_are_never_followed(bucket: FileSystemStorage, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    bucket.write("a", b"x")
    (root / "file").symlink_to(outside / "file")
    (root / "folder").symlink_to(outside)
    assert keys_of(bucket) == ["a"]
    for key in ("file", "folder/file"):
        for attempt in (bucket.stat, bucket.read, lambda key: bucket.copy(key, "b")):
            with pytest.raises(LinkRefused):
                attempt(key)
    for attempt in (
        lambda: bucket.write("folder/new", b"x"),
        lambda: bucket.delete(["folder/file"]),
        lambda: list(bucket.list("folder/")),
    ):
        with pytest.raises(LinkRefused, match="folder"):
            attempt()
    bucket.write("file", b"replaces the link")
    bucket.delete(["folder"])
    assert (outside / "file").read_bytes() == b"secret"
    assert keys_of(bucket) == ["a", "file"]


def test_the_bucket_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "bucket").symlink_to(tmp_path / "big-disk")
    FileSystemStorage(tmp_path / "bucket").write("a/b", b"x")
    assert (tmp_path / "big-disk/a/b").read_bytes() == b"x"


def test_pipes_and_sockets_are_no_objects_and_do_not_block(bucket: FileSystemStorage, root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "socket"))
        assert keys_of(bucket) == []
        for key in ("pipe", "socket"):
            with pytest.raises(Exception, match=key):
                bucket.read(key)
    with pytest.raises(LinkRefused, match="pipe"):
        bucket.upload(root / "pipe", "x")


def test_what_may_not_be_read_or_written_is_access_denied(unprivileged: Path) -> None:
    bucket = FileSystemStorage(unprivileged / "bucket")
    bucket.write("folder/file", b"x")
    (unprivileged / "bucket/folder/file").chmod(0)
    (unprivileged / "bucket/folder").chmod(0o500)
    try:
        for attempt in (lambda: bucket.read("folder/file"), lambda: bucket.write("folder/new", b"x")):
            with pytest.raises(AccessDenied, match="folder/"):
                attempt()
        with pytest.raises(AccessDenied):
            bucket.delete(["folder/file"])
    finally:
        (unprivileged / "bucket/folder").chmod(0o700)


def test_a_full_disk_leaves_the_older_object_and_no_half_one(tiny_disk: Path, tmp_path: Path) -> None:
    bucket = FileSystemStorage(tiny_disk / "bucket", "bucket")
    bucket.write("key", b"older")
    big = tmp_path / "big"
    big.write_bytes(b"x" * 3_000_000)
    for attempt in (
        lambda: bucket.write("key", big.read_bytes()),
        lambda: bucket.upload(big, "key"),
        lambda: bucket.upload(big, "new"),
    ):
        with pytest.raises(StorageFull) as caught:
            attempt()
        assert "obs://bucket/" in str(caught.value) and "free" in caught.value.hint
    assert [path.name for path in (tiny_disk / "bucket").iterdir()] == ["key"]
    assert (tiny_disk / "bucket/key").read_bytes() == b"older"


def test_a_full_disk_leaves_the_older_file_of_a_download(tiny_disk: Path, bucket: FileSystemStorage) -> None:
    bucket.write("key", b"x" * 3_000_000)
    (tiny_disk / "file").write_bytes(b"older")
    with pytest.raises(StorageFull, match="file"):
        bucket.download("key", tiny_disk / "file")
    assert [path.name for path in tiny_disk.iterdir()] == ["file"]
    assert (tiny_disk / "file").read_bytes() == b"older"


def test_a_source_that_shrinks_says_so_when_read_so_that_no_request_waits_for_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    with SourceFile(file) as source:
        assert source.read(2) == b"12"
        file.write_bytes(b"123")
        assert source.read(9) == b"3"
        with pytest.raises(SourceChanged, match="shrank"):
            source.read(9)
    with SourceFile(file) as source:
        file.write_bytes(b"12345")
        assert source.read(-1) + source.read(9) == b"123"  # and no more than was announced
        with pytest.raises(SourceChanged):
            source.finish()


def run_all(code: str, root: Path, count: int) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", code, str(root), str(index)]) for index in range(count)]


def test_a_reader_sees_one_whole_version_while_processes_overwrite_a_key(
    bucket: FileSystemStorage, root: Path, sha256: Callable[[bytes], str]
) -> None:
    code = """
import sys
from storage.filesystem import FileSystemStorage
bucket = FileSystemStorage(sys.argv[1])
for round in range(60):
    bucket.write("key", bytes([65 + int(sys.argv[2])]) * (200_000 + round))
"""
    bucket.write("key", b"A" * 200_000)
    writers = run_all(code, root, 4)
    versions = set()
    while any(writer.poll() is None for writer in writers):
        with bucket.read("key") as stream:
            data = stream.read()
        assert data == data[:1] * len(data) and 200_000 <= len(data) < 200_060
        info = bucket.stat("key", digest=True)
        assert info.sha256 in {sha256(bytes([65 + index]) * info.size) for index in range(4)}
        versions.add(data[:1])
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(versions) > 1
    assert os.listdir(root) == ["key"]


def test_processes_that_delete_do_not_take_the_folder_from_those_that_write(root: Path) -> None:
    code = """
import sys
from storage.filesystem import FileSystemStorage
bucket = FileSystemStorage(sys.argv[1])
for round in range(150):
    key = f"a/b/c/{sys.argv[2]}-{round % 2}"
    bucket.write(key, b"x")
    assert bucket.stat(key).size == 1
    bucket.delete([key])
"""
    writers = run_all(code, root, 4)
    assert [writer.wait() for writer in writers] == [0] * 4
    assert os.listdir(root) == []
