"""Hashes of local files, remembered between runs."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple, TypeVar

from .base import AnyPath
from .files import SHA256

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
Row = Tuple[str, int, int, str, str]

RACY_SECONDS = 2.0
"""A file written to less than this before it was hashed can change again without a new mtime (git's "racy" rule; two
seconds is the coarsest clock of a file system in use, FAT's)."""

_FLUSH_SECONDS = 1.0
_BUSY_SECONDS = 10.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS hashes"
    " (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode TEXT, sha256 TEXT) WITHOUT ROWID"
)  # inode as text: it can have 64 bits without a sign, SQLite's integers cannot


class HashCache:
    """(absolute path, size, mtime, inode) -> sha256, in one SQLite file that any number of processes may share.

    Never wrong, at worst empty: a file that was hashed within RACY_SECONDS of its mtime is not remembered, and a
    database that is damaged, locked for long or cannot be written costs hashing, not an error. What is put reaches
    the disk within a second of the next put, or by `flush`; `kill -9` loses no more than that. About 200 bytes a
    file. May be used from many threads. Not across a fork.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = os.path.abspath(path)
        self._lock = threading.Lock()
        self._pending: Dict[str, Row] = {}
        self._flushed = time.monotonic()
        self._database: Optional[sqlite3.Connection] = None

    def __enter__(self) -> HashCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: AnyPath, status: os.stat_result) -> str:
        """The sha256 of the file if it is known for this very size, mtime and inode, else ""."""
        key = (os.path.abspath(path), status.st_size, status.st_mtime_ns, str(status.st_ino))
        query = "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?"
        with self._lock:
            row = self._try(lambda database: database.execute(query, key).fetchone())
        return row[0] if row and _is_sha256(row[0]) else ""

    def recall(self, folder: AnyPath) -> Callable[[str, os.stat_result], str]:
        """`get` for many files, which asks the database once: a function of (absolute path, status).

        What is remembered of the files below `folder` is read now, about 0.5 KiB a file; what other processes put
        later is not seen. Other paths are asked about one by one. The function may be called from many threads.
        """
        top = os.path.join(os.path.abspath(folder), "")
        query = "SELECT path, size, mtime_ns, inode, sha256 FROM hashes WHERE path >= ? AND path < ?"
        after = top[:-1] + chr(ord(top[-1]) + 1)  # the first text behind all that start with `top`
        with self._lock:
            self._store()
            rows = self._try(lambda database: database.execute(query, (top, after)).fetchall())
        known: Dict[str, Row] = {row[0]: row for row in _sound(rows or [])}

        def lookup(path: str, status: os.stat_result) -> str:
            row = known.get(path)
            if row is None:
                return "" if path.startswith(top) else self.get(path, status)
            _, size, mtime_ns, inode, sha256 = row
            if size == status.st_size and mtime_ns == status.st_mtime_ns and inode == str(status.st_ino):
                return sha256
            return ""

        return lookup

    def put(self, path: AnyPath, status: os.stat_result, sha256: str, started_ns: int) -> None:
        """Remember the sha256 of a file whose reading started at `started_ns` (POSIX nanoseconds) and found that
        status."""
        if started_ns - status.st_mtime_ns < RACY_SECONDS * 1e9:
            return
        name = os.path.abspath(path)
        with self._lock:
            self._pending[name] = (name, status.st_size, status.st_mtime_ns, str(status.st_ino), sha256)
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._store()

    def flush(self) -> None:
        """Store what has been put so far."""
        with self._lock:
            self._store()

    def close(self) -> None:
        """Flush and let go of the file; the cache may be used again."""
        with self._lock:
            self._store()
            self._disconnect()

    def _store(self) -> None:
        if self._pending:
            rows = list(self._pending.values())
            self._try(lambda database: _insert(database, rows))
            self._pending.clear()
        self._flushed = time.monotonic()

    def _try(self, action: Callable[[sqlite3.Connection], T]) -> Optional[T]:
        """Do something with the database; None if that fails. A damaged file is removed: the next try finds it
        empty."""
        try:
            import sqlite3
        except ImportError:  # some containers' Python is built without it
            return None
        try:
            return action(self._connect())
        except (sqlite3.OperationalError, OSError):  # locked, read-only, no space, no folder
            return None
        except UnicodeEncodeError:  # a path that is no text
            return None
        except sqlite3.DatabaseError:
            self._disconnect()
            for suffix in ("-journal", ""):
                with contextlib.suppress(OSError):
                    os.unlink(self.path + suffix)
            return None

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        if self._database is None:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
            self._database.execute(_TABLE)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _sound(rows: List[Row]) -> List[Row]:
    """Those whose sha256 can be one: the cache is a file on a disk. All of them are looked at in one go, since there
    may be very many."""
    try:
        joined = "".join([row[4] for row in rows])
        if (
            len(bytes.fromhex(joined)) == 32 * len(rows)
            and joined == joined.lower()
            and all(len(row[4]) == 64 for row in rows)
        ):
            return rows
    except (TypeError, ValueError):
        pass
    return [row for row in rows if _is_sha256(row[4])]


def _is_sha256(found: Any) -> bool:
    return isinstance(found, str) and SHA256.fullmatch(found) is not None


def _insert(database: sqlite3.Connection, rows: List[Row]) -> None:
    with database:  # one short transaction: other processes wait no longer than that
        database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", rows)
