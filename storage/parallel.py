"""Threads that work through many items and stop together, as many of them as the work has use for."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .base import Progress
from .retry import heeding

T = TypeVar("T")
U = TypeVar("U")

LOOK_SECONDS = 0.025
"""How often it is asked whether more threads would help: about one request's latency."""
IDLE = 0.6
"""The part of one core below which this process is waiting for others, not for its own interpreter."""
STEP = 4
"""How many times as many threads there may be at once."""
BULK = 250e6
"""Bytes per second of CPU from which the work is hashing and copying, which needs no interpreter lock."""
BULK_FILE = 256 << 10
"""Bytes from which a file is so much hashing and copying."""
HELPED = 1.2
"""How many times the rate must have grown for more threads to have helped."""
TELLING = 10
"""Items between two looks from which their rate says something."""
REST_LOOKS = 8


class Pace:
    """How many threads a crew should have, `limit` at most.

    Threads hide latency: while one request is under way another can start. Under Python's lock they add no speed to
    work that keeps one core busy, but cost: each small system call becomes a fight for the lock (hashing 20,000 small
    files: 0.32 s with one thread, 0.61 s with two). So a crew begins with one, and at each look compares the CPU time
    that the process has used with the wall time:

        waiting (below IDLE)   as many as would bring it to IDLE, but at most STEP times as many: 1, 4, 16, 64, 256
        bulk work (BULK)       one more, up to twice the cores, while a core is free
        busy                   no more

    When more threads have brought no more items (less than HELPED times the rate), there are as many again as before,
    and the next REST_LOOKS looks add none.

    `first` is how many there are at the start. `clock` and `cpu` give seconds: wall time, and the CPU time that this
    process has used or wanted (`Wanted`).
    """

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        cpu: Optional[Callable[[], float]] = None,
        cores: Optional[int] = None,
        first: int = 1,
    ) -> None:
        self.limit = max(1, limit)
        self.first = min(first, self.limit)
        self._clock = clock
        self._cpu = cpu or Wanted()
        self._cores = cores or os.cpu_count() or 1
        self._last = _Reading(clock(), self._cpu(), 0, 0)
        self._rate_before = 0.0
        self._workers_before = 0
        self._settling = False
        self._resting = 0

    def look(self, workers: int, items: int, count: int) -> int:
        """How many threads there should be, now that there are `workers`, which have taken `items` and moved `count`
        bytes so far."""
        now = _Reading(self._clock(), self._cpu(), items, count)
        last = self._last
        wall, used = now.wall - last.wall, now.cpu - last.cpu
        if wall < LOOK_SECONDS or (workers >= self.limit and not self._rate_before):
            return workers
        self._last = now
        if self._settling:  # the new threads' first requests are still under way
            self._settling = False
            return workers
        rate = (items - last.items) / wall
        if self._resting:
            self._resting -= 1
            return workers
        if self._rate_before and items - last.items >= TELLING and rate < HELPED * self._rate_before:
            self._rate_before, self._resting = 0.0, REST_LOOKS
            return self._workers_before
        wanted = self._wanted(workers, used / wall, (count - last.bytes) / max(used, 1e-9))
        self._rate_before, self._settling = (rate, True) if wanted > workers else (0.0, False)
        self._workers_before = workers
        return wanted

    def _wanted(self, workers: int, busy: float, bytes_per_cpu: float) -> int:
        if busy < IDLE:
            wanted = min(self.limit, max(workers + 1, int(workers * min(STEP, IDLE / max(busy, 1e-9)))))
            return wanted if wanted >= HELPED * workers else workers
        if bytes_per_cpu > BULK and busy < 0.8 * self._cores and workers < 2 * self._cores:
            return min(self.limit, workers + 1)
        return workers


class Wanted:
    """Called, the seconds for which threads of this process have had a core, or stood in line for one: a process that
    others keep from running is not waiting for the store, and more threads would only fight for the interpreter's lock.
    Standing in line is known on Linux only, and not looked for among more than MOST threads."""

    MOST = 32

    def __init__(self, threads: str = "/proc/self/task") -> None:
        self._threads = threads
        self._lined_up: Dict[str, int] = {}
        """Thread -> nanoseconds at the last look."""
        self._total = 0

    def __call__(self) -> float:
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has ended
            threads = os.listdir(self._threads)
            for thread in threads if len(threads) <= self.MOST else ():
                with open(os.path.join(self._threads, thread, "schedstat"), "rb", 0) as file:
                    now = int(file.read(100).split()[1])
                self._total += max(0, now - self._lined_up.get(thread, 0))
                self._lined_up[thread] = now
        return time.process_time() + self._total / 1e9


class _Reading(NamedTuple):
    wall: float
    cpu: float
    items: int
    bytes: int


def in_background(action: Callable[[], T]) -> Callable[[], T]:
    """Begin to do something now, in a thread that keeps no process alive; a function that gives what came of it, and
    raises what it raised, as often as it is asked."""
    found: List[T] = []
    errors: List[BaseException] = []

    def work() -> None:
        try:
            found.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def result() -> T:
        thread.join()
        if errors:
            raise errors[0]
        return found[0]

    return result


class Cancelled(Exception):
    """Raised inside a worker's action, by `Crew.advance`, once the crew is stopping; never leaves `Crew.run`."""


