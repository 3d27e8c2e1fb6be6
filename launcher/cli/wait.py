"""``wait``: until every run named has ended; ends as the worst of them did."""

from __future__ import annotations

import argparse
import time

from launcher.cli.common import add_run
from launcher.errors import ExitCode, NotFinished
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="+")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after so long, with exit code 101")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import ending, refreshed
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from launcher.submit import exit_code_of

    deadline = time.monotonic() + args.timeout if args.timeout is not None else float("inf")
    home, pause = Home.find(), 0.01
    with Ledger(home) as ledger:
        runs = [ledger.find(reference) for reference in args.run]
        while not all(run.final for run in runs):
            runs = refreshed(runs, home, ledger)
            waiting = [run.id for run in runs if not run.final]
            if waiting and time.monotonic() > deadline:
                raise NotFinished(
                    f"after {args.timeout:g} s not ended: {', '.join(waiting)}", "wait longer, or stop them"
                )
            if waiting:
                time.sleep(pause)
                pause = min(pause * 1.5, 1.0)
    if out.json_mode:
        out.json([run.to_json() for run in runs])
    for run in runs if not out.json_mode else ():
        out.say(ending(run, out))
    codes = {exit_code_of(run) for run in runs}
    return next(code for code in (ExitCode.RUN_FAILED, ExitCode.STOPPED, ExitCode.OK) if code in codes)
