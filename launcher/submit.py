"""plan -> stage -> create -> record: the one way in.

What is on disk after each step, so that a ``kill -9`` anywhere leaves the run there once or not at all::

    claim      the run's folder and lock          nothing in the ledger: nobody will ever see it
    add        ledger: Creating                   killed here: the next command records Abnormal
    stage      code and data in the bucket        committed by manifests; the next submit goes on from there
    create     ledger: Pending, driver started    the target answers for the run from here on
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from launcher.errors import ExitCode, Unsettled
from launcher.ledger import Ledger
from launcher.output import Progress, Say
from launcher.plan import Plan, is_committed, key_of
from launcher.run import Run, now
from launcher.targets.base import Target


def submit(
    plan: Plan, target: Target, ledger: Ledger, progress: Progress, check: Callable[[], None] = lambda: None
) -> Run:
    """Carry a plan out; returns when the target has the run. Errors end the run in the ledger, and are raised.

    ``check`` is called between the steps, and as bytes go up; what it raises ends the submit. It is not called once
    the target has the run.
    """
    run = planned(plan, target)
    return start(run, target, ledger, lambda: stage(plan, target, ledger, progress, check), check)


def planned(plan: Plan, target: Target) -> Run:
    """The run that a plan is for, before it is written down."""
    return Run(
        id=plan.run,
        job=plan.job.spec.name,
        target=target.name,
        name=plan.name,
        phase="Creating",
        created_at=now(),
        parameters=dict(plan.parameters),
        output=plan.output_url,
        request=plan.request,
        remote=target.remote(plan),
    )


def start(
    run: Run,
    target: Target,
    ledger: Ledger,
    prepare: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> Run:
    """Write a run down, ``prepare`` what it needs in the bucket, and hand it to the target."""
    with target.claim(run.id):
        check()
        ledger.add(run)
        try:
            prepare()
            target.storage().write(f"{key_of(run.output)[: -len('/output')]}/run.json", record(run))
            check()
            target.create(run, ledger)
        except Unsettled:
            raise  # the run may be there: whoever looks next finds out
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            message = "interrupted before it started" if stopped else f"could not be submitted: {error}"
            ledger.move(run.id, "Terminated" if stopped else "Failed", ended_at=now(), message=message)
            raise
    return ledger.get(run.id)


def bring_data(plan: Plan, say: Say, progress: Progress) -> Plan:
    """Prepare a known data set that is not on this machine yet."""
    if not plan.data or not plan.data.missing or not plan.data.dataset:
        return plan
    from launcher import datasets

    path = datasets.prepare(plan.data.dataset, say=say, progress=progress)
    return replace(plan, data=replace(plan.data, path=path))


def stage(plan: Plan, target: Target, ledger: Ledger, progress: Progress, check: Callable[[], None]) -> None:
    """Bring code and data into the bucket, each tree once; its manifest, written last, commits it."""
    storage = target.storage()
    code, data = plan.snapshot, plan.data
    trees: list[tuple[str, Path, str, Any, dict[str, bytes], bool]] = [
        ("code", code.project, plan.code_url, code.manifest, code.rewritten, False)
    ]
    if data and data.path and data.manifest:
        trees.append((f"data {data.name!r}", data.path, data.url, data.manifest, {}, data.packed is not None))
    for label, source, url, manifest, content, pack in trees:
        if is_committed(storage, url, manifest):
            ledger.note(plan.run, f"{label} already there", url)
            continue
        from storage.transfer import upload_tree

        with progress(f"uploading {label}", manifest.total_bytes) as advance:

            def sent(count: int, advance: Callable[[int], None] = advance) -> None:
                check()
                advance(count)

            upload_tree(source, storage, key_of(url), manifest, content=content, progress=sent, pack=pack)
        ledger.note(plan.run, f"{label} uploaded", url)


def record(run: Run) -> bytes:
    """``run.json``: what another machine needs to find and show the run."""
    return json.dumps({**run.to_json(), "request": run.request}, indent=2, ensure_ascii=False).encode()


def exit_code_of(run: Run) -> ExitCode:
    """What ``submit``, ``wait`` and ``logs -f`` tell the shell about an ended run."""
    codes = {"Completed": ExitCode.OK, "Terminated": ExitCode.STOPPED, "Terminating": ExitCode.STOPPED}
    return codes.get(run.phase, ExitCode.RUN_FAILED)