class Crew:
    """At most `workers` threads (see Pace), one progress callback, one first error.

    `advance` is handed to the back end as its progress callback: it passes bytes on, one thread at a time, and is
    also where a running transfer learns that another one has failed. One that waits to try again learns it at once.
    """

    def __init__(self, workers: int, progress: Progress = None) -> None:
        self.limit = workers
        self._progress = progress
        self._talking = threading.Lock()
        self._taking = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._stopping = threading.Event()
        self._error: Optional[BaseException] = None
        self._threads: List[threading.Thread] = []
        self._ended = 0
        self._leaving = 0
        """Threads that are to take no more items, as there are too many."""
        self._taken = 0
        self._bytes = 0
        self._is_done = False
        self._source: Iterator[Any] = iter(())
        self._aside: Deque[Any] = deque()
        """Items that `take` has found to be for these threads only."""

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to take."""
        return self._is_done or self._stopping.is_set()

    def stop(self) -> None:
        """Take no more items; those under way end at their next `advance`."""
        self._stopping.set()

    def advance(self, count: int) -> None:
        """Report bytes done; raises Cancelled if the crew is stopping."""
        if self._stopping.is_set():
            raise Cancelled
        self._bytes += count  # two threads at once may lose some: only Pace reads it
        self.tell(count)

    def tell(self, count: int) -> None:
        """As `advance`, for bytes that another process has moved."""
        if self._progress is not None:
            with self._talking:
                if self._stopping.is_set():
                    raise Cancelled
                self._progress(count)

    def pace_for(self, sizes: Sequence[int]) -> Pace:
        """How to begin with files of these sizes (bytes; the first ones will do): bulk work has use for all cores at
        once, small files for more threads only if the store makes them wait, which shows soon."""
        is_bulk = bool(sizes) and sum(sizes) > BULK_FILE * len(sizes)
        return Pace(self.limit, first=2 * (os.cpu_count() or 1) if is_bulk else 1)

    def take(self, most: int, pack: Callable[[T], Optional[U]]) -> List[Tuple[T, U]]:
        """The next items, for another process, with what `pack` makes of them; `most` are looked at, and those for
        which it gives None are put aside for the threads here."""
        found: List[Tuple[T, U]] = []
        with self._taking:
            if len(self._aside) >= most or self.is_over:
                return found
            for item in itertools.islice(self._source, most):
                most -= 1
                packed = pack(item)
                if packed is None:
                    self._aside.append(item)
                else:
                    found.append((item, packed))
            self._is_done = most > 0
        return found

    def run(
        self,
        action: Callable[[T], None],
        items: Iterable[T],
        pace: Optional[Pace] = None,
        helpers: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Call `action` for each item. Items are taken one by one, so an iterator of any length costs no memory.
        `helpers` are called once, each in a thread of its own, and may `take` items.

        The first exception, from the action or from the iterator, stops the others at their next `advance` and is
        raised once they have stopped. So does KeyboardInterrupt; a second one does not wait for them.
        """
        self._source = iter(items)
        pace = pace or Pace(self.limit)
        self._is_done = False
        try:
            self._supervise(action, pace, helpers)
        except BaseException:
            self._stopping.set()
            self._wait()
            raise
        if self._error is not None:
            raise self._error

    def _supervise(self, action: Callable[[T], None], pace: Pace, helpers: Sequence[Callable[[], None]]) -> None:
        self._threads, self._ended, self._leaving = [], 0, 0
        for helper in helpers:
            self._start(helper)
        started = 0
        wanted = pace.first
        while True:
            while started < wanted and (not self._is_done or self._aside):
                if not self._start(lambda: self._take_all(action)):
                    if not started:
                        raise RuntimeError("the system allows no more threads")
                    pace.limit = wanted = started  # the system allows no more of them
                    break
                started += 1
            is_looking = not self._is_done and pace.limit > 1
            with self._changed:
                if self._ended >= len(self._threads):
                    return
                self._changed.wait(LOOK_SECONDS if is_looking else None)
            if is_looking:
                wanted = pace.look(started, self._taken, self._bytes)
                with self._taking:  # those that have not left yet stay first, when more are wanted again
                    change = max(started - wanted, -self._leaving)
                    self._leaving += change
                    started -= change

    def _start(self, work: Callable[[], None]) -> bool:
        """Whether the system allows one more thread."""
        thread = threading.Thread(target=self._work, args=(work,), daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.pop()
            return False
        return True

    def _wait(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:  # one that Ctrl-C has caught before its first step will take no item
                thread.join()

    def _take_all(self, action: Callable[[T], None]) -> None:
        while not self._stopping.is_set():
            with self._taking:
                if self._stopping.is_set() or (self._is_done and not self._aside):
                    return
                if self._leaving:
                    self._leaving -= 1
                    return
                if self._aside:
                    item = self._aside.popleft()
                else:
                    try:
                        item = next(self._source)
                    except StopIteration:
                        self._is_done = True
                        return
                self._taken += 1
            action(item)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            with heeding(self._stopping):
                work()
        except Cancelled:
            return
        except BaseException as error:
            with self._taking:
                if not self._stopping.is_set():
                    self._error = error
                    self._stopping.set()
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()
