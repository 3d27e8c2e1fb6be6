"""What the ``storage`` verbs share: the place they act on, sizes in words, the question before a deletion, the end."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from launcher.errors import ExitCode, UsageError
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.objects.engine import Stores
    from launcher.objects.places import Place
    from launcher.objects.report import Report
    from launcher.paths import Home

SHOWN = 20
"""Failures that are listed one by one; ``--json`` has them all."""


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """``--storage``, ``--endpoint``, ``--region``, ``--profile``."""
    group = parser.add_argument_group("where obs:// URLs lead")
    group.add_argument("--storage", metavar="WHICH", help="local (default: buckets on this machine) or obs")
    group.add_argument("--endpoint", metavar="URL", help="of OBS")
    group.add_argument("--region", metavar="ID", help="of OBS, such as cn-north-4")
    group.add_argument("--profile", metavar="NAME", help="another account of OBS, from profiles: in your config.yaml")


def add_url(parser: argparse.ArgumentParser, name: str = "url", **keywords: object) -> None:
    """A positional that is an OBS URL, or may be one."""
    argument = parser.add_argument(name, **keywords)  # type: ignore[arg-type]
    argument.completer = complete_urls  # type: ignore[attr-defined]


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def open_stores(args: argparse.Namespace, out: Output) -> tuple[Home, Place, Stores]:
    """The place that the flags, the environment and the settings files name; it is always shown."""
    from launcher.objects.engine import Stores
    from launcher.objects.places import open_place
    from launcher.paths import Home

    home = Home.find()
    place = open_place(home, args.storage, args.endpoint, args.region, args.profile)
    if hasattr(place.service, "close"):  # of OBS: its connections are kept
        args.closing.callback(place.service.close)
    out.say(place.label)
    return home, place, Stores(place.service)


def complete_urls(prefix: str, **_: object) -> list[str]:
    """Buckets and the next level of keys for the shell's Tab key; of local buckets only, which cost nothing."""
    from launcher.objects.engine import Stores
    from launcher.objects.listing import Folder, entries
    from launcher.objects.names import Remote
    from launcher.objects.places import open_place
    from launcher.paths import Home

    stores = Stores(open_place(Home.find(), storage="local").service)
    bucket, slash, key = prefix.removeprefix("obs://").partition("/")
    if not slash:
        return [f"obs://{found.name}/" for found in stores.service.buckets() if found.name.startswith(bucket)]
    folder = key.rpartition("/")[0]
    found = entries(stores, Remote(bucket, folder, True), recursive=False)
    keys = [entry.key for entry, _ in zip(found, range(1000)) if isinstance(entry, Folder) or entry.size >= 0]  # noqa: B905
    return [f"obs://{bucket}/{name}" for name in keys if name.startswith(key)]


def human(count: int) -> str:
    """``1.2 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def moment(seconds: float) -> str:
    """A time as ``ls`` shows it, by this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def utc(seconds: float) -> str:
    """RFC 3339, for ``--json``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def agree(question: str, yes: bool, out: Output) -> None:
    """Ask in a terminal; UsageError where there is none and no ``--yes``, or where the answer is no."""
    if yes:
        return
    if out.json_mode or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to ask", "look with --dry-run, then add --yes")
    out.stderr.write(f"{question} [y/N] ")
    out.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed: nothing was done", "answer y, or add --yes")


def finish(report: Report, out: Output, again: str = "") -> ExitCode:
    """The list of done and failed, and the exit code. ``again`` is how to go on after Ctrl-C."""
    if out.json_mode:
        out.json(report.to_json())
        return report.exit_code
    from launcher.objects.names import printable

    for action in report.actions:
        size = f"  ({human(action.size)})" if action.size is not None else ""
        what = f"{action.source} -> {action.target}" if action.source else action.target
        out.data(printable(f"{action.action} {what}{size}"))
    for warning in report.warnings:
        out.warn(printable(warning))
    for failure in report.failures[:SHOWN]:
        out.warn(
            printable(f"failed: {failure.name}: {failure.message}") + (f" ({failure.hint})" if failure.hint else "")
        )
    if len(report.failures) > SHOWN:
        out.warn(f"and {len(report.failures) - SHOWN} more failures: --json lists them all")
    if report.files or not report.interrupted:  # broken off before the counting began, it can tell nothing
        out.say(_summary(report, time.monotonic() - report.started))
    if report.interrupted:
        out.warn("interrupted; what has arrived is whole" + (f". To go on: {again}" if again else ""))
    return report.exit_code


def _summary(report: Report, seconds: float) -> str:
    if report.dry_run:
        size = sum(action.size or 0 for action in report.actions)
        parts = [f"dry run: {len(report.actions)} to do, {human(size)}"]
    else:
        rate = f" at {human(int(report.copied_bytes / seconds))}/s" if seconds >= 1 and report.copied_bytes else ""
        parts = (
            [f"{report.copied} copied ({human(report.copied_bytes)}{rate})"] if report.verb in ("cp", "sync") else []
        )
        parts += [f"{report.deleted} deleted"] if report.deleted or not parts else []
    parts += [f"{report.unchanged} unchanged"] if report.unchanged else []
    parts += [f"{len(report.failures)} failed"] if report.failures else []
    return ", ".join(parts)
