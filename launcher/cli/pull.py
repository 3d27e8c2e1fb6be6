"""``pull``: bring a run's output home; every file is verified, and whole or not there."""

from __future__ import annotations

import argparse
from pathlib import Path

from launcher.cli.common import add_run, shown
from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", default="@last")
    parser.add_argument("--logs", action="store_true", help="the logs in place of the output, those of devices too")
    default = "default: .launcher/outputs/RUN, or .launcher/logs/RUN"
    parser.add_argument("destination", nargs="?", type=Path, metavar="DEST", help=default)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets
    from launcher.ledger import Ledger
    from launcher.paths import Home

    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets:
        run = ledger.find(args.run)
        target = targets.of(run)
        run = target.refresh(run, ledger)
        destination = args.destination or (home.root / "logs" if args.logs else home.outputs) / run.id
        with out.progress(f"bringing {run.id} home", 0) as advance:
            files = (target.pull_logs if args.logs else target.pull)(run, destination, advance)
    if out.json_mode:
        out.json({"run": run.id, "destination": str(destination), "files": files})
        return ExitCode.OK
    for file in files:
        out.data(shown(destination / file))
    if not run.final:
        out.warn(f"{run.id} is {run.phase}: more may come")
    elif not files:
        out.warn(f"{run.id} left no {'logs' if args.logs else 'output'}")
    return ExitCode.OK
