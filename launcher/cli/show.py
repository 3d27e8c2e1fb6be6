"""``show``: everything that is known of one run."""

from __future__ import annotations

import argparse

from launcher.cli.common import add_run
from launcher.errors import ExitCode
from launcher.output import PHASE_STYLES, Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", default="@last")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import brief, refreshed, shown
    from launcher.cli.runs import took
    from launcher.ledger import Ledger
    from launcher.paths import Home

    home = Home.find()
    with Ledger(home) as ledger:
        [run] = refreshed([ledger.find(args.run)], home, ledger)
        steps = ledger.steps(run.id)
    if out.json_mode:
        out.json({**run.to_json(), "steps": steps})
        return ExitCode.OK
    code = "" if run.exit_code is None else f", exit code {run.exit_code}"
    rows = [
        ("run", run.id),
        ("name", run.name if run.name != run.id else ""),
        ("job", run.job),
        ("target", run.target),
        ("phase", out.style(run.phase, PHASE_STYLES.get(run.phase, "")) + code),
        ("why", run.message),
        ("created", run.created_at),
        ("took", took(run)),
        ("parameters", ", ".join(f"{k}={v}" for k, v in run.parameters.items())),
        ("metrics", ", ".join(f"{k} {brief(v)}" for k, v in (run.metrics or {}).items())),
        ("result", ", ".join(f"{k} {brief(v)}" for k, v in (run.result or {}).items())),
        ("output", run.output),
        ("brought to", shown(home.outputs / run.id) if (home.outputs / run.id).is_dir() else ""),
    ]
    for name, value in rows:
        if value:
            out.data(f"{name:<11}{value}")
    out.data("steps")
    for step in steps:
        out.data(f"  {step['at']}  {step['step']}" + (f"  {step['detail']}" if step["detail"] else ""))
    return ExitCode.OK
