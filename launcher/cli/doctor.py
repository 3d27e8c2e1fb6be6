"""``doctor``: look at everything a run needs, before a byte is sent."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.checks import Check

STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


def register(parser: argparse.ArgumentParser) -> None:
    from launcher.cli.common import complete_jobs

    parser.add_argument("--target", help="which target's needs: local or modelarts (default: the settings' one)")
    job = parser.add_argument("--job", metavar="JOB", help="also what this job needs")
    job.completer = complete_jobs  # type: ignore[attr-defined]
    parser.add_argument("-P", "--profile", metavar="NAME", help="an account, from profiles: in your config.yaml")
    parser.add_argument("--region", metavar="ID", help="such as cn-north-4")
    parser.add_argument("--bucket", metavar="NAME", help="for code, data and output")
    parser.epilog = "Exit code: 0 when nothing failed, 1 when something did; warnings do not count."


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.checks import check_job, check_local_target, check_machine, guarded
    from launcher.paths import Home
    from launcher.settings import load_settings

    home = Home.find()
    settings = load_settings(home, target=args.target, profile=args.profile, region=args.region, bucket=args.bucket)
    local = settings.target == "local"
    out.say(f"target {settings.target}")
    with out.progress("checking", 0, "checks") as done:
        checks = guarded("machine", lambda: check_machine(home))
        done(1)
        if local:
            checks += guarded("local target", lambda: check_local_target(home, settings))
            done(1)
        job = None
        if args.job:
            found, job = check_job(args.job, home, settings, local)
            checks += found
            done(1)
        if not local:
            from launcher.modelarts.doctor import check_modelarts

            checks += check_modelarts(settings, job, done)
    failures = sum(check.level == "fail" for check in checks)
    if out.json_mode:
        out.json([check.to_json() for check in checks])
    else:
        for check in _gathered(checks):
            code = f" [{check.code}]" if check.code else ""
            out.data(f"{out.style(f'{check.level:4}', STYLES[check.level])}  {check.name:17}  {check.found}{code}")
            if check.hint and check.level != "ok":
                out.data(f"{'':25}-> {check.hint}")
        warnings = sum(check.level == "warn" for check in checks)
        out.say(f"{len(checks)} checks: {failures} failed, {warnings} warnings")
    return ExitCode.ERROR if failures else ExitCode.OK


def _gathered(checks: list[Check]) -> list[Check]:
    """Skipped checks without a hint of their own, as one line at the end."""
    skipped = [check for check in checks if check.level == "skip" and not check.hint]
    if len(skipped) < 2:
        return checks
    names = ", ".join(check.name for check in skipped)
    shown = [check for check in checks if check not in skipped]
    return [*shown, skipped[0]._replace(name="", found=f"{skipped[0].found}: {names}")]
