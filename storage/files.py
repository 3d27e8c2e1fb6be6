"""Local files as every back end touches them: read while watched, written beside and renamed.

Temporary files are named `.launcher~<16 hex digits>.part` and lie beside the file that they become. No other name
that starts with `.launcher~` is made in a folder of the user's (a bucket folder has more: see `storage.filesystem`).
What a killed process leaves behind is harmless, is never taken for content, and is removed by `sweep`, which runs
wherever a folder is listed or downloaded into, once nothing has been written to it for an hour.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import stat
import time
from typing import BinaryIO, Callable, Iterator, Optional, Sequence, Tuple, Union, cast

from .base import AnyPath, Progress
from .durable import sync_folder
from .errors import Corrupt, LinkRefused, SourceChanged, translated
from .locking import is_at, lock, open_locked

CHUNK = 1 << 20
"""Bytes read at a time; the memory that one transfer needs."""

RESERVED = ".launcher~"
LEFTOVER_SECONDS = 3600.0

SMALL = 1 << 16
"""Bytes up to which a file may be read or written in one go by every thread that there is."""

SHA256 = re.compile("[0-9a-f]{64}")
"""A whole one, as everything here writes it."""

_TEMPORARY = re.compile(re.escape(RESERVED) + r"[0-9a-f]{16}\.part")
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a fifo must not block open
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_PRUNE_RETRIES = 1000
_QUIET = 2047
_HOT = 1 << 18
"""Bytes that are still in the processor's cache when they are hashed after they were written."""


