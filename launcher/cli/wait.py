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
    from launcher.cli.common import Targets, tell_end
    from launcher.errors import ServiceError
    from launcher.ledger import Ledger
    from launcher.logs import Patience
    from launcher.paths import Home
    from launcher.submit import exit_code_of
    from storage.errors import Unreachable
    from storage.retry import waiting

    deadline = time.monotonic() + args.timeout if args.timeout is not None else float("inf")
    home, pause = Home.find(), 0.01
    with Ledger(home) as ledger, Targets(home, out) as targets:
        runs = [ledger.find(reference) for reference in args.run]
        patience = Patience(out.warn)
        with waiting(tries=1) as pending:
            while not all(run.final for run in runs):
                try:
                    runs = targets.refreshed(runs, ledger)
                    patience.renew()
                except (ServiceError, Unreachable) as error:
                    patience.bear(error)
                left = [run.id for run in runs if not run.final]
                pending.host = ", ".join(f"{run.id} ({run.phase})" for run in runs if not run.final)
                if left and time.monotonic() > deadline:
                    hint = f"python -m launcher wait {' '.join(left)}"
                    raise NotFinished(f"after {args.timeout:g} s not ended: {', '.join(left)}", hint)
                if left:
                    shortest, longest = next(targets.of(run).poll_seconds for run in runs if not run.final)
                    pause = max(pause, shortest)
                    time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
                    pause = min(pause * 1.5, max(longest, 1.0))
        if out.json_mode:
            out.json([run.to_json() for run in runs])
        for run in runs if not out.json_mode else ():
            tell_end(run, targets.of(run), out)
    codes = {exit_code_of(run) for run in runs}
    return next(code for code in (ExitCode.RUN_FAILED, ExitCode.STOPPED, ExitCode.OK) if code in codes)
