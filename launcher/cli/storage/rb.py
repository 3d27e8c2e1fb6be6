"""``storage rb``: Remove a bucket that is empty; with --force, what is in it first."""

from __future__ import annotations

import argparse

from launcher.cli.storage.common import add_dry_run, add_url, add_yes, agree, finish, open_stores
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage rb obs://my-bucket --force"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, metavar="URL", help="obs://NAME")
    parser.add_argument("--force", action="store_true", help="remove all that is in it first")
    add_dry_run(parser)
    add_yes(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects import removing
    from launcher.objects.errors import STORAGE, worded
    from launcher.objects.names import parse_remote
    from launcher.objects.report import Action, Report
    from storage.errors import Conflict

    url = parse_remote(args.url)
    if url.key:
        raise UsageError(f"{args.url} is no bucket's name", f"{STORAGE} rm -r {args.url}")
    _, place, stores = open_stores(args, out)
    report = Report("rb", place.label, args.dry_run)
    name = f"obs://{url.bucket}"
    try:
        with worded(url.bucket):
            next(stores[url.bucket].list(), None)
            if args.force:
                with out.progress("looking", 0, "objects") as seen:
                    removal = removing.plan([url], stores, recursive=True, everything=True, seen=seen)
                if not args.dry_run:
                    agree(f"remove {name} with {len(removal.spots):,} objects?", args.yes, out)
                removing.remove(removal, stores, report)
                for leftover in [] if args.dry_run else list(stores.service.leftovers(url.bucket)):
                    stores.service.discard(url.bucket, leftover)
            if args.dry_run:
                report.actions.append(Action("remove", name))
            elif not report.failures:
                try:
                    stores.service.remove_bucket(url.bucket)
                except Conflict as error:
                    raise Conflict(
                        error.message, f"{STORAGE} rb {name} --force, after a look: {STORAGE} du {name}"
                    ) from error
    except KeyboardInterrupt:
        report.interrupted = True
    return finish(report, out, "the same command")
