"""The run's output: files under `train_url`, sent by a thread of their own while training goes on.

A folder and a bucket are the same here, since `storage` makes a folder one more back end. So both contracts end in the
same files, and whatever appears under a name is whole.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import Any, Callable, List, Optional, Sequence

from storage import Storage, locate
from storage.errors import NotFound


class At:
    """The place itself, for an action of the output's thread: everything happens at once."""

    def __init__(self, storage: Storage, key: Callable[[str], str]) -> None:
        self._storage = storage
        self._key = key

    def write(self, name: str, data: bytes) -> None:
        self._storage.write(self._key(name), data)

    def upload(self, path: str, name: str, sha256: str) -> None:
        """Send a file, and delete it here once it is there."""
        self._storage.upload(path, self._key(name), sha256)
        os.unlink(path)

    def remove(self, names: Sequence[str]) -> None:
        self._storage.delete([self._key(name) for name in names])


Action = Callable[[At], object]


class Output:
    """One place that a run writes to, or that it continues from.

    Guaranteed:
     1. `write`, `remove` and `later` return at once. They happen one after the other, in the order of the calls; a
        file that appears is whole.
     2. After one of them failed, no later one happens, and the next call of any method raises that failure.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._storage: Storage
        self._storage, self._prefix = locate(url)
        self._actions: Any = queue.Queue()  # of Action, and of Event to be set
        self._failure: Optional[BaseException] = None
        self._worker: Optional[threading.Thread] = None

    def write(self, name: str, data: bytes) -> None:
        self.later(lambda here: here.write(name, data))

    def remove(self, names: Sequence[str]) -> None:
        self.later(lambda here: here.remove(names))

    def later(self, action: Action) -> None:
        """Have the thread do this, in its turn; what it is given does at once what it is told."""
        self.check()
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="output", daemon=True)
            self._worker.start()
        self._actions.put(action)

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until everything asked for is done; False if that takes longer than `timeout` seconds."""
        self.check()
        done = threading.Event()
        self._actions.put(done)
        in_time = self._worker is None or done.wait(timeout)
        self.check()
        return in_time

    def read(self, name: str) -> Optional[bytes]:
        """A small file as it is now; None if there is none."""
        try:
            with self._storage.read(self.key(name)) as stream:
                return stream.read()
        except NotFound:
            return None

    def download(self, name: str, path: str, sha256: str) -> int:
        """Bring a file here; its size. NotFound or Corrupt if it is not there as it should be."""
        return self._storage.download(self.key(name), path, sha256).size

    def names(self, folder: str) -> List[str]:
        """The files of a folder."""
        start = self.key(folder) + "/"
        return [folder + "/" + info.key[len(start) :] for info in self._storage.list(start)]

    def key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _work(self) -> None:
        while True:
            action = self._actions.get()
            if isinstance(action, threading.Event):
                action.set()
            elif self._failure is None:
                try:
                    action(At(self._storage, self.key))
                except BaseException as error:
                    self._failure = error

    def check(self) -> None:
        """Raise what has failed meanwhile, if anything."""
        if self._failure is not None:
            raise self._failure
