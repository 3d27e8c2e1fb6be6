"""HTTP/1.1 as far as an object store needs it: a request and its answer on one connection.

http.client reads the head of every answer as if it were a mail, which takes seven times as long, and sends head and
body apart. This sends what is small in one piece, reads a head with a few splits, and bytes of a body go from the
socket to where they are wanted (docs/decisions/0005-transfers.md has what was measured).

Strict where guessing could mix up two answers: a head that is not plain HTTP/1.0 or 1.1 is `BadAnswer`, and a
connection is only used again when its answer had a length and has been read to the end.
"""

from __future__ import annotations

import socket
import struct
import sys
from functools import lru_cache
from typing import Dict, List, Mapping, Tuple, Union

Data = Union[bytes, bytearray, memoryview]

_JOINED = 1 << 16
"""Bytes of a body up to which it is sent together with the head: copying them costs less than a second packet."""
_SEND = 1 << 18
"""Bytes handed to the socket at a time; the timeout counts for each."""
_RECEIVE = 1 << 14
"""Bytes asked for when a head is expected: it, and the body of a small answer."""
_MOST_HEAD = 1 << 16
_MOST_LINES = 100
_MOST_LINE = 1 << 12
"""Of a chunk's size, and of a trailer."""
_MOST_INTERIM = 20
_USUAL = 80
_NO_BODY = (204, 304)
_UNTIL_CLOSE = -1
_BLOCKED = sys.platform.startswith("linux")
"""Whether the kernel keeps the timeout (see `patient`)."""


class BadAnswer(ConnectionError):
    """What came is not HTTP, or ended before its end."""


class Line:
    """One connection, and the answer that is being read from it."""

    __slots__ = ("_is_chunked", "_is_first", "_left", "_may_stay", "_rest", "_socket", "headers", "status")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""
        """What has been received and not been read."""
        self._left = 0
        """Bytes to come of the body, or of its chunk."""
        self._is_chunked = False
        """Whether there are more chunks."""
        self._is_first = False
        """Whether no chunk has been read yet."""
        self._may_stay = False
        self.status = 0
        self.headers: Mapping[str, str] = {}
        """Of the answer; small names, the last one of several equal ones."""

    def ask(self, method: str, head: bytes, data: Data = b"") -> None:
        """Send a request and wait for the head of its answer. A server that refuses before it has read the body is
        heard."""
        sock = self._socket
        try:
            if len(data) <= _JOINED:
                joined = head + data if data else head
                sent = sock.send(joined)  # sendall costs a TLS socket twice as much
                if sent < len(joined):
                    sock.sendall(joined[sent:])
            else:
                sock.sendall(head)
                view = memoryview(data)
                for start in range(0, len(view), _SEND):
                    sock.sendall(view[start : start + _SEND])
        except BlockingIOError:
            raise _timed_out() from None
        except (BrokenPipeError, ConnectionResetError) as error:
            try:
                self._answer(method)
            except OSError:
                raise error from None
            self._may_stay = False
        else:
            self._answer(method)

    @property
    def may_stay(self) -> bool:
        """Whether another request may be made: the answer has been read to its end and nothing came after it."""
        return self._may_stay and not self._left and not self._is_chunked and not self._rest

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of the buffer with the body; 0 at the end of what the server sends, which may be too early."""
        if self._is_chunked and not self._left:
            self._next_chunk()
        left = self._left
        want = len(buffer) if left == _UNTIL_CLOSE else min(len(buffer), left)
        if not want:
            return 0
        rest = self._rest
        if rest:
            count = min(want, len(rest))
            buffer[:count] = rest[:count]
            self._rest = rest[count:] if count < len(rest) else b""
        else:
            try:
                count = self._socket.recv_into(buffer, want)
            except BlockingIOError:
                raise _timed_out() from None
            if not count:
                self._may_stay = False
                if left == _UNTIL_CLOSE:
                    self._left = 0
                return 0
        if left != _UNTIL_CLOSE:
            self._left = left - count
        return count

    def read(self) -> bytes:
        """The rest of the body; BadAnswer if it ends early."""
        left, rest = self._left, self._rest
        if not self._is_chunked and 0 <= left <= len(rest):
            self._left, self._rest = 0, rest[left:]
            return rest[:left]
        parts: List[bytes] = []
        size = left if 0 < left <= 1 << 20 and not self._is_chunked else 1 << 16
        buffer = memoryview(bytearray(size))
        while True:
            count = self.readinto(buffer)
            if not count:
                break
            parts.append(bytes(buffer[:count]))
        if self._left:
            raise BadAnswer("the answer ended early")
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()

    def _answer(self, method: str) -> None:
        """Read the head of the answer, and those of the interim answers before it."""
        self._left, self._is_chunked, self._may_stay = 0, False, False
        for _ in range(_MOST_INTERIM):
            head = self._head()
            lines = head.decode("latin-1").split("\r\n")
            version, status = _status(lines[0])
            if status < 200 and status != 101:
                continue
            self.status = status
            headers = self.headers = _headers(lines)
            self._frame(method, version, headers)
            return
        raise BadAnswer("the server only says that it will answer")

    def _frame(self, method: str, version: str, headers: Dict[str, str]) -> None:
        """Where the body ends, and whether the connection stays open then."""
        told = headers.get("connection", "").lower()
        self._may_stay = "keep-alive" in told if version == "HTTP/1.0" else "close" not in told
        if method == "HEAD" or self.status in _NO_BODY:
            return
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if coding is not None:
            if coding.strip().lower() != "chunked":
                raise BadAnswer(f"the transfer encoding {coding!r:.40} is not known")
            self._is_chunked = self._is_first = True
            self._may_stay = self._may_stay and length is None
        elif length is not None:
            self._left = _number(length, 10)
        else:
            self._left, self._may_stay = _UNTIL_CLOSE, False

    def _head(self) -> bytes:
        """All up to an empty line, without it."""
        data = self._rest
        end = data.find(b"\r\n\r\n")
        while end < 0:
            if len(data) > _MOST_HEAD:
                raise BadAnswer(f"the head of the answer has over {_MOST_HEAD} bytes")
            looked = max(0, len(data) - 3)
            data += self._receive()
            end = data.find(b"\r\n\r\n", looked)
        self._rest = data[end + 4 :]
        return data[:end]

    def _next_chunk(self) -> None:
        """Find out how long the next chunk is; after the last one, read the trailers."""
        if not self._is_first and self._text_line():
            raise BadAnswer("a chunk is longer than was said")
        self._is_first = False
        self._left = _number(self._text_line().partition(";")[0].rstrip(), 16)
        if self._left:
            return
        for _ in range(_MOST_LINES):
            if not self._text_line():
                self._is_chunked = False
                return
        raise BadAnswer("the answer has too many trailers")

    def _text_line(self) -> str:
        data = self._rest
        while True:
            line, end, rest = data.partition(b"\r\n")
            if end:
                self._rest = rest
                return line.decode("latin-1")
            if len(data) > _MOST_LINE:
                raise BadAnswer("a line of the answer is too long")
            data += self._receive()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            raise _timed_out() from None
        if not data:
            raise BadAnswer("the connection was closed without an answer")
        return data


def patient(connected: socket.socket, seconds: float) -> None:
    """Make the kernel keep the timeout where it can. Python's own way is to ask before each call whether it would
    block: twice the system calls, and twice the fights for the interpreter's lock."""
    if _BLOCKED:
        span = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)
        connected.settimeout(None)
    else:
        connected.settimeout(seconds)


