"""The files that are moved, the folders that play the bucket, and the listings of what is in it."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

MTIME = 1_500_000_000
"""Of every file: long ago, so that no client takes it for one that is still being written."""
PAGE = 1000
PER_FOLDER = 500


def make_tree(root: Path, count: int, size: int) -> Path:
    """``count`` files of ``size`` random bytes, 500 in a folder."""
    source = random.Random(count)
    for index in range(count):
        folder = root / f"class-{index // PER_FOLDER:03}"
        if index % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"file-{index:06}.bin"
        with open(path, "wb") as stream:
            for start in range(0, size, 1 << 20):
                stream.write(source.randbytes(min(1 << 20, size - start)))
        os.utime(path, (MTIME, MTIME))
    return root


def write_lists(lists: Path, root: Path, prefix: str) -> None:
    """Listings of the tree ``root`` as if it lay at ``prefix``: all of it in pages, and folder by folder.

    A file is named as the prefix comes over the wire, with ``-level`` for a delimiter and the page's token; both
    versions of ListObjects find their own tokens in it.
    """
    files = {str(path.relative_to(root)): path.stat().st_size for path in sorted(root.rglob("*")) if path.is_file()}
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in files:
        by_folder[path.rpartition("/")[0]].append(path)
    entries = [_entry(f"{prefix}/{path}", size) for path, size in files.items()]
    for start in range(0, max(1, len(entries)), PAGE):
        token = f"t{start}" if start else ""
        following = f"t{start + PAGE}" if start + PAGE < len(entries) else ""
        _write(lists, f"{prefix}/", "", token, entries[start : start + PAGE], following)
    for folder, names in by_folder.items():
        level = [_entry(f"{prefix}/{path}", files[path]) for path in names]
        _write(lists, f"{prefix}/{folder}/" if folder else f"{prefix}/", "-level", "", level, "")
    if "" not in by_folder:
        common = [f"<CommonPrefixes><Prefix>{prefix}/{folder}/</Prefix></CommonPrefixes>" for folder in by_folder]
        _write(lists, f"{prefix}/", "-level", "", common, "")
    _write(lists, "empty", "", "", [], "")


def _entry(key: str, size: int) -> str:
    when, etag = "2017-07-14T02:40:00.000Z", "&quot;00000000000000000000000000000000-1&quot;"
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{when}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _write(lists: Path, prefix: str, level: str, token: str, entries: list[str], following: str) -> None:
    tokens = f"<NextMarker>{following}</NextMarker><NextContinuationToken>{following}</NextContinuationToken>"
    more = tokens if following else ""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix>{prefix}</Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{more}{''.join(entries)}</ListBucketResult>"
    )
    suffix = f"{level}-{token}" if token else level
    for encoded in {prefix, prefix.replace("/", "%2F")}:
        path = lists / f"{encoded}{suffix}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
