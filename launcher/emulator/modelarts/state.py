"""SQLite: jobs, their events and tags, quotas, tokens and the emulator's own keys. A restart finds all of it again.

WAL with normal synchronisation: what was answered survives `kill -9` of the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError

ACTIVE = ("Creating", "Pending", "Running", "Terminating")
FINAL = ("Completed", "Failed", "Terminated", "Abnormal")
ROOM_BYTES = 1 << 20
VERSION = 1
"""Of the tables, and of what `Job` keeps in them."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, workspace TEXT NOT NULL,
    kind TEXT NOT NULL, user TEXT NOT NULL, algorithm TEXT NOT NULL, runtime TEXT NOT NULL, phase TEXT NOT NULL,
    created INTEGER NOT NULL, started INTEGER NOT NULL, deleted REAL NOT NULL, data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created, deleted);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name);
CREATE INDEX IF NOT EXISTS jobs_by_phase ON jobs (phase);
CREATE INDEX IF NOT EXISTS jobs_deleted ON jobs (deleted);
CREATE TABLE IF NOT EXISTS events (
    job TEXT NOT NULL, at INTEGER NOT NULL, level TEXT NOT NULL, source TEXT NOT NULL, message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job, at);
CREATE TABLE IF NOT EXISTS tags (
    job TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (job, key)
);
CREATE TABLE IF NOT EXISTS names (workspace TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (workspace, name));
CREATE TABLE IF NOT EXISTS samples (
    job TEXT NOT NULL, task TEXT NOT NULL, cpu REAL NOT NULL, memory REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS samples_by_task ON samples (job, task);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass
class Job:
    """A training job as the emulator keeps it. `created`, `started` and `ended` are milliseconds, 0 when not yet."""

    id: str
    name: str
    workspace: str
    kind: str
    user: str
    algorithm: str
    runtime: str
    phase: str
    created: int
    body: dict[str, Any]
    """What a reply has besides `status`: kind, metadata, algorithm, spec, endpoints, as the service echoes them."""
    secondary: str = ""
    started: int = 0
    ended: int = 0
    deleted: float = 0.0
    """POSIX seconds at which it ceases to be seen; 0 if nobody deleted it."""
    moved: float = 0.0
    """POSIX seconds of the last change of phase."""
    attempt: int = 0
    """How often its processes were started; its last `schedule_count` is one less."""
    launched: bool = False
    """Its processes have been handed to the runner, and it is not known that they have ended."""
    running: bool = False
    """The attempt that was launched has begun its span."""
    spans: list[list[int]] = field(default_factory=list)
    """[start, end] of each attempt that ran, in milliseconds; end is 0 while it runs."""
    reasons: list[str] = field(default_factory=list)
    """Why each attempt ended."""
    statuses: list[dict[str, Any]] = field(default_factory=list)
    """`task_statuses`."""
    stop: str = ""
    """`stop` or `kill` once somebody has asked for it."""
    keys: list[str] = field(default_factory=list)
    """Access key, secret key and token that its processes reach the object store with."""
    seen: int = 0
    """How many of the runner's steps have become events."""
    restarts: int = 0
    """How many more times it may be started again."""
    sampled: float = 0.0
    """POSIX seconds of the last look at what its processes use, and `use`: processor seconds of each task by then."""
    use: dict[str, float] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    @property
    def nodes(self) -> int:
        return int(self.body["spec"]["resource"]["node_count"])


_COLUMNS = ("id", "name", "workspace", "kind", "user", "algorithm", "runtime", "phase", "created", "started", "deleted")


class State:
    """Everything that lasts; safe from many threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "modelarts.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds keys
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._check_version(folder)
        self._db.executescript(SCHEMA)
        self._make_room()

    def _make_room(self) -> None:
        """Give both files space that they do not need yet: on a full disk, an end or a deletion can be written down."""
        self._db.execute("PRAGMA wal_autocheckpoint=64")  # so that most of the log's space is free at any time
        self.keep("room", "x" * ROOM_BYTES)
        self._do("DELETE FROM notes WHERE name='room'")
        self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def _check_version(self, folder: Path) -> None:
        """A new state gets the version; LauncherError for one that another version has written."""
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found != VERSION and self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._db.close()
            hint = f"choose another folder with --state, or remove {folder}"
            raise LauncherError(f"{folder} was written by another version of the emulator", hint)
        self._db.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All changes inside happen, or none; other threads wait."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def add(self, job: Job) -> None:
        """Write a new job down."""
        marks = ",".join("?" * (len(_COLUMNS) + 1))
        self._do(f"INSERT INTO jobs ({','.join(_COLUMNS)}, data) VALUES ({marks})", *_values(job))
        self._do("INSERT OR IGNORE INTO names VALUES (?,?)", job.workspace, job.name)

    def save(self, job: Job) -> None:
        """Write a known job down anew."""
        sets = ", ".join(f"{name}=?" for name in (*_COLUMNS, "data"))
        self._do(f"UPDATE jobs SET {sets} WHERE id=?", *_values(job), job.id)

    def get(self, job_id: str) -> Job | None:
        """The job of that id, unless it has been deleted."""
        rows = self._ask("SELECT * FROM jobs WHERE id=? AND (deleted=0 OR deleted>?)", job_id, time.time())
        return _job(rows[0]) if rows else None

    def row(self, job_id: str) -> Job | None:
        """The job of that id, also while it is being removed."""
        rows = self._ask("SELECT * FROM jobs WHERE id=?", job_id)
        return _job(rows[0]) if rows else None

    def named(self, workspace: str, name: str) -> bool:
        """Whether a job of that name is there."""
        query = "SELECT 1 FROM jobs WHERE name=? AND workspace=? AND (deleted=0 OR deleted>?) LIMIT 1"
        return bool(self._ask(query, name, workspace, time.time()))

    def was_named(self, workspace: str, name: str) -> bool:
        """Whether a job of that name ever was there."""
        return bool(self._ask("SELECT 1 FROM names WHERE workspace=? AND name=?", workspace, name))

    def active(self) -> list[Job]:
        """Jobs that are not over, or are over and on the way to be removed."""
        marks = ",".join("?" * len(ACTIVE))
        query = f"SELECT * FROM jobs WHERE phase IN ({marks}) UNION SELECT * FROM jobs WHERE deleted>0 ORDER BY number"
        return [_job(row) for row in self._ask(query, *ACTIVE)]

    def search(self, where: str, values: Sequence[Any], order: str, limit: int, offset: int) -> list[Job]:
        """A part of the jobs that fulfil an SQL condition."""
        page = f"SELECT number FROM jobs WHERE {_SEEN} AND ({where}) ORDER BY {order} LIMIT ? OFFSET ?"
        query = f"SELECT * FROM jobs WHERE number IN ({page}) ORDER BY {order}"  # so that skipped rows are not read
        return [_job(row) for row in self._ask(query, time.time(), *values, limit, offset)]

    def count(self, where: str = "1", values: Sequence[Any] = ()) -> int:
        """How many jobs fulfil an SQL condition."""
        rows = self._ask(f"SELECT count(*) FROM jobs WHERE {_SEEN} AND ({where})", time.time(), *values)
        return int(rows[0][0])

    def forget(self, job_id: str) -> None:
        """Remove a job and all that is known of it."""
        with self.together():
            for table in ("events", "tags", "samples"):
                self._do(f"DELETE FROM {table} WHERE job=?", job_id)
            self._do("DELETE FROM jobs WHERE id=?", job_id)

    def event(self, job_id: str, message: str, level: str = "Info", source: str = "Job", at: float = 0.0) -> None:
        """Write an event down; `at` is POSIX seconds."""
        when = int((at or time.time()) * 1000)
        self._do("INSERT INTO events VALUES (?,?,?,?,?)", job_id, when, level, source, message)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """All events of a job, oldest first: at (ms), level, source, message."""
        query = "SELECT at, level, source, message FROM events WHERE job=? ORDER BY at, rowid"
        return [dict(row) for row in self._ask(query, job_id)]

    def tag(self, job_id: str, key: str, value: str) -> None:
        self._do("INSERT OR REPLACE INTO tags VALUES (?,?,?)", job_id, key, value)

    def untag(self, job_id: str, key: str) -> None:
        self._do("DELETE FROM tags WHERE job=? AND key=?", job_id, key)

    def tags(self, job_id: str = "") -> list[tuple[str, str, str]]:
        """(job, key, value) of one job, or of all."""
        query = "SELECT job, key, value FROM tags WHERE ?='' OR job=? ORDER BY key, value, job"
        return [(row[0], row[1], row[2]) for row in self._ask(query, job_id, job_id)]

    def sample(self, job_id: str, task: str, cpu: float, memory: float) -> None:
        """Write down one minute's use, in percent."""
        self._do("INSERT INTO samples VALUES (?,?,?,?)", job_id, task, cpu, memory)

    def samples(self, job_id: str, task: str) -> list[tuple[float, float]]:
        rows = self._ask("SELECT cpu, memory FROM samples WHERE job=? AND task=? ORDER BY rowid", job_id, task)
        return [(row[0], row[1]) for row in rows]

    def note(self, name: str, default: Any = None) -> Any:
        """A value that was kept under a name."""
        rows = self._ask("SELECT value FROM notes WHERE name=?", name)
        return json.loads(rows[0][0]) if rows else default

    def keep(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        self._do("INSERT OR REPLACE INTO notes VALUES (?,?)", name, json.dumps(value))

    def _ask(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _do(self, query: str, *values: Any) -> None:
        with self._lock:
            self._db.execute(query, values)


_SEEN = "(deleted=0 OR deleted>?)"
_IN_DATA = tuple(f.name for f in dataclasses.fields(Job) if f.name not in _COLUMNS)


def _values(job: Job) -> list[Any]:
    data = json.dumps({name: getattr(job, name) for name in _IN_DATA}, ensure_ascii=False)
    return [*(getattr(job, name) for name in _COLUMNS), data]


def _job(row: sqlite3.Row) -> Job:
    return Job(**{name: row[name] for name in _COLUMNS}, **json.loads(row["data"]))
