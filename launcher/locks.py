"""Locks on files, which the system drops when their holder dies, however it dies."""

from __future__ import annotations

import os
from pathlib import Path


def take(path: Path) -> int | None:
    """Make the file and lock it: the descriptor, to be closed when it is over; None if another process has it."""
    return _locked(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def is_held(path: Path) -> bool:
    """Whether a process has the file locked; where there is no file, none has. It is not made."""
    try:
        descriptor = _locked(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return False
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def _locked(descriptor: int) -> int | None:
    import fcntl  # not on Windows, where the local target says so before anything is locked

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
