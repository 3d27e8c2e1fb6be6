"""One policy for what is worth another try.

A back end raises `Transient` for what may pass: a network error, 5xx, 429, 408 and OBS' RequestTimeout, a clock that
has been set right, keys that have been fetched anew, and bytes that are wrong. All else is final. Waits are exponential
with jitter and never shorter than the store asks for (`Retry-After`, `x-obs-qos-delay-time`). Progress resets the
count: a large object over a bad line is given up only when `TRIES` in a row bring nothing. A thread that is `heeding`
an event waits no longer once that is set.

`WAITS` holds what each thread is waiting for meanwhile. Nothing in here tells a person: the launcher looks at it.

tenacity is imported at the first failure: it need not be there for what works.
"""

from __future__ import annotations

import contextlib
import threading
import time
from threading import get_ident
from typing import Any, Callable, Dict, Iterator, Optional, TypeVar

from .errors import BackendMissing, Corrupt, StorageError

T = TypeVar("T")

TRIES = 7
"""In a row without progress; the waits between them add up to about half a minute."""
UNKNOWN_TRIES = 3
"""Likewise for a host that cannot be found and never answered before: its name is wrong, or there is no network."""
WRONG_TRIES = 3
"""Of bytes that are not what they must be: a bit that flipped on the way is right the next time, at once."""
FIRST_WAIT = 0.2
LONGEST_WAIT = 15.0
"""Seconds. A store that asks for more is heard up to `LONGEST_ASKED`."""
LONGEST_ASKED = 120.0


class Transient(Exception):
    """Something that may pass. `final` is what the caller gets when it does not."""

    def __init__(self, final: StorageError, asked: float = 0.0, tries: int = TRIES, free: bool = False) -> None:
        super().__init__(str(final))
        self.final = final
        self.asked = asked
        """Seconds that the store asked us to wait."""
        self.tries = tries
        self.free = free
        """The cause has been mended (a clock, keys): no need to wait."""


class Wait:
    """What one thread is waiting for."""

    host = ""
    """Set by whoever asks it."""
    failures = 0
    """In a row, of `tries`."""
    tries = TRIES
    why = ""
    """The last failure."""

    def __init__(self) -> None:
        self.since = time.monotonic()


WAITS: Dict[int, Wait] = {}
"""By the thread's id; it belongs to the innermost call."""


@contextlib.contextmanager
def waiting(host: str = "", tries: int = TRIES) -> Iterator[Wait]:
    """The thread waits for an answer, of `host` if that is known yet."""
    me = get_ident()
    before = WAITS.get(me)
    wait = WAITS[me] = Wait()
    wait.host, wait.tries = host, tries
    try:
        yield wait
    finally:
        _restore(me, before)


def waits_for(host: str) -> None:
    """Names the host that the thread's wait is for."""
    wait = WAITS.get(get_ident())
    if wait is not None:
        wait.host = host


_of_thread = threading.local()


def heeded() -> Optional[threading.Event]:
    """The event that this thread is heeding."""
    event: Optional[threading.Event] = getattr(_of_thread, "heeded", None)
    return event


@contextlib.contextmanager
def heeding(event: Optional[threading.Event]) -> Iterator[None]:
    """Once the event is set, nothing is tried again in this thread: what failed last is final."""
    before = heeded()
    _of_thread.heeded = event
    try:
        yield
    finally:
        _of_thread.heeded = before


def patiently(action: Callable[[], T], progress: Optional[Callable[[], int]] = None) -> T:
    """Call `action` until it returns, or raises anything but Transient, or patience ends; then the last one's `final`.

    `progress` gives a number that grows with what has been achieved for good.
    """
    reached = progress() if progress is not None else 0
    me = get_ident()  # as `waiting` does it, which would cost four times as much
    before = WAITS.get(me)
    pending = WAITS[me] = Wait()
    try:
        return action()
    except Transient as error:
        return _again(action, progress, reached, error, pending)
    finally:
        _restore(me, before)


def carefully(action: Callable[[], T], progress: Optional[Callable[[], int]] = None) -> T:
    """As `patiently`, for an `action` that raises Corrupt when what it has read is wrong: it is read again."""

    def once() -> T:
        try:
            return action()
        except Corrupt as error:
            raise Transient(error, tries=WRONG_TRIES, free=True) from error.__cause__

    return patiently(once, progress)


def _restore(thread: int, wait: Optional[Wait]) -> None:
    if wait is None:
        del WAITS[thread]
    else:
        WAITS[thread] = wait


def _again(
    action: Callable[[], T], progress: Optional[Callable[[], int]], reached: int, first: Transient, pending: Wait
) -> T:
    try:
        import tenacity
    except ImportError as error:
        told = f"{first.final.message} (it may pass, but without tenacity nothing is tried again)"
        raise BackendMissing(told, "pip install tenacity") from error

    halt = heeded()
    last = first
    start = progress() if progress is not None else 0
    count = _Count(progress, start, 0 if start > reached else 1)
    pause = tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT)

    def wait(state: Any) -> float:
        error: Transient = state.outcome.exception()
        state.attempt_number = max(1, count.failures)
        return 0.0 if error.free else max(float(pause(state)), min(error.asked, LONGEST_ASKED))

    def stop(state: Any) -> bool:
        nonlocal last
        error: Transient = state.outcome.exception()
        last = error
        over = count.is_over(error)
        pending.failures, pending.tries, pending.why = count.failures, error.tries, error.final.message
        return over or (halt is not None and halt.is_set())

    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=stop,
        wait=wait,
        sleep=tenacity.nap.sleep if halt is None else tenacity.sleep_using_event(halt),
        reraise=True,
    )
    replayed = [first]

    def attempt() -> T:
        if replayed:
            raise replayed.pop()
        if halt is not None and halt.is_set():
            raise last
        return action()

    try:
        return policy(attempt)
    except Transient as error:
        raise error.final from error.__cause__


class _Count:
    """Failures in a row."""

    def __init__(self, progress: Optional[Callable[[], int]], reached: int, failures: int) -> None:
        self._progress = progress
        self._reached = reached
        self.failures = failures - 1

    def is_over(self, error: Transient) -> bool:
        reached = self._progress() if self._progress is not None else 0
        self.failures = 1 if reached > self._reached else self.failures + 1
        self._reached = reached
        return self.failures >= error.tries
