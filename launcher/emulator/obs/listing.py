"""ListObjects: pages of keys, or of folders, in order of their UTF-8 bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from storage.base import ObjectInfo

from . import xml
from .message import Answer, Request
from .store import Found, Store

PAGE = 1000
_KEPT = 32


class Lists:
    """Lists that may go on: the walk of a folder is kept for whoever asks for the next page.

    It is used only if the bucket has not been written to since, so a page always shows what was there when it was asked
    for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str, int], Iterator[ObjectInfo]] = OrderedDict()

    def after(self, store: Store, bucket: str, prefix: str, marker: str) -> Iterator[ObjectInfo]:
        """The objects behind `marker`."""
        with self._lock:
            kept = self._kept.pop((bucket, prefix, marker, store.changes.get(bucket, 0)), None)
        if kept is not None:
            return kept
        return (info for info in store.walk(bucket, prefix) if info.key > marker)

    def keep(self, bucket: str, prefix: str, marker: str, changes: int, rest: Iterator[ObjectInfo]) -> None:
        """Remember what comes behind `marker`."""
        with self._lock:
            self._kept[(bucket, prefix, marker, changes)] = rest
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def list_objects(store: Store, request: Request, lists: Lists) -> Answer:
    """At most 1000 keys and folders behind `marker`; `NextMarker` is there whenever there are more."""
    bucket, query = request.bucket, request.query
    prefix, delimiter, marker = query.get("prefix") or "", query.get("delimiter") or "", query.get("marker") or ""
    most = request.argument("max-keys", PAGE, PAGE)
    encoding = query.get("encoding-type")
    changes = store.changes.get(bucket, 0)
    rest = lists.after(store, bucket, prefix, marker)
    infos: list[ObjectInfo] = []
    folders: list[str] = []
    last = ""
    truncated = False
    for info in rest if most else ():
        folder = _folder_of(info.key, prefix, delimiter)
        if folder and folder in (marker, last):
            continue
        if len(infos) + len(folders) == most:
            truncated = True
            break
        if folder:
            folders.append(folder)
        else:
            infos.append(info)
        last = folder or info.key
        if len(infos) + len(folders) == most and not delimiter:
            ahead = next(rest, None)
            truncated = ahead is not None
            if ahead is not None:
                lists.keep(bucket, prefix, last, changes, _chained(ahead, rest))
            break
    items: list[tuple[str, xml.Value]] = [("Name", bucket), ("Prefix", xml.url_encoded(prefix, encoding))]
    items += [("Marker", xml.url_encoded(marker, encoding)), ("MaxKeys", most)]
    items += [("Delimiter", xml.url_encoded(delimiter, encoding))] if delimiter else []
    items += [("EncodingType", "url")] if encoding == "url" else []
    items.append(("IsTruncated", truncated))
    items += [("NextMarker", xml.url_encoded(last, encoding))] if truncated else []
    owner = store.bucket(bucket).owner
    items += [("Contents", _entry(found, owner, encoding)) for found in store.describe_all(bucket, infos)]
    items += [("CommonPrefixes", [("Prefix", xml.url_encoded(folder, encoding))]) for folder in folders]
    region = "bucket-location" if request.dialect == "obs" else "bucket-region"
    headers = {"Content-Type": "application/xml", f"x-{request.dialect}-{region}": store.bucket(bucket).location}
    return Answer(body=xml.document("ListBucketResult", items, request.dialect), headers=headers)


def _chained(first: ObjectInfo, rest: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
    yield first
    yield from rest


def _folder_of(key: str, prefix: str, delimiter: str) -> str:
    """The common prefix under which a key is hidden; empty if it is shown itself."""
    if not delimiter:
        return ""
    end = key.find(delimiter, len(prefix))
    return key[: end + len(delimiter)] if end >= 0 else ""


def _entry(found: Found, owner: str, encoding: str | None) -> xml.Items:
    return [
        ("Key", xml.url_encoded(found.info.key, encoding)),
        ("LastModified", xml.moment(found.info.mtime)),
        ("ETag", f'"{found.record.etag}"'),
        ("Size", found.info.size),
        ("Owner", [("ID", owner)]),
        ("StorageClass", "STANDARD"),
        ("Type", "Appendable" if found.record.appendable else "Normal"),
    ]
