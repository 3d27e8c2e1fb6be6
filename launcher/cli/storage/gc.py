"""``storage gc``: End unfinished multi-part uploads and remove temporary files that broken-off copies have left.
They show in no listing, but take space, and OBS bills it. Younger ones may belong to a copy that still runs: they
stay.
"""

from __future__ import annotations

import argparse
import time

from launcher.cli.storage.common import add_dry_run, add_url, finish, human, open_stores, utc
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

EXAMPLE = "example: python -m launcher storage gc obs://my-bucket --older-than 2h --dry-run"


def register(parser: argparse.ArgumentParser) -> None:
    add_url(parser, nargs="?", metavar="URL", help="a bucket or folder (default: all buckets)")
    parser.add_argument("--older-than", default="1d", metavar="TIME", help="90s, 30m, 2h, 1d (default: 1d)")
    add_dry_run(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.objects.errors import worded
    from launcher.objects.names import Remote, parse_remote, url
    from launcher.objects.report import Action, Report
    from launcher.spec import seconds
    from storage.errors import StorageError

    try:
        before = time.time() - seconds(args.older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", "--older-than 1d") from None
    given = [parse_remote(args.url)] if args.url else []
    _, place, stores = open_stores(args, out)
    report = Report("gc", place.label, args.dry_run)
    rows, freed = [], 0
    for where in given or [Remote(bucket.name, "", True) for bucket in stores.service.buckets()]:
        with worded(where.bucket):
            for leftover in list(stores.service.leftovers(where.bucket, where.prefix if where.folder else where.key)):
                if leftover.started > before:
                    continue
                name = url(where.bucket, leftover.key)
                report.files += 1
                size = leftover.bytes if leftover.bytes >= 0 else None
                if args.dry_run:
                    report.actions.append(Action("discard", name, None, size))
                    continue
                try:
                    stores.service.discard(where.bucket, leftover)
                except StorageError as error:
                    report.fail(name, error, where.bucket)
                    continue
                report.deleted += 1
                freed += size or 0
                rows.append({"url": name, "bytes": size, "started": utc(leftover.started)})
                if not out.json_mode:
                    out.data(f"{name}  {human(size) if size is not None else 'size unknown'}")
    if out.json_mode:
        out.json({**report.to_json(), "freed": {"bytes": freed, "leftovers": rows}})
        return report.exit_code
    if not args.dry_run:
        out.say(f"freed {human(freed)}")
    return finish(report, out)
