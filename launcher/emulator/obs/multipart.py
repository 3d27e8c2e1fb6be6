"""Uploads in parts, kept outside the buckets; they survive a restart of the server.

<root>/.uploads/<bucket>/<upload id>/upload.json            key, owner, start, and what the object will be
<root>/.uploads/<bucket>/<upload id>/<number>.<md5>         a part; a newer one of that number replaces it
<root>/.uploads/<bucket>/<upload id>/+<random>              a part that is arriving
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import xml
from .buckets import XML
from .errors import ObsError
from .index import Record
from .message import Answer, Request
from .objects import open_source, pour, quoted, receive, record_of
from .store import Store

MIN_PART = 100 << 10
"""Bytes that every part but the last must have (OBS API reference, "Completing a Multipart Upload")."""
MAX_NUMBER = 10_000

_ID = re.compile("[0-9A-F]{32}")
_PART = re.compile(r"(\d{5})\.([0-9a-f]{32})")


@dataclass(frozen=True)
class Upload:
    """An upload that has neither been completed nor aborted."""

    id: str
    key: str
    owner: str
    started: float
    """POSIX seconds."""
    record: Record
    folder: Path


@dataclass(frozen=True)
class Part:
    """A part that has arrived whole."""

    number: int
    md5: str
    size: int
    written: float
    path: Path


def initiate(store: Store, request: Request) -> Answer:
    """The metadata and the access control list of the object to come are given here."""
    upload_id = os.urandom(16).hex().upper()
    store.check_key(request.key)
    folder = store.uploads / request.bucket / upload_id
    folder.mkdir(parents=True)
    known = {"key": request.key, "owner": request.owner, "started": time.time()}
    beside = folder / "+upload.json"
    beside.write_text(json.dumps({**known, "record": record_of(request).to_json()}))
    beside.rename(folder / "upload.json")
    items: xml.Items = [("Bucket", request.bucket), *_key(request, request.key), ("UploadId", upload_id)]
    return Answer(body=xml.document("InitiateMultipartUploadResult", items, request.dialect), headers=dict(XML))


def upload_part(store: Store, request: Request) -> Answer:
    """A part replaces the one of the same number; NoSuchUpload, BadDigest."""
    md5 = _store_part(store, request, lambda target: receive(request, target))
    return Answer(headers={"ETag": f'"{md5}"'})


def copy_part(store: Store, request: Request) -> Answer:
    """A part from another object, or from a range of it."""
    stream, source = open_source(store, request)
    start, length = 0, source.info.size
    if text := request.own("copy-source-range"):
        first, _, last = text.removeprefix("bytes=").partition("-")
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < length):
            raise ObsError("InvalidArgument", f"the source has {length} bytes, and {text[:100]!r} is not among them")
        start, length = int(first), int(last) - int(first) + 1
    try:
        if stream is not None:
            stream.seek(start)
        md5 = _store_part(store, request, lambda target: pour(stream, target, length))
    finally:
        if stream is not None:
            stream.close()
    items: xml.Items = [("LastModified", xml.moment(time.time())), ("ETag", f'"{md5}"')]
    return Answer(body=xml.document("CopyPartResult", items, request.dialect), headers=dict(XML))


def list_parts(store: Store, request: Request) -> Answer:
    """In order of their numbers, at most 1000 behind `part-number-marker`."""
    upload = _find(store, request)
    most = request.argument("max-parts", 1000, 1000)
    marker = request.argument("part-number-marker", 0, MAX_NUMBER)
    behind = [part for part in _parts(upload) if part.number > marker]
    page = behind[:most]
    items: list[tuple[str, xml.Value]] = [("Bucket", request.bucket), *_key(request, upload.key)]
    items += [("UploadId", upload.id), ("Initiator", [("ID", upload.owner)]), ("Owner", [("ID", upload.owner)])]
    items += [("StorageClass", "STANDARD"), ("PartNumberMarker", marker), ("MaxParts", most)]
    items += [("IsTruncated", len(behind) > most), ("NextPartNumberMarker", page[-1].number if page else marker)]
    for part in page:
        entry: xml.Items = [
            ("PartNumber", part.number),
            ("LastModified", xml.moment(part.written)),
            ("ETag", f'"{part.md5}"'),
            ("Size", part.size),
        ]
        items.append(("Part", entry))
    return Answer(body=xml.document("ListPartsResult", items, request.dialect), headers=dict(XML))


def list_uploads(store: Store, request: Request) -> Answer:
    """In order of their keys, at most 1000 behind `key-marker` and `upload-id-marker`."""
    query = request.query
    prefix, delimiter = query.get("prefix") or "", query.get("delimiter") or ""
    key_marker, id_marker = query.get("key-marker") or "", query.get("upload-id-marker") or ""
    most = request.argument("max-uploads", 1000, 1000)
    encoding = query.get("encoding-type")
    found = sorted(_uploads(store, request.bucket), key=lambda upload: (upload.key, upload.id))
    behind = [
        upload
        for upload in found
        if upload.key.startswith(prefix)
        and (upload.key > key_marker or (upload.key == key_marker and id_marker and upload.id > id_marker))
    ]
    folders = sorted({folder for upload in behind if (folder := _folder_of(upload.key, prefix, delimiter))})
    shown = [upload for upload in behind if not _folder_of(upload.key, prefix, delimiter)]
    page = shown[:most]
    items: list[tuple[str, xml.Value]] = [("Bucket", request.bucket), ("Prefix", xml.url_encoded(prefix, encoding))]
    items += [("EncodingType", "url")] if encoding == "url" else []
    items += [("KeyMarker", xml.url_encoded(key_marker, encoding)), ("UploadIdMarker", id_marker)]
    items += [("MaxUploads", most), ("IsTruncated", len(shown) > most)]
    if len(shown) > most:
        last = page[-1]
        items += [("NextKeyMarker", xml.url_encoded(last.key, encoding)), ("NextUploadIdMarker", last.id)]
    for upload in page:
        entry: xml.Items = [
            ("Key", xml.url_encoded(upload.key, encoding)),
            ("UploadId", upload.id),
            ("Initiator", [("ID", upload.owner)]),
            ("Owner", [("ID", upload.owner)]),
            ("StorageClass", "STANDARD"),
            ("Initiated", xml.moment(upload.started)),
        ]
        items.append(("Upload", entry))
    items += [("CommonPrefixes", [("Prefix", xml.url_encoded(folder, encoding))]) for folder in folders]
    return Answer(body=xml.document("ListMultipartUploadsResult", items, request.dialect), headers=dict(XML))


def complete(store: Store, request: Request) -> Answer:
    """Make the object from the parts named; NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall."""
    wanted = _wanted(request)
    with store.outer_lock(request.bucket, request.query.get("uploadId") or ""):
        upload = _find(store, request)
        parts = _chosen(upload, wanted)

        def fill(target: BinaryIO) -> str:
            for part in parts:
                with part.path.open("rb") as stream:
                    shutil.copyfileobj(stream, target, 1 << 20)
            digest = hashlib.md5(b"".join(bytes.fromhex(part.md5) for part in parts), usedforsecurity=False)
            return f"{digest.hexdigest()}-{len(parts)}"

        found = store.put(request.bucket, upload.key, upload.record, fill)
        _remove(store, upload)
    items: xml.Items = [
        ("Location", f"/{request.bucket}/{upload.key}"),
        ("Bucket", request.bucket),
        *_key(request, upload.key),
        ("ETag", quoted(found)),
    ]
    return Answer(body=xml.document("CompleteMultipartUploadResult", items, request.dialect), headers=dict(XML))


def abort(store: Store, request: Request) -> Answer:
    """Remove all parts; NoSuchUpload."""
    with store.outer_lock(request.bucket, request.query.get("uploadId") or ""):
        _remove(store, _find(store, request))
    return Answer(204)


def _store_part(store: Store, request: Request, fill: Callable[[BinaryIO], str]) -> str:
    """Keep what `fill` writes as the part that the request names; its MD5."""
    number = request.argument("partNumber", 0, MAX_NUMBER + 1)
    if not 1 <= number <= MAX_NUMBER:
        raise ObsError("InvalidArgument", f"a part's number is 1 to {MAX_NUMBER}")
    upload = _find(store, request)
    beside = upload.folder / f"+{os.urandom(8).hex()}"
    try:
        with beside.open("wb") as target:
            md5 = fill(target)
        with store.outer_lock(request.bucket, upload.id):
            older = [path for path in upload.folder.glob(f"{number:05d}.*") if not path.name.endswith(md5)]
            beside.rename(upload.folder / f"{number:05d}.{md5}")
            for path in older:
                path.unlink()
    except FileNotFoundError as error:
        raise ObsError("NoSuchUpload", "the upload has ended meanwhile") from error
    finally:
        beside.unlink(missing_ok=True)
    return md5


def _wanted(request: Request) -> list[tuple[int, str]]:
    """The parts that a completion names, by number and MD5; MalformedXML, InvalidPartOrder."""
    try:
        wanted = [
            (int(xml.text_of(part, "PartNumber")), xml.text_of(part, "ETag").strip('"'))
            for part in xml.parsed(request.text()).iter("Part")
        ]
    except ValueError as error:
        raise ObsError("MalformedXML", "a part's number is no number") from error
    numbers = [number for number, _ in wanted]
    if not wanted:
        raise ObsError("MalformedXML", "no parts are named")
    if numbers != sorted(set(numbers)):
        raise ObsError("InvalidPartOrder", "the parts are not named in order")
    return wanted


def _chosen(upload: Upload, wanted: list[tuple[int, str]]) -> list[Part]:
    """The parts themselves; InvalidPart, EntityTooSmall."""
    there = {part.number: part for part in _parts(upload)}
    for number, md5 in wanted:
        if number not in there or there[number].md5 != md5:
            raise ObsError("InvalidPart", f"part {number} is not there, or not with that ETag")
    chosen = [there[number] for number, _ in wanted]
    if any(part.size < MIN_PART for part in chosen[:-1]):
        raise ObsError("EntityTooSmall", f"every part but the last needs {MIN_PART} bytes")
    return chosen


def _find(store: Store, request: Request) -> Upload:
    upload_id = request.query.get("uploadId") or ""
    if _ID.fullmatch(upload_id):
        upload = _read(store.uploads / request.bucket / upload_id)
        if upload is not None and upload.key == request.key:
            return upload
    raise ObsError("NoSuchUpload", "there is no such upload: it never was, was completed or was aborted")


def _read(folder: Path) -> Upload | None:
    try:
        found = json.loads((folder / "upload.json").read_text())
    except FileNotFoundError:
        return None
    record = Record.from_json(found["record"])
    return Upload(folder.name, found["key"], found["owner"], found["started"], record, folder)


def _uploads(store: Store, bucket: str) -> Iterator[Upload]:
    folder = store.uploads / bucket
    for path in folder.iterdir() if folder.is_dir() else ():
        if (upload := _read(path)) is not None:
            yield upload


def _parts(upload: Upload) -> list[Part]:
    """In order of their numbers. A server that was killed while it replaced a part has left two: the newer counts."""
    found: dict[int, Part] = {}
    for path in upload.folder.iterdir():
        if match := _PART.fullmatch(path.name):
            status = path.stat()
            part = Part(int(match.group(1)), match.group(2), status.st_size, status.st_mtime, path)
            if part.number not in found or found[part.number].written < part.written:
                found[part.number] = part
    return [found[number] for number in sorted(found)]


def _remove(store: Store, upload: Upload) -> None:
    """Let an upload vanish at once, whatever is killed on the way."""
    (upload.folder / "upload.json").unlink(missing_ok=True)
    shutil.rmtree(upload.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        upload.folder.parent.rmdir()


def _key(request: Request, key: str) -> list[tuple[str, xml.Value]]:
    """The element `Key`, encoded as the request asks."""
    encoding = request.query.get("encoding-type")
    items: list[tuple[str, xml.Value]] = [("EncodingType", "url")] if encoding == "url" else []
    return [*items, ("Key", xml.url_encoded(key, encoding))]


def _folder_of(key: str, prefix: str, delimiter: str) -> str:
    end = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: end + len(delimiter)] if end >= 0 else ""
