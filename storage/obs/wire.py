"""What carries objects' bytes, and lists them, on kept connections of the standard library's sockets.

The SDK needs 170 microseconds of CPU for a PUT and twice that for a GET, and cannot send bytes that it has not been
told to forget (docs/decisions/0005-transfers.md has what was measured). This sends the same requests with the same
signature for a fifth of it; `storage.obs.sdk.SdkWire` is the same by the SDK, and the tests run on both.

A wire makes one try. `Reply` and `Opened` are any answers, errors too; network errors are raised as they come.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote, unquote, urlencode
from xml.etree.ElementTree import ParseError

from .answers import NO_PAGE, Page, parse_objects, text_in
from .connecting import connect, tls_context
from .credentials import Credentials, Keys
from .dates import http_date
from .exchange import BadAnswer, Data, Line
from .settings import ObsSettings
from .signature import PREFIX, encoded, sign

if TYPE_CHECKING:
    import ssl

__all__ = ["Data", "DirectWire", "Opened", "Pool", "Reply", "Wire", "is_network_error", "tls_context"]

_KEPT = 300
"""Idle connections kept at most."""


def is_network_error(error: BaseException) -> bool:
    """Whether a broken connection raises it: sockets, TLS and our exchange raise OSErrors, the SDK http.client's."""
    http = sys.modules.get("http.client")
    return isinstance(error, OSError) or (http is not None and isinstance(error, http.HTTPException))


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Small names."""
    body: bytes
    keys: Keys
    """Those that it was asked with."""
    ahead: float = 0.0
    """Seconds by which it was dated ahead of this machine's clock."""


class Wire:
    """Requests for one bucket. Safe from many threads, not across a fork."""

    def put(self, key: str, data: Data, headers: Dict[str, str], query: str = "") -> Reply:
        """PUT an object, or a part of one. Headers have small names; `query` is `partNumber=N&uploadId=ID`, encoded."""
        raise NotImplementedError

    def head(self, key: str) -> Reply:
        raise NotImplementedError

    def page(self, prefix: str, marker: str) -> Tuple[Reply, Page]:
        """Up to 1,000 objects after `marker`."""
        raise NotImplementedError

    def get(self, key: str, headers: Dict[str, str]) -> Opened:
        raise NotImplementedError

    def delete(self, key: str) -> Reply:
        """One object; that there is none is fine."""
        raise NotImplementedError

    def begin(self, key: str, metadata: Mapping[str, str]) -> Tuple[Reply, str]:
        """An upload in parts; its id, or "" if the answer has none."""
        raise NotImplementedError

    def complete(self, key: str, upload: str, etags: Mapping[int, str]) -> Tuple[Reply, str]:
        """Make an object of the parts; its ETag, or "" if the answer has none, whatever its status says."""
        raise NotImplementedError


class Opened:
    """A GET whose body is read by the caller; close it, and it keeps the connection if all was read."""

    def __init__(self, status: int, headers: Mapping[str, str], keys: Keys, ahead: float = 0.0) -> None:
        self.status = status
        self.headers = headers
        self.keys = keys
        self.ahead = ahead

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of the buffer; 0 at the end of what the server sends, which may be too early."""
        raise NotImplementedError

    def read(self) -> bytes:
        """The rest; for errors."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Held(NamedTuple):
    """A line, the host that it leads to, and the keys and the clock that its request was signed with."""

    line: Line
    host: str
    keys: Keys
    era: int
    """How often the pool had been closed before."""
    ahead: float
    """The pool's `clock_ahead` then."""


