"""Every error a person can meet, each with an exit code and the command that mends it.

::

    LauncherError                 1    something failed that is not the command line's fault
    ├── UsageError                2    the command line asks for what cannot be (also ValueError)
    │   └── SpecError             2    job.yaml or a settings file is wrong, at a line
    ├── SecretFound               1    the snapshot would carry a secret away
    ├── DataError                 1    a data set is missing, damaged or laid out wrongly
    ├── PreflightError            1    this machine cannot run the job as it is
    ├── RunNotFound             102    no run, or no single run, of that name (also LookupError)
    ├── NotFinished             101    the run is still going (also TimeoutError)
    ├── LedgerError               1    the record of runs cannot be read or written
    └── ServiceError              1    the cloud's API said no, or nothing that can be read
        └── Unsettled             1    whether it did what was asked is not known; a later command finds out

Storage has a tree of its own (``storage.errors``) of the same shape: a message and a hint. Errors are raised in the
core and worded once, by ``launcher.output.Output.error``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told."""

    OK = 0
    """Done; for ``submit``, ``wait`` and ``logs -f``: the run completed."""
    ERROR = 1
    """The launcher or a service failed."""
    USAGE = 2
    """The command line, a job.yaml or a settings file is wrong; nothing was started."""
    RUN_FAILED = 100
    """The run ended, and it had failed."""
    NOT_FINISHED = 101
    """The run has not ended yet (``wait --timeout``)."""
    NOT_FOUND = 102
    """There is no such run."""
    STOPPED = 103
    """The run was stopped before its end, by a person or by its time limit."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read our output has gone (``| head``); a run goes on without being followed."""


class LauncherError(Exception):
    """Base of all: ``message`` says what happened with the user's own value, ``hint`` is one line that mends it."""

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(LauncherError, ValueError):
    """The request itself is wrong; nothing was spent."""

    exit_code = ExitCode.USAGE


class SpecError(UsageError):
    """A YAML file says something that is no job (or no setting); the message begins with ``file:line:``."""


class SecretFound(LauncherError):
    """A file of the snapshot looks like it holds a secret."""


class DataError(LauncherError):
    """A data set is missing, damaged, or not laid out as the job reads it."""


class PreflightError(LauncherError):
    """The job cannot run here; found before anything was copied."""


class RunNotFound(LauncherError, LookupError):
    """No run answers to that name, or more than one does."""

    exit_code = ExitCode.NOT_FOUND


class NotFinished(LauncherError, TimeoutError):
    """The run goes on."""

    exit_code = ExitCode.NOT_FINISHED


class LedgerError(LauncherError):
    """The ledger cannot be read or written."""


class ServiceError(LauncherError):
    """ModelArts (or IAM) refused, failed, or did not answer.

    ``status`` is HTTP's, 0 for no answer; ``code`` the service's own, such as ``ModelArts.2775``.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0, code: str = "", request_id: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.asked = 0.0
        """Seconds that the service asked us to wait."""

    @property
    def doubtful(self) -> bool:
        """Whether the service may have done what was asked all the same: no answer, its own failure, or nonsense."""
        return self.status in (0, 408) or self.status >= 500 or 200 <= self.status < 400

    @property
    def passing(self) -> bool:
        """Whether asking again later may help."""
        return self.doubtful or self.status == 429


class Unsettled(ServiceError):
    """The answer to a request that may be sent only once was lost, and looking did not tell either."""


def look_at(path: str) -> str:
    """The command that shows who may do what there, or in the nearest folder that exists."""
    place = os.path.abspath(path)
    while not os.path.exists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return f"ls -ld {place}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'epochs'?`` for a near miss, else the known words; one line, for a hint."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names) if names else ""
