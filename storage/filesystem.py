"""Buckets as folders: the back end that needs no account.

A key's segments are folder and file names, so that a bucket can be looked into with any tool, and any folder can be
read as if it were a bucket. Two kinds of segment cannot be file names as they are: those over 255 bytes of UTF-8, and
those that start with `.launcher~`, which is reserved. They become nested names of at most 255 bytes each:

    <segment>   ->   .launcher~+<1st piece>/.launcher~+<2nd piece>/…/.launcher~=<last piece>

This is reversible, pieces are cut between characters, and a name of that form that this module would not have made is
no object.

Temporary files lie beside their target (`storage.files`); `list` never shows them and sweeps those left for an hour.
Links in a bucket are not objects: `list` leaves them out, and reading or writing through one is LinkRefused, so
nothing outside the folder is ever touched. The check looks before it acts; it is no defence against someone who swaps
folders for links in the same moment. The folder itself may be a link.

On a file system that ignores case or normalises Unicode (macOS, Windows), keys that differ only in that are one object.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from typing import BinaryIO, Iterable, Iterator, List, Optional, Tuple, cast

from .base import AnyPath, ObjectInfo, Progress, Storage
from .errors import Conflict, NotFound, translated
from .files import (
    CHUNK,
    RESERVED,
    SourceFile,
    open_regular,
    receive,
    refuse_linked_folders,
    replacing,
    sweep_entry,
)
from .urls import check_key, check_prefix

_MAX_NAME_BYTES = 255  # of ext4, xfs, btrfs, tmpfs, NTFS and APFS
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MORE = RESERVED + "+"
_LAST = RESERVED + "="


class FileSystemStorage(Storage):
    """One folder as one bucket; see `Storage` for what is guaranteed. `bucket` is only used to word errors.

    The folder is made by the first write. Durable: a write has been fsynced, and its rename too, when it returns.
    """

    def __init__(self, root: AnyPath, bucket: str = "") -> None:
        self.root = os.path.realpath(root)
        self._label = f"obs://{bucket}/" if bucket else os.path.join(self.root, "")

    def stat(self, key: str, digest: bool = False) -> ObjectInfo:
        with self._open(key) as stream:
            status = os.fstat(stream.fileno())
            return _info(key, status, _sha256(stream) if digest else "")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        base = check_prefix(prefix).rpartition("/")[0]
        names = _encode(base) if base else []
        refuse_linked_folders(self.root, names)
        return self._walk(os.path.join(self.root, *names), base + "/" if base else "", prefix)

    def read(self, key: str, start: int = 0, length: Optional[int] = None) -> BinaryIO:
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"a range cannot start at {start} and be {length} long")
        stream = self._open(key)
        stream.seek(start)
        if length is not None:
            stream = cast(BinaryIO, _Window(stream, length))
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream)))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        with self._replacing(key) as target:
            target.write(data)
            status = _flushed(target)
        return _info(key, status)

    def upload(self, path: AnyPath, key: str, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        check_key(key)
        with SourceFile(path, progress) as source, self._replacing(key) as target:
            for chunk in source:
                target.write(chunk)
            found = source.finish(sha256)
            status = _flushed(target)
        return _info(key, status, found)

    def download(self, key: str, path: AnyPath, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        target = os.path.abspath(path)
        with self._open(key) as stream, translated(f"cannot write {target}"):
            status = os.fstat(stream.fileno())
            return _info(key, status, receive(stream, target, status.st_size, sha256, progress))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
            with translated(f"cannot delete {self._label}{key}"), gone:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    os.unlink(path)
            self._prune(os.path.dirname(path))

    def copy(self, source: str, target: str) -> ObjectInfo:
        check_key(target)
        with self._open(source) as stream, self._replacing(target) as copied:
            for chunk in iter(lambda: stream.read(CHUNK), b""):
                copied.write(chunk)
            status = _flushed(copied)
        return _info(target, status)

    def _path(self, key: str) -> str:
        """The file of a key, below no link."""
        names = _encode(check_key(key))
        refuse_linked_folders(self.root, names[:-1])
        return os.path.join(self.root, *names)

    def _open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with translated(f"cannot read {self._label}{key}"):
            try:
                return open_regular(path, _NO_FOLLOW)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise NotFound(f"there is no {self._label}{key}") from error

    @contextlib.contextmanager
    def _replacing(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with translated(f"cannot write {self._label}{key}"):
            if os.path.isdir(path) and not os.path.islink(path):
                _remove_empty(path)
            with replacing(path) as target:
                yield target

    def _prune(self, folder: str) -> None:
        """Remove empty folders upwards. rmdir spares any folder in which a writer has already made its temporary
        file."""
        with contextlib.suppress(OSError):
            while folder != self.root:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def _walk(self, folder: str, base: str, prefix: str) -> Iterator[ObjectInfo]:
        """Objects in order of their keys: depth first, a folder sorted as its name with the slash that follows in the
        key."""
        pending = [iter(_children(folder, base))]
        while pending:
            child = next(pending[-1], None)
            if child is None:
                pending.pop()
                continue
            key, path = child
            if key.endswith("/"):
                if key.startswith(prefix):
                    pending.append(iter(_children(path, key)))
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    yield _info(key, os.lstat(path))


class _Window(io.RawIOBase):
    """The next `length` bytes of a raw stream."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = cast(io.RawIOBase, stream)
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer is newer than Python 3.7
        count = self._stream.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _children(folder: str, base: str) -> List[Tuple[str, str]]:
    """(key, path) of what lies in a folder, in order; a folder's key ends with a slash. Folders that vanish are
    empty."""
    found = []
    pending = [(folder, "")]
    while pending:
        place, head = pending.pop()
        try:
            with translated(f"cannot list {place}"), os.scandir(place) as scanned:
                entries = list(scanned)
        except (NotFound, Conflict):
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            name = entry.name
            if is_folder and name.startswith(_MORE):
                pending.append((entry.path, head + name[len(_MORE) :]))
                continue
            if name.startswith(_LAST):
                name = head + name[len(_LAST) :]
                if os.path.join(folder, *_encode(name)) != entry.path:
                    continue
            elif head or name.startswith(RESERVED):
                sweep_entry(entry)
                continue
            if is_folder:
                found.append((base + name + "/", entry.path))
            elif entry.is_file(follow_symlinks=False):
                found.append((base + name, entry.path))
    return sorted(found)  # code point order is the order of the UTF-8 bytes


