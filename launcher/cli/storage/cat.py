"""``storage cat``: Write objects to stdout as they are, or a range of their bytes."""

from __future__ import annotations

import argparse
import base64

from launcher.cli.storage.common import add_url, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage cat obs://local/logs/run.log --start 0 --length 4096"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, "urls", nargs="+", metavar="URL", help="an object, a file of a packed tree, or a pattern")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first byte (default: 0)")
    parser.add_argument("--length", type=int, metavar="N", help="how many bytes (default: to the end)")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import STORAGE, worded
    from launcher.objects.listing import objects
    from launcher.objects.names import nothing_at, parse_remote, url
    from launcher.objects.packed import read_file

    if args.start < 0 or (args.length is not None and args.length < 0):
        raise UsageError("a range has no negative numbers", "--start 0 --length 4096")
    places = [parse_remote(word) for word in args.urls]
    _, _, stores = open_stores(args, out)
    rows = []
    for place in places:
        if place.folder:
            raise UsageError(f"{place} is a folder", f"{STORAGE} cat '{place}*'")
        with worded(place.bucket):
            found = False
            for info in objects(stores, place):
                if not place.pattern and info.key != place.key:
                    break
                found = True
                with stores[place.bucket].read(info.key, args.start, args.length) as stream:
                    if out.json_mode:
                        rows.append({"url": url(place.bucket, info.key), "size": info.size, **_content(stream.read())})
                        continue
                    while chunk := stream.read(1 << 20):
                        out.log(chunk)
            if found:
                continue
            data = None if place.pattern else read_file(stores[place.bucket], place.key)
            if data is None:
                raise nothing_at(place)
            end = None if args.length is None else args.start + args.length
            if out.json_mode:
                content = _content(data[args.start : end])
                rows.append({"url": url(place.bucket, place.key), "size": len(data), **content})
            else:
                out.log(data[args.start : end])
    if out.json_mode:
        out.json(rows)
    return ExitCode.OK


def _content(data: bytes) -> dict[str, str | None]:
    try:
        return {"text": data.decode("utf-8"), "base64": None}
    except UnicodeDecodeError:
        return {"text": None, "base64": base64.b64encode(data).decode("ascii")}
