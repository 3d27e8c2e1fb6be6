"""A tail with a cursor that can be trusted.

Per worker, the cursor is the target's; it begins at 0 and only goes forward. The end of a run is found like this::

    phase read      log read           then
    not final       some bytes         hand them on, look again soon
    not final       nothing            look again, less and less often
    final           until nothing      the end: the phase was read first, so nothing can follow

One worker's log is handed on as it comes, so progress lines live. Several workers' logs are handed on line by
line, each with its worker's name before it.
"""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from launcher.errors import ServiceError
from launcher.ledger import Ledger
from launcher.run import Run
from launcher.targets.base import Target
from storage.errors import Unreachable

Write = Callable[[bytes], None]


class Patience:
    """How long a service that does not answer is waited for while a run is watched: it goes on without us."""

    LONGEST = 600.0
    """Seconds without one answer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since: float | None = None

    def renew(self) -> None:
        """It has answered."""
        self._since = None

    def bear(self, error: Exception) -> None:
        """Raise the error if it is final, or has lasted too long; else say it, once."""
        if isinstance(error, ServiceError) and not error.passing:
            raise error
        if self._since is None:
            self._since = time.monotonic()
            self._say(f"{error}; trying again")
        elif time.monotonic() - self._since > self.LONGEST:
            raise error


class LogReader:
    """The logs of all workers of one run, each byte once."""

    def __init__(self, target: Target, run: Run) -> None:
        self.target, self.run = target, run
        self.cursors: dict[int, Any] = dict.fromkeys(range(target.workers(run)), 0)
        self.partial = dict.fromkeys(self.cursors, b"")
        self.prefixed = len(self.cursors) > 1
        self.grew = time.monotonic()
        """When there was last something new."""
        self.is_empty = True
        """Whether nothing has been read yet."""

    @property
    def idle(self) -> float:
        """Seconds without anything new."""
        return time.monotonic() - self.grew

    def read(self) -> Iterator[bytes]:
        """What has come since the last call, in pieces of at most 1 MiB."""
        for worker in self.cursors:
            while True:
                chunk = self.target.read_log(self.run, worker, self.cursors[worker])
                self.cursors[worker] = chunk.cursor
                if not chunk.data:
                    break
                self.grew, self.is_empty = time.monotonic(), False
                yield self._lines(worker, chunk.data) if self.prefixed else chunk.data

    def rest(self) -> Iterator[bytes]:
        """At the end, or of a reader that looks once: last lines that lack a line end."""
        for worker, line in self.partial.items():
            line += self.target.unfinished(self.cursors[worker])
            if line:
                yield b"[worker-%d] %s\n" % (worker, line) if self.prefixed else line + b"\n"
                self.partial[worker] = b""

    def _lines(self, worker: int, data: bytes) -> bytes:
        *lines, self.partial[worker] = (self.partial[worker] + data).split(b"\n")
        return b"".join(b"[worker-%d] %s\n" % (worker, line) for line in lines)


def follow(reader: LogReader, ledger: Ledger, write: Write, look: Callable[[Run], None] = lambda run: None) -> Run:
    """Hand the log on until the run has ended, in whose final phase it is returned; ``look`` sees every state of it."""
    target, run = reader.target, reader.run
    shortest, longest = target.poll_seconds
    pause, patience = shortest, Patience(target.say)
    while True:
        quiet = True
        try:
            run = target.refresh(run, ledger)
            look(run)
            reader.run = run
            for piece in reader.read():
                quiet = False
                write(piece)
            if run.final:
                for piece in reader.rest():
                    write(piece)
                return run
            patience.renew()
        except (ServiceError, Unreachable) as error:
            patience.bear(error)
        pause = min(pause * 1.1, longest) if quiet else shortest
        time.sleep(pause)


def write_tail(reader: LogReader, write: Write, lines: int, once: bool = False) -> None:
    """The last ``lines`` lines of what there is so far; ``once``: nobody reads on, so what is no whole line counts."""
    kept: collections.deque[bytes] = collections.deque(maxlen=lines)
    rest = b""
    for piece in itertools.chain(reader.read(), reader.rest() if once else ()):
        *whole, rest = (rest + piece).split(b"\n")
        kept.extend(line + b"\n" for line in whole)
    if rest:
        kept.append(rest)
    write(b"".join(kept))
