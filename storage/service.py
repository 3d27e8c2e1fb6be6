"""What lies above one bucket: the buckets of an account, or of a folder of buckets."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Iterator, List

from .base import Storage


@dataclass(frozen=True)
class Bucket:
    """One bucket of a listing."""

    name: str
    created: float
    """POSIX seconds."""
    location: str = ""
    """Region id. Empty when unknown."""


@dataclass(frozen=True)
class Leftover:
    """What an interrupted write has left: never visible as an object, but it takes space, and OBS bills it."""

    key: str
    id: str
    """Opaque: the multi-part upload's id, or the temporary file's path."""
    started: float
    """POSIX seconds of the first write."""
    bytes: int
    """How much it holds; -1 when unknown."""


class Service(abc.ABC):
    """The buckets of one account. Errors are StorageErrors, final as in `Storage`. Safe from many threads."""

    @abc.abstractmethod
    def buckets(self) -> List[Bucket]:
        """All buckets, in order of their names."""

    @abc.abstractmethod
    def make_bucket(self, name: str, region: str = "", public_read: bool = False) -> None:
        """Make a bucket: standard class, one availability zone, private unless `public_read`.

        InvalidUrl for a name that OBS refuses, Conflict if the name is taken, by us or by someone else (the message
        tells which).
        """

    @abc.abstractmethod
    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket. NotFound if there is none, Conflict if it is not empty."""

    @abc.abstractmethod
    def bucket(self, name: str) -> Storage:
        """The objects of a bucket; nothing is opened, read or made yet."""

    @abc.abstractmethod
    def presign(self, bucket: str, key: str, seconds: int, method: str = "GET") -> str:
        """A URL that whoever holds it may `method` ("GET" or "PUT") for that long, with no keys of their own.

        StorageError where URLs cannot be signed (a folder of buckets).
        """

    @abc.abstractmethod
    def leftovers(self, bucket: str, prefix: str = "") -> Iterator[Leftover]:
        """What interrupted writes have left below the string `prefix`; some may belong to writers that still run."""

    @abc.abstractmethod
    def discard(self, bucket: str, leftover: Leftover) -> None:
        """Remove one leftover; one that has gone is fine."""
