"""``storage sync``: Make the folder DST hold what the folder SRC holds. Files are compared by size and sha256,
never by time, and only those that differ are sent. Nothing is deleted without --delete, nor after any failure.
Patterns are git's, the last one that matches decides: --exclude '*' --include '*.jpg' takes only JPEGs; what is
left out stays in DST too.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from launcher.cli.storage.common import add_dry_run, add_url, finish, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage sync ./data obs://local/datasets/mine --delete --dry-run"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, "source", metavar="SRC", help="a local folder or an obs:// URL")
    add_url(parser, "target", metavar="DST", help="the other one, or another obs:// URL")
    parser.add_argument("--delete", action="store_true", help="remove from DST what SRC does not hold")
    parser.add_argument("--allow-empty", action="store_true", help="with --delete: even if SRC holds nothing")
    parser.add_argument("--exclude", dest="rules", action="append", metavar="PATTERN", help="leave these out")
    parser.add_argument(
        "--include", dest="rules", action="append", type=lambda text: "!" + text, metavar="PATTERN",
        help="but not these, of what an --exclude before it left out",
    )  # fmt: skip
    parser.add_argument("--gitignore", action="store_true", help="leave out what SRC's .gitignore files say")
    parser.add_argument("--full", action="store_true", help="compare every object, even if a manifest says it is there")
    add_dry_run(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.filters import keeper
    from launcher.objects.names import Local
    from launcher.objects.report import Report
    from launcher.objects.syncing import Sync, named

    if args.allow_empty and not args.delete:
        raise UsageError("--allow-empty says something about --delete only", "add --delete")
    source, target = named(args.source, args.target)
    if args.gitignore and not isinstance(source, Local):
        raise UsageError("--gitignore needs a SRC on this machine", "--exclude PATTERN")
    home, place, stores = open_stores(args, out)
    report = Report("sync", place.label, args.dry_run)
    keep = keeper(args.rules or (), Path(source.path) if args.gitignore and isinstance(source, Local) else None)
    bucket = getattr(target, "bucket", "") or getattr(source, "bucket", "")
    sync = Sync(source, target, stores, report, home, out.progress, args.delete, args.allow_empty, args.full, keep)
    try:
        with worded(bucket):
            sync.run()
    except KeyboardInterrupt:
        report.interrupted = True
    return finish(report, out, "the same command: " + shlex.join(["python", "-m", "launcher", *sys.argv[1:]]))
