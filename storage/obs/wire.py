"""What carries objects' bytes, and lists them: four requests, on kept connections of the standard library.

The SDK needs 170 microseconds of CPU for a PUT and twice that for a GET, and cannot send bytes that it has not been
told to forget (docs/decisions/0005-transfers.md has what was measured). This sends the same requests with the same
signature for a third of it; `storage.obs.sdk.SdkWire` is the same by the SDK, and the tests run on both.

A wire makes one try. `Reply` and `Opened` are any answers, errors too; network errors are raised as they come.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from email.utils import formatdate
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from .answers import NO_PAGE, Page, parse_objects
from .credentials import Credentials, Keys
from .settings import ObsSettings
from .signature import PREFIX, encoded, sign

Data = Union[bytes, bytearray, memoryview]
NETWORK_ERRORS = (OSError, http.client.HTTPException)
"""What a broken connection raises (ssl's and socket's errors are OSErrors)."""

_SEND = 1 << 18
"""Bytes handed to the socket at a time."""
_KEPT = 300
"""Idle connections kept at most."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Small names."""
    body: bytes
    keys: Keys
    """Those that it was asked with."""


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


class Opened:
    """A GET whose body is read by the caller; close it, and it keeps the connection if all was read."""

    def __init__(self, status: int, headers: Mapping[str, str], keys: Keys) -> None:
        self.status = status
        self.headers = headers
        self.keys = keys

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of the buffer; 0 at the end of what the server sends, which may be too early."""
        raise NotImplementedError

    def read(self) -> bytes:
        """The rest; for errors."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Line:
    """One connection, the host that it leads to, and the answer that is being read from it."""

    __slots__ = ("host", "http", "keys", "response")

    def __init__(self, host: str, connection: http.client.HTTPConnection) -> None:
        self.host = host
        self.http = connection
        self.response: Optional[http.client.HTTPResponse] = None
        self.keys = Keys("", "")

    def ask(self, method: str, target: str, headers: Dict[str, str], data: Data) -> http.client.HTTPResponse:
        """Send a request and wait for the head of its answer. A server that refuses before it has read the body is
        heard."""
        connection = self.http
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        try:
            connection.endheaders()
            view = memoryview(data)
            for start in range(0, len(view), _SEND):
                connection.send(view[start : start + _SEND])
        except (BrokenPipeError, ConnectionResetError) as error:
            try:
                response = connection.getresponse()
            except NETWORK_ERRORS:
                raise error from None
            response.will_close = True
        else:
            response = connection.getresponse()
        self.response = response
        return response


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
        self._context = tls_context(settings) if self._secure else None
        self.prefix = PREFIX[self._dialect]
        """What the dialect's own headers start with."""
        self.clock_ahead = 0.0
        """Seconds that the store's clock is ahead of ours."""

    def ask(self, method: str, bucket: str, key: str, query: str, headers: Dict[str, str], data: Data) -> Line:
        """One request; the line has the head of the answer. A kept line that turns out to be dead is no failure."""
        host = self._host if self._path_style else f"{bucket}.{self._host}"
        path = encoded(key)
        place = f"/{bucket}" if self._path_style else ""
        target = (f"{place}/{path}" if path or not place else place) + (f"?{query}" if query else "")
        headers["host"] = host if self._port in (80, 443) else f"{host}:{self._port}"
        headers["date"] = formatdate(time.time() + self.clock_ahead, usegmt=True)
        keys = self._credentials.current()
        if keys.access:
            resource = f"{path}?{unquote(query)}" if query and path else path  # a listing's query is not signed
            sign(self._dialect, keys, method, bucket, resource, headers, not self._path_style)
        while True:
            line, is_kept = self._take(host)
            try:
                line.ask(method, target, headers, data)
            except (ConnectionError, http.client.BadStatusLine, ssl.SSLError):
                line.http.close()
                if not is_kept:
                    raise
                self.close()
                continue
            except BaseException:
                line.http.close()
                raise
            line.keys = keys
            return line

    def settle(self, line: Line) -> None:
        """Keep the line if its answer has been read to the end and it may stay open."""
        response = line.response
        line.response = None
        if response is not None and response.isclosed() and not response.will_close:
            with self._lock:
                idle = self._idle.setdefault(line.host, [])
                if len(idle) < _KEPT:
                    idle.append(line)
                    return
        line.http.close()

    def close(self) -> None:
        """Close the kept lines."""
        with self._lock:
            dropped = [line for idle in self._idle.values() for line in idle]
            self._idle.clear()
        for line in dropped:
            line.http.close()

    def _take(self, host: str) -> Tuple[Line, bool]:
        """A line, and whether it is a kept one."""
        with self._lock:
            idle = self._idle.get(host)
            if idle:
                return idle.pop(), True
        return Line(host, self._connect(host)), False

    def _connect(self, host: str) -> http.client.HTTPConnection:
        proxy = urlsplit(self._settings.proxy) if self._settings.proxy else None
        place = (host, self._port) if proxy is None else (proxy.hostname or "", proxy.port or 8080)
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(*place, timeout=self._settings.timeout, context=self._context)
        else:
            connection = http.client.HTTPConnection(*place, timeout=self._settings.timeout)
        if proxy is not None:
            connection.set_tunnel(host, self._port, _proxy_login(proxy.username, proxy.password))
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class DirectWire(Wire):
    """One bucket over a pool that all buckets of a service share."""

    def __init__(self, pool: Pool, bucket: str) -> None:
        self._pool = pool
        self._bucket = bucket

    def put(self, key: str, data: Data, headers: Dict[str, str], query: str = "") -> Reply:
        headers["content-length"] = str(len(data))
        return self._whole(self._pool.ask("PUT", self._bucket, key, query, headers, data))

    def head(self, key: str) -> Reply:
        return self._whole(self._pool.ask("HEAD", self._bucket, key, "", {}, b""))

    def page(self, prefix: str, marker: str) -> Tuple[Reply, Page]:
        query = urlencode(
            {"encoding-type": "url", "marker": marker, "max-keys": "1000", "prefix": prefix}, quote_via=quote
        )
        reply = self._whole(self._pool.ask("GET", self._bucket, "", query, {}, b""))
        try:
            return reply, parse_objects(reply.body) if reply.status < 300 else NO_PAGE
        except (ElementTree.ParseError, UnicodeDecodeError) as error:
            raise http.client.HTTPException(f"a listing that is not whole ({error})") from error

    def get(self, key: str, headers: Dict[str, str]) -> Opened:
        return _OpenedDirect(self._pool, self._pool.ask("GET", self._bucket, key, "", headers, b""))

    def _whole(self, line: Line) -> Reply:
        response = line.response
        assert response is not None
        try:
            body = response.read()
        except BaseException:
            line.http.close()
            raise
        self._pool.settle(line)
        return Reply(response.status, _small(response), body, line.keys)


class _OpenedDirect(Opened):
    def __init__(self, pool: Pool, line: Line) -> None:
        assert line.response is not None
        self._pool = pool
        self._line = line
        self._response = line.response
        super().__init__(self._response.status, _small(self._response), line.keys)

    def readinto(self, buffer: memoryview) -> int:
        return self._response.readinto(buffer)

    def read(self) -> bytes:
        return self._response.read()

    def close(self) -> None:
        if self._line.response is not None:
            self._pool.settle(self._line)


def tls_context(settings: ObsSettings) -> ssl.SSLContext:
    """Certificates and host names are always checked."""
    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    return context


def _small(response: http.client.HTTPResponse) -> Dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _proxy_login(user: Optional[str], password: Optional[str]) -> Dict[str, str]:
    if user is None:
        return {}
    import base64

    login = base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {login}"}
