"""Files that one process works on at a time.

The lock is the open file's and not its name's: whoever had it before may have renamed or removed the file between our
opening and our locking it, and what we then hold is another file, which may be in use by now. So a file counts as ours
only if it still has its name after it was locked, and is renamed and removed only while it is locked.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Optional, cast

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_TRIES = 1000


def open_locked(path: str) -> Optional[BinaryIO]:
    """The file `path`, made if it is missing, at its beginning, unbuffered; None if someone else works on it. Closing
    it unlocks it. Raises OSError as it comes."""
    for _ in range(_TRIES):
        stream = open(os.open(path, _FLAGS, 0o666), "r+b", buffering=0)  # noqa: SIM115  # the caller closes it
        is_ours = lock(stream)
        if is_ours and is_at(stream, path):
            return cast(BinaryIO, stream)
        stream.close()
        if not is_ours:
            break
    return None


def lock(stream: BinaryIO, if_unknown: bool = False) -> bool:
    """Whether this open file is ours alone now; `if_unknown` where its file system has no locks, True where the system
    has none."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return if_unknown
    return True


def is_at(stream: BinaryIO, path: str) -> bool:
    """Whether this open file still has that name."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(stream.fileno()), os.lstat(path))
    return False
