"""Requests and answers on one connection: whatever a server, a proxy or the network makes of them."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.obs.dates import http_date, http_seconds
from storage.obs.exchange import BadAnswer, Line, patient

REQUEST = b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n"


class Peer:
    """A socket whose other end has sent `pieces` and closed. What is sent to it is kept."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.sent = b""

    def send(self, data: Any) -> int:
        """No more than a part of it, as a socket may."""
        self.sent += bytes(data[:10])
        return min(10, len(data))

    def sendall(self, data: Any) -> None:
        self.sent += bytes(data)

    def recv(self, count: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > count:
            self.pieces.insert(0, piece[count:])
        return piece[:count]

    def recv_into(self, buffer: memoryview, count: int) -> int:
        data = self.recv(count)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.pieces = []


def asked(*pieces: bytes, method: str = "GET", data: bytes = b"") -> Line:
    line = Line(Peer(*pieces))  # type: ignore[arg-type]
    line.ask(method, REQUEST, data)
    return line


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


def read_by(line: Line, step: int) -> bytes:
    found, buffer = b"", bytearray(step)
    while count := line.readinto(memoryview(buffer)):
        found += buffer[:count]
    return found


def chunked(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x;why=not\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@given(
    body=st.binary(max_size=60),
    framing=st.sampled_from(["length", "chunks", "close"]),
    interim=st.integers(0, 2),
    places=st.lists(st.integers(0, 500), max_size=12),
    step=st.integers(1, 64),
    whole=st.booleans(),
)
def test_an_answer_is_the_same_however_it_is_cut(
    body: bytes, framing: str, interim: int, places: list[int], step: int, whole: bool
) -> None:
    told = {
        "length": b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        "chunks": b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(cut(body, places[:3]), b"X-Sum: 1\r\n"),
        "close": b"Connection: close\r\n\r\n" + body,
    }[framing]
    data = b"HTTP/1.1 100 Continue\r\n\r\n" * interim + b'HTTP/1.1 200 OK\r\nETag:  "a" \r\nX-A: \xe9\r\n' + told
    line = asked(*cut(data, places))
    assert (line.status, line.headers["etag"], line.headers["x-a"]) == (200, '"a"', "é")
    assert (line.read() if whole else read_by(line, step)) == body
    assert line.may_stay == (framing != "close")


def test_an_answer_may_come_byte_by_byte() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked([b"abc", b"de"], b"A: 1\r\nB: 2\r\n")
    line = asked(*(bytes([byte]) for byte in data))
    assert line.read() == b"abcde"
    assert line.may_stay


@given(end=st.integers(0, 200), framing=st.sampled_from(["length", "chunks"]))
def test_an_answer_that_ends_early_is_no_answer(end: int, framing: str) -> None:
    body = b"0123456789" * 3
    told = b"Content-Length: 30\r\n\r\n" + body if framing == "length" else b""
    told = told or b"Transfer-Encoding: chunked\r\n\r\n" + chunked([body[:20], body[20:]])
    data = b"HTTP/1.1 200 OK\r\n" + told
    cut_off = data[: end % len(data)]
    with pytest.raises(BadAnswer):
        asked(cut_off).read()


def test_a_body_that_ends_early_reads_as_an_end_but_its_connection_is_not_kept() -> None:
    """Whoever reads piece by piece knows how much there must be, and goes on from where it broke."""
    line = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    assert read_by(line, 100) == b"abc"
    assert not line.may_stay


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"<html>\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"",
    ],
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        asked(data)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nabc\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n" + b"A: 1\r\n" * 1000 + b"\r\n",
        b"3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_cannot_be_are_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        asked(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body).read()


@pytest.mark.parametrize(
    ("head", "method", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", "GET", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", "HEAD", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "HEAD", True),
        (b"HTTP/1.1 204 No Content", "PUT", True),
        (b"HTTP/1.1 204", "PUT", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5", "GET", True),
        (b"HTTP/1.1 204 No Content\r\nConnection: Close", "PUT", False),
        (b"HTTP/1.1 200 OK", "GET", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", "GET", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive", "GET", True),
    ],
)
def test_answers_without_a_body(head: bytes, method: str, stays: bool) -> None:
    line = asked(head + b"\r\n\r\n", method=method)
    assert line.read() == b""
    assert line.may_stay == stays


def test_a_connection_with_bytes_left_over_is_not_kept() -> None:
    line = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n")
    assert line.read() == b"ab"
    assert not line.may_stay


def test_chunks_and_a_length_at_once_are_read_as_chunks_and_the_connection_is_not_kept() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    line = asked(head + chunked([b"abcde"]))
    assert line.read() == b"abcde"
    assert not line.may_stay


def test_head_and_small_body_are_sent_in_one_piece_and_large_ones_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for size in (0, 10, 1 << 20):
        peer = Peer(answer)
        Line(peer).ask("PUT", REQUEST, memoryview(b"x" * size))  # type: ignore[arg-type]
        assert peer.sent == REQUEST + b"x" * size


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_server_that_refuses_before_it_has_read_all_is_heard(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def refuse() -> None:
        theirs.recv(100)
        theirs.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        theirs.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    line = Line(ours)
    line.ask("PUT", REQUEST, bytes(8 << 20))
    thread.join()
    assert (line.status, line.read(), line.may_stay) == (403, b"no", False)


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_server_that_says_nothing_more_is_given_up(pair: tuple[socket.socket, socket.socket], where: str) -> None:
    ours, theirs = pair
    patient(ours, 0.2)
    theirs.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 9\r\n\r\nabc" if where == "body" else b""))
    line = Line(ours)
    begun = time.monotonic()
    with pytest.raises(socket.timeout):
        line.ask("GET", REQUEST)
        line.read()
    assert 0.1 < time.monotonic() - begun < 30


@given(st.integers(0, 4_000_000_000))
def test_dates_are_those_of_the_library(moment: int) -> None:
    text = formatdate(moment, usegmt=True)
    assert http_date(moment + 0.5) == text
    assert http_seconds(text) == http_seconds(text) == parsedate_to_datetime(text).timestamp()


def test_odd_dates_are_read_or_are_none() -> None:
    assert http_seconds("Sun, 6 Nov 1994 08:49:37 +0100") == 784_108_177
    for text in ("", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"):
        assert http_seconds(text) is None
