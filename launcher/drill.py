"""A drill: a job is killed in the middle and resumed, and must end as one that nobody touched, to the bit.

What is compared: the last checkpoint (weights, statistics, moments, step), the loss and the learning rate of each
epoch, and the result. Not compared, since they are of the clock: times and speeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from launcher.errors import LauncherError, UsageError
from launcher.output import Say
from launcher.plan import key_of
from launcher.resume import MANIFEST
from launcher.run import Run
from storage.base import Storage
from storage.errors import NotFound

VARIABLE = "LAUNCHER_DRILL"
"""What ``entrypoints.drill`` looks for."""
OF_THE_CLOCK = ("time", "seconds", "step_ms", "samples_per_second")

Execute = Callable[[dict[str, str], str | None], Run]
"""Submit the job with more environment, resuming from an output or from nothing, and wait for its end."""


class Comparison(NamedTuple):
    """What a part of the output was in both runs."""

    what: str
    resumed: Any
    undisturbed: Any

    @property
    def equal(self) -> bool:
        return self.resumed is not None and bool(self.resumed == self.undisturbed)


def check(point: str) -> None:
    """UsageError unless ``point`` is ``kill@0.5`` or the like."""
    if not re.fullmatch(r"kill@(0?\.\d+|[1-9]\d*)", point):
        raise UsageError(f"--drill {point!r} is no drill", "--drill kill@0.5 kills half-way, kill@100 after 100 steps")


def carry_out(point: str, execute: Execute, storage: Storage, say: Say) -> list[Comparison]:
    """Three runs: one that is killed, one that resumes it, one that nobody touches. LauncherError if they cannot be."""
    say(f"drill {point}: a run that will be killed")
    killed = execute({VARIABLE: point}, None)
    together = int(killed.request.get("nodes", 1)) * int(killed.request.get("devices", 1)) > 1
    if killed.exit_code != 137 and not (together and killed.exit_code):  # another rank may notice first
        raise LauncherError(
            f"the drill did not kill run {killed.id}: it ended {killed.phase} with exit code {killed.exit_code}",
            "a drill needs a boot file that calls entrypoints.training",
        )
    if not _checkpoints(killed, storage):
        raise LauncherError(
            f"the drill killed run {killed.id} before its first checkpoint, so there is nothing to resume",
            "choose a later point, such as --drill kill@0.9, or more epochs: there is a checkpoint after each",
        )
    say(f"drill {point}: a run that resumes {killed.id}")
    resumed = _completed(execute({}, killed.output))
    say(f"drill {point}: a run that nobody touches")
    undisturbed = _completed(execute({}, None))
    return compare(resumed, undisturbed, storage)


def compare(resumed: Run, undisturbed: Run, storage: Storage) -> list[Comparison]:
    """The outputs of two runs, part by part."""
    parts = [_parts(run, storage) for run in (resumed, undisturbed)]
    return [Comparison(what, parts[0][what], parts[1][what]) for what in parts[0]]


def _completed(run: Run) -> Run:
    if run.phase != "Completed":
        raise LauncherError(f"run {run.id} of the drill ended {run.phase}", f"python -m launcher logs {run.id}")
    return run


def _parts(run: Run, storage: Storage) -> dict[str, Any]:
    last = (_checkpoints(run, storage) or [{}])[-1]
    records = [json.loads(line) for line in _read(run, storage, "metrics.jsonl").splitlines()]
    result = json.loads(_read(run, storage, "result.json") or "{}")
    return {
        "weights, statistics, moments and step (SHA-256 of the last checkpoint)": last.get("sha256"),
        "loss of each epoch": [record.get("loss") for record in records],
        "learning rate of each epoch": [record.get("lr") for record in records],
        "result": {name: value for name, value in result.items() if name not in OF_THE_CLOCK},
    }


def _checkpoints(run: Run, storage: Storage) -> list[dict[str, Any]]:
    """Those that its manifest names, oldest first."""
    return json.loads(_read(run, storage, MANIFEST) or "{}").get("checkpoints") or []


def _read(run: Run, storage: Storage, name: str) -> str:
    try:
        with storage.read(f"{key_of(run.output)}/{name}") as stream:
            return stream.read().decode()
    except NotFound:
        return ""
