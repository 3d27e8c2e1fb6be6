"""``storage rm``: Remove objects: single ones, those that a pattern matches, with -r whole folders, with -r --all
whole buckets' content. Asks before it removes more than one; where nobody can be asked, --yes must say so.
"""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_dry_run, add_url, add_yes, agree, finish, human, open_stores
from launcher.errors import ExitCode
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage rm 'obs://local/tmp/*.log' --dry-run"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, "urls", nargs="+", metavar="URL", help="an object, a pattern, or with -r a folder")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders, with all that is in them")
    parser.add_argument("--all", action="store_true", help="with -r: even everything in a bucket")
    add_dry_run(parser)
    add_yes(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects import removing
    from launcher.objects.errors import worded
    from launcher.objects.names import parse_remote
    from launcher.objects.report import Report

    places = [parse_remote(url) for url in args.urls]
    _, place, stores = open_stores(args, out)
    report = Report("rm", place.label, args.dry_run)
    try:
        with worded(places[0].bucket):
            with out.progress("looking", 0, "objects") as seen:
                removal = removing.plan(places, stores, args.recursive, args.all, seen)
            if not args.dry_run and (len(removal.spots) > 1 or removal.whole):
                agree(f"remove {removing.in_words(removal)}, {human(removal.bytes)}?", args.yes, out)
            removing.remove(removal, stores, report)
    except KeyboardInterrupt:
        report.interrupted = True
    return finish(report, out, "the same command")
