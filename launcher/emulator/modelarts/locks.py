"""Folders that one process at a time has: each holds a lock on the file `lock` in it, which ends with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take(folder: Path) -> int | None:
    """The lock's descriptor, to be closed when it is over; None if another process has it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(folder: Path) -> bool:
    """Whether a process has the folder."""
    if not (folder / "lock").exists():
        return False
    descriptor = take(folder)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
