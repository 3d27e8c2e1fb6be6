"""``show``: everything that is known of one run."""

from __future__ import annotations

import argparse
from typing import Any

from launcher.cli.common import add_run
from launcher.errors import ExitCode, LauncherError
from launcher.output import PHASE_STYLES, Output


def register(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", default="@last")


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.cli.common import Targets, brief, shown
    from launcher.cli.runs import took
    from launcher.ledger import Ledger
    from launcher.paths import Home
    from storage.errors import StorageError

    home = Home.find()
    with Ledger(home) as ledger, Targets(home, out) as targets:
        run = ledger.find(args.run)
        more: dict[str, Any] = {}
        try:
            target = targets.of(run)
            run = target.refresh(run, ledger)
            more = target.describe(run)
        except (LauncherError, StorageError) as error:
            if not run.final:
                raise
            out.warn(f"only what is known here: {error}")
        steps = ledger.steps(run.id)
    if out.json_mode:
        out.json({**run.to_json(), "steps": steps, **more})
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
    _more(more, out)
    out.data("steps")
    for step in steps:
        out.data(f"  {step['at']}  {step['step']}" + (f"  {step['detail']}" if step["detail"] else ""))
    return ExitCode.OK


def _more(more: dict[str, Any], out: Output) -> None:
    """What the cloud adds, as far as it has said anything."""
    rows = [("machine", more.get("machine")), ("job", more.get("job_id")), ("cost", more.get("cost"))]
    rows.append(("usage", ", ".join(f"{k} {v:g} %" for k, v in (more.get("usage") or {}).items() if v is not None)))
    for cause in more.get("causes") or ():
        rows += [("cause", cause["what"]), ("", cause["evidence"]), ("mend", cause["hint"])]
    for name, value in rows:
        if value:
            out.data(f"{name:<11}{value}")
    for title in ("stages", "events"):
        lines = more.get(title) or []
        if lines:
            out.data(title)
        for line in lines:
            text = line.get("message") or f"{line.get('name')}: {line.get('en_message') or ''}"
            out.data(f"  {line.get('time') or line.get('start_time') or ''}  {text}")
