"""The quick ways for small files, beside the thorough ones."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import locking
from storage.errors import Corrupt, SourceChanged
from storage.files import (
    SMALL,
    SourceFile,
    glance,
    is_temporary,
    resuming,
    sha256_of,
    sweep,
    temporary_beside,
    write_small,
)


@given(st.integers(0, 40_000))
def test_a_hash_in_pieces_is_the_hash(size: int) -> None:
    data = bytes(size)
    assert sha256_of(data) == hashlib.sha256(data).hexdigest()


def test_a_glance_is_for_small_regular_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, SMALL):
        path.write_bytes(b"x" * size)
        found = glance(str(path))
        assert found is not None and found[1] == b"x" * size and found[0].st_size == size
    path.write_bytes(b"x" * (SMALL + 1))
    os.mkfifo(tmp_path / "pipe")
    for other in (path, tmp_path, tmp_path / "pipe", tmp_path / "missing", path / "below"):
        assert glance(str(other)) is None


def test_a_file_that_changes_under_a_glance_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    read = os.read

    def meanwhile(descriptor: int, count: int) -> bytes:
        data = read(descriptor, count)
        path.write_bytes(b"after!!")
        return data

    monkeypatch.setattr(os, "read", meanwhile)
    assert glance(str(path)) is None


@pytest.mark.parametrize("durable", [True, False])
def test_a_small_file_appears_whole_and_its_folder_with_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a" / "b" / "file"
    for data in (b"first", b"second", b""):
        write_small(str(path), data, durable)
        assert path.read_bytes() == data
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        write_small(str(path), b"third", durable)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_temporary_names_are_ours_and_differ(tmp_path: Path) -> None:
    names: list[str] = []

    def take() -> None:
        names.extend(temporary_beside(str(tmp_path / "file")) for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 2000
    assert all(is_temporary(os.path.basename(name)) for name in names)


def test_a_source_is_read_into_buffers_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(3 << 20)
    path.write_bytes(data)
    buffer = bytearray(4 << 20)
    with SourceFile(path) as source:
        assert source.fill(memoryview(buffer)[: 1 << 20]) == 1 << 20
        assert source.fill(memoryview(buffer)[1 << 20 :]) == 2 << 20
        assert source.finish() == hashlib.sha256(data).hexdigest()
        assert buffer[: 3 << 20] == data
    with SourceFile(path) as source:
        path.write_bytes(data[:100])
        with pytest.raises(SourceChanged):
            source.fill(memoryview(buffer))


def test_a_file_that_got_its_name_before_it_was_locked_is_let_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has opened the temporary file of the first, which ends before the second can lock it."""
    path, lock = tmp_path / "file", locking.lock

    def late(stream: Any) -> bool:
        monkeypatch.setattr(locking, "lock", lock)
        with resuming(str(path), "token") as first:
            first.write(b"whole")
        return lock(stream)

    monkeypatch.setattr(locking, "lock", late)
    with resuming(str(path), "token") as second:
        assert second.tell() == 0
        second.truncate(0)
        second.write(b"as whole")
        assert path.read_bytes() == b"whole"
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"as whole")]


def test_two_at_once_do_not_meet_and_what_fails_is_there_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt), resuming(str(path), "token") as first:
        first.write(b"beginning")
        with resuming(str(path), "token") as second:
            assert second.tell() == 0
            second.write(b"other")
        assert path.read_bytes() == b"other"
        raise KeyboardInterrupt
    with resuming(str(path), "token") as third:
        assert third.tell() == len(b"beginning")
    assert path.read_bytes() == b"beginning"


def test_wrong_bytes_are_removed_before_anyone_else_can_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, are_locked = os.unlink, []

    def watched(name: str) -> None:
        with open(name, "rb") as stream:
            are_locked.append(not locking.lock(stream))
        unlink(name)

    with monkeypatch.context() as patch, pytest.raises(Corrupt), resuming(str(tmp_path / "file"), "token"):
        patch.setattr(os, "unlink", watched)
        raise Corrupt("wrong")
    assert are_locked == [True]
    assert not list(tmp_path.iterdir())


def test_what_a_slow_process_works_on_is_no_leftover(tmp_path: Path) -> None:
    """A machine that slept for an hour has live ones, too."""
    with pytest.raises(KeyboardInterrupt), resuming(str(tmp_path / "file"), "token"):
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (0, 0))
        sweep(str(tmp_path))
        assert temporary.exists()
        raise KeyboardInterrupt
    sweep(str(tmp_path))
    assert not temporary.exists()
