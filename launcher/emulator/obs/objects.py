"""Operations on single objects, and deletion of many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate, parsedate_to_datetime
from typing import BinaryIO

from . import xml
from .access import acl_asked, acl_document, acl_header, check_read
from .buckets import XML
from .errors import ObsError
from .index import Record
from .message import CHUNK, Answer, Digests, Request, decoded
from .store import Found, Store

STANDARD = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")
"""Headers that OBS keeps with an object and gives back."""
MAX_METADATA = 8 << 10
"""Bytes of names and values (OBS API reference, "PUT Objects")."""
MAX_DELETED = 1000

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def put_object(store: Store, request: Request) -> Answer:
    """Make or replace an object; BadDigest, IncompleteBody, and nothing has happened."""
    found = store.put(request.bucket, request.key, record_of(request), lambda target: receive(request, target))
    return Answer(headers={"ETag": quoted(found)})


def append_object(store: Store, request: Request) -> Answer:
    """Add to an object's end, or begin one; PositionNotEqualToLength, ObjectNotAppendable."""
    position = request.argument("position", 0, 1 << 62)
    with store.outer_lock(request.bucket, request.key):
        old: Found | None = None
        stream: BinaryIO | None = None
        try:
            stream, old = store.open(request.bucket, request.key)
        except ObsError as error:
            if error.code != "NoSuchKey":
                raise
        try:
            if old is not None and not old.record.appendable:
                raise ObsError("ObjectNotAppendable", "the object was not made by appending")
            size = old.info.size if old is not None else 0
            if position != size:
                where = {"x-obs-next-append-position": str(size)}
                raise ObsError("PositionNotEqualToLength", f"the object has {size} bytes", headers=where)
            record = replace(old.record if old is not None else record_of(request), appendable=True)
            before = stream

            def fill(target: BinaryIO) -> str:
                import hashlib

                whole = hashlib.md5(usedforsecurity=False)
                for chunk in iter(lambda: before.read(CHUNK) if before is not None else b"", b""):
                    whole.update(chunk)
                    target.write(chunk)
                receive(request, target, whole.update)
                return whole.hexdigest()

            found = store.put(request.bucket, request.key, record, fill)
        finally:
            if stream is not None:
                stream.close()
    return Answer(headers={"ETag": quoted(found), "x-obs-next-append-position": str(found.info.size)})


def get_object(store: Store, request: Request) -> Answer:
    """The bytes, or a range of them; NoSuchKey, InvalidRange, PreconditionFailed."""
    stream, found = store.open(request.bucket, request.key)
    try:
        answer = _described(request, found)
        if answer.status != 200:
            return answer
        start, length = 0, found.info.size
        text = request.headers.get("range", "")
        if text and (match := _RANGE.fullmatch(text)):
            start, length = _range(match.group(1), match.group(2), found.info.size)
            answer.status = 206
            answer.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.info.size}"
        if stream is not None:
            stream.seek(start)
        answer.stream, answer.length, stream = stream, length, None
        return answer
    finally:
        if stream is not None:
            stream.close()


def head_object(store: Store, request: Request) -> Answer:
    """What GetObject would say, without the bytes."""
    found = store.find(request.bucket, request.key)
    answer = _described(request, found)
    if answer.status == 200:
        answer.length = found.info.size
    return answer


def delete_object(store: Store, request: Request) -> Answer:
    """An object that is not there is fine."""
    store.delete(request.bucket, request.key)
    return Answer(204)


def delete_objects(store: Store, request: Request) -> Answer:
    """Up to 1000 objects; what cannot be deleted is named in the answer, whose status is 200."""
    if not request.headers.get("content-md5") and not request.own("content-sha256"):
        raise ObsError("InvalidRequest", "a batch of deletions needs its Content-MD5")
    root = xml.parsed(request.text())
    quiet = xml.text_of(root, "Quiet") == "true"
    encoding = xml.text_of(root, "EncodingType")
    keys = [xml.text_of(element, "Key") for element in root.iter("Object")]
    if len(keys) > MAX_DELETED:
        raise ObsError("MalformedXML", f"at most {MAX_DELETED} objects at once")
    items: list[tuple[str, xml.Value]] = [("EncodingType", encoding)] if encoding else []
    for sent in keys:
        key = decoded(sent.replace("+", " ")) if encoding == "url" else sent
        try:
            store.delete(request.bucket, key)
            items += [] if quiet else [("Deleted", [("Key", sent)])]
        except ObsError as error:
            items.append(("Error", [("Key", sent), ("Code", error.code), ("Message", error.message)]))
    return Answer(body=xml.document("DeleteResult", items, request.dialect), headers=dict(XML))


def copy_object(store: Store, request: Request) -> Answer:
    """Make or replace an object from another; NoSuchKey, PreconditionFailed."""
    stream, source = open_source(store, request)
    directive = request.own("metadata-directive") or "COPY"
    record = replace(source.record, acl=acl_header(request), appendable=False)
    if directive == "REPLACE":
        record = record_of(request)
    try:
        found = store.put(request.bucket, request.key, record, lambda target: pour(stream, target, source.info.size))
    finally:
        if stream is not None:
            stream.close()
    items: xml.Items = [("LastModified", xml.moment(found.info.mtime)), ("ETag", quoted(found))]
    return Answer(body=xml.document("CopyObjectResult", items, request.dialect), headers=dict(XML))


