"""``delete``: forget runs, and remove what they left in the bucket and on this machine."""

from __future__ import annotations

import argparse
import sys

from launcher.cli.common import add_run
from launcher.errors import ExitCode, LauncherError, UsageError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="+")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--keep-output", action="store_true", help="leave the output in the bucket and at home")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from storage.retry import waiting

    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets:
        runs = targets.refreshed([ledger.find(reference) for reference in args.run], ledger)
        for run in runs:
            if not run.final:
                raise LauncherError(f"{run.id} is {run.phase}", f"python -m launcher stop {run.id}")
        if not args.yes:
            _ask([run.id for run in runs], out)
        for run in runs:
            with waiting(f"{run.id} to be deleted", tries=1):
                targets.of(run).delete(run, args.keep_output)
            ledger.delete(run.id)
            out.say(f"deleted {run.id}")
    if out.json_mode:
        out.json([run.id for run in runs])
    return ExitCode.OK


def _ask(names: list[str], out: Output) -> None:
    if not sys.stdin.isatty():
        words = " ".join(names)
        raise UsageError(f"delete {words}: there is nobody to ask", f"python -m launcher delete --yes {words}")
    out.say(f"delete {', '.join(names)} and their output? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise LauncherError("nothing was deleted", f"python -m launcher delete --yes {' '.join(names)}")
