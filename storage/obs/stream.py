"""The bytes of one version of an object, however often the line breaks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Dict, Mapping, Optional

from ..errors import Corrupt, Unreachable
from ..files import SMALL, sha256_of
from ..retry import WRONG_TRIES, Transient, patiently
from .digests import sha256_in
from .errors import broken, length_in
from .wire import Opened, is_network_error

if TYPE_CHECKING:
    from .bucket import ObsStorage

_END_OF_RANGE = 416


class ObjectStream(io.RawIOBase):
    """Bytes `start` to `start + length` (or the end) of the object as it is when this is made; NotFound if there is
    none.

    A connection that breaks or ends early is replaced, from where it broke, with If-Match: if the object has been
    replaced meanwhile, Corrupt. `headers` are those of the first answer, `size` is how many bytes this gives.
    """

    def __init__(
        self, bucket: ObsStorage, key: str, start: int = 0, length: Optional[int] = None, etag: str = ""
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._start = start
        self._length = length
        self._etag = etag
        self._what = f"cannot read {bucket.label(key)}"
        self._done = 0
        self._opened: Optional[Opened] = None
        self.size = 0
        self.headers: Mapping[str, str] = {}
        patiently(self._open)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """No more than what is left is asked for, so that no large buffer is made for a small object."""
        left = self.size - self._done
        if size < 0 and not self._done and left <= SMALL:
            whole = self._at_once()
            if whole is not None:
                return whole
        buffer = bytearray(left if size < 0 else min(size, left))
        view = memoryview(buffer)
        count = 0
        while count < len(buffer):
            got = self.readinto(view[count:])
            if not got:
                break
            count += got
            if size >= 0:
                break
        return bytes(view[:count])

    def readall(self) -> bytes:
        """The rest. An object that is read whole, by this alone, is compared with the sha256 that the store keeps of
        it, and fetched again if it differs, twice: a bit may have flipped on the way. What stays wrong is given as it
        is, for whoever reads a damaged manifest to find and mend."""
        is_whole = not self._start and not self._done and self._length is None
        data = self.read()
        known = sha256_in(self.headers) if is_whole else ""
        for _ in range(WRONG_TRIES - 1):
            if not known or sha256_of(data) == known:
                break
            self._done = 0
            data = self.read()
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is newer than 3.7
        if self._done >= self.size or not len(buffer):
            return 0
        count = patiently(lambda: self._some(memoryview(buffer)), lambda: self._done)
        self._done += count
        if self._done == self.size:
            self._finish()
        return count

    def fill(self, buffer: memoryview) -> None:
        """Read just as many bytes as the buffer holds."""
        count = 0
        while count < len(buffer):
            got = self.readinto(buffer[count:])
            if not got:
                raise Corrupt(f"{self._what}: it has {self._done} bytes, fewer than it had", "try again")
            count += got

    def close(self) -> None:
        self._drop()
        super().close()

    def _at_once(self) -> Optional[bytes]:
        """A small object, most of which came together with the head; None, and nothing read, if the line broke."""
        if self._opened is None:
            return None
        try:
            data = self._opened.read()
        except Exception:  # those that last come again
            data = b""
        self._drop()
        if len(data) != self.size:
            return None
        self._done = self.size
        return data

    def _some(self, buffer: memoryview) -> int:
        if self._opened is None:
            self._open()
        assert self._opened is not None
        try:
            count = self._opened.readinto(buffer[: self.size - self._done])
        except Exception as error:  # the SDK has ways of its own to say that the body ended early
            self._drop()
            raise broken(self._what, error) from error
        if not count:
            self._drop()
            told = f"{self._what}: the connection ended after {self._done} bytes of {self.size}"
            raise Transient(Unreachable(told, "look at the network and run it again"))
        return count

    def _open(self) -> None:
        first = self._start + self._done
        headers: Dict[str, str] = {}
        if first or self._length is not None:
            last = "" if self._length is None else str(self._start + self._length - 1)
            headers["range"] = f"bytes={first}-{last}"
        if self._etag:
            headers["if-match"] = f'"{self._etag}"'
        opened = self._bucket.channel.open_once(self._what, "read", lambda: self._checked(headers))
        self._opened = opened
        try:
            length = length_in(self._what, opened.headers)
        except Transient:
            self._drop()
            raise
        etag = opened.headers.get("etag", "").strip('"')
        if self.headers:
            if self._done + length != self.size or (self._etag and etag != self._etag):
                self._drop()
                raise self._replaced()
        else:
            self.headers = opened.headers
            self._etag = etag
            self.size = length
            if not length:
                self._finish()

    def _checked(self, headers: Dict[str, str]) -> Opened:
        opened = self._bucket.wire.get(self._key, dict(headers))
        if opened.status == 412:
            opened.read()
            opened.close()
            raise self._replaced()
        if opened.status == _END_OF_RANGE:
            opened.read()
            return _Nothing(opened)
        if opened.status == 200 and "range" in headers and headers["range"] != "bytes=0-":
            opened.close()
            raise Corrupt(f"{self._what}: the store does not give ranges", "read it whole")
        return opened

    def _replaced(self) -> Corrupt:
        return Corrupt(f"{self._what}: it was replaced meanwhile", "read it again")

    def _finish(self) -> None:
        """Read past the last byte, so that the connection can be kept."""
        if self._opened is not None:
            try:
                self._opened.read()
            except Exception as error:
                if not is_network_error(error):
                    raise
            finally:
                self._drop()

    def _drop(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class _Nothing(Opened):
    """The answer to a range that starts past the end: the object is there, the range is empty."""

    def __init__(self, opened: Opened) -> None:
        opened.close()
        super().__init__(200, {**opened.headers, "content-length": "0"}, opened.keys)

    def readinto(self, buffer: memoryview) -> int:
        return 0

    def read(self) -> bytes:
        return b""

    def close(self) -> None:
        pass
