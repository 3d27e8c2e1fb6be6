"""A request as the operations see it, and the answer that they give."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import unquote, unquote_to_bytes

from .errors import ObsError

CHUNK = 256 << 10
"""Bytes of a body that are in memory at once."""
MAX_XML = 4 << 20

Query = Mapping[str, "str | None"]


class Body(Protocol):
    """The bytes that a client sends after its headers."""

    length: int
    """-1 when the client does not say."""

    def read(self, size: int) -> bytes:
        """The next bytes, none at the end; IncompleteBody when the client goes away before."""


@dataclass
class Request:
    """One request, parsed but not yet trusted: `owner` is set once its signature has been verified."""

    method: str
    raw_path: str
    """The path as it was sent, percent-encoded, without the query."""
    query: Query
    """Decoded. None is a name without `=`."""
    headers: Mapping[str, str]
    """By names in small letters."""
    bucket: str
    key: str
    host_style: bool
    """Whether the bucket was named by the Host header and not by the path."""
    body: Body
    id: str = ""
    dialect: str = "obs"
    """`obs` or `amz`: which headers this client writes and expects."""
    owner: str = ""
    """Who asks. Empty for someone without keys."""
    spoil: Callable[[bytes], bytes] | None = None
    """A disk that lies: what it does to the bytes that it is given."""

    def own(self, name: str) -> str:
        """The header `x-obs-NAME`, or `x-amz-NAME` from a client of that dialect; empty when there is none."""
        return self.headers.get(f"x-{self.dialect}-{name}", "")

    def argument(self, name: str, default: int, most: int) -> int:
        """A number in the query, at most `most`; InvalidArgument for anything else."""
        text = self.query.get(name) or str(default)
        if not text.isascii() or not text.isdigit():
            raise ObsError("InvalidArgument", f"{name} is {text!r} and must be a number")
        return min(int(text), most)

    def text(self) -> bytes:
        """The whole body, for XML."""
        pieces = []
        size = 0
        digests = Digests(self)
        while piece := self.body.read(CHUNK):
            size += len(piece)
            if size > MAX_XML:
                raise ObsError("InvalidRequest", "the body is too long")
            digests.update(piece)
            pieces.append(piece)
        digests.check()
        return b"".join(pieces)


@dataclass
class Answer:
    """What goes back. `stream`, if there is one, gives `length` bytes and is closed by whoever sends it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: BinaryIO | None = None
    length: int = 0


class Digests:
    """What a body hashes to, and what its headers say it must."""

    def __init__(self, request: Request) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._want_md5 = _md5_header(request.headers.get("content-md5", ""))
        self._want_sha256 = request.own("content-sha256").lower()
        if self._want_sha256.startswith(("unsigned", "streaming")):
            self._want_sha256 = ""
        self._sha256 = hashlib.sha256() if self._want_sha256 else None

    def update(self, data: bytes) -> None:
        self._md5.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    @property
    def md5(self) -> str:
        """32 hexadecimal digits."""
        return self._md5.hexdigest()

    def check(self) -> None:
        """BadDigest unless the body is the one that the client announced."""
        if self._want_md5 is not None and self._md5.digest() != self._want_md5:
            raise ObsError("BadDigest", "the body does not have its Content-MD5")
        if self._sha256 is not None and self._sha256.hexdigest() != self._want_sha256:
            raise ObsError("BadDigest", "the body does not have its content-sha256")


def decoded(raw: str) -> str:
    """Percent-decoded UTF-8; InvalidArgument when it is not."""
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ObsError("InvalidArgument", f"{raw[:100]!r} is not UTF-8") from error


def parse_query(raw: str) -> dict[str, str | None]:
    """The arguments after `?`; of one that is named twice the first counts."""
    found: dict[str, str | None] = {}
    for piece in raw.split("&") if raw else []:
        name, equals, value = piece.partition("=")
        found.setdefault(unquote(name), unquote(value.replace("+", " ")) if equals else None)
    return found


def _md5_header(text: str) -> bytes | None:
    if not text:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise ObsError("InvalidDigest", "Content-MD5 is not the base64 of 16 bytes")
    return digest
