"""``storage mb``: Make a bucket: standard storage class, one availability zone, private unless --public-read. Names
are shared by all accounts of OBS: 3 to 63 small letters, digits, hyphens and dots, with a letter or digit at both
ends.
"""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_dry_run, add_yes, agree, finish, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage mb obs://my-bucket --storage obs --region cn-north-4"
PUBLIC = "anyone on the internet can then list this bucket and read all that is in it, without any key."


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="obs://NAME")
    parser.add_argument("--public-read", action="store_true", help="let anyone on the internet list and read it")
    add_dry_run(parser)
    add_yes(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.names import parse_remote
    from launcher.objects.report import Action, Report

    url = parse_remote(args.url)
    if url.key:
        raise UsageError(f"{args.url} is no bucket's name", f"obs://{url.bucket}; folders come with their first object")
    home, place, stores = open_stores(args, out)
    report = Report("mb", place.label, args.dry_run)
    if args.dry_run:
        report.actions.append(Action("make", f"obs://{url.bucket}"))
        return finish(report, out)
    if args.public_read:
        out.warn(f"--public-read: {PUBLIC}")
        agree(f"make obs://{url.bucket} public?", args.yes, out)
    with worded(url.bucket):
        if place.name == "local":
            home.create()
            if args.public_read:
                out.warn("a local bucket is as private as its folder; --public-read changes nothing")
        stores.service.make_bucket(url.bucket, args.region or "", args.public_read)
    if out.json_mode:
        out.json({"bucket": url.bucket, "url": f"obs://{url.bucket}", "public_read": args.public_read})
    else:
        out.data(f"obs://{url.bucket}")
    return ExitCode.OK
