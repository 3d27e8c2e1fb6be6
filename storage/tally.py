"""What the copy of a tree did, counted by many threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import List

from .urls import join_key


@dataclass(frozen=True)
class TransferResult:
    """What a copy of a tree did: `files` = `already_there` + `sent_files`."""

    files: int
    bytes: int
    already_there: int
    """Files that were whole at the other end before."""
    sent_files: int
    sent_bytes: int


class Tally:
    """Counts; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there = [0, 0]
        self._sent = [0, 0]

    def sent(self, size: int, files: int = 1) -> None:
        """These were sent."""
        self._add(self._sent, size, files)

    def there(self, size: int, files: int = 1) -> None:
        """These were there before."""
        self._add(self._there, size, files)

    def _add(self, counts: List[int], size: int, files: int) -> None:
        with self._lock:
            counts[0] += files
            counts[1] += size

    def result(self) -> TransferResult:
        """All of it."""
        there, sent = self._there, self._sent
        return TransferResult(there[0] + sent[0], there[1] + sent[1], there[0], sent[0], sent[1])


def below(prefix: str, path: str) -> str:
    """The key of a tree's file; with the path "" what all the tree's keys start with."""
    if path:
        return join_key(prefix, path)
    return prefix + "/" if prefix else ""
