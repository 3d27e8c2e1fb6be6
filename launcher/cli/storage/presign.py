"""``storage presign``: Print a URL with which anyone who has it can read, or write, one object for a while, with no
keys of their own. Only objects in OBS can be signed.
"""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_url, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage presign obs://my-bucket/model.zip --expires 12h --storage obs"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, metavar="URL", help="an object")
    parser.add_argument("--expires", default="1h", metavar="TIME", help="90s, 30m, 2h, 1d (default: 1h)")
    parser.add_argument("--method", choices=("GET", "PUT"), default="GET", help="to read (default) or to write it")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.names import parse_remote
    from launcher.spec import seconds

    place = parse_remote(args.url)
    if place.folder:
        raise UsageError(f"{place} is a folder: a URL is for one object", f"{place}NAME")
    try:
        lifetime = seconds(args.expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}", "--expires 1h") from None
    if lifetime <= 0:
        raise UsageError(f"--expires {args.expires} is over at once", "--expires 1h")
    _, _, stores = open_stores(args, out)
    with worded(place.bucket):
        if args.method == "GET":
            stores[place.bucket].stat(place.key)
        url = stores.service.presign(place.bucket, place.key, lifetime, args.method)
    if out.json_mode:
        out.json({"url": url, "method": args.method, "expires_in": lifetime})
    else:
        out.data(url)
    return ExitCode.OK
