"""``storage du``: Count and sum up what lies in a bucket or folder, or what a pattern matches."""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_url, human, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage du obs://local --max-depth 2"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, metavar="URL", help="a bucket, a folder, an object or a pattern")
    parser.add_argument("-d", "--max-depth", type=int, default=0, metavar="N", help="also folders N levels down")
    parser.add_argument("--bytes", action="store_true", help="sizes in bytes")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.listing import sums
    from launcher.objects.names import parse_remote, printable, url

    if args.max_depth < 0:
        raise UsageError(f"--max-depth {args.max_depth} is less than none", "--max-depth 1")
    place = parse_remote(args.url)
    _, _, stores = open_stores(args, out)
    with worded(place.bucket), out.progress(f"counting {place}", 0, "objects") as seen:
        found = list(sums(stores, place, args.max_depth, seen))
    names = [url(place.bucket, row.prefix) for row in found[:-1]] + [str(place)]
    if out.json_mode:
        rows = zip(names, found, strict=True)
        out.json([{"url": name, "objects": row.objects, "bytes": row.bytes} for name, row in rows])
        return ExitCode.OK
    for name, row in zip(names, found, strict=True):
        size = str(row.bytes) if args.bytes else human(row.bytes)
        out.data(f"{size:>14}  {row.objects:>10,}  {printable(name)}")
    return ExitCode.OK
