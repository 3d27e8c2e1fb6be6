"""``storage cp``: Copy local files into a bucket, objects to this machine, or objects within and across buckets.
What is there is replaced, each file at once and whole. If DST ends with a slash or is a folder, files go into it,
and a folder goes into it under its own name ("data"), or only its content if SRC ends with a slash ("data/").
Otherwise DST is the new name. What a pattern finds goes into DST as it lies below the part before the first
wildcard. SRC "-" reads stdin.
"""

from __future__ import annotations

import argparse
import sys

from launcher.cli.storage.common import add_dry_run, add_url, finish, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage cp -r ./data obs://local/datasets/"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, "sources", nargs="+", metavar="SRC", help="local paths, obs:// URLs, patterns, or -")
    add_url(parser, "target", metavar="DST", help="a local path or an obs:// URL")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders too")
    parser.add_argument("--no-clobber", action="store_true", help="leave alone what is there already")
    add_dry_run(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects import copying
    from launcher.objects.errors import worded
    from launcher.objects.report import Report

    if args.target == "-":
        raise UsageError("cp does not write to stdout", "python -m launcher storage cat URL")
    home, place, stores = open_stores(args, out)
    report = Report("cp", place.label, args.dry_run)
    bucket = next((word.split("/")[2] for word in (args.target, *args.sources) if "://" in word), "")
    try:
        with worded(bucket):
            if args.sources == ["-"]:
                if args.dry_run:
                    raise UsageError("a dry run would use up stdin", "leave --dry-run out")
                copying.from_stream(sys.stdin.buffer, args.target, stores, report)
                return finish(report, out)
            copies = copying.plan(
                args.sources, args.target, stores, report, home, args.recursive, clobber=not args.no_clobber
            )
            with out.progress(f"to {args.target}", sum(copy.size for copy in copies)) as advance:
                copying.copy(copies, stores, report, advance)
    except KeyboardInterrupt:
        report.interrupted = True
    return finish(report, out, copying.how_to_go_on(args.sources, args.target))
