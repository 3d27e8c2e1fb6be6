"""``convert``: ATC's command for a model file, run where CANN is."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.cli.common import add_ssh, shown, ssh_of
from launcher.errors import ExitCode, LauncherError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="an .onnx, .air or .mindir that export has made")
    parser.add_argument("--soc", required=True, metavar="VERSION", help="Ascend310 for an Atlas 200 DK")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: MODEL with .om")
    parser.add_argument("--batch-sizes", default="", metavar="N,N", help="for a model of any batch (default: 1,2,4,8)")
    parser.add_argument("--on", default="", metavar="HOST", help="run ATC there, and bring the .om back")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the command; run nothing")
    parser.epilog = "What follows -- is passed to ATC as it is."
    add_ssh(parser)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.devices import convert

    conversion = convert.plan(args.model, args.soc, args.output, args.batch_sizes, tuple(args.rest))
    if args.dry_run:
        out.json({"command": conversion.shown, "ran": False}) if out.json_mode else out.data(conversion.shown)
        return ExitCode.OK
    try:
        made = (
            convert.there(conversion, ssh_of(args, args.on), out.say, out.progress)
            if args.on
            else convert.here(conversion, out.say)
        )
    except LauncherError:
        if not out.json_mode:
            out.data(conversion.shown)
        raise
    if out.json_mode:
        out.json({**made, "command": conversion.shown, "ran": True})
    else:
        out.data(shown(conversion.target))
    return ExitCode.OK
