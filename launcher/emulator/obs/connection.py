"""One client's connection: HTTP/1.1 requests one after the other, with what the faults make of them."""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import struct
import sys
import time
from email.utils import formatdate
from http.client import responses
from io import BufferedIOBase
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from . import xml
from .addressing import located
from .body import ClientBody, Hangup, Liar, flipped
from .errors import ObsError
from .faults import ERRORS, Fault, Kind
from .message import CHUNK, Answer, Request, parse_query
from .operations import operation_of, perform
from .signature import authenticate

if TYPE_CHECKING:
    from .server import ObsServer

IDLE_SECONDS = 120.0
"""After which a silent client is dropped."""
_DRIBBLES = 20


class Connection(http.server.BaseHTTPRequestHandler):
    """See the module. All its errors end in an answer, or in the end of the connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = 64 << 10
    rbufsize = 256 << 10
    disable_nagle_algorithm = True
    owner: ObsServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: the tests read `requests`."""

    def serve(self) -> None:
        """Answer one request."""
        request: Request | None = None
        fault: Fault | None = None
        try:
            request = self._request()
            operation = operation_of(request)
            self.owner.count(request.method, operation)
            fault = self.owner.faults.draw(
                operation, f"{request.method} {self.path}", request.body.length != 0, request.method == "HEAD"
            )
            answer = self._answer(request, operation, fault)
            self.wfile.flush()
            request.body.drain()  # type: ignore[attr-defined]  # it is always a ClientBody
            self._send(request, answer, fault)
        except ObsError as error:  # the request itself cannot be read
            self.close_connection = True
            with contextlib.suppress(OSError):
                self._send(None, _refusal(error, "", request), None)
        except (Hangup, ConnectionError, TimeoutError):
            self._reset()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve  # noqa: N815 - the names are the base class's

    def _request(self) -> Request:
        headers = {name.lower(): _text(value.strip()) for name, value in self.headers.items()}
        target = self.path
        if target.startswith(("http://", "https://")):  # as a proxy is asked
            parts = urlsplit(target)
            target = target.split(parts.netloc, 1)[1] or "/"
            headers["host"] = parts.netloc
        raw_path, _, raw_query = target.partition("?")
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise ObsError("InvalidArgument", "Content-Length is no number")
        bucket, key, host_style = located(headers.get("host", ""), raw_path)
        body = ClientBody(cast(BinaryIO, self.rfile), int(length), chunked)
        request_id = self.owner.next_id()
        return Request(
            self.command, raw_path, parse_query(raw_query), headers, bucket, key, host_style, body, request_id
        )

    def _answer(self, request: Request, operation: str, fault: Fault | None) -> Answer:
        body = request.body
        assert isinstance(body, ClientBody)
        try:
            authenticate(request, self.owner.accounts)
            if fault is not None:
                self._before(request, body, fault)
            answer = perform(self.owner.store, request, operation, self.owner.lists)
        except ObsError as error:
            return _refusal(error, self.owner.name, request)
        except (Hangup, ConnectionError, TimeoutError):
            raise
        except Exception as error:
            print(f"{operation} failed: {error!r}", file=sys.stderr)
            return _refusal(ObsError("InternalError", f"{type(error).__name__}: {error}"), self.owner.name, request)
        if fault is not None and fault.kind is Kind.LOST_REPLY:
            if answer.stream is not None:
                answer.stream.close()
            self._hit(fault)
            raise Hangup
        if fault is not None and fault.kind is Kind.COMPLETE_GONE:
            self._hit(fault)
            return _refusal(ObsError("NoSuchUpload", "there is no such upload"), self.owner.name, request)
        return answer

    def _before(self, request: Request, body: ClientBody, fault: Fault) -> None:
        """What goes wrong before, or instead of, doing what was asked."""
        place = fault.place(max(0, body.length))
        if fault.kind in ERRORS:
            self._hit(fault)
            raise _error(fault)
        if fault.kind is Kind.COMPLETE_ERROR:
            self._hit(fault)
            raise ObsError("InternalError", "We encountered an internal error. Please try again.", status=200)
        if fault.kind is Kind.SILENT:
            self._hit(fault)
            self._wait_for_client()
            raise Hangup
        if fault.kind is Kind.RESET:
            self._hit(fault)
            body.reset_at = min(place, max(0, body.length)) if body.length >= 0 else place
            if not body.length:
                raise Hangup
        if fault.kind is Kind.FLIPPED_UPLOAD and body.length:
            self._hit(fault)
            body.flip_at = min(place, body.length - 1) if body.length > 0 else place
        if fault.kind is Kind.LYING_DISK and body.length:
            self._hit(fault)
            request.spoil = Liar(min(place, body.length - 1) if body.length > 0 else place)

    def _send(self, request: Request | None, answer: Answer, fault: Fault | None) -> None:
        dialect = request.dialect if request is not None else "obs"
        length = answer.length if answer.stream is not None else len(answer.body)
        silent = self.command == "HEAD" or answer.status in (204, 304)
        head = {
            "Server": "OBS",
            "Date": formatdate(usegmt=True),
            f"x-{dialect}-request-id": request.id if request is not None else self.owner.next_id(),
            f"x-{dialect}-id-2": self.owner.name,
            **answer.headers,
        }
        if answer.status not in (204, 304):
            head["Content-Length"] = str(answer.length if self.command == "HEAD" and answer.length else length)
        if self.close_connection:
            head["Connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        text = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8").replace(b"\0", b"")
        slow = fault is not None and fault.kind is Kind.SLOW
        try:
            self._write(text, fault if slow and (silent or not length) else None)
            if not silent:
                self._send_body(answer, length, fault)
            self.wfile.flush()
        finally:
            if answer.stream is not None:
                answer.stream.close()

    def _send_body(self, answer: Answer, length: int, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else None
        place = fault.place(length) if fault is not None else 0
        cut = place if kind is Kind.TRUNCATED and place < length else -1
        flip = min(place, length - 1) if kind is Kind.FLIPPED_DOWNLOAD and answer.stream is not None else -1
        done = 0
        while done < length:
            if answer.stream is not None:
                data = answer.stream.read(min(CHUNK, length - done))
            else:
                data = answer.body[done : done + CHUNK]
            if not data:
                raise Hangup  # the file has become shorter; the client sees that the answer has, too
            if done <= flip < done + len(data):
                data = flipped(data, flip - done)
                self._hit(fault)
            if done <= cut < done + len(data):
                self._hit(fault)
                self.wfile.write(data[: cut - done])
                self.wfile.flush()
                self._end()
                return
            self._write(data, fault if kind is Kind.SLOW and not done else None)
            done += len(data)

    def _write(self, data: bytes, slow: Fault | None) -> None:
        if slow is None or not data:
            self.wfile.write(data)
            return
        self._hit(slow)
        step = -(-len(data) // _DRIBBLES)
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            self.wfile.flush()
            if self.owner.stopping.wait(slow.seconds / _DRIBBLES):
                raise Hangup

    def _wait_for_client(self) -> None:
        """Until the client hangs up, or the server stops. What the client sends meanwhile is thrown away."""
        ends = time.monotonic() + IDLE_SECONDS
        while not self.owner.stopping.is_set() and time.monotonic() < ends:
            if select.select([self.connection], [], [], 0.1)[0] and not self.connection.recv(CHUNK):
                return

    def _hit(self, fault: Fault | None) -> None:
        if fault is not None:
            self.owner.faults.record(fault.kind)

    def _end(self) -> None:
        self.close_connection = True

    def _reset(self) -> None:
        """End the connection so that the client gets a reset and not an end of file."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile = cast(BufferedIOBase, _Nowhere())


class _Nowhere:
    """Takes what was buffered for a connection that has been reset."""

    closed = True

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        """There is nothing."""

    def close(self) -> None:
        """There is nothing."""


def _error(fault: Fault) -> ObsError:
    code, status = ERRORS[fault.kind]
    headers = {}
    if fault.seconds and fault.kind is Kind.SLOW_DOWN:
        headers["Retry-After"] = f"{fault.seconds:g}"
    if fault.kind is Kind.TOO_MANY:
        headers["x-obs-qos-delay-time"] = str(int(fault.seconds * 1000))
    return ObsError(code, f"{code}, as a test wishes", status, headers)


def _refusal(error: ObsError, host: str, request: Request | None) -> Answer:
    request_id = request.id if request is not None else ""
    items: xml.Items = [
        ("Code", error.code),
        ("Message", error.message),
        ("RequestId", request_id),
        ("HostId", host),
    ]
    return Answer(error.status, {"Content-Type": "application/xml", **error.headers}, xml.document("Error", items))


def _text(value: str) -> str:
    """A header in UTF-8, which the base class has read as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
