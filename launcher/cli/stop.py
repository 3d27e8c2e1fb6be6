"""``stop``: ask runs to end; each may finish its step and save a last checkpoint."""

from __future__ import annotations

import argparse
import time

from launcher.cli.common import add_run
from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="+")
    parser.add_argument("--now", action="store_true", help="kill at once; no last checkpoint")
    parser.add_argument("--no-wait", action="store_true", help="ask, and return at once")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets, ending
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from storage.retry import waiting

    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets:
        runs = [ledger.find(reference) for reference in args.run]
        for run in runs:
            target = targets.of(run)
            if not target.refresh(run, ledger).final:
                target.stop(run, ledger, now=args.now)
        ended = []
        for run in runs:
            target = targets.of(run)
            run, pause = target.refresh(run, ledger), target.poll_seconds[0]
            with waiting(f"{run.id} to end", tries=1):
                while not run.final and not args.no_wait:
                    time.sleep(max(0.05, pause))
                    pause = min(pause * 1.2, target.poll_seconds[1])
                    run = target.refresh(run, ledger)
            ended.append(run)
    if out.json_mode:
        out.json([run.to_json() for run in ended])
    for run in ended if not out.json_mode else ():
        out.say(ending(run, out))
    return ExitCode.OK