def _status(line: str) -> Tuple[str, int]:
    """`HTTP/1.1 200 OK` -> HTTP version and status."""
    version, _, rest = line.partition(" ")
    code, _, _ = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise BadAnswer(f"an answer cannot begin with {line!r:.60}")
    return version, int(code)


def _headers(lines: List[str]) -> Dict[str, str]:
    """Of a head; its first line is left out."""
    if len(lines) > _MOST_LINES:
        raise BadAnswer(f"the answer has over {_MOST_LINES} headers")
    headers: Dict[str, str] = {}
    for line in lines[1:]:
        name, value = _usual(line) if len(line) <= _USUAL else _header(line)
        if name == "content-length" and headers.get(name, value) != value:
            raise BadAnswer("the answer says twice how long it is")
        headers[name] = value
    return headers


def _header(line: str) -> Tuple[str, str]:
    """Name, in small letters, and value."""
    name, colon, value = line.partition(":")
    name = name.lower()
    if not colon or not name or name[0] in " \t" or name[-1] in " \t" or "\n" in line or "\r" in line:
        raise BadAnswer(f"{line!r:.60} is no header")
    return name, value.strip(" \t")


_usual = lru_cache(maxsize=256)(_header)
"""Most lines are those of the answer before. Longer ones than _USUAL are not kept."""


def _number(text: str, base: int) -> int:
    """A size as HTTP writes it: digits, and nothing else."""
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 18 or text.lower().strip(digits):
        raise BadAnswer(f"{text!r:.40} is no size")
    return int(text, base)


def _timed_out() -> OSError:
    return socket.timeout("timed out")
