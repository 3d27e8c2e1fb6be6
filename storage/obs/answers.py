"""Listings as the SDK's client reads them: its own reader shifts their times by an hour in summer and is slow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, List, Optional
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, fromstring

from ..base import ObjectInfo


@dataclass(frozen=True)
class Page:
    """Up to 1,000 objects."""

    objects: List[ObjectInfo]
    is_truncated: bool
    next_marker: Optional[str]


_NUMBERS = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
NO_PAGE = Page([], False, None)


@dataclass(frozen=True)
class Upload:
    """An upload in parts that has not ended."""

    key: str
    id: str
    started: float
    """POSIX seconds."""


@dataclass(frozen=True)
class Uploads:
    """Up to 1,000 of them."""

    uploads: List[Upload]
    is_truncated: bool
    next_key: Optional[str]
    next_id: Optional[str]


def parse_objects(xml: Any, headers: Any = None) -> Page:
    """A ListBucketResult."""
    root = _root(xml, "ListBucketResult")
    is_encoded = root.findtext("EncodingType") == "url"
    objects = [
        ObjectInfo(
            _name(node.findtext("Key"), is_encoded),
            int(node.findtext("Size") or 0),
            seconds(node.findtext("LastModified") or ""),
            (node.findtext("ETag") or "").strip('"'),
        )
        for node in root.iter("Contents")
    ]
    following = root.findtext("NextMarker")
    return Page(objects, root.findtext("IsTruncated") == "true", _name(following, is_encoded) if following else None)


def parse_uploads(xml: Any, headers: Any = None) -> Uploads:
    """A ListMultipartUploadsResult."""
    root = _root(xml, "ListMultipartUploadsResult")
    is_encoded = root.findtext("EncodingType") == "url"
    uploads = [
        Upload(
            _name(node.findtext("Key"), is_encoded),
            node.findtext("UploadId") or "",
            seconds(node.findtext("Initiated") or ""),
        )
        for node in root.iter("Upload")
    ]
    key = root.findtext("NextKeyMarker")
    return Uploads(
        uploads,
        root.findtext("IsTruncated") == "true",
        _name(key, is_encoded) if key else None,
        root.findtext("NextUploadIdMarker") or None,
    )


def text_in(xml: bytes, tag: str, name: str) -> str:
    """What the element `name` of an answer `<tag>` holds; "" if it is another answer or has none."""
    try:
        return (_root(xml, tag).findtext(name) or "").strip()
    except (ParseError, UnicodeDecodeError):
        return ""


def seconds(text: str) -> float:
    """POSIX seconds of `2026-01-02T03:04:05.678Z`; 0 for anything else."""
    try:
        if text[4:5] + text[7:8] + text[10:11] + text[13:14] + text[16:17] != "--T::":
            return 0.0
        numbers = [int(text[first:last]) for first, last in _NUMBERS]
        whole = datetime(*numbers, tzinfo=timezone.utc).timestamp()  # type: ignore[arg-type,misc]  # strptime is slow
        fraction = text[19:].rstrip("Z")
        return whole + (float(fraction) if fraction.startswith(".") else 0.0)
    except ValueError:
        return 0.0


def _root(xml: Any, tag: str) -> Element:
    """Without its name space, of which every store has another. ParseError for anything else: a page of a proxy that
    says 200 must not look like an empty bucket."""
    text = xml.decode("utf-8") if isinstance(xml, bytes) else xml
    root = fromstring(re.sub(r'\sxmlns="[^"]*"', "", text, count=1))
    if root.tag != tag:
        raise ParseError(f"<{root.tag}> in place of <{tag}>")
    return root


def _name(text: Optional[str], is_encoded: bool) -> str:
    return unquote_plus(text or "") if is_encoded else text or ""