class SourceFile:
    """A local file read once, hashed on the way, and watched: `finish` tells whether it stayed the same.

    `read` never gives more than the size at opening and raises SourceChanged if there is less, so that a request
    whose length has been announced neither hangs nor overruns. NotFound, AccessDenied, or LinkRefused for anything
    but a regular file.
    """

    def __init__(self, path: AnyPath, progress: Progress = None) -> None:
        self.name = os.fspath(path)
        self._progress = progress
        self._digest = hashlib.sha256()
        self._done = 0
        with translated(f"cannot read {self.name}"):
            self._file = cast(io.RawIOBase, open_regular(self.name))
            self.status = os.fstat(self._file.fileno())
        self.size = self.status.st_size

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, size: int = CHUNK) -> bytes:
        left = self.size - self._done
        if not left or not size:
            return b""
        with translated(f"cannot read {self.name}"):
            data = self._file.read(left if size < 0 else min(size, left))
        self._count(len(data), data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of the buffer; 0 at the end."""
        wanted = buffer[: min(self.size - self._done, CHUNK)]
        if not len(wanted):
            return 0
        with translated(f"cannot read {self.name}"):
            count = self._file.readinto(wanted)
        self._count(count, wanted[:count])
        return count

    def fill(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there are bytes; how many there were."""
        done = 0
        while True:
            count = self.readinto(buffer[done:])
            if not count:
                return done
            done += count

    def _count(self, count: int, data: Union[bytes, memoryview]) -> None:
        if not count:
            raise self._changed("shrank")
        self._done += count
        self._digest.update(data)
        if self._progress is not None:
            self._progress(count)

    def finish(self, sha256: str = "") -> str:
        """The sha256 of all that was read; SourceChanged if the file is not what it was, or not what `sha256` says."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self.status.st_mtime_ns) or self._done != self.size:
            raise self._changed("changed")
        found = self._digest.hexdigest()
        if sha256 and found != sha256:
            raise self._changed("is not the file that was scanned: it changed")
        return found

    def _changed(self, how: str) -> SourceChanged:
        return SourceChanged(f"{self.name} {how} while it was read", "wait until nothing writes to it and try again")


def open_regular(path: str, flags: int = 0) -> BinaryIO:
    """Open for reading; LinkRefused for a fifo, a device or a socket, IsADirectoryError for a folder, else OSError."""
    descriptor = os.open(path, _READ_FLAGS | flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb", buffering=0)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise special_file(path)


def special_file(path: str) -> LinkRefused:
    """The error for what is neither a file nor a folder."""
    return LinkRefused(f"{path} is not a file (a pipe, a socket or a device)", "remove it or leave it out")


def glance(path: str, most: int = SMALL) -> Optional[Tuple[os.stat_result, bytes]]:
    """The quick way to read a small file: its status and content; None if it is no regular file, larger than `most`,
    changed meanwhile or cannot be read, all of which `SourceFile` has errors for."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError:
        return None
    try:
        before = os.fstat(descriptor)
        size = before.st_size
        if size > most or not stat.S_ISREG(before.st_mode):
            return None
        data = os.read(descriptor, size + 1)
        after = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    same = len(data) == after.st_size == size and before.st_mtime_ns == after.st_mtime_ns
    return (after, data) if same else None


def sha256_of(data: bytes) -> str:
    """In pieces, for small data: from 2,048 bytes on hashlib lets go of the interpreter's lock, and among many threads
    it takes longer to get it back than to hash."""
    if len(data) > 8 * _QUIET:
        return hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256(data[:_QUIET])
    for start in range(_QUIET, len(data), _QUIET):
        digest.update(data[start : start + _QUIET])
    return digest.hexdigest()


def hash_file(path: AnyPath, progress: Progress = None) -> str:
    """The sha256 of a local file that stays the same meanwhile, else SourceChanged."""
    with SourceFile(path, progress) as source:
        for _ in source:
            pass
        return source.finish()


def receive(
    stream: BinaryIO,
    path: str,
    size: int,
    sha256: str = "",
    progress: Progress = None,
    check: Optional[Callable[[], None]] = None,
) -> str:
    """Write a stream to the file `path` as `replacing` does; Corrupt unless it has that size and sha256, and `check`,
    called when all has been read, raises nothing. Its sha256."""
    digest = hashlib.sha256()
    done = 0
    buffer = memoryview(bytearray(min(_HOT, size + 1)))
    readinto: Callable[[memoryview], int] = getattr(stream, "readinto", None) or _by_read(stream)
    with replacing(path) as target:
        while True:
            count = readinto(buffer)
            if not count:
                break
            chunk = buffer[:count]
            target.write(chunk)
            digest.update(chunk)
            done += count
            if progress is not None:
                progress(count)
        found = digest.hexdigest()
        if done != size:
            raise Corrupt(f"{path}: {done} bytes arrived of {size}", "try again")
        if sha256 and found != sha256:
            raise Corrupt(
                f"{path}: sha256 is {found} and must be {sha256}", "the stored copy is damaged: upload it again"
            )
        if check is not None:
            check()
    return found


def _by_read(stream: BinaryIO) -> Callable[[memoryview], int]:
    """What `readinto` would be, for streams that have none."""

    def readinto(buffer: memoryview) -> int:
        data = stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    return readinto


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A stream to a temporary file that becomes `path`, fsynced, when the block ends well; otherwise nothing has
    happened.

    Folders are made as needed, also against someone who removes empty ones at the same time. A link at `path` is
    replaced, not followed. Raises OSError as it comes.
    """
    temporary, descriptor = _create_beside(path)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def write_small(path: str, data: bytes, durable: bool = True) -> None:
    """Make or replace a small file as `replacing` does; without `durable` it is only fsynced if it replaces one."""
    temporary, descriptor = _create_beside(path)
    try:
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
            if durable or os.path.lexists(path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(os.path.dirname(path))


@contextlib.contextmanager
def resuming(path: str, token: str) -> Iterator[BinaryIO]:
    """As `replacing`, for large files that come in order: the stream stands behind what an earlier try with the same
    `token` has written, and can be read back.

    What fails leaves the temporary file for the next try, unless the disk is full or the bytes were wrong. Two at once
    with one path and token do not meet: the second starts from nothing.
    """
    name = f"{RESERVED}{hashlib.sha256(f'{token} {path}'.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.part"
    temporary = os.path.join(os.path.dirname(path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    stream = open_locked(temporary)
    if stream is None:
        with replacing(path) as other:
            yield other
        return
    with stream:
        try:
            stream.seek(0, os.SEEK_END)
            yield stream
            os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            if isinstance(error, Corrupt) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise
    sync_folder(os.path.dirname(path))


def is_temporary(name: str) -> bool:
    """Whether a file name is one of ours for a file that is not whole yet."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: str) -> None:
    """Remove the leftovers of killed processes from one folder, as far as that is possible; missing folders are
    fine."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            sweep_entry(entry)


def sweep_entry(entry: os.DirEntry[str]) -> None:
    """Remove this entry if it is such a leftover, and nobody works on it."""
    if is_temporary(entry.name):
        with contextlib.suppress(OSError, LinkRefused):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFTOVER_SECONDS:
                with open_regular(entry.path, _NO_FOLLOW) as stream:
                    if lock(stream, if_unknown=True) and is_at(stream, entry.path):
                        os.unlink(entry.path)


def refuse_linked_folders(root: str, names: Sequence[str]) -> None:
    """LinkRefused if one of the nested folders `names` below `root` is a link; folders that are not there are fine."""
    folder = root
    for name in names:
        folder = os.path.join(folder, name)
        try:
            mode = os.lstat(folder).st_mode
        except OSError:
            return
        if stat.S_ISLNK(mode):
            raise LinkRefused(
                f"{folder} is a link, and a tree is not followed through links", "replace it with a real folder"
            )


def temporary_beside(path: str) -> str:
    """A name for a file that will become `path`. No process here has another one of that name at this time."""
    return _temporary_in(os.path.dirname(path))


def _temporary_in(folder: str) -> str:
    number = (os.getpid() & 0xFFFFFF) << 40 | next(_numbers) & 0xFFFFFFFFFF
    return os.path.join(folder, f"{RESERVED}{number:016x}.part")


_numbers = itertools.count(int.from_bytes(os.urandom(5), "big"))


def _create_beside(path: str) -> Tuple[str, int]:
    """A new temporary file's name, and its descriptor. The folder is made when it is found missing."""
    folder = os.path.dirname(path)
    for _ in range(_PRUNE_RETRIES):
        temporary = _temporary_in(folder)
        try:
            return temporary, os.open(temporary, _CREATE_FLAGS, 0o666)
        except FileNotFoundError:  # or someone has pruned the empty folder
            try:
                os.makedirs(folder, exist_ok=True)
            except FileNotFoundError:
                continue
            except FileExistsError:
                if os.path.lexists(folder) and not os.path.isdir(folder):
                    raise
        except FileExistsError:
            continue
    raise FileNotFoundError(f"{folder} keeps being removed")
