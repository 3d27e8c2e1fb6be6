"""What a verb has done, file by file: the counts, each failure with what mends it, and the exit code that is true."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from launcher.errors import ExitCode, LauncherError
from launcher.objects.errors import NotFound, hint_for
from storage.errors import StorageError


class Action(NamedTuple):
    """One thing that a dry run would do."""

    action: str
    """``upload``, ``download``, ``copy``, ``delete``, ``make``, ``remove``, ``discard``."""
    target: str
    source: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Failure:
    """One thing that was not done."""

    name: str
    error: str
    """The error's class."""
    message: str
    hint: str


@dataclass
class Report:
    """Filled by worker threads, shown once at the end."""

    verb: str
    place: str
    dry_run: bool = False
    files: int = 0
    """How many there were to do; ``copied`` + ``unchanged`` + ``failed``, if it came to its end."""
    copied: int = 0
    copied_bytes: int = 0
    unchanged: int = 0
    deleted: int = 0
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    """Of a dry run."""
    interrupted: bool = False
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    def fail(self, name: str, error: StorageError | LauncherError | OSError, bucket: str = "") -> None:
        """Note what could not be done, and go on."""
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            message, hint = f"{error.filename or name}: {error.strerror or error}", ""
        else:
            message = error.message
            hint = hint_for(error, bucket) if isinstance(error, StorageError) else error.hint
        with self.lock:
            self.failures.append(Failure(name, type(error).__name__, message, hint))

    def sent(self, size: int) -> None:
        """One file has arrived whole."""
        with self.lock:
            self.copied += 1
            self.copied_bytes += size

    @property
    def exit_code(self) -> ExitCode:
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if not self.failures:
            return ExitCode.OK
        alone = len(self.failures) == 1 and self.files <= 1 and self.failures[0].error == NotFound.__name__
        return ExitCode.NOT_FOUND if alone else ExitCode.ERROR

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts may rely on."""
        return {
            "verb": self.verb,
            "storage": self.place,
            "dry_run": self.dry_run,
            "files": self.files,
            "copied": {"files": self.copied, "bytes": self.copied_bytes},
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "failed": [asdict(failure) for failure in self.failures],
            "warnings": self.warnings,
            "actions": [action._asdict() for action in self.actions],
            "interrupted": self.interrupted,
            "seconds": round(time.monotonic() - self.started, 3),
        }
