"""A worker process of a transfer: see `storage.processes`, which starts it and is all that it talks to."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from .hashcache import HashCache
from .manifest import Entry
from .parallel import Cancelled, Crew
from .pipes import Lines, from_error, put
from .receiving import fetch_file
from .sending import FileSender
from .shards import Member

TELL_SECONDS = 0.05
"""How often it is told what was done."""
_PARENT_SECONDS = 1.0
"""How often it is asked whether the parent is still there, should somebody else hold its end of the pipe."""


def main(hello: Dict[str, Any]) -> None:
    """Serve until told to stop; never returns."""
    out = os.dup(1)
    os.dup2(2, 1)  # nobody else may write to the pipe
    code = 1
    try:
        if hello["encoding"] == sys.getfilesystemencoding():
            os.environ.clear()
            os.environ.update(hello["environment"])
            _Worker(hello["errand"], out).serve(hello["parent"])
            code = 0
    finally:
        os._exit(code)


class _Worker:
    """Threads that do what is said, and one that listens (the main thread)."""

    def __init__(self, errand: Dict[str, Any], out: int) -> None:
        self._out = out
        self._batches: queue.SimpleQueue[Optional[List[List[Any]]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0
        self._moved = 0
        self._done: List[List[Any]] = []
        self._told = time.monotonic()
        self._crew = Crew(errand["threads"], self._advance)
        self._cache = HashCache(errand["cache"]) if errand.get("cache") else None
        self._act = self._action(errand)

    def _action(self, errand: Dict[str, Any]) -> Callable[..., List[Any]]:
        from .obs.bucket import from_recipe

        storage, prefix, advance = from_recipe(errand["recipe"]), errand["prefix"], self._crew.advance
        if errand["do"] == "send":
            sender = FileSender(storage, prefix, advance, self._cache)

            def send(path: str, size: int, sha256: str, place: str, size_there: int, before: str) -> List[Any]:
                return list(sender.send(Member(path, size, sha256, place), size_there, before))

            return send

        def fetch(path: str, size: int, sha256: str, is_folder_there: bool) -> List[Any]:
            return [fetch_file(storage, prefix, errand["root"], Entry(path, size, sha256), is_folder_there, advance)]

        return fetch

    def serve(self, parent: int) -> None:
        """Listen."""
        lines = Lines(0)
        threads = threading.Thread(target=self._crew.run, args=(self._do, self._items()), daemon=True)
        threads.start()
        put(self._out, "ready")
        while True:
            try:
                heard = lines.get(_PARENT_SECONDS)
            except EOFError:
                os._exit(1)  # the parent was killed: whatever this would still do, nobody expects any more
            if os.getppid() != parent:
                os._exit(1)
            for line in heard:
                if line == "stop":
                    self._crew.stop()
                    self._batches.put(None)
                    threads.join()
                    if self._cache is not None:
                        self._cache.close()
                    return
                with self._lock:
                    self._open += len(line)
                self._batches.put(line)

    def _items(self) -> Iterator[List[Any]]:
        while True:
            batch = self._batches.get()
            if batch is None:
                return
            yield from batch

    def _do(self, item: List[Any]) -> None:
        try:
            result = self._act(*item[1:])
        except Cancelled:
            raise
        except BaseException as error:
            with self._lock:
                put(self._out, {"error": from_error(error)})
            raise
        with self._lock:
            self._open -= 1
            self._done.append([item[0], *result])
            self._tell(at_once=not self._open)

    def _advance(self, number: int) -> None:
        with self._lock:
            self._moved += number
            self._tell()

    def _tell(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told > TELL_SECONDS:
            put(self._out, {"moved": self._moved, "done": self._done})
            self._moved, self._done, self._told = 0, [], now
