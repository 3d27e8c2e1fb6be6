"""The Target protocol: what a place where runs execute must do. A new target needs to read nothing else."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from launcher.run import Run
from storage.base import Storage

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.ledger import Ledger
    from launcher.plan import Plan


class LogChunk(msgspec.Struct, frozen=True):
    """New bytes of one worker's log; ``cursor`` asks for what follows them."""

    data: bytes
    cursor: int


class Target(abc.ABC):
    """Where runs execute.

    What every implementation guarantees, and the contract suite checks:

    1. ``create`` starts a run at most once, whatever happens: the run's id is its name.
    2. A run that ``create`` returned for goes on when the launcher ends or is killed.
    3. ``refresh`` tells the truth: a run whose driver is gone is given a final phase, and the job's process group is
       ended. (A process that the job put into a session of its own is out of reach.)
    4. After ``refresh`` has returned a final phase, ``read_log`` returns the log's last byte: whoever asks for the
       phase first and reads the log then has read all of it.
    5. ``stop`` asks; the run ends within 15 s. A final phase never changes.

    Not guaranteed: that output reached the bucket when the machine itself went down; at most the last 30 s are lost.
    """

    name: str
    place: str
    """Where that is, in words that a person sees at every submit."""
    poll_seconds: tuple[float, float]
    """The shortest and the longest pause between two looks at a run."""

    def close(self) -> None:  # noqa: B027  (most targets hold nothing)
        """Let go of what ``open_target`` began."""

    @abc.abstractmethod
    def preflight(self, job: Job, python: str, in_place: Sequence[str]) -> None:
        """PreflightError or DataError when the job cannot run here; called before anything is copied.

        ``in_place`` are the URLs that the job is to read where they are.
        """

    @abc.abstractmethod
    def storage(self) -> Storage:
        """The bucket that code, data and output go to."""

    @abc.abstractmethod
    def request(self, plan: Plan) -> dict[str, Any]:
        """Exactly what ``create`` will send; pure."""

    @abc.abstractmethod
    def claim(self, run_id: str) -> AbstractContextManager[None]:
        """While it is entered, this process answers for the run: from before it is written down until ``create``."""

    @abc.abstractmethod
    def create(self, run: Run, ledger: Ledger) -> None:
        """Start the run that is written down as Creating."""

    @abc.abstractmethod
    def refresh(self, run: Run, ledger: Ledger) -> Run:
        """The run as it is now; what was left half done by a killed process is settled on the way."""

    @abc.abstractmethod
    def workers(self, run: Run) -> int:
        """How many logs the run has."""

    @abc.abstractmethod
    def read_log(self, run: Run, worker: int, cursor: int) -> LogChunk:
        """What the worker's log holds from byte ``cursor`` on, at most 1 MiB; empty when there is nothing new."""

    @abc.abstractmethod
    def stop(self, run: Run, ledger: Ledger, now: bool = False) -> None:
        """Ask the run to end: SIGTERM and 15 s, or at once with ``now``."""

    @abc.abstractmethod
    def pull(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        """Bring the run's output to ``destination``; the files, relative to it. Every file is whole or not there."""

    @abc.abstractmethod
    def delete(self, run: Run, keep_output: bool) -> None:
        """Remove what the run left on the target and in the bucket."""
