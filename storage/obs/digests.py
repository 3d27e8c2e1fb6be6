"""What the headers of an answer say of the content's digests."""

from __future__ import annotations

import re
from typing import Mapping

from ..files import SHA256

_MD5 = re.compile("[0-9a-f]{32}").fullmatch
_COMPOSITE = re.compile("[0-9a-f]{32}-[0-9]+").fullmatch


def sha256_in(headers: Mapping[str, str]) -> str:
    """What our own upload has left in the metadata; "" if there is none."""
    found = headers.get("x-obs-meta-sha256") or headers.get("x-amz-meta-sha256") or ""
    return found if SHA256.fullmatch(found) else ""


def part_size_in(headers: Mapping[str, str]) -> int:
    """The bytes of a part that our own upload has left in the metadata, if the ETag is made of the parts' MD5s; else
    0."""
    found = headers.get("x-obs-meta-part-size") or headers.get("x-amz-meta-part-size") or ""
    etag = headers.get("etag", "").strip('"').lower()
    is_composite = _COMPOSITE(etag) is not None and not _is_encrypted(headers)
    return int(found) if found.isdigit() and is_composite else 0


def md5_in(headers: Mapping[str, str]) -> str:
    """The MD5 of the content that the ETag is, for objects of one part that the store has not encrypted; else ""."""
    etag = headers.get("etag", "").strip('"').lower()
    return etag if not _is_encrypted(headers) and _MD5(etag) else ""


def _is_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the store has encrypted it: then the ETag is no MD5 of the content."""
    return any(name.startswith(("x-obs-server-side", "x-amz-server-side")) for name in headers)
