"""XML, as OBS writes and reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Union
from urllib.parse import quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .errors import ObsError

Value = Union[str, int, bool, "Iterable[tuple[str, Value]]"]
Items = Iterable[tuple[str, Value]]
"""Elements in order: a name, maybe with attributes, with a text, a number, a truth value or the elements inside."""

NAMESPACE = {
    "obs": "http://obs.myhwclouds.com/doc/2015-06-30/",
    "amz": "http://s3.amazonaws.com/doc/2006-03-01/",
}


def document(name: str, content: Value, dialect: str = "") -> bytes:
    """A document with one root element; `dialect` ("obs" or "amz") gives it the name space of its answers."""
    space = f' xmlns="{NAMESPACE[dialect]}"' if dialect else ""
    pieces = ['<?xml version="1.0" encoding="UTF-8" standalone="yes"?>', f"<{name}{space}>"]
    _write(content, pieces)
    pieces.append(f"</{name}>")
    return "".join(pieces).encode()


def parsed(body: bytes) -> ElementTree.Element:
    """The root element, with names freed of name spaces; MalformedXML for anything with a document type, too."""
    if b"<!" in body:
        raise ObsError("MalformedXML", "the XML has a document type")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ObsError("MalformedXML", str(error)) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(element: ElementTree.Element, path: str) -> str:
    """The text at `path`, or an empty one."""
    return element.findtext(path) or ""


def moment(seconds: float) -> str:
    """POSIX seconds as OBS writes them in XML: UTC, with milliseconds."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


def url_encoded(text: str, encoding_type: str | None) -> str:
    """A key as `encoding-type=url` wants it; as it is without."""
    return quote_plus(text) if encoding_type == "url" else text


def _write(content: Value, pieces: list[str]) -> None:
    if isinstance(content, bool):
        pieces.append("true" if content else "false")
    elif isinstance(content, (str, int)):
        pieces.append(escape(str(content)))
    else:
        for name, value in content:
            pieces.append(f"<{name}>")
            _write(value, pieces)
            pieces.append(f"</{name.partition(' ')[0]}>")
