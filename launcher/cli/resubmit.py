"""``resubmit``: another run of the very code and data of an earlier one, with other parameters if need be."""

from __future__ import annotations

import argparse

from launcher.cli.common import Interrupts, add_run
from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help="override a parameter"
    )
    parser.add_argument("-d", "--detach", action="store_true", help="print the new run's id and return")
    parser.add_argument("--no-pull", action="store_true", help="leave the output in the bucket")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets
    from launcher.cli.submit import finish
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from launcher.plan import new_run_id
    from launcher.run import Run, now
    from launcher.spec import JobSpec, override
    from launcher.submit import start

    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets, Interrupts() as interrupts:
        old = ledger.find(args.run)
        target = targets.of(old)
        interrupts.once = target.detaches
        spec = override(JobSpec(name=old.job[:40], boot_file="again.py", parameters=old.parameters), args.assignments)
        run_id = new_run_id(old.job[:40])
        output, request = target.again(old, run_id, spec.parameters)
        remote = {key: value for key, value in old.remote.items() if key not in ("id", "tasks", "looked")}
        run = Run(
            id=run_id,
            job=old.job,
            target=old.target,
            name=run_id if old.name == old.id else old.name,
            phase="Creating",
            created_at=now(),
            parameters=spec.parameters,
            output=output,
            request=request,
            remote=remote,
        )
        out.say(f"target {target.name} ({target.place}): run {run_id}, as {old.id}")
        run = start(run, target, ledger, check=interrupts.check)
        ledger.note(run.id, "resubmitted", old.id)
        return finish(run, target, home, ledger, interrupts, args, out)
