"""OBS through the moxing of ModelArts' images, which brings its own credentials.

Not to be taken for the package of that name on PyPI, which wraps llama.cpp, nor for the launcher's emulation: for both,
`open_bucket` raises BackendMissing.

What moxing does silently is avoided here: names never end in a slash (`remove("file/")` does nothing), sizes come from
`stat` (`get_size` of a folder is 0), `copy` only ever sees single files that nobody else writes to, and a written File
is not trusted to have been written. Moxing retries inside; here nothing is retried but what looking again has shown to
be damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import tempfile
from typing import Any, BinaryIO, Callable, Iterable, Iterator, List, Optional, Tuple, cast

from .base import AnyPath, ObjectInfo, Progress, Storage
from .errors import (
    AccessDenied,
    BackendMissing,
    Corrupt,
    NotFound,
    StorageError,
    Unreachable,
    from_os_error,
    translated,
)
from .files import CHUNK, SourceFile, receive
from .urls import check_bucket, check_key, check_prefix

SINGLE = 8 << 20
"""Bytes. A file that is not larger is held whole while it goes up; a larger one is first copied aside."""
READ_BACK = 1 << 20
"""Bytes. What is not larger is read back and compared."""

_TRIES = 3


def open_bucket(name: str) -> Storage:
    """The bucket `name`, reached by the platform's moxing; BackendMissing where there is none."""
    check_bucket(name)
    try:
        import moxing
    except Exception as error:  # a broken installation may raise anything
        raise BackendMissing(f"moxing cannot be imported: {error}", "it comes with ModelArts' images") from error
    file = getattr(moxing, "file", None)
    if getattr(moxing, "LAUNCHER_EMULATION", False):
        raise BackendMissing("moxing is the launcher's emulation here", "it stands on the other back ends itself")
    if not hasattr(file, "copy_parallel"):
        raise BackendMissing(
            "the moxing that is installed here is not ModelArts'", "it is an unrelated package: uninstall it"
        )
    return MoxingStorage(file, name)


