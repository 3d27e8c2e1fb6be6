"""One account's way to OBS: requests with patience, and every answer that is no success as one of our errors."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, TypeVar

from ..errors import StorageError, Unreachable
from ..retry import Transient, patiently, waits_for
from . import errors
from .credentials import Credentials, Keys
from .lanes import Lanes
from .settings import ObsSettings
from .signature import PREFIX
from .wire import DirectWire, Opened, Pool, Reply, Wire, is_network_error

T = TypeVar("T")

BYTES_IN_FLIGHT = 64 << 20
"""All transfers of one account together hold no more than this many bytes of objects in memory."""


class Channel:
    """What the buckets of one account share: keys, clock, connections, the SDK's client and the memory budget."""

    def __init__(self, settings: ObsSettings, in_flight: int = BYTES_IN_FLIGHT) -> None:
        self.settings = settings
        self.credentials = Credentials(settings)
        self.dialect = settings.signed_as
        self.prefix = PREFIX[self.dialect]
        self.checksum = settings.checked_by
        self.budget = Budget(in_flight)
        self.buffers = Buffers(in_flight // 2)
        self.lanes = Lanes()
        self._pool = Pool(settings, self.credentials)
        self._host = settings.url.partition("//")[2]
        self._is_known = False
        """Whether the store has answered."""
        self._sdk: Any = None
        self._lock = threading.Lock()

    @property
    def sdk(self) -> Any:
        """The SDK's client, made when it is first needed: its import costs a third of a second."""
        with self._lock:
            if self._sdk is None:
                from .sdk import build

                self._sdk = build(self.settings, self.credentials)
                self._sdk.clock_ahead = self._pool.clock_ahead
            return self._sdk

    def wire(self, bucket: str) -> Wire:
        if self.settings.wire == "sdk":
            from .sdk import SdkWire

            return SdkWire(self.sdk, bucket, self.dialect)
        return DirectWire(self._pool, bucket, self.dialect)

    def ask(self, what: str, action: str, call: Callable[[], Reply]) -> Reply:
        """One request of the wire until it succeeds. `what` opens error messages; `action` names the permission."""
        return patiently(lambda: self.ask_once(what, action, call))

    def ask_once(self, what: str, action: str, call: Callable[[], Reply]) -> Reply:
        """One try; Transient if another may succeed."""
        reply = self._tried(what, call)
        if reply.status >= 300:
            failure = errors.Failure.of(reply.status, reply.headers, reply.body)
            raise self._refused(what, action, failure, reply.keys, reply.ahead)
        return reply

    def open_once(self, what: str, action: str, call: Callable[[], Opened]) -> Opened:
        """One try of a GET; its body is the caller's to read and close."""
        opened = self._tried(what, call)
        if opened.status >= 300:
            try:
                body = self._tried(what, opened.read)
            finally:
                opened.close()
            failure = errors.Failure.of(opened.status, opened.headers, body)
            raise self._refused(what, action, failure, opened.keys, opened.ahead)
        return opened

    def call(self, what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """A method of the SDK's until it succeeds; its answer."""
        return patiently(lambda: self.call_once(what, action, name, *args, **kwargs))

    def content(self, what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """The content of an answer of the SDK's, until it is whole."""
        return patiently(lambda: self.content_once(what, action, name, *args, **kwargs))

    def content_once(self, what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """The content of an answer of the SDK's, which has None, and no error, if it broke off; Transient then."""
        found = self.call_once(what, action, name, *args, **kwargs).body
        if found is None:
            raise Transient(Unreachable(f"{what}: the answer was not whole", "look at the network and run it again"))
        return found

    def copy_once(self, what: str, name: str, *args: Any, **kwargs: Any) -> str:
        """Have the SDK copy something; the ETag of what was made. Transient if there is none: an error inside a 200."""
        etag = getattr(self.call_once(what, "write", name, *args, **kwargs).body, "etag", None)
        if not etag:
            raise Transient(Unreachable(f"{what}: the answer was not whole", "try again"))
        return str(etag).strip('"')

    def call_once(self, what: str, action: str, name: str, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self.sdk, name)
        answer = self._tried(what, lambda: method(*args, **kwargs))
        if int(answer.status) >= 300:
            from .sdk import failure_of

            local = self.sdk.local
            raise self._refused(what, action, failure_of(answer), local.keys, local.ahead)
        return answer

    def close(self) -> None:
        """Close kept connections; they are opened again as needed."""
        self._pool.close()
        with self._lock:
            if self._sdk is not None:
                self._sdk.close()
                self._sdk = None

    def _tried(self, what: str, call: Callable[[], T]) -> T:
        waits_for(self._host)
        try:
            answer = call()
        except (StorageError, Transient):
            raise
        except Exception as error:
            if is_network_error(error):
                raise errors.broken(what, error, self._is_known) from error
            raise
        self._is_known = True
        return answer

    def _refused(self, what: str, action: str, failure: errors.Failure, asked_with: Keys, dated: float) -> Exception:
        """The error for an answer; a wrong clock and expired keys are mended here. Requests that were under way then,
        with the older ones, are sent again as well."""
        ahead = errors.skew(failure, time.time(), dated)
        if ahead is not None and abs(ahead - dated) > 1.0:
            if abs(ahead - self._pool.clock_ahead) > 1.0:
                self._pool.clock_ahead = ahead
                if self._sdk is not None:
                    self._sdk.clock_ahead = ahead
            return Transient(_final(errors.refused(what, action, failure)), free=True)
        if errors.is_expired(failure) and self.credentials.renew(asked_with):
            return Transient(_final(errors.refused(what, action, failure)), free=True)
        return errors.refused(what, action, failure)


class Budget:
    """Bytes that may be in flight. One request that is larger than all of it may go alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._changed = threading.Condition()

    def take(self, count: int) -> int:
        """Wait for that many bytes; the number to `give` back."""
        count = max(1, min(count, self._size))
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        return count

    def try_take(self, count: int) -> int:
        """As `take`, but 0 instead of waiting."""
        count = max(1, min(count, self._size))
        with self._changed:
            if self._free < count:
                return 0
            self._free -= count
        return count

    def give(self, count: int) -> None:
        with self._changed:
            self._free += count
            self._changed.notify_all()


class Buffers:
    """Memory that is used again: to get new pages from the system costs as much as to copy what is put into them."""

    _SIZES = (1 << 20, 8 << 20)
    """Bytes; what is larger is not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = 0
        self._free: Dict[int, List[bytearray]] = {size: [] for size in self._SIZES}
        self._lock = threading.Lock()

    def take(self, count: int) -> bytearray:
        """At least that many bytes, with anything in them."""
        size = next((size for size in self._SIZES if size >= count), count)
        with self._lock:
            free = self._free.get(size)
            if free:
                self._kept -= size
                return free.pop()
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """It may be used again; nobody may look at it any more."""
        size = len(buffer)
        with self._lock:
            if size in self._free and self._kept + size <= self._most:
                self._kept += size
                self._free[size].append(buffer)

    @contextlib.contextmanager
    def lent(self, count: int) -> Iterator[memoryview]:
        """Just that many bytes for the block."""
        buffer = self.take(count)
        try:
            yield memoryview(buffer)[:count]
        finally:
            self.give(buffer)


def _final(error: Exception) -> StorageError:
    if isinstance(error, Transient):
        return error.final
    assert isinstance(error, StorageError)
    return error
