"""``runs``: the list, newest first."""

from __future__ import annotations

import argparse

from launcher.errors import ExitCode, UsageError, nearest
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    from launcher.run import ACTIVE, FINAL

    parser.add_argument("--job", default="", help="only runs of this job")
    which = parser.add_mutually_exclusive_group()
    phases = [*ACTIVE, *FINAL]
    which.add_argument("--phase", action="append", default=[], choices=phases, help="only runs in this phase")
    which.add_argument("--active", action="store_true", help="only runs that have not ended")
    parser.add_argument("--target", default="", help="only runs on this target")
    parser.add_argument("-P", "--profile", help="the account whose runs are asked for, with --target")
    parser.add_argument("--mine", action="store_true", help="leave out jobs that no launcher started")
    parser.add_argument("--since", default="", metavar="TIME", help="only runs made since then: 2026-11-21, 90m, 2d")
    parser.add_argument("-n", "--limit", type=int, default=-1, metavar="N", help="at most so many")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets, brief
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from launcher.run import ACTIVE
    from launcher.settings import load_settings
    from launcher.targets import TARGETS

    if args.target and args.target not in TARGETS:
        raise UsageError(f"there is no target {args.target!r}", nearest(args.target, TARGETS))
    home = Home.find()
    asked = args.target or load_settings(home).target
    with Ledger(home, create=asked != "local") as ledger, Targets(home, out) as targets:
        others = []
        if asked != "local":
            others = targets.named(asked, args.profile).sync(ledger)
        targets.refreshed(ledger.runs(phases=ACTIVE, target=args.target), ledger, patient=True)
        phases = [*args.phase, *(ACTIVE if args.active else ())]
        since = _since(args.since)
        found = ledger.runs(args.job, phases, args.target, -1 if others else args.limit, since)
    if others and not args.mine:
        fits = [run for run in others if not args.job or run.job == args.job]
        fits = [run for run in fits if (not phases or run.phase in phases) and run.created_at >= since]
        found = sorted([*found, *fits], key=lambda run: run.created_at, reverse=True)
    found = found[: args.limit] if args.limit >= 0 else found
    if out.json_mode:
        out.json([run.to_json() for run in found])
        return ExitCode.OK
    if not found:
        out.say("no runs; start one with: python -m launcher submit lenet5")
        return ExitCode.OK
    rows = []
    for run in found:
        code = "" if run.exit_code is None else str(run.exit_code)
        accuracy = (run.result or {}).get("accuracy")
        rows.append([run.id, run.phase, code, run.target, run.created_at[:19] + "Z", took(run), brief(accuracy or "")])
    out.table(["RUN", "PHASE", "EXIT", "TARGET", "CREATED", "TOOK", "ACCURACY"], rows)
    known = {run.id for run in others}
    if foreign := [run.id for run in found if run.id in known]:
        count = f"{len(foreign)} {'is a job' if len(foreign) == 1 else 'are jobs'}"
        out.say(f"{count} that no launcher started; to make one a run: python -m launcher adopt {foreign[0]}")
    return ExitCode.OK


def took(run: object) -> str:
    """How long a run has been running, or ran: ``1m03s``."""
    from datetime import datetime, timezone

    started, ended = getattr(run, "started_at", None), getattr(run, "ended_at", None)
    if not started:
        return ""
    end = datetime.fromisoformat(ended.replace("Z", "+00:00")) if ended else datetime.now(timezone.utc)
    total = int((end - datetime.fromisoformat(started.replace("Z", "+00:00"))).total_seconds())
    minutes, seconds = divmod(max(total, 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def _since(text: str) -> str:
    from datetime import datetime, timedelta, timezone

    from launcher.errors import UsageError
    from launcher.spec import seconds

    if not text:
        return ""
    try:
        return (datetime.now(timezone.utc) - timedelta(seconds=seconds(text))).isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"--since {text}: neither a date nor a duration", "--since 2026-11-21 or --since 2d") from None
    return moment.astimezone(timezone.utc).isoformat()
