"""``storage ls``: List the buckets, or one level of a folder: folders first seen as "name/", objects with size and
time. In a key, * and ? match within one folder and ** across folders; a key that has such characters is found by
its own name.
"""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING, Any

from launcher.cli.storage.common import add_url, human, moment, open_stores, utc
from launcher.errors import ExitCode
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.objects.engine import Stores
    from launcher.objects.listing import Folder
    from launcher.objects.names import Remote
    from storage.base import ObjectInfo

EXAMPLE = "example: python -m launcher storage ls 'obs://local/launcher/runs/**/*.log' --summarize"
PAGE = 1000
"""Entries shown at once; the progress of a long search is shown in between."""


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, nargs="?", metavar="URL", help="a bucket, a folder, an object or a pattern (default: the buckets)")
    parser.add_argument("-r", "--recursive", action="store_true", help="everything below, at any depth")
    parser.add_argument("--bytes", action="store_true", help="sizes in bytes")
    parser.add_argument("--summarize", action="store_true", help="the count and the sum, at the end")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.names import parse_remote

    _, _, stores = open_stores(args, out)
    if args.url is None:
        return _buckets(stores, out)
    place = parse_remote(args.url)
    with worded(place.bucket):
        return _objects(args, place, stores, out)


def _buckets(stores: Stores, out: Output) -> ExitCode:
    found = stores.service.buckets()
    if out.json_mode:
        rows = [{"name": b.name, "created": utc(b.created), "location": b.location or None} for b in found]
        out.json([{"url": f"obs://{b.name}", **row} for b, row in zip(found, rows, strict=True)])
        return ExitCode.OK
    for bucket in found:
        out.data(f"{moment(bucket.created)}  obs://{bucket.name}" + (f"  {bucket.location}" if bucket.location else ""))
    if not found:
        out.say("there is no bucket yet: python -m launcher storage mb obs://NAME")
    return ExitCode.OK


def _objects(args: argparse.Namespace, place: Remote, stores: Stores, out: Output) -> ExitCode:
    from launcher.objects.listing import Folder, entries
    from launcher.objects.names import printable

    advance = [lambda count: None]
    found = entries(stores, place, args.recursive, lambda count: advance[0](count))
    start = (
        0 if args.recursive or place.pattern else len(place.prefix if place.folder else place.key.rpartition("/")[0])
    )
    rows: list[dict[str, Any]] = []
    count = size = 0
    while True:
        with out.progress(f"listing {place}", 0, "objects") as advance[0]:
            page = list(islice(found, PAGE))
        if not page:
            break
        for entry in page:
            if isinstance(entry, Folder):
                line = f"{'':19}  {'':>12}  {printable(entry.key[start:].lstrip('/'))}"
            else:
                count, size = count + 1, size + entry.size
                shown = str(entry.size) if args.bytes else human(entry.size)
                line = f"{moment(entry.mtime)}  {shown:>12}  {printable(entry.key[start:].lstrip('/'))}"
            if out.json_mode:
                rows.append(_json(place.bucket, entry))
            else:
                out.data(line)
    if out.json_mode:
        out.json(rows)
    elif args.summarize:
        out.data(f"{count} objects, {size if args.bytes else human(size)}")
    return ExitCode.OK


def _json(bucket: str, entry: ObjectInfo | Folder) -> dict[str, Any]:
    from launcher.objects.listing import Folder
    from launcher.objects.names import url

    row: dict[str, Any] = {"url": url(bucket, entry.key), "key": entry.key, "folder": isinstance(entry, Folder)}
    if isinstance(entry, Folder):
        return {**row, "size": None, "mtime": None, "etag": None}
    return {**row, "size": entry.size, "mtime": utc(entry.mtime), "etag": entry.etag or None}
