"""``adopt``: a job that was started elsewhere (in the console, by a colleague) becomes a run here."""

from __future__ import annotations

import argparse

from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="its id or its name on the target")
    parser.add_argument("--target", default="modelarts", help="where it is (default: modelarts)")
    parser.add_argument("-P", "--profile", help="the account that it is in")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets, ending
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from launcher.settings import load_settings

    home = Home.find()
    settings = load_settings(home, target=args.target)
    with Ledger(home, create=True) as ledger, Targets(home, out) as targets:
        run = targets.named(settings.target, args.profile).adopt(args.job, ledger)
    if out.json_mode:
        out.json(run.to_json())
        return ExitCode.OK
    out.data(run.id)
    out.say(ending(run, out) if run.final else f"{run.id}: {run.phase}; follow it: python -m launcher logs -f {run.id}")
    return ExitCode.OK
