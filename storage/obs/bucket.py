"""One OBS bucket behind the storage protocol."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
from dataclasses import asdict
from typing import Any, BinaryIO, Dict, Iterable, Iterator, List, Mapping, Optional, cast

from ..base import AnyPath, ObjectInfo, Progress, Storage
from ..errors import AccessDenied, Corrupt, StorageError
from ..files import SourceFile, glance, sha256_of
from ..retry import Transient, patiently
from ..urls import check_key, check_prefix
from . import download, multipart, small
from .answers import NO_PAGE
from .channel import BYTES_IN_FLIGHT, Channel
from .dates import http_seconds
from .digests import md5_in, sha256_in
from .errors import Failure, length_in
from .settings import ObsSettings
from .stream import ObjectStream
from .wire import Data, Reply

SINGLE = 8 << 20
"""Bytes. What is not larger goes up in one request, and comes down in one."""
PAGE = 1000
"""Keys a deletion takes at once (OBS API reference)."""
COPY_SINGLE = 5 << 30
"""Bytes that one copy request may copy (OBS API reference, "Copying objects")."""


class ObsStorage(Storage):
    """See `Storage` for what is guaranteed; how it is kept here:

    - Atomic (1, 2): OBS shows an object when its last byte has been taken. Large objects go up in parts, which nobody
      sees until they are completed; a reply that is lost is settled by looking.
    - Verified (3): with OBS' own signature every body carries `x-obs-content-sha256`, which OBS checks before the
      object becomes visible (SDK FAQ "How do I specify Content-SHA256?"); with S3's, Content-MD5, and the ETag is
      compared. The sha256 is kept as metadata, and every download is compared with it, else with the ETag.
    - Patient (8): `storage.retry`; a broken download goes on where it broke, if the object is still the same one.
    - Memory (9): objects up to `SINGLE` are held whole, larger ones in parts of `multipart.part_size`; all transfers
      of one account together hold `channel.BYTES_IN_FLIGHT` (64 MiB), or one part if that is more, keep half of that
      for the next ones, and take 64 KiB a connection.
    """

    workers = 256

    def __init__(self, channel: Channel, name: str) -> None:
        self.channel = channel
        self.name = name
        self.wire = channel.wire(name)

    @property
    def processes(self) -> Optional[int]:
        """Worker processes that a large tree may have; None: as many as help."""
        wanted = self.channel.settings.processes
        return int(wanted) if wanted.isdigit() else None

    def recipe(self) -> Optional[Dict[str, Any]]:
        """What `from_recipe` makes the same bucket from, keys and all, in JSON; None for what is more than this
        class."""
        if type(self) is not ObsStorage:
            return None
        return {"settings": asdict(self.channel.settings), "name": self.name}

    def stat(self, key: str, digest: bool = False) -> ObjectInfo:
        check_key(key)
        what = f"cannot look at {self.label(key)}"
        info = patiently(
            lambda: self.info(key, self.channel.ask_once(what, "read", lambda: self.wire.head(key)).headers)
        )
        if not digest or info.sha256:
            return info
        with self.read(key) as stream:
            found = hashlib.sha256()
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                found.update(chunk)
        return ObjectInfo(key, info.size, info.mtime, info.etag, found.hexdigest())

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._pages(check_prefix(prefix))

    def read(self, key: str, start: int = 0, length: Optional[int] = None) -> BinaryIO:
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"a range cannot start at {start} and be {length} long")
        check_key(key)
        if length == 0:
            self.stat(key)
            return io.BytesIO(b"")
        stream = ObjectStream(self, key, start, length)
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), 1 << 17))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        check_key(key)
        return self.put(key, data, sha256_of(data), time.time_ns())

    def upload(self, path: AnyPath, key: str, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        check_key(key)
        whole = glance(os.fspath(path))
        if whole is not None:
            status, data = whole
            digest = sha256_of(data)
            if sha256 in ("", digest):
                if progress is not None:
                    progress(len(data))
                return self.put(key, data, digest, status.st_mtime_ns)
        with SourceFile(path) as source:
            if source.size > SINGLE:
                return multipart.upload(self, source, key, sha256, progress)
            taken = self.channel.budget.take(source.size)
            try:
                with self.channel.buffers.lent(source.size) as buffer:
                    done = 0
                    while done < source.size:
                        count = source.readinto(buffer[done:])
                        done += count
                        if progress is not None:
                            progress(count)
                    found = source.finish(sha256)
                    return self.put(key, buffer, found, source.status.st_mtime_ns)
            finally:
                self.channel.budget.give(taken)

    def download(self, key: str, path: AnyPath, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        check_key(key)
        return download.download(self, key, path, sha256, progress)

    def download_small(self, key: str, path: str, size: int, sha256: str, progress: Progress = None) -> None:
        """See `small.download_small`."""
        small.download_small(self, key, path, size, sha256, progress)

    def delete(self, keys: Iterable[str]) -> None:
        page: List[str] = []
        for key in keys:
            page.append(check_key(key))
            if len(page) == PAGE:
                self._delete(page)
                page = []
        if page:
            self._delete(page)

    def copy(self, source: str, target: str) -> ObjectInfo:
        check_key(target)
        info = self.stat(source)
        if source == target:
            return info
        what = f"cannot copy {self.label(source)} to {target}"
        if info.size > COPY_SINGLE:
            multipart.copy(self, info, target)
            return self.stat(target)

        patiently(lambda: self.channel.copy_once(what, "copyObject", self.name, source, self.name, target))
        return self.stat(target)

    def put(self, key: str, data: Data, sha256: str, mtime_ns: int) -> ObjectInfo:
        """One request for a whole object."""
        what = f"cannot write {self.label(key)}"
        metadata = {"sha256": sha256, "mtime": str(mtime_ns)}
        checks = self.checks(data, sha256)

        def once() -> Reply:
            return self.put_once(what, lambda: self.wire.put(key, data, {**checks, **self.meta(metadata)}), checks)

        reply = patiently(once)
        etag = reply.headers.get("etag", "").strip('"')
        return ObjectInfo(key, len(data), _seconds(reply.headers.get("date", "")), etag, sha256)

    def put_once(self, what: str, call: Any, checks: Mapping[str, str]) -> Reply:
        """One try of a PUT, its ETag compared if we know what it must be."""
        reply = self.channel.ask_once(what, "write", call)
        expected = checks.get("content-md5", "")
        etag = md5_in(reply.headers) if expected else ""
        if etag and base64.b64decode(expected).hex() != etag:
            raise Transient(Corrupt(f"{what}: the bytes that arrived are not those that were sent", "try again"))
        return reply

    def checks(self, data: Data, sha256: str = "") -> Dict[str, str]:
        """The headers by which the store checks a body before it shows it."""
        if self.channel.checksum == "sha256":
            return {self.channel.prefix + "content-sha256": sha256 or hashlib.sha256(data).hexdigest()}
        return {"content-md5": base64.b64encode(hashlib.md5(data).digest()).decode()}

    def meta(self, metadata: Mapping[str, str]) -> Dict[str, str]:
        return {f"{self.channel.prefix}meta-{name}": value for name, value in metadata.items()}

    def info(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        """What the headers of a whole answer say; Transient if they do not say enough."""
        return ObjectInfo(
            key,
            length_in(f"cannot read {self.label(key)}", headers),
            _seconds(headers.get("last-modified", "")),
            headers.get("etag", "").strip('"'),
            sha256_in(headers),
        )

    def label(self, key: str) -> str:
        return f"obs://{self.name}/{key}"

    def _pages(self, prefix: str) -> Iterator[ObjectInfo]:
        marker = ""
        page = NO_PAGE
        what = f"cannot list {self.label(prefix)}"

        def once() -> Reply:
            nonlocal page
            reply, page = self.wire.page(prefix, marker)
            return reply

        while True:
            self.channel.ask(what, "list", once)
            for info in page.objects:
                if info.key != marker:  # some stores repeat it
                    yield info
            following = page.next_marker or (page.objects[-1].key if page.objects else "")
            if not page.is_truncated or following in ("", marker):
                return
            marker = following

    def _delete(self, keys: List[str]) -> None:
        what = f"cannot delete from {self.label('')}"
        if len(keys) == 1:
            self.channel.ask(f"cannot delete {self.label(keys[0])}", "delete", lambda: self._delete_one(keys[0]))
            return
        from obs import DeleteObjectsRequest, Object

        request = DeleteObjectsRequest(quiet=True, objects=[Object(key=key) for key in dict.fromkeys(keys)])

        def once() -> None:
            found = self.channel.content_once(what, "delete", "deleteObjects", self.name, request)
            for error in found.error or ():
                if error.code in ("NoSuchKey", None):
                    continue
                told = f"cannot delete {self.label(error.key)}: {error.code} {error.message}"
                if error.code in ("AccessDenied", "MethodNotAllowed"):
                    raise AccessDenied(told, "the keys need the permission obs:object:DeleteObject on it")
                raise Transient(StorageError(told, "run the same command again"))

        patiently(once)

    def _delete_one(self, key: str) -> Reply:
        """That there is no such object is fine; that there is no such bucket is not."""
        reply = self.wire.delete(key)
        if reply.status == 404 and Failure.of(404, reply.headers, reply.body).code != "NoSuchBucket":
            return reply._replace(status=204)
        return reply


def from_recipe(recipe: Mapping[str, Any]) -> ObsStorage:
    """The bucket, for a worker process: it has a fourth of the usual memory."""
    return ObsStorage(Channel(ObsSettings(**recipe["settings"]), BYTES_IN_FLIGHT // 4), recipe["name"])


def _seconds(date: str) -> float:
    """POSIX seconds of an HTTP date; now, for want of one."""
    found = http_seconds(date)
    return time.time() if found is None else found
