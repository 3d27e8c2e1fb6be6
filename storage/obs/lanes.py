"""A few threads that the parts of large objects share, however many large objects there are."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any, Callable, Generic, List, Optional, TypeVar

from ..retry import heeded, heeding

T = TypeVar("T")

COUNT = 12
"""Threads: 8 MiB each over a line with 50 ms of latency is 1.9 GB/s."""


class Task(Generic[T]):
    """Something that a lane does, or has done."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._heeded = heeded()
        """Whoever wants it done may hear that it is not wanted any more."""
        self._done = threading.Event()
        self._value: Optional[T] = None
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            with heeding(self._heeded):
                self._value = self._action()
        except BaseException as error:
            self._error = error
        del self._action
        self._done.set()

    def is_done(self) -> bool:
        return self._done.is_set()

    def settle(self, seconds: float) -> bool:
        """Wait for the end, good or bad; whether it came."""
        return self._done.wait(seconds)

    def result(self) -> T:
        """Wait for it; raises what it raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        value: Any = self._value
        return value  # type: ignore[no-any-return]


class Lanes:
    """Threads are started as they are needed and die with the process: none of them ever keeps it alive. Where none can
    be started, those that there are do it; where there are none, whoever calls `start` does."""

    def __init__(self, count: int = COUNT) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Task[Any]] = queue.SimpleQueue()
        self._threads: List[threading.Thread] = []
        self._open = 0

    def start(self, action: Callable[[], T]) -> Task[T]:
        task = Task(action)
        with self._lock:
            self._open += 1
            if self._open > len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, daemon=True)
                with contextlib.suppress(RuntimeError, MemoryError):  # a container may have no more of them
                    thread.start()
                    self._threads.append(thread)
            is_queued = bool(self._threads)
        if is_queued:
            self._waiting.put(task)
        else:
            self._run(task)
        return task

    def _work(self) -> None:
        while True:
            task = self._waiting.get()
            self._run(task)
            del task

    def _run(self, task: Task[Any]) -> None:
        task.run()
        with self._lock:
            self._open -= 1