class Pool:
    """The kept connections of one service, its clock and its signature."""

    def __init__(self, settings: ObsSettings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._dialect = settings.signed_as
        self._secure, self._host, self._port = settings.place
        self._path_style = settings.path_style
        self._lock = threading.Lock()
        self._idle: Dict[str, List[Line]] = {}
        self._era = 0
        self._context: Optional[ssl.SSLContext] = tls_context(settings) if self._secure else None
        self.clock_ahead = 0.0
        """Seconds that the store's clock is ahead of ours."""

    def ask(self, method: str, bucket: str, key: str, query: str, headers: Dict[str, str], data: Data) -> Held:
        """One request; the line has the head of the answer. A kept line that turns out to be dead is no failure."""
        host = self._host if self._path_style else f"{bucket}.{self._host}"
        path = encoded(key)
        place = f"/{bucket}" if self._path_style else ""
        target = (f"{place}/{path}" if path or not place else place) + (f"?{query}" if query else "")
        headers["host"] = host if self._port in (80, 443) else f"{host}:{self._port}"
        ahead = self.clock_ahead
        headers["date"] = http_date(time.time() + ahead)
        keys = self._credentials.current()
        if keys.access:
            resource = f"{path}?{unquote(query)}" if query and path else path  # a listing's query is not signed
            sign(self._dialect, keys, method, bucket, resource, headers, not self._path_style)
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()], "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise ValueError("a header would be more than one line")
        era = self._era
        while True:
            kept = self._take(host)
            line = kept or connect(self._settings, host, self._port, self._context)
            try:
                line.ask(method, head, data)
            except socket.timeout:
                line.close()
                raise
            except OSError:
                line.close()
                if kept is None:
                    raise
                self.close()
                era = self._era
                continue
            except BaseException:
                line.close()
                raise
            return Held(line, host, keys, era, ahead)

    def settle(self, held: Held) -> None:
        """Keep the line if its answer has been read to the end and it may stay open."""
        line = held.line
        if line.may_stay:
            with self._lock:
                idle = self._idle.setdefault(held.host, [])
                if len(idle) < _KEPT and held.era == self._era:
                    idle.append(line)
                    return
        line.close()

    def close(self) -> None:
        """Close the kept lines, and those under way as soon as their answers have been read."""
        with self._lock:
            dropped = [line for idle in self._idle.values() for line in idle]
            self._idle.clear()
            self._era += 1
        for line in dropped:
            line.close()

    def _take(self, host: str) -> Optional[Line]:
        """A kept line, if there is one."""
        with self._lock:
            idle = self._idle.get(host)
            return idle.pop() if idle else None


class DirectWire(Wire):
    """One bucket over a pool that all buckets of a service share."""

    def __init__(self, pool: Pool, bucket: str, dialect: str) -> None:
        self._pool = pool
        self._bucket = bucket
        self._meta = PREFIX[dialect] + "meta-"

    def put(self, key: str, data: Data, headers: Dict[str, str], query: str = "") -> Reply:
        headers["content-length"] = str(len(data))
        return self._whole("PUT", key, query, headers, data)

    def head(self, key: str) -> Reply:
        return self._whole("HEAD", key)

    def page(self, prefix: str, marker: str) -> Tuple[Reply, Page]:
        query = urlencode(
            {"encoding-type": "url", "marker": marker, "max-keys": "1000", "prefix": prefix}, quote_via=quote
        )
        reply = self._whole("GET", "", query)
        try:
            return reply, parse_objects(reply.body) if reply.status < 300 else NO_PAGE
        except (ParseError, UnicodeDecodeError) as error:
            raise BadAnswer(f"a listing that is not whole ({error})") from error

    def get(self, key: str, headers: Dict[str, str]) -> Opened:
        return _OpenedDirect(self._pool, self._pool.ask("GET", self._bucket, key, "", headers, b""))

    def delete(self, key: str) -> Reply:
        return self._whole("DELETE", key)

    def begin(self, key: str, metadata: Mapping[str, str]) -> Tuple[Reply, str]:
        headers = {self._meta + name: value for name, value in metadata.items()}
        headers["content-length"] = "0"
        reply = self._whole("POST", key, "uploads", headers)
        return reply, text_in(reply.body, "InitiateMultipartUploadResult", "UploadId")

    def complete(self, key: str, upload: str, etags: Mapping[int, str]) -> Tuple[Reply, str]:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etags[number]}</ETag></Part>" for number in sorted(etags)
        )
        data = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        headers = {"content-type": "application/xml", "content-length": str(len(data))}
        reply = self._whole("POST", key, f"uploadId={quote(upload, '')}", headers, data)
        return reply, text_in(reply.body, "CompleteMultipartUploadResult", "ETag").strip('"')

    def _whole(
        self, method: str, key: str, query: str = "", headers: Optional[Dict[str, str]] = None, data: Data = b""
    ) -> Reply:
        held = self._pool.ask(method, self._bucket, key, query, {} if headers is None else headers, data)
        line = held.line
        try:
            body = line.read()
        except BaseException:
            line.close()
            raise
        status, found = line.status, line.headers
        self._pool.settle(held)
        return Reply(status, found, body, held.keys, held.ahead)


class _OpenedDirect(Opened):
    def __init__(self, pool: Pool, held: Held) -> None:
        self._pool = pool
        self._held = held
        self._is_open = True
        self.readinto = held.line.readinto  # type: ignore[method-assign]  # the same, with a call less
        super().__init__(held.line.status, held.line.headers, held.keys, held.ahead)

    def read(self) -> bytes:
        return self._held.line.read()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._pool.settle(self._held)
