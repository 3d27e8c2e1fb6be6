"""A few threads that work through many items and stop together."""

from __future__ import annotations

import threading
from typing import Callable, Iterable, Iterator, List, Optional, TypeVar

from .base import Progress

T = TypeVar("T")


class Cancelled(Exception):
    """Raised inside a worker's action, by `Crew.advance`, once the crew is stopping; never leaves `Crew.run`."""


class Crew:
    """`workers` threads, one progress callback, one first error.

    `advance` is handed to the back end as its progress callback: it passes bytes on, one thread at a time, and is
    also where a running transfer learns that another one has failed.
    """

    def __init__(self, workers: int, progress: Progress = None) -> None:
        self._workers = max(1, workers)
        self._progress = progress
        self._talking = threading.Lock()
        self._taking = threading.Lock()
        self._stopping = threading.Event()
        self._error: Optional[BaseException] = None

    def advance(self, count: int) -> None:
        """Report bytes done; raises Cancelled if the crew is stopping."""
        with self._talking:
            if self._stopping.is_set():
                raise Cancelled
            if self._progress is not None:
                self._progress(count)

    def run(self, action: Callable[[T], None], items: Iterable[T]) -> None:
        """Call `action` for each item. Items are taken one by one, so an iterator of any length costs no memory.

        The first exception, from the action or from the iterator, stops the others at their next `advance` and is
        raised once they have stopped. So does KeyboardInterrupt; a second one does not wait for them.
        """
        source = iter(items)
        threads = [
            threading.Thread(target=self._work, args=(action, source), daemon=True) for _ in range(self._workers)
        ]
        try:
            for thread in threads:
                thread.start()
            _join(threads)
        except BaseException:
            self._stopping.set()
            _join([thread for thread in threads if thread.ident is not None])
            raise
        if self._error is not None:
            raise self._error

    def _work(self, action: Callable[[T], None], source: Iterator[T]) -> None:
        try:
            while not self._stopping.is_set():
                with self._taking:
                    if self._stopping.is_set():
                        return
                    try:
                        item = next(source)
                    except StopIteration:
                        return
                action(item)
        except Cancelled:
            return
        except BaseException as error:
            with self._taking:
                if not self._stopping.is_set():
                    self._error = error
                    self._stopping.set()


def _join(threads: List[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
