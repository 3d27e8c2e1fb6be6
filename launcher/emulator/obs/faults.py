"""What can be made to go wrong, once or at random, and a record of what really did."""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, replace


class Kind(enum.Enum):
    """How a request or its answer breaks."""

    RESET = "reset"
    """The connection is reset after so many bytes of the request's body, or at its end if it is shorter."""
    TRUNCATED = "truncated"
    """The answer ends after so many bytes of its body; Content-Length has promised all."""
    FLIPPED_UPLOAD = "flipped upload"
    """One bit of the body changes on the way in, before the server checks it."""
    LYING_DISK = "lying disk"
    """One bit of the body changes on the way to the disk, after the server has checked it."""
    FLIPPED_DOWNLOAD = "flipped download"
    """One bit of the answer's body changes on the way out."""
    INTERNAL_ERROR = "500"
    SLOW_DOWN = "503"
    """With `seconds`, the answer has a Retry-After of as many."""
    TIMEOUT_408 = "408"
    TOO_MANY = "429"
    """With `x-obs-qos-delay-time`: `seconds` in milliseconds."""
    REQUEST_TIMEOUT = "400 RequestTimeout"
    SKEWED = "403 RequestTimeTooSkewed"
    EXPIRED_TOKEN = "403 ExpiredToken"
    LOST_REPLY = "lost reply"
    """What was asked is done; the connection is reset in place of the answer."""
    SLOW = "slow"
    """The answer dribbles: its bytes are spread over `seconds`."""
    SILENT = "silent"
    """Nothing is done or answered until the client gives up."""
    COMPLETE_ERROR = "200 with an error"
    """A completion that answers 200 with an <Error> in the body; nothing is done."""
    COMPLETE_GONE = "404 though completed"
    """A completion that is done and answers 404 NoSuchUpload, as to a retry whose first answer was lost."""


ERRORS = {
    Kind.INTERNAL_ERROR: ("InternalError", 500),
    Kind.SLOW_DOWN: ("SlowDown", 503),
    Kind.TIMEOUT_408: ("RequestTimeout", 408),
    Kind.TOO_MANY: ("TooManyRequests", 429),
    Kind.REQUEST_TIMEOUT: ("RequestTimeout", 400),
    Kind.SKEWED: ("RequestTimeTooSkewed", 403),
    Kind.EXPIRED_TOKEN: ("ExpiredToken", 403),
}
"""Kinds that are an error answer in place of doing anything."""
PASSING = frozenset(Kind) - {Kind.LYING_DISK, Kind.EXPIRED_TOKEN}
"""Kinds that a careful client gets over by trying again."""

_STORES = frozenset({"PutObject", "UploadPart", "AppendObject"})
_ONLY: dict[Kind, frozenset[str]] = {
    Kind.FLIPPED_UPLOAD: _STORES,
    Kind.LYING_DISK: _STORES,
    Kind.FLIPPED_DOWNLOAD: frozenset({"GetObject"}),
    Kind.TRUNCATED: frozenset({"GetObject", "ListObjects", "ListParts", "ListMultipartUploads", "ListBuckets"}),
    Kind.COMPLETE_ERROR: frozenset({"CompleteMultipartUpload"}),
    Kind.COMPLETE_GONE: frozenset({"CompleteMultipartUpload"}),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: `Fault(Kind.RESET, after=1000)`, `Fault(Kind.SLOW, seconds=2)`."""

    kind: Kind
    after: int = 0
    """Bytes of the body before it happens; a flip spoils the byte at that place."""
    seconds: float = 0.0
    fraction: float = -1.0
    """In place of `after`: the part of the body, from 0 to 1, before it happens."""

    def place(self, length: int) -> int:
        """The byte of a body of `length` bytes at which it happens."""
        return self.after if self.fraction < 0 else int(self.fraction * length)


class Faults:
    """The faults of one server; safe from many threads.

    Those that were asked for by `once` come first; those of `random` hit a part `rate` of the other requests.
    """

    def __init__(self) -> None:
        self.injected: Counter[Kind] = Counter()
        """How often each kind has really happened."""
        self._lock = threading.Lock()
        self._scripted: deque[tuple[str, Fault]] = deque()
        self._random: random.Random | None = None
        self._rate = 0.0
        self._kinds: tuple[Kind, ...] = ()
        self._most = 0
        self._seconds = 0.0
        self._streaks: Counter[str] = Counter()

    @classmethod
    def random(
        cls,
        seed: int,
        rate: float = 0.2,
        kinds: Collection[Kind] = PASSING,
        most: int = 3,
        seconds: float = 0.05,
    ) -> Faults:
        """Faults that a seed decides: each request meets one with the probability `rate`, of a kind that fits it.

        One and the same request meets at most `most` in a row. `seconds` is how long slow answers take, and what busy
        ones ask to wait for.
        """
        faults = cls()
        faults._random = random.Random(seed)
        faults._rate, faults._most, faults._seconds = rate, most, seconds
        faults._kinds = tuple(kind for kind in Kind if kind in kinds)
        return faults

    def once(self, operation: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` requests for that operation ("PutObject", or "*" for any) meet the fault."""
        with self._lock:
            self._scripted.extend([(operation, fault)] * times)

    def clear(self) -> None:
        """Let nothing go wrong from now on; what has happened stays counted."""
        with self._lock:
            self._scripted.clear()
            self._random = None

    def draw(self, operation: str, target: str, has_body: bool, is_head: bool) -> Fault | None:
        """What the next request for `operation` meets; `target` tells a request that is sent again."""
        with self._lock:
            for index, (wanted, fault) in enumerate(self._scripted):
                if wanted in (operation, "*"):
                    del self._scripted[index]
                    return fault
            if self._random is None or self._random.random() >= self._rate or self._streaks[target] >= self._most:
                self._streaks.pop(target, None)
                return None
            kinds = [kind for kind in self._kinds if _fits(kind, operation, has_body, is_head)]
            if not kinds:
                return None
            self._streaks[target] += 1
            fault = Fault(self._random.choice(kinds), fraction=self._random.random())
            return replace(fault, seconds=self._seconds)

    def record(self, kind: Kind) -> None:
        """Count a fault that has happened."""
        with self._lock:
            self.injected[kind] += 1


def _fits(kind: Kind, operation: str, has_body: bool, is_head: bool) -> bool:
    if is_head and kind in (Kind.SKEWED, Kind.EXPIRED_TOKEN):
        return False  # a HEAD answer has no body to say so
    if kind in (Kind.FLIPPED_UPLOAD, Kind.LYING_DISK, Kind.REQUEST_TIMEOUT) and not has_body:
        return False  # RequestTimeout is for a body that does not come
    return operation in _ONLY.get(kind, (operation,))
