"""The Target protocol: what a place where runs execute must do. A new target needs to read nothing else."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from launcher.errors import UsageError
from launcher.run import Run
from storage.base import Storage

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.ledger import Ledger
    from launcher.plan import Plan


class LogChunk(msgspec.Struct, frozen=True):
    """New bytes of one worker's log; ``cursor`` asks for what follows them."""

    data: bytes
    cursor: Any
    """Opaque; 0 is the beginning. It belongs to one reader, and is used up by the read that it is given to."""


class Target(abc.ABC):
    """Where runs execute.

    What every implementation guarantees, and the contract suite (``tests/targets/``) checks:

    1. ``create`` starts a run at most once, whatever happens: the run's id is its name.
    2. A run that ``create`` returned for goes on when the launcher ends or is killed.
    3. ``refresh`` tells the truth: a run whose driver is gone is given a final phase, and the job's process group is
       ended. (A process that the job put into a session of its own is out of reach.)
    4. After ``refresh`` has returned a final phase, ``read_log`` returns the log's last byte: whoever asks for the
       phase first and reads the log then has read all of it.
    5. ``stop`` asks; the run ends within 15 s, and one that is stopped before it is created never starts. A final
       phase never changes.
    6. ``delete`` leaves nothing of the run, on the target, in the bucket or here; or its output and no more.
    7. ``pull`` brings whole files: one that is torn or old is replaced, one that was interrupted is not there.

    Not guaranteed: that output reached the bucket when the machine itself went down; at most the last 30 s are lost.
    """

    name: str
    place: str
    """Where that is, in words that a person sees at every submit."""
    poll_seconds: tuple[float, float]
    """The shortest and the longest pause between two looks at a run."""
    detaches = False
    """Whether Ctrl-C leaves a run alone (it is someone else's machine) or stops it, as it would stop the script."""
    say: Callable[[str], None] = staticmethod(lambda text: None)
    """Told what a person should know though all is well."""
    notes: Sequence[str] = ()
    """What is worth a warning before anything is done there."""
    bucket: str
    root: str
    """The prefix under which everything of ours lies in the bucket."""

    def close(self) -> None:  # noqa: B027  (most targets hold nothing)
        """Let go of what ``open_target`` began."""

    def url(self, *parts: str) -> str:
        """The URL of a folder of ours in the bucket; it ends with ``/``, as ModelArts wants folders to."""
        return f"obs://{self.bucket}/{self.root}/{'/'.join(parts)}/"

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
        """Exactly what ``create`` will send. It may look things up, and changes nothing anywhere."""

    def remote(self, plan: Plan) -> dict[str, Any]:
        """What is known of the run on the target before it is created; looks things up like ``request``."""
        return {}

    @abc.abstractmethod
    def again(self, run: Run, new_id: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Output URL and request of another run of the same code and data. DataError when they are gone."""

    @abc.abstractmethod
    def claim(self, run_id: str) -> AbstractContextManager[None]:
        """While it is entered, this process answers for the run: from before it is written down until ``create``.
        Others leave the run alone. If it is left without ``create``, or the process dies, ``refresh`` gives the run a
        final phase.
        """

    @abc.abstractmethod
    def create(self, run: Run, ledger: Ledger) -> None:
        """Start the run that is written down as Creating.

        Unsettled when that cannot be known: the run stays Creating, and ``refresh`` finds out.
        """

    @abc.abstractmethod
    def refresh(self, run: Run, ledger: Ledger) -> Run:
        """The run as it is now; what was left half done by a killed process is settled on the way."""

    @abc.abstractmethod
    def workers(self, run: Run) -> int:
        """How many logs the run has."""

    @abc.abstractmethod
    def read_log(self, run: Run, worker: int, cursor: int) -> LogChunk:
        """What follows the ``cursor`` in the worker's log, some MiB at most; empty when there is nothing new."""

    def unfinished(self, cursor: Any) -> bytes:
        """What ``read_log`` held back because it may be no whole line yet; for a reader that does not come again."""
        return b""

    @abc.abstractmethod
    def stop(self, run: Run, ledger: Ledger, now: bool = False) -> None:
        """Ask the run to end: SIGTERM and 15 s, or at once with ``now``."""

    @abc.abstractmethod
    def pull(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        """Bring the run's output to ``destination``; the files, relative to it. Every file is whole or not there."""

    @abc.abstractmethod
    def pull_logs(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        """Likewise the run's logs, with those of its devices."""

    @abc.abstractmethod
    def delete(self, run: Run, keep_output: bool) -> None:
        """Remove what the run left on the target and in the bucket."""

    def sync(self, ledger: Ledger) -> list[Run]:
        """Write down the runs that the target knows and this machine does not, and how all of them are.

        Returned are the jobs that are not the launcher's, in the same shape; they are not written down.
        """
        return []

    def adopt(self, name: str, ledger: Ledger) -> Run:
        """Make a job that was started elsewhere a run; ``name`` is the target's id for it, or its name."""
        raise UsageError(f"target {self.name!r} has no jobs that were started elsewhere", "--target modelarts")

    def describe(self, run: Run) -> dict[str, Any]:
        """What else the target knows of a run: ``events``, ``stages``, ``usage``, ``cost``, ``cause`` …"""
        return {}

    def causes(self, run: Run) -> list[dict[str, str]]:
        """Why a run failed, the most telling first: ``kind``, ``what``, ``evidence``, ``hint``; empty if it did not."""
        return []

    def notice(self, run: Run, idle: float) -> list[str]:
        """What a person who follows should hear now, each thing once; ``idle``: seconds since the log last grew."""
        return []
