"""Objects that become local files: small ones in one stream, large ones in ranges that arrive in order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Deque, List, NamedTuple

from ..base import AnyPath, ObjectInfo, Progress
from ..errors import Corrupt, translated
from ..files import CHUNK, SMALL, receive, resuming, sha256_of, write_small
from ..retry import Transient, patiently
from .digests import md5_in, part_size_in, sha256_in
from .lanes import Task
from .stream import ObjectStream

if TYPE_CHECKING:
    from .bucket import ObsStorage

RANGED = 16 << 20
"""Bytes. What is larger comes in ranges."""
RANGE = 8 << 20
_WINDOW = 8
"""Ranges of one object in flight."""
_TRIES = 3
"""For an object whose bytes are wrong: a bit that flipped on the way is right the next time."""


def download(bucket: ObsStorage, key: str, path: AnyPath, sha256: str, progress: Progress) -> ObjectInfo:
    """See `Storage.download`. Verified against `sha256`, else the sha256 in the metadata, else the ETag; always
    against the length."""
    target = os.path.abspath(path)
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(number)

    def once() -> ObjectInfo:
        nonlocal done
        if done and progress is not None:
            progress(-done)
        done = 0
        try:
            return _once(bucket, key, target, sha256, count)
        except Corrupt as error:
            raise Transient(error, tries=_TRIES) from error

    return patiently(once)


def _once(bucket: ObsStorage, key: str, target: str, sha256: str, count: Callable[[int], None]) -> ObjectInfo:
    with ObjectStream(bucket, key) as stream, translated(f"cannot write {target}"):
        info = bucket.info(key, stream.headers)
        check = _Check(bucket, stream, sha256, target)
        if stream.size <= SMALL:
            data = stream.read()
            if len(data) != stream.size:
                raise Corrupt(f"{target}: {len(data)} bytes arrived of {stream.size}", "try again")
            count(len(data))
            check.whole(data)
            write_small(target, data)
        elif stream.size > RANGED:
            _ranged(bucket, key, stream, info.etag, target, check, count)
        else:
            taken = bucket.channel.budget.take(min(stream.size, 2 * CHUNK))
            try:
                source: Any = check.watching(stream) if check.by_md5 else stream
                found = receive(source, target, stream.size, check.sha256, count, check.finish)
            finally:
                bucket.channel.budget.give(taken)
            return ObjectInfo(key, info.size, info.mtime, info.etag, found)
    return ObjectInfo(key, info.size, info.mtime, info.etag, check.found)


class _Check:
    """What the bytes must be, and whether they are."""

    def __init__(self, bucket: ObsStorage, stream: ObjectStream, sha256: str, target: str) -> None:
        self._target = target
        self.sha256 = sha256 or sha256_in(stream.headers)
        self._digest: Any = None
        self._etag = ""
        self._md5: Any = None
        if not self.sha256:
            self._etag = md5_in(stream.headers)
            self._md5 = hashlib.md5() if self._etag else None
            size = part_size_in(stream.headers)
            if size:
                self._etag = stream.headers.get("etag", "").strip('"').lower()
                self._md5 = _Parts(size)
        self.by_md5 = self._md5 is not None
        self.found = ""

    def watching(self, stream: ObjectStream) -> _Watched:
        return _Watched(stream, self)

    def update_md5(self, data: Any) -> None:
        if self._md5 is not None:
            self._md5.update(data)

    def update(self, data: Any) -> None:
        if self._digest is None:
            self._digest = hashlib.sha256()
        self._digest.update(data)
        self.update_md5(data)

    def finish(self) -> None:
        """Corrupt if they do not have the MD5 that they must have."""
        self._md5_is_right()

    def _md5_is_right(self) -> None:
        if self._md5 is not None and self._md5.hexdigest() != self._etag:
            raise Corrupt(f"{self._target}: the bytes that arrived are not those of the ETag", "try again")

    def whole(self, data: bytes) -> None:
        """All the bytes at once: they are right, or Corrupt."""
        self.update_md5(data)
        self._is_right(sha256_of(data))

    def finish_sha256(self) -> None:
        self._is_right(self._digest.hexdigest())

    def _is_right(self, found: str) -> None:
        self._md5_is_right()
        self.found = found
        if self.sha256 and self.found != self.sha256:
            raise Corrupt(
                f"{self._target}: sha256 is {self.found} and must be {self.sha256}",
                "the stored copy is damaged: upload it again",
            )


class _Parts:
    """The ETag of an object of parts, from its bytes in order: the MD5 of the parts' MD5s, and their number."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._part = hashlib.md5()
        self._done: List[bytes] = []

    def update(self, data: Any) -> None:
        view = memoryview(data)
        while len(view):
            piece = view[: self._left]
            self._part.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._next()

    def hexdigest(self) -> str:
        if self._left < self._size:
            self._next()
        return f"{hashlib.md5(b''.join(self._done)).hexdigest()}-{len(self._done)}"

    def _next(self) -> None:
        self._done.append(self._part.digest())
        self._part = hashlib.md5()
        self._left = self._size