def _encode(key: str) -> List[str]:
    """The names of the nested folders and the file in which a key is kept."""
    names = []
    for segment in key.split("/"):
        data = segment.encode("utf-8", "surrogateescape")
        if len(data) <= _MAX_NAME_BYTES and not segment.startswith(RESERVED):
            names.append(segment)
            continue
        pieces = _cut(data, _MAX_NAME_BYTES - len(_MORE))
        names.extend(_MORE + piece for piece in pieces[:-1])
        names.append(_LAST + pieces[-1])
    return names


def _cut(data: bytes, size: int) -> List[str]:
    """UTF-8 in pieces of at most `size` bytes, cut between characters."""
    pieces = []
    while data:
        end = min(size, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[:end].decode("utf-8", "surrogateescape"))
        data = data[end:]
    return pieces


def _remove_empty(folder: str) -> None:
    """Remove a folder that holds only empty folders, as nothing in it is an object; else leave what is in it."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _flushed(stream: BinaryIO) -> os.stat_result:
    """What the file will be once it is renamed."""
    stream.flush()
    return os.fstat(stream.fileno())


def _info(key: str, status: os.stat_result, sha256: str = "") -> ObjectInfo:
    etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return ObjectInfo(key, status.st_size, status.st_mtime, etag, sha256)
