"""``storage``: objects and buckets, on this machine or in OBS; one file a sub-verb."""

from __future__ import annotations

import argparse
import contextlib
from importlib import import_module

from launcher.cli.common import add_output_flags
from launcher.cli.storage.common import add_place_flags
from launcher.errors import ExitCode
from launcher.output import Output

SUB_VERBS = {
    "ls": "list buckets, or what is in one",
    "cp": "copy files and folders, in, out and within",
    "sync": "make a folder hold what another one holds; send only what differs",
    "rm": "remove objects",
    "mb": "make a bucket",
    "rb": "remove a bucket",
    "cat": "print objects",
    "du": "how much lies in a folder",
    "stat": "everything that is known of an object",
    "presign": "a URL that lets others read or write one object for a while",
    "gc": "clear away what broken-off uploads have left",
}
"""Sub-verb -> the line that ``--help`` shows; its code is ``launcher.cli.storage.NAME``."""


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="storage_verb", metavar="VERB", title="verbs", required=True)
    for name, line in SUB_VERBS.items():
        module = import_module(f"launcher.cli.storage.{name}")
        child = verbs.add_parser(
            name, help=line, description=(module.__doc__ or "").partition(": ")[2], epilog=module.EXAMPLE
        )
        module.register(child)
        add_place_flags(child)
        add_output_flags(child)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    with contextlib.ExitStack() as args.closing:
        return ExitCode(import_module(f"launcher.cli.storage.{args.storage_verb}").run(args, out))
