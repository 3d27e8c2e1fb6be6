"""A request's body as it comes in, and what faults do to bytes."""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from .errors import ObsError
from .message import CHUNK


class Hangup(Exception):
    """The connection ends here, with no word to the client."""


class ClientBody:
    """A request's body, counted or in chunks, and the faults that meet it on the way."""

    def __init__(self, stream: BinaryIO, length: int, chunked: bool) -> None:
        self.length = -1 if chunked else length
        self._stream = stream
        self._left = 0 if chunked else length
        self._chunked = chunked
        self._done = 0
        self.reset_at = -1
        self.flip_at = -1

    def read(self, size: int) -> bytes:
        if self._chunked and not self._left:
            self._next_chunk()
        size = min(size, self._left)
        if self.reset_at >= 0:
            size = min(size, self.reset_at - self._done)
            if size <= 0:
                raise Hangup
        data = self._stream.read(size) if size else b""
        if size and not data:
            raise ObsError("IncompleteBody", "the body ended before its Content-Length")
        self._left -= len(data)
        if self._done <= self.flip_at < self._done + len(data):
            data = flipped(data, self.flip_at - self._done)
        self._done += len(data)
        if self._chunked and data and not self._left:
            self._stream.readline(4)
        return data

    def drain(self) -> None:
        """Take what has not been read, so that the client hears the answer."""
        with contextlib.suppress(ObsError):
            while self.read(CHUNK):
                pass

    def _next_chunk(self) -> None:
        try:
            self._left = int(self._stream.readline(64).partition(b";")[0].strip() or b"x", 16)
        except ValueError as error:
            raise ObsError("IncompleteBody", "a chunk has no length") from error
        if not self._left:
            self._chunked = False
            while self._stream.readline(CHUNK).strip():
                pass


class Liar:
    """Spoils the byte at one place of all that goes through."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __call__(self, data: bytes) -> bytes:
        place, self._place = self._place, self._place - len(data)
        return flipped(data, place) if 0 <= place < len(data) else data


def flipped(data: bytes, place: int) -> bytes:
    """The same bytes with one bit changed."""
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