class _Watched:
    """A stream whose bytes are hashed for the ETag as they pass."""

    def __init__(self, stream: ObjectStream, check: _Check) -> None:
        self._stream = stream
        self._check = check

    def readinto(self, buffer: memoryview) -> int:
        count = self._stream.readinto(buffer)
        self._check.update_md5(buffer[:count])
        return count


def _ranged(
    bucket: ObsStorage, key: str, stream: ObjectStream, etag: str, target: str, check: _Check, progress: Progress
) -> None:
    """Ranges are fetched at once, and written and hashed in order, so that what is on the disk is always a beginning
    and an interrupted download goes on from its end. Each is hashed while the next one is written. Nothing waits for
    memory while it holds some: no deadlock."""
    size, budget, lanes = stream.size, bucket.channel.budget, bucket.channel.lanes
    with resuming(target, f"{bucket.channel.settings.url} {bucket.name} {key} {etag} {size}") as file:
        start = _already(file, size if etag else 0, check, progress)
        stream.close()
        window: Deque[_Coming] = deque()
        hashed: Deque[_Coming] = deque()
        """At most one: it is hashed while the next one is written."""

        def settle() -> None:
            last = hashed.popleft()
            try:
                last.task.result()
            finally:
                last.give_back(bucket)
            if progress is not None:
                progress(len(last.data))

        try:
            while start < size or window:
                while start < size and len(window) < _WINDOW:
                    length = min(RANGE, size - start)
                    is_only = not window and not hashed
                    taken = budget.take(length) if is_only else budget.try_take(length)
                    if not taken:
                        break
                    try:
                        buffer = bucket.channel.buffers.take(length)
                        data = memoryview(buffer)[:length]
                        task = lanes.start(_fetcher(bucket, key, start, data, etag))
                    except BaseException:
                        budget.give(taken)
                        raise
                    window.append(_Coming(taken, buffer, data, task))
                    start += length
                if window:
                    window[0].task.result()
                    _write(file, window[0].data)
                if hashed:
                    settle()
                if window:
                    hashed.append(window[0]._replace(task=lanes.start(_hasher(check, window[0].data))))
                    window.popleft()
            while hashed:
                settle()
        finally:
            for coming in (*hashed, *window):
                coming.give_back(bucket)
        check.finish_sha256()


class _Coming(NamedTuple):
    """A range, and what is being done to it."""

    taken: int
    buffer: bytearray
    data: memoryview
    task: Task[None]

    def give_back(self, bucket: ObsStorage) -> None:
        """The budget, and the buffer if nobody writes to it any more."""
        bucket.channel.budget.give(self.taken)
        if self.task.is_done():
            bucket.channel.buffers.give(self.buffer)


def _write(file: BinaryIO, data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


def _hasher(check: _Check, data: memoryview) -> Callable[[], None]:
    return lambda: check.update(data)


def _already(file: BinaryIO, size: int, check: _Check, progress: Progress) -> int:
    """Bytes that an earlier try has left, read again; what cannot be of this object is cut off."""
    there = file.tell()
    if there > size:
        there = 0
    file.seek(0)
    file.truncate(there)
    left = there
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            break
        left -= len(data)
        check.update(data)
        if progress is not None:
            progress(len(data))
    file.seek(there)
    return there


def _fetcher(bucket: ObsStorage, key: str, start: int, data: memoryview, etag: str) -> Callable[[], None]:
    def fetch() -> None:
        with ObjectStream(bucket, key, start, len(data), etag) as part:
            if part.size != len(data):
                raise Corrupt(f"{bucket.label(key)}: a range of it is not there", "try again")
            part.fill(data)

    return fetch
