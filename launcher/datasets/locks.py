"""One worker a folder: an advisory lock that the system drops when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.output import Say

POLL = 0.1


@contextmanager
def locked(path: Path, say: Say, waiting: str) -> Iterator[None]:
    """Hold the lock file ``path``; say ``waiting`` once if somebody else has it. The file is removed afterwards.

    Where the file system knows no locks, the work goes on without: its renames are safe, only the fetching is doubled.
    """
    descriptor = _acquire(path, say, waiting)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, say: Say, waiting: str) -> int:
    said = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except FileNotFoundError:  # the last holder is just removing the folder
            continue
        try:
            if _try_lock(descriptor) and _same(descriptor, path):
                return descriptor
            if not said:
                said = True
                say(waiting)
            time.sleep(POLL)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    """Whether the file we locked is still the one of that name: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network file system without locks
            return True
        return True