def set_metadata(store: Store, request: Request) -> Answer:
    """`PUT ?metadata`: REPLACE_NEW changes what is named, REPLACE what was there goes (OBS API reference)."""
    new = record_of(request)
    directive = request.own("metadata-directive") or "REPLACE_NEW"

    def change(old: Record) -> Record:
        keep = directive == "REPLACE_NEW"
        headers = {**(old.headers if keep else {}), **new.headers}
        return replace(old, headers=headers, metadata={**(old.metadata if keep else {}), **new.metadata})

    found = store.describe(request.bucket, request.key, change)
    return Answer(headers=_headers(request, found))


def get_object_acl(store: Store, request: Request) -> Answer:
    """What the owner and everyone may do."""
    found = store.find(request.bucket, request.key)
    owner = store.bucket(request.bucket).owner
    return Answer(body=acl_document(owner, found.record.acl, request.dialect), headers=dict(XML))


def set_object_acl(store: Store, request: Request) -> Answer:
    """By a header or a document."""
    acl = acl_asked(request)
    store.describe(request.bucket, request.key, lambda record: replace(record, acl=acl))
    return Answer()


def record_of(request: Request) -> Record:
    """What a request says about the object that it makes; MetadataTooLarge."""
    prefix = f"x-{request.dialect}-meta-"
    metadata = {name[len(prefix) :]: value for name, value in request.headers.items() if name.startswith(prefix)}
    if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_METADATA:
        raise ObsError("MetadataTooLarge", f"over {MAX_METADATA} bytes of metadata")
    headers = {name: request.headers[name] for name in STANDARD if name in request.headers}
    return Record(headers=headers, metadata=metadata, acl=acl_header(request))


def receive(request: Request, target: BinaryIO, also: Callable[[bytes], object] | None = None) -> str:
    """Write a request's body; its MD5, once it has proved to be what the client announced, else BadDigest."""
    digests = Digests(request)
    while chunk := request.body.read(CHUNK):
        digests.update(chunk)
        if also is not None:
            also(chunk)
        target.write(request.spoil(chunk) if request.spoil is not None else chunk)
    digests.check()
    return digests.md5


def pour(stream: BinaryIO | None, target: BinaryIO, length: int) -> str:
    """Copy `length` bytes; their MD5."""
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    while stream is not None and length > 0 and (chunk := stream.read(min(CHUNK, length))):
        digest.update(chunk)
        target.write(chunk)
        length -= len(chunk)
    return digest.hexdigest()


def open_source(store: Store, request: Request) -> tuple[BinaryIO | None, Found]:
    """What `copy-source` names, if the conditions on it hold."""
    bucket, _, key = decoded(request.own("copy-source").partition("?")[0]).lstrip("/").partition("/")
    check_read(store, request.owner, bucket, key)
    stream, found = store.open(bucket, key)
    try:
        conditions = {name: request.own(f"copy-source-{name}") for name in ("if-match", "if-none-match")}
        if _condition(conditions, found) != 200:
            raise ObsError("PreconditionFailed", "the source is not the one that was expected")
    except BaseException:
        if stream is not None:
            stream.close()
        raise
    return stream, found


def quoted(found: Found) -> str:
    """The ETag as headers and XML have it."""
    return f'"{found.record.etag}"'


def _described(request: Request, found: Found) -> Answer:
    """An answer with an object's headers, and the status that the request's conditions give."""
    headers = _headers(request, found)
    status = _condition(request.headers, found)
    if status == 412:
        raise ObsError("PreconditionFailed", "the object is not the one that was expected")
    return Answer(status, headers)


def _headers(request: Request, found: Found) -> dict[str, str]:
    record = found.record
    headers = {
        "ETag": quoted(found),
        "Last-Modified": formatdate(found.info.mtime, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": "binary/octet-stream",
    }
    headers |= {name.title(): value for name, value in record.headers.items()}
    headers |= {f"x-{request.dialect}-meta-{name}": value for name, value in record.metadata.items()}
    if record.appendable:
        headers |= {"x-obs-object-type": "Appendable", "x-obs-next-append-position": str(found.info.size)}
    for name in STANDARD:
        if wanted := request.query.get(f"response-{name}"):
            headers[name.title()] = wanted
    return headers


def _condition(headers: Mapping[str, str], found: Found) -> int:
    """200, 304 or 412 (RFC 9110, section 13.2.2)."""
    written = int(found.info.mtime)
    if wanted := headers.get("if-match"):
        if not _matches(wanted, found):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and written > since:
        return 412
    if wanted := headers.get("if-none-match"):
        return 304 if _matches(wanted, found) else 200
    if (since := _date(headers.get("if-modified-since"))) is not None and written <= since:
        return 304
    return 200


def _matches(wanted: str, found: Found) -> bool:
    return any(tag.strip().strip('"') in ("*", found.record.etag) for tag in wanted.split(","))


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError):
        return None


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """(start, length) of `bytes=first-last`; InvalidRange when there is nothing there."""
    if first:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
    else:
        start = max(0, size - int(last or 0))
        end = size - 1 if last and int(last) else -1
    if start >= size or end < start:
        raise ObsError(
            "InvalidRange", "the range does not lie in the object", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end - start + 1
