"""Which CPU each of MindSpore's threads runs on: one a CPU, while that pays.

MindSpore's threads wait for each other by spinning. Two of them on one CPU make a LeNet step 1.7 times as long, and on
some virtual machines the scheduler leaves them there for good. Bound to a CPU each, they cannot meet; but when somebody
else wants those CPUs too, bound threads fare worse than free ones. So binding is tried when the threads seem to share a
CPU, is kept if it has made the steps faster, and is undone when they become slower again:

    FREE   -- less CPU time than the threads could use --> TRIAL   (bound)
    TRIAL  -- steps faster than they were free        --> BOUND
    TRIAL  -- not                                      --> FREE, for REST calls at least, twice as long each time
    BOUND  -- steps slower than the best               --> FREE

No result depends on it. `docs/decisions/0003-lenet5-speed.md` has figures.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import List, Set, Tuple

FREE, TRIAL, BOUND = range(3)

WORKERS = ("ActorThread", "KernelThread")
"""How the names of the threads begin that compute."""

SHARE = 0.75
"""Below this part of the CPU time that the threads could have used, they seem to be in each other's way."""

FASTER = 0.85
SLOWER = 1.4
REST = 20


class Placement:
    """Told of every call into the trainer; binds and frees the threads."""

    def __init__(self) -> None:
        self._state = FREE
        self._rest = 0
        self._next_rest = REST
        self._before = 0.0
        self._best = 0.0
        self._cpu = time.process_time()

    def called(self, seconds: float, steps: int) -> None:
        """A call has taken so long for so many steps."""
        cpu, self._cpu = time.process_time() - self._cpu, time.process_time()
        step = seconds / steps
        if self._state == FREE:
            self._rest -= 1
            threads, cpus = _workers()
            if self._rest < 0 and 1 < len(threads) <= len(cpus) and cpu < SHARE * len(threads) * seconds:
                self._state, self._before = TRIAL, step
                _bind([(thread, {number}) for thread, number in zip(threads, cpus)])
        elif self._state == TRIAL and step < FASTER * self._before:
            self._state, self._best = BOUND, step
        elif self._state == TRIAL or step > SLOWER * self._best:
            if self._state == TRIAL:
                self._rest, self._next_rest = self._next_rest, 2 * self._next_rest
            self._state = FREE
            threads, cpus = _workers()
            _bind([(thread, set(cpus)) for thread in threads])
        else:
            self._best = min(self._best, step)


def _workers() -> Tuple[List[int], List[int]]:
    """The computing threads of this process, and the CPUs that it may use; both empty where that cannot be told."""
    if not hasattr(os, "sched_setaffinity") or not os.path.isdir("/proc/self/task"):
        return [], []
    threads = [int(name) for name in os.listdir("/proc/self/task") if _name(name).startswith(WORKERS)]
    return sorted(threads), sorted(os.sched_getaffinity(0))


def _name(thread: str) -> str:
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # it has ended meanwhile
        return ""


def _bind(places: List[Tuple[int, Set[int]]]) -> None:
    for thread, cpus in places:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cpus)
