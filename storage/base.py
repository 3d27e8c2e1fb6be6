"""The storage protocol: what a back end promises, and what its users may not assume."""

from __future__ import annotations

import abc
import os
from dataclasses import dataclass
from typing import BinaryIO, Callable, Iterable, Iterator, Optional, Union

Progress = Optional[Callable[[int], None]]
"""Called with the bytes done since the last call. The calls sum up to what was done: a retry takes back with a negative
number what it will do again. An exception that it raises stops the transfer."""

AnyPath = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class ObjectInfo:
    """One object as it was at one moment."""

    key: str
    size: int
    """Bytes."""
    mtime: float
    """POSIX seconds of the last write, by the store's clock."""
    etag: str = ""
    """Opaque; another one after each write. Empty when unknown."""
    sha256: str = ""
    """64 hexadecimal digits. Empty when unknown."""


class Storage(abc.ABC):
    """The objects of one bucket. `key` is a name that passes `storage.urls.check_key`; any other raises UnsafeKey.

    Guaranteed:
     1. Atomic: write, upload, copy and download make the whole object or file appear at once, or nothing.
     2. An older good object or file survives any failure, a full disk and `kill -9` of the process included.
     3. Verified: bytes that do not have the sha256 asked for never become visible.
     4. Read-after-write: after a return, every process that looks sees the new state, in stat, read and list alike.
     5. A read gives bytes of one version of the object, even if it is replaced meanwhile; or it raises.
     6. `list` is in order of the key's UTF-8 bytes. It is not a snapshot: what is written or deleted meanwhile may or
        may not appear; everything else appears once.
     7. Safe from many threads and many processes at once, also on one key: the last one to finish wins, whole.
     8. Errors are StorageErrors, with the cause chained, and are final: what is worth a retry was retried inside.
     9. Memory does not grow with the size of an object or the number of keys, except in `write`, whose data the
        caller holds.

    Not guaranteed: any order between two writers; that a deleted key can be told from one that never was; that the
    ObjectInfo of a write has a sha256 or an etag; that `a` and `a/b` can both be objects (Conflict if not); that `list`
    shows only names that pass `check_key`, since others write to buckets too: callers check what they turn into paths.
    """

    workers: int = 8
    """How many transfers at once serve this back end well."""

    @abc.abstractmethod
    def stat(self, key: str, digest: bool = False) -> ObjectInfo:
        """Describe an object; with `digest` its sha256 is filled in, by reading it if need be. NotFound if there is
        none."""

    @abc.abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with the string `prefix`, at any depth; `da` finds `data/x` and `day`. May be
        empty."""

    @abc.abstractmethod
    def read(self, key: str, start: int = 0, length: Optional[int] = None) -> BinaryIO:
        """Open an object from byte `start`, for `length` bytes or to its end; close it, best by `with`.

        A range that reaches past the end gives what there is, maybe nothing. NotFound if there is no object;
        ValueError for a negative number.
        """

    @abc.abstractmethod
    def write(self, key: str, data: bytes) -> ObjectInfo:
        """Make or replace a (small) object."""

    @abc.abstractmethod
    def upload(self, path: AnyPath, key: str, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        """Make or replace an object from a local file, which is hashed while it is read.

        SourceChanged, and nothing visible, if the file's size or mtime changes meanwhile or its bytes do not have the
        given sha256. NotFound if there is no such file.
        """

    @abc.abstractmethod
    def download(self, key: str, path: AnyPath, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        """Make or replace a local file, and its folders, from an object.

        Written under a temporary name beside `path`, fsynced, verified and renamed. Corrupt, and nothing visible, if
        the bytes do not have the object's size or the given sha256. NotFound if there is no object.
        """

    @abc.abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are fine. After an error some may be gone."""

    @abc.abstractmethod
    def copy(self, source: str, target: str) -> ObjectInfo:
        """Make or replace `target` from `source`, within the bucket. NotFound if there is no source."""
