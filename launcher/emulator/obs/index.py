"""What OBS knows of an object beyond its bytes, in SQLite beside the buckets.

A record belongs to one version of an object: to the identity (inode, size and time of change) of the file that holds
it. It is written before that file gets its name, and records of older versions are removed after. So whoever is killed
at any moment, a file never meets a record that was made for another one; a file without a record, because someone else
wrote it, gets one when its bytes are hashed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, location TEXT NOT NULL, acl TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, identity TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (bucket, key, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS markers (
    bucket TEXT NOT NULL, key TEXT NOT NULL, written REAL NOT NULL, record TEXT NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Record:
    """What is known of one version of an object."""

    etag: str = ""
    """Without quotation marks."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Content-Type and the like, by names in small letters."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The user's, by names without a prefix."""
    acl: str = "private"
    appendable: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Record:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class BucketRecord:
    """What is known of a bucket; `created` is in POSIX seconds."""

    name: str
    owner: str
    location: str
    acl: str
    created: float


class Index:
    """The database of one folder of buckets; safe from many threads. It survives the death of the process, though not
    a power cut."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def bucket(self, name: str) -> BucketRecord | None:
        rows = self._all("SELECT name, owner, location, acl, created FROM buckets WHERE name=?", name)
        return BucketRecord(*rows[0]) if rows else None

    def set_bucket(self, bucket: BucketRecord) -> None:
        values = (bucket.name, bucket.owner, bucket.location, bucket.acl, bucket.created)
        self._all("INSERT OR REPLACE INTO buckets VALUES (?,?,?,?,?)", *values)

    def forget_bucket(self, name: str) -> None:
        for table, column in (("buckets", "name"), ("objects", "bucket"), ("markers", "bucket")):
            self._all(f"DELETE FROM {table} WHERE {column}=?", name)

    def get(self, bucket: str, key: str, identity: str) -> Record | None:
        """The record of that version, if there is one."""
        rows = self._all("SELECT record FROM objects WHERE bucket=? AND key=? AND identity=?", bucket, key, identity)
        return Record.from_json(rows[0][0]) if rows else None

    def range(self, bucket: str, first: str, last: str) -> dict[tuple[str, str], Record]:
        """The records of all keys from `first` to `last`, by key and identity."""
        query = "SELECT key, identity, record FROM objects WHERE bucket=? AND key BETWEEN ? AND ?"
        rows = self._all(query, bucket, first, last)
        return {(key, identity): Record.from_json(text) for key, identity, text in rows}

    def put(self, bucket: str, key: str, identity: str, record: Record) -> None:
        self._all("INSERT OR REPLACE INTO objects VALUES (?,?,?,?)", bucket, key, identity, record.to_json())

    def forget(self, bucket: str, key: str, but: str = "") -> None:
        """Remove a key's records, except that of the identity `but`."""
        self._all("DELETE FROM objects WHERE bucket=? AND key=? AND identity<>?", bucket, key, but)

    def marker(self, bucket: str, key: str) -> tuple[float, Record] | None:
        """When a folder marker was written, in POSIX seconds, and its record."""
        rows = self._all("SELECT written, record FROM markers WHERE bucket=? AND key=?", bucket, key)
        return (rows[0][0], Record.from_json(rows[0][1])) if rows else None

    def markers(self, bucket: str, prefix: str) -> Iterator[tuple[str, float, Record]]:
        """Folder markers in order of their keys."""
        query = "SELECT key, written, record FROM markers WHERE bucket=? AND substr(key, 1, ?)=? ORDER BY key"
        for key, written, text in self._all(query, bucket, len(prefix), prefix):
            yield key, written, Record.from_json(text)

    def set_marker(self, bucket: str, key: str, written: float, record: Record) -> None:
        self._all("INSERT OR REPLACE INTO markers VALUES (?,?,?,?)", bucket, key, written, record.to_json())

    def forget_marker(self, bucket: str, key: str) -> None:
        self._all("DELETE FROM markers WHERE bucket=? AND key=?", bucket, key)

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
