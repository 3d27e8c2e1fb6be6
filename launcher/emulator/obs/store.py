"""Buckets and objects on the disk: bytes in `storage.filesystem`, all else in the index. No HTTP here.

    <root>/<bucket>/…      objects, each a file
    <root>/.meta/          the index
    <root>/.uploads/       parts of uploads that have not been completed

One server at a time has a root; others may read and write the buckets' files through `storage.filesystem` meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from storage import errors
from storage.base import ObjectInfo
from storage.filesystem import FileSystemStorage
from storage.urls import MAX_KEY_BYTES, check_bucket, check_key

from .errors import ObsError
from .index import BucketRecord, Index, Record
from .message import CHUNK

DEFAULT_OWNER = "owner"
EMPTY_MD5 = hashlib.md5(usedforsecurity=False).hexdigest()
_STRIPES = 64


@dataclass(frozen=True)
class Found:
    """An object as it was at one moment."""

    info: ObjectInfo
    record: Record


class Folder(FileSystemStorage):
    """A bucket's folder into which bytes can be streamed, and whose open files can be told apart."""

    def replacing(self, key: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A stream that becomes the object when the block ends well."""
        return self._replacing(key)

    def open(self, key: str) -> tuple[BinaryIO, ObjectInfo]:
        """An object's bytes and the description of just that version."""
        while True:
            before = self.stat(key)
            stream = self.read(key)
            try:
                if self.stat(key).etag == before.etag:
                    return stream, before
            except BaseException:
                stream.close()
                raise
            stream.close()

    def identity(self, key: str, stream: BinaryIO) -> str:
        """The `etag` that the storage gives the version that `stream` will become."""
        stream.flush()
        status = os.fstat(stream.fileno())
        return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


class Store:
    """All buckets below one root; safe from many threads. Errors are ObsErrors."""

    def __init__(self, root: Path, location: str = "") -> None:
        self.root = root
        self.uploads = root / ".uploads"
        self.uploads.mkdir(parents=True, exist_ok=True)
        self.index = Index(root / ".meta" / "index.sqlite")
        self.location = location
        self._locks = [threading.Lock() for _ in range(_STRIPES)]
        self._outer_locks = [threading.Lock() for _ in range(_STRIPES)]
        self.changes: dict[str, int] = {}
        """How often each bucket has been written to; a listing that goes on can tell."""

    def close(self) -> None:
        self.index.close()

    def buckets(self) -> list[BucketRecord]:
        """All buckets, in order of their names."""
        names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        found = []
        for name in names:
            with contextlib.suppress(ObsError):
                found.append(self.bucket(name))
        return found

    def bucket(self, name: str) -> BucketRecord:
        """What is known of a bucket; NoSuchBucket, InvalidBucketName."""
        folder = self._folder_path(name)
        if not folder.is_dir():
            raise ObsError("NoSuchBucket", "there is no such bucket")
        known = self.index.bucket(name)
        return known or BucketRecord(name, DEFAULT_OWNER, self.location, "private", folder.stat().st_ctime)

    def make_bucket(self, name: str, owner: str, location: str, acl: str) -> None:
        """Make a bucket; one's own in the same place stays as it is."""
        folder = self._folder_path(name)
        with self.lock(name, ""):
            if folder.is_dir():
                there = self.bucket(name)
                if there.owner != owner:
                    raise ObsError("BucketAlreadyExists", "someone else has a bucket of that name")
                if location and location != there.location:
                    raise ObsError("BucketAlreadyOwnedByYou", f"the bucket is yours already, in {there.location!r}")
                return
            self.index.forget_bucket(name)
            self.index.set_bucket(BucketRecord(name, owner, location or self.location, acl, time.time()))
            folder.mkdir()

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with nothing in it, also no parts of uploads; else BucketNotEmpty."""
        with self.lock(name, ""):
            parts = self.uploads / name
            if next(self.walk(name, ""), None) or (parts.is_dir() and any(parts.iterdir())):
                raise ObsError("BucketNotEmpty", "the bucket has objects or parts of uploads")
            shutil.rmtree(self._folder_path(name))
            self.index.forget_bucket(name)

    def check_key(self, key: str) -> None:
        """InvalidArgument or KeyTooLongError for a key that no object can have here."""
        with _answered():
            check_key(key.removesuffix("/"))

    def find(self, bucket: str, key: str) -> Found:
        """Describe an object; NoSuchKey if there is none."""
        if key.endswith("/"):
            return self._find_marker(bucket, key)
        with _answered():
            return self._described(bucket, self._folder(bucket).stat(key))

    def open(self, bucket: str, key: str) -> tuple[BinaryIO | None, Found]:
        """An object's bytes, None for a folder marker, and the description of just that version."""
        if key.endswith("/"):
            return None, self._find_marker(bucket, key)
        with _answered():
            while True:
                stream, info = self._folder(bucket).open(key)
                try:
                    found = self._described(bucket, info)
                except BaseException:
                    stream.close()
                    raise
                if found.info.etag == info.etag:
                    return stream, found
                stream.close()  # it has been replaced, and what was known of it forgotten

    def put(self, bucket: str, key: str, record: Record, fill: Callable[[BinaryIO], str]) -> Found:
        """Make or replace an object: `fill` writes the bytes and returns the ETag; when it raises nothing has
        happened."""
        if key.endswith("/"):
            return self._put_marker(bucket, key, record, fill)
        folder = self._folder(bucket)
        with _answered(), contextlib.ExitStack() as commit:
            with folder.replacing(key) as target:
                record = replace(record, etag=fill(target))
                identity = folder.identity(key, target)
                commit.enter_context(self.lock(bucket, key))
                self.index.put(bucket, key, identity, record)
            self._changed(bucket)
            info = folder.stat(key)
            if info.etag == identity:
                self.index.forget(bucket, key, but=identity)
            return Found(info, record)

    def describe(self, bucket: str, key: str, change: Callable[[Record], Record]) -> Found:
        """Change what is known of an object, not its bytes."""
        with self.lock(bucket, key):
            found = self.find(bucket, key)
            record = change(found.record)
            if key.endswith("/"):
                self.index.set_marker(bucket, key, found.info.mtime, record)
            else:
                self.index.put(bucket, key, found.info.etag, record)
            return Found(found.info, record)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        with self.lock(bucket, key), _answered():
            if key.endswith("/"):
                check_key(key[:-1])
                self.index.forget_marker(bucket, key)
            else:
                self._folder(bucket).delete([key])
                self.index.forget(bucket, key)
            self._changed(bucket)

    def walk(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """All objects with that prefix, in order of their UTF-8 bytes, with no ETags of OBS yet."""
        marks = self.index.markers(bucket, prefix)
        markers = (ObjectInfo(key, 0, written) for key, written, _ in marks)
        try:
            objects = self._folder(bucket).list(prefix)
        except errors.UnsafeKey:  # no object can have that prefix
            return markers
        return heapq.merge(objects, markers, key=lambda info: info.key)

    def describe_all(self, bucket: str, infos: list[ObjectInfo]) -> list[Found]:
        """The objects of one page of a list, which is in order; those that have gone meanwhile are left out."""
        if not infos:
            return []
        known = self.index.range(bucket, infos[0].key, infos[-1].key)
        found = []
        for info in infos:
            record = known.get((info.key, info.etag))
            with contextlib.suppress(ObsError):
                found.append(Found(info, record) if record is not None else self.find(bucket, info.key))
        return found

    def lock(self, bucket: str, key: str) -> threading.Lock:
        """What is held while one key's file and record change together."""
        return self._locks[hash((bucket, key)) % _STRIPES]

    def outer_lock(self, bucket: str, name: str) -> threading.Lock:
        """What is held during an operation of several steps on one upload or one key; only ever before `lock`."""
        return self._outer_locks[hash((bucket, name)) % _STRIPES]

    def _described(self, bucket: str, info: ObjectInfo) -> Found:
        record = self.index.get(bucket, info.key, info.etag)
        while record is None:
            stream, info = self._folder(bucket).open(info.key)
            with stream:
                digest = hashlib.md5(usedforsecurity=False)
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
            self.index.put(bucket, info.key, info.etag, Record(etag=digest.hexdigest()))
            record = self.index.get(bucket, info.key, info.etag)
        return Found(info, record)

    def _find_marker(self, bucket: str, key: str) -> Found:
        found = self.index.marker(bucket, key)
        if found is None:
            raise ObsError("NoSuchKey", "there is no such object")
        return Found(ObjectInfo(key, 0, found[0]), found[1])

    def _put_marker(self, bucket: str, key: str, record: Record, fill: Callable[[BinaryIO], str]) -> Found:
        with _answered():
            check_key(key[:-1])
        with open(os.devnull, "r+b") as nothing:
            record = replace(record, etag=fill(nothing))
        if record.etag != EMPTY_MD5:
            raise ObsError("InvalidArgument", "here an object whose name ends with a slash cannot have bytes")
        with self.lock(bucket, key):
            self.index.set_marker(bucket, key, time.time(), record)
            self._changed(bucket)
        return self._find_marker(bucket, key)

    def _folder(self, bucket: str) -> Folder:
        return Folder(self._folder_path(bucket), bucket)

    def _folder_path(self, bucket: str) -> Path:
        try:
            return self.root / check_bucket(bucket)
        except errors.InvalidUrl as error:
            raise ObsError("InvalidBucketName", error.message) from error

    def _changed(self, bucket: str) -> None:
        self.changes[bucket] = self.changes.get(bucket, 0) + 1


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Turn the storage's errors into the answers that fit."""
    try:
        yield
    except errors.NotFound as error:
        raise ObsError("NoSuchKey", "there is no such object") from error
    except errors.UnsafeKey as error:
        too_long = f"over {MAX_KEY_BYTES}" in error.message
        raise ObsError("KeyTooLongError" if too_long else "InvalidArgument", error.message) from error
    except errors.Conflict as error:
        raise ObsError("FileConflict", error.message) from error
    except errors.StorageFull as error:
        raise ObsError("InsufficientStorageSpace", error.message) from error
    except (errors.LinkRefused, errors.AccessDenied) as error:
        raise ObsError("AccessDenied", error.message) from error
    except errors.StorageError as error:
        raise ObsError("InternalError", error.message) from error
