"""`storage.moxing` over a moxing that misbehaves as the real one does, and over what is no moxing at all."""

from __future__ import annotations

import socket
import sys
import types

import pytest

from storage import locate
from storage.errors import AccessDenied, BackendMissing, Corrupt, NotFound, StorageError, StorageFull, Unreachable
from storage.moxing import MoxingStorage, open_bucket
from tests.moxing.emulation import emulated_moxing


class Wrapped:
    """`moxing.file` with some functions replaced."""

    def __init__(self, **instead):
        self.__dict__.update(instead)

    def __getattr__(self, name):
        return getattr(emulated_moxing().file, name)


@pytest.fixture
def broken():
    return lambda **instead: MoxingStorage(Wrapped(**instead), "bucket")


def module(**members):
    made = types.ModuleType("moxing")
    made.__dict__.update(members)
    return made


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"Client": object}, "unrelated"),
        ({"file": types.SimpleNamespace(copy=print)}, "unrelated"),
        ({"file": types.SimpleNamespace(copy_parallel=print), "LAUNCHER_EMULATION": True}, "emulation"),
        (None, "ModelArts' images"),
    ],
)
def test_what_is_not_the_platforms_moxing_is_told_apart(monkeypatch, members, why):
    monkeypatch.setitem(sys.modules, "moxing", None if members is None else module(**members))
    with pytest.raises(BackendMissing) as caught:
        open_bucket("bucket")
    assert why in caught.value.message + caught.value.hint


def test_the_platforms_moxing_serves_obs_urls_where_there_are_no_local_buckets(monkeypatch):
    monkeypatch.delenv("LAUNCHER_BUCKETS")
    monkeypatch.setitem(sys.modules, "moxing", module(file=types.SimpleNamespace(copy_parallel=print)))
    storage, prefix = locate("s3://bucket/data/")
    assert isinstance(storage, MoxingStorage) and prefix == "data"


class Answered(Exception):
    def __init__(self, status, code):
        super().__init__(f"stat:{status} errorCode:{code}")
        self.resp = types.SimpleNamespace(status=status, errorCode=code)


MoxFileReadException = type("MoxFileReadException", (Exception,), {})
MoxFileNotExistsException = type("MoxFileNotExistsException", (Exception,), {})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Answered(404, "NoSuchKey"), NotFound),
        (Answered(403, "AccessDenied"), AccessDenied),
        (Answered(503, "SlowDown"), Unreachable),
        (MoxFileNotExistsException("gone"), NotFound),
        (MoxFileReadException("broke"), Corrupt),
        (Exception("stat:404 errorCode:NoSuchBucket"), NotFound),
        (OSError("stat:403 errorCode:AccessDenied"), AccessDenied),
        (OSError(28, "No space left on device"), StorageFull),
        (KeyError("request-id"), StorageError),
        (OSError(110, "Connection timed out"), Unreachable),
        (socket.gaierror(-2, "Name or service not known"), Unreachable),
        (OSError(5, "Input/output error"), StorageError),
    ],
)
def test_errors_become_ours_and_keep_their_cause(broken, error, kind):
    def fail(*_, **__):
        raise error

    with pytest.raises(kind) as caught:
        broken(write=fail).write("key", b"x")
    assert type(caught.value) is kind and caught.value.__cause__ is error
    assert "obs://bucket/key" in caught.value.message
    assert caught.value.hint or kind is NotFound


@pytest.mark.parametrize(("torn", "sends"), [(0, 1), (1, 2), (2, 3), (99, 3)])
def test_a_write_that_arrives_torn_is_sent_again_and_then_refused(broken, torn, sends):
    real = emulated_moxing().file.write
    sent = []

    def tear(url, data, binary):
        sent.append(len(data))
        real(url, data[: len(data) // 2] if len(sent) <= torn else data, binary=True)

    storage = broken(write=tear)
    if torn < 3:
        assert storage.write("key", b"0123456789").size == 10
        with storage.read("key") as stream:
            assert stream.read() == b"0123456789"
    else:
        with pytest.raises(Corrupt):
            storage.write("key", b"0123456789")
    assert len(sent) == sends


def test_a_large_file_that_arrives_short_is_noticed(broken, tmp_path):
    real = emulated_moxing().file.copy

    def cut(source, target):
        short = tmp_path / "short"
        with open(source, "rb") as whole:
            short.write_bytes(whole.read()[:-1])
        real(str(short), target)

    (tmp_path / "large").write_bytes(b"x" * (9 << 20))
    with pytest.raises(Corrupt):
        broken(copy=cut).upload(tmp_path / "large", "key")
    assert broken().upload(tmp_path / "large", "key").size == 9 << 20
    assert broken().stat("key").size == 9 << 20


def test_a_read_that_ends_early_raises_and_leaves_the_older_file(broken, tmp_path):
    emulated_moxing().file.write("obs://bucket/key", "0123456789" * 100)

    class Short:
        def __init__(self, url, mode):
            self._left = [b"0123456789"]

        def read(self, size):
            return self._left.pop() if self._left else b""

        def close(self):
            pass

    (tmp_path / "file").write_bytes(b"older")
    storage = broken(File=Short)
    with pytest.raises(Corrupt, match="990 bytes early"), storage.read("key") as stream:
        stream.read()
    with pytest.raises(Corrupt):
        storage.download("key", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"older"


def test_names_that_are_given_whole_or_with_slashes_are_understood(broken):
    file = emulated_moxing().file
    for key in ("a/b", "a/c/d"):
        file.write(f"obs://bucket/{key}", "x")

    def listing(url, recursive=False, skip_file=False, skip_dir=False):
        names = file.list_directory(url, recursive, False, skip_file, skip_dir)
        return [f"{url}/{name}" for name in names]

    for storage in (broken(list_directory=listing), broken()):
        assert [info.key for info in storage.list("a/")] == ["a/b", "a/c/d"]
