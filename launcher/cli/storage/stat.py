"""``storage stat``: Print all that is known of an object: size, time, etag, and its sha256 if it is known."""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_url, human, moment, open_stores, utc
from launcher.errors import ExitCode
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage stat obs://local/data/train.zip --digest"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, metavar="URL", help="an object")
    parser.add_argument("--digest", action="store_true", help="the sha256, even if all of it must be read for that")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import STORAGE, NotFound, worded
    from launcher.objects.names import nothing_at, parse_remote, printable, stat, url

    place = parse_remote(args.url)
    _, _, stores = open_stores(args, out)
    with worded(place.bucket):
        info = stat(stores[place.bucket], place.key, args.digest) if place.key and not place.folder else None
        if info is None:
            if next(stores[place.bucket].list(place.prefix), None) is not None or not place.key:
                raise NotFound(f"{place} is a folder, not an object", f"{STORAGE} du {place}")
            raise nothing_at(place)
    if out.json_mode:
        known = {"size": info.size, "mtime": utc(info.mtime), "etag": info.etag or None, "sha256": info.sha256 or None}
        out.json({"url": url(place.bucket, info.key), "key": info.key, **known})
        return ExitCode.OK
    out.data(f"url     {printable(url(place.bucket, info.key))}")
    out.data(f"size    {info.size} ({human(info.size)})")
    out.data(f"mtime   {moment(info.mtime)}")
    out.data(f"etag    {info.etag or 'unknown'}")
    out.data(f"sha256  {info.sha256 or 'unknown: --digest'}")
    return ExitCode.OK
