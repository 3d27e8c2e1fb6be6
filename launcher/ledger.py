"""SQLite: every run, and every step of it.

A transition is one conditional UPDATE: of two processes that would end a run, one does, and a final phase never
changes. The database is in WAL mode with full synchronisation: any process may be killed at any moment, and any number
of launchers may write at once (each waits up to 30 s for its turn).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from launcher.errors import LedgerError, RunNotFound
from launcher.paths import Home
from launcher.run import ACTIVE, Run, now

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, job TEXT NOT NULL, target TEXT NOT NULL, name TEXT NOT NULL, phase TEXT NOT NULL,
    exit_code INTEGER, message TEXT NOT NULL DEFAULT '', created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
    parameters TEXT NOT NULL, metrics TEXT, result TEXT, output TEXT NOT NULL, request TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (created_at DESC, id DESC);
CREATE TABLE IF NOT EXISTS steps (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, at TEXT NOT NULL, step TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS steps_by_run ON steps (run);
"""
SINCE_2 = "ALTER TABLE runs ADD COLUMN remote TEXT NOT NULL DEFAULT '{}'"
_JSON = ("parameters", "metrics", "result", "request", "remote")


class Ledger:
    """The record of runs in one home; a context manager. LedgerError when it cannot be read or written.

    Without ``create``, a home that has no ledger yet has no runs, and none is made there.
    """

    def __init__(self, home: Home, create: bool = False) -> None:
        self.path = home.ledger
        if create:
            home.create()
        with self._errors():
            place = self.path if create or self.path.exists() else ":memory:"
            self._db = sqlite3.connect(place, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys=ON")
            self._prepare()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def add(self, run: Run) -> None:
        """Write a new run down, before anything leaves the machine."""
        self._add([run], "INSERT")

    def add_found(self, runs: Sequence[Run]) -> None:
        """Write down those of the runs that no other launcher has written down meanwhile."""
        self._add(runs, "INSERT OR IGNORE")

    def _add(self, runs: Sequence[Run], insert: str) -> None:
        with self._transaction() as db:
            for run in runs:
                values = {name: _text(name, getattr(run, name)) for name in Run.__struct_fields__}
                marks = ", ".join(f":{name}" for name in values)
                done = db.execute(f"{insert} INTO runs ({', '.join(values)}) VALUES ({marks})", values)
                if done.rowcount == 1:
                    self._note(db, run.id, run.phase, run.message)

    def move(self, run_id: str, phase: str, since: Sequence[str] = ACTIVE, **columns: Any) -> bool:
        """Move a run to ``phase`` if it is in one of ``since``; says whether it did. ``columns`` are set with it."""
        values = {name: _text(name, value) for name, value in columns.items()}
        sets = ", ".join(f"{name}=:{name}" for name in ["phase", *values])
        marks = ",".join(f"'{phase_}'" for phase_ in since)
        with self._transaction() as db:
            query = f"UPDATE runs SET {sets} WHERE id=:id AND phase IN ({marks})"
            moved = db.execute(query, {"phase": phase, "id": run_id, **values}).rowcount == 1
            if moved:
                self._note(db, run_id, phase, str(columns.get("message", "")))
        return moved

    def update(self, run_id: str, **columns: Any) -> None:
        """Set what has come to be known of a run, which is no step of it."""
        sets = ", ".join(f"{name}=:{name}" for name in columns)
        values = {name: _text(name, value) for name, value in columns.items()}
        with self._transaction() as db:
            db.execute(f"UPDATE runs SET {sets} WHERE id=:id", {"id": run_id, **values})

    def note(self, run_id: str, step: str, detail: str = "") -> None:
        """Write down one step of a run."""
        with self._transaction() as db:
            self._note(db, run_id, step, detail)

    def delete(self, run_id: str) -> None:
        """Forget a run and its steps."""
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id=?", (run_id,))

    def get(self, run_id: str) -> Run:
        """The run of exactly that id."""
        with self._errors():
            row = self._db.execute("SELECT * FROM runs WHERE id=?", (run_id,)).fetchone()
        if row is None:
            raise RunNotFound(f"there is no run {run_id!r}", "python -m launcher runs")
        return _run(row)

    def find(self, reference: str) -> Run:
        """The run that a person means: an id, a unique prefix of one, or ``@last``."""
        reference = reference.encode("utf-8", "backslashreplace").decode()
        if reference == "@last":
            found = self.runs(limit=1)
            if not found:
                raise RunNotFound("there are no runs yet", "python -m launcher submit lenet5")
            return found[0]
        with self._errors():
            query = "SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY id = ? DESC, created_at DESC LIMIT 4"
            rows = self._db.execute(query, (len(reference), reference, reference)).fetchall()
        if not rows or not reference:
            raise RunNotFound(f"there is no run {reference!r}", "python -m launcher runs")
        if len(rows) > 1 and rows[0]["id"] != reference:
            names = ", ".join(row["id"] for row in rows[:3])
            raise RunNotFound(f"{reference!r} begins more than one run: {names}", "give more of the id")
        return _run(rows[0])

    def runs(
        self, job: str = "", phases: Sequence[str] = (), target: str = "", limit: int = -1, since: str = ""
    ) -> list[Run]:
        """Runs, newest first, filtered."""
        tests = {"job = ?": job, "target = ?": target, "created_at >= ?": since}
        where = [test for test, value in tests.items() if value]
        values: list[Any] = [value for value in tests.values() if value]
        if phases:
            where.append(f"phase IN ({','.join('?' * len(phases))})")
            values.extend(phases)
        condition = " AND ".join(where) or "1"
        query = f"SELECT * FROM runs WHERE {condition} ORDER BY created_at DESC, rowid DESC LIMIT ?"
        with self._errors():
            return [_run(row) for row in self._db.execute(query, (*values, limit))]

    def steps(self, run_id: str) -> list[dict[str, str]]:
        """Every step of a run, oldest first: ``at``, ``step``, ``detail``."""
        with self._errors():
            rows = self._db.execute("SELECT at, step, detail FROM steps WHERE run=? ORDER BY rowid", (run_id,))
            return [dict(row) for row in rows]

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} was written by a newer launcher", "pip install --upgrade modelarts-launcher"
            )
        if version < SCHEMA_VERSION:
            self._db.execute("PRAGMA journal_mode=WAL")
            with self._transaction() as db:
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                if "remote" not in {row["name"] for row in db.execute("PRAGMA table_info(runs)")}:
                    db.execute(SINCE_2)
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @staticmethod
    def _note(db: sqlite3.Connection, run_id: str, step: str, detail: str = "") -> None:
        db.execute("INSERT INTO steps VALUES (?,?,?,?)", (run_id, now(), step, detail))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            full = f"is the disk full, or ill? df {self.path.parent}"
            hints = {"full": full, "I/O": full, "locked": "another launcher is busy; try again"}
            aside = f"mv {self.path} {self.path}.broken (the output of its runs stays in the buckets)"
            hint = next((hint for word, hint in hints.items() if word in str(error)), aside)
            raise LedgerError(f"the ledger {self.path}: {error}", hint) from error


def _run(row: sqlite3.Row) -> Run:
    values = dict(row)
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Run(**values)


def _text(column: str, value: Any) -> Any:
    return json.dumps(value) if column in _JSON and value is not None else value