class MoxingStorage(Storage):
    """See `Storage` for what is guaranteed. `file` is `moxing.file`.

    What rests on OBS, and cannot be checked from here: that an object appears when its last byte has been taken, in one
    request or in parts (1, 2), and that a read which is one request gives one version (5). What is done about the rest:

    - What goes up is hashed while it is read, and sent from memory or from a private copy in the scratch folder
      (`/cache`, or the system's), so that a file that changes meanwhile is noticed before anything is sent. Afterwards
      the object's size is looked at, and up to `READ_BACK` bytes are read again; damage is sent once more, and is
      Corrupt if it stays.
    - A read that ends early raises, unless the object has been replaced since.
    - Memory (9): `SINGLE` for each transfer, and the names in one folder of the bucket in `list`.
    """

    def __init__(self, file: Any, bucket: str) -> None:
        self._mox = file
        self._root = f"obs://{check_bucket(bucket)}"

    def stat(self, key: str, digest: bool = False) -> ObjectInfo:
        info = self._stat(check_key(key))
        if not digest:
            return info
        return ObjectInfo(key, info.size, info.mtime, info.etag, self._digest(key)[0])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._list(check_prefix(prefix))

    def read(self, key: str, start: int = 0, length: Optional[int] = None) -> BinaryIO:
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"a range cannot start at {start} and be {length} long")
        info = self._stat(check_key(key))
        if length == 0 or start >= info.size > 0:
            return io.BytesIO(b"")
        stream = _Reader(self, info, start, length)
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), CHUNK))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        return self._put(check_key(key), data)

    def upload(self, path: AnyPath, key: str, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        check_key(key)
        with SourceFile(path, progress) as source:
            if source.size <= SINGLE:
                data = b"".join(source)
                source.finish(sha256)
                return self._put(key, data)
            with _aside() as copied:
                with translated(f"cannot copy {source.name} to {copied}"), open(copied, "wb") as target:
                    for chunk in source:
                        target.write(chunk)
                found = source.finish(sha256)
                return self._send_file(copied, key, source.size, found)

    def download(self, key: str, path: AnyPath, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        check_key(key)
        target = os.path.abspath(path)
        for last in (False, True):
            info = self._stat(key)
            done: List[int] = []

            def advance(count: int, done: List[int] = done) -> None:
                done.append(count)
                if progress is not None:
                    progress(count)

            try:
                with translated(f"cannot write {target}"), self.read(key) as stream:
                    found = receive(stream, target, info.size, sha256, advance)
                return ObjectInfo(key, info.size, info.mtime, info.etag, found)
            except Corrupt:
                if last or self._is_still(info):  # else it was replaced in between
                    raise
                if progress is not None:
                    progress(-sum(done))
        raise AssertionError("the second try returns or raises")

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            check_key(key)
            with contextlib.suppress(NotFound), self.telling(key, "delete"):
                self._mox.remove(self.url(key))

    def copy(self, source: str, target: str) -> ObjectInfo:
        check_key(target)
        info = self._stat(check_key(source))
        if source == target:
            return info
        for _ in range(_TRIES):
            with self.telling(source, f"copy to {target}"):
                self._mox.copy(self.url(source), self.url(target))
            found = self._stat(target)
            if found.size == info.size:
                return found
            info = self._stat(source)
        raise Corrupt(f"{self.url(target)} has {found.size} bytes, and its source {info.size}", "try again")

    def url(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def open(self, key: str) -> Any:
        with self.telling(key, "read"):
            return self._mox.File(self.url(key), "rb")

    @contextlib.contextmanager
    def telling(self, key: str, verb: str) -> Iterator[None]:
        """Turn what moxing raises into errors of ours."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            raise _ours(error, f"cannot {verb} {self.url(key)}") from error

    def _stat(self, key: str) -> ObjectInfo:
        with self.telling(key, "look at"):
            if not self._mox.exists(self.url(key)):
                raise NotFound(f"there is no {self.url(key)}")
            found = self._mox.stat(self.url(key))
        if found.is_directory:
            raise NotFound(f"there is no object {self.url(key)}: it is a folder")
        return ObjectInfo(key, int(found.length), int(found.mtime_nsec) / 1e9)

    def _digest(self, key: str) -> Tuple[str, int]:
        """(sha256, bytes) of one version."""
        found, count = hashlib.sha256(), 0
        with self.read(key) as stream:
            for chunk in iter(lambda: stream.read(CHUNK), b""):
                found.update(chunk)
                count += len(chunk)
        return found.hexdigest(), count

    def _is_still(self, info: ObjectInfo) -> bool:
        try:
            now = self._stat(info.key)
        except NotFound:
            return False
        return (now.size, now.mtime) == (info.size, info.mtime)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        pending = [iter(self._children(prefix.rpartition("/")[0]))]
        while pending:
            key = next(pending[-1], None)
            if key is None:
                pending.pop()
            elif not key.startswith(prefix):
                continue
            elif key.endswith("/"):
                pending.append(iter(self._children(key[:-1])))
            else:
                with contextlib.suppress(NotFound):  # deleted since
                    yield self._stat(key)

    def _children(self, folder: str) -> List[str]:
        """Keys of what lies in a folder, in order; those of folders end in a slash."""
        base = folder + "/" if folder else ""
        found = []
        for end, skip in (("/", {"skip_file": True}), ("", {"skip_dir": True})):
            with contextlib.suppress(NotFound), self.telling(folder, "list"):
                for name in self._mox.list_directory(self.url(folder), recursive=False, **skip):
                    if name.startswith(self.url(base)):  # where names are given whole
                        name = name[len(self.url(base)) :]
                    name = name.strip("/")
                    if name:
                        found.append(base + name + end)
        return sorted(found, key=lambda key: key.encode("utf-8", "surrogateescape"))

    def _put(self, key: str, data: bytes) -> ObjectInfo:
        def send() -> None:
            with self.telling(key, "write"):
                self._mox.write(self.url(key), data, binary=True)

        return self._sent(key, len(data), hashlib.sha256(data).hexdigest(), send, lambda size: _sha256(data[:size]))

    def _send_file(self, path: str, key: str, size: int, sha256: str) -> ObjectInfo:
        def send() -> None:
            with self.telling(key, "write"):
                self._mox.copy(path, self.url(key))

        def start_of(count: int) -> str:
            with open(path, "rb") as file:
                digest = hashlib.sha256()
                while count > 0:
                    chunk = file.read(min(CHUNK, count))
                    digest.update(chunk)
                    count -= len(chunk)
                return digest.hexdigest()

        return self._sent(key, size, sha256, send, start_of)

    def _sent(
        self, key: str, size: int, sha256: str, send: Callable[[], None], start_of: Callable[[int], str]
    ) -> ObjectInfo:
        """Send, and look. An object that is the beginning of ours is damaged; another one is someone else's."""
        for _ in range(_TRIES):
            send()
            with contextlib.suppress(NotFound, Corrupt):
                info = self._stat(key)
                if info.size == size > READ_BACK:
                    return ObjectInfo(key, size, info.mtime, info.etag, sha256)
                found, count = self._digest(key)  # of one version, which may be newer than `info`
                is_ours = found == sha256
                if is_ours or (count != size and (count > size or found != start_of(count))):
                    return ObjectInfo(key, size, info.mtime, info.etag if is_ours else "", sha256)
        raise Corrupt(f"{self.url(key)} is not what was sent, {_TRIES} times", "try again, and look at the network")


class _Reader(io.RawIOBase):
    """One request's bytes, counted."""

    def __init__(self, storage: MoxingStorage, info: ObjectInfo, start: int, length: Optional[int]) -> None:
        self._storage, self._info = storage, info
        self._left = info.size - start
        self._window = self._left if length is None else min(length, self._left)
        self._whole = length is None
        self._file = storage.open(info.key)
        if start:
            with storage.telling(info.key, "read"):
                self._file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer is newer than Python 3.7
        size = len(buffer) if self._whole else min(len(buffer), self._window)
        if not size:
            return 0
        with self._storage.telling(self._info.key, "read"):
            data = self._file.read(size)
        if not data and self._left > 0 and self._storage._is_still(self._info):
            raise Corrupt(
                f"{self._storage.url(self._info.key)} ended {self._left} bytes early", "the line broke: try again"
            )
        buffer[: len(data)] = data
        self._left -= len(data)
        self._window -= len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(Exception):
                self._file.close()
        super().close()


def _ours(error: Exception, what: str) -> StorageError:
    """Moxing's exceptions are told by name and by what they carry, since versions differ in where they live."""
    names = {kind.__name__ for kind in type(error).__mro__}
    status, code = _answer(error)
    text = f"{what}: {error}".strip().splitlines()[0]
    if "MoxFileNotExistsException" in names or status == 404 or code in ("NoSuchKey", "NoSuchBucket"):
        return NotFound(text, "look at the bucket's and the object's name" if code == "NoSuchBucket" else "")
    if status in (401, 403) or code == "AccessDenied":
        return AccessDenied(text, "give the job's agency access to the bucket, which must be in the job's region")
    if "MoxFileReadException" in names:
        return Corrupt(text, "the line broke while reading: try again")
    if status in (408, 429) or status >= 500 or isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return Unreachable(text, "moxing has tried several times: look at the network, and try again later")
    if isinstance(error, OSError) and error.errno and not status:
        told = from_os_error(error, what)
        if type(told) is not StorageError:
            return told
    return StorageError(text, "moxing has tried several times: look at the network and at OBS' status, and try again")


def _answer(error: Exception) -> Tuple[int, str]:
    """(HTTP status, OBS' code) of an error, as far as it tells."""
    answer = getattr(error, "resp", None)
    status = getattr(answer, "status", 0)
    code = getattr(answer, "errorCode", "") or ""
    text = str(error)
    for number, word in ((404, "NoSuchKey"), (404, "NoSuchBucket"), (403, "AccessDenied")):
        if not code and word in text:
            status, code = status or number, word
    if not status and "stat:" in text:
        digits = text.partition("stat:")[2].strip()[:3]
        status = int(digits) if digits.isdigit() else 0
    return status if isinstance(status, int) else 0, str(code)


@contextlib.contextmanager
def _aside() -> Iterator[str]:
    """A path for a private copy of a file."""
    places = [
        place for place in (os.environ.get("LAUNCHER_CACHE", ""), "/cache") if place and os.access(place, os.W_OK)
    ]
    with tempfile.TemporaryDirectory(prefix="upload-", dir=places[0] if places else None) as folder:
        yield os.path.join(folder, "file")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
