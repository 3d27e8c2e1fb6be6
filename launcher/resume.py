"""What ``--resume RUN`` means: which run's output to go on from, and from which checkpoint of it."""

from __future__ import annotations

import json
from typing import NamedTuple

from launcher.errors import DataError
from launcher.ledger import Ledger
from launcher.run import Run
from launcher.targets.base import Target
from storage.base import Storage
from storage.errors import NotFound

MANIFEST = "checkpoints/manifest.json"
"""Below a run's output; written by ``entrypoints.checkpoints``, which says what is in it."""


class Resume(NamedTuple):
    """``step`` is None for the newest good checkpoint."""

    url: str
    step: int | None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the boot file is told besides ``resume_url``."""
        return () if self.step is None else (f"--resume_step={self.step}",)


def resolve(reference: str, ledger: Ledger, target: Target) -> Resume:
    """``RUN``, ``RUN@STEP`` or ``RUN@best``; a checkpoint that is not there is a DataError, with those that are."""
    from launcher.plan import key_of

    storage = target.storage()
    name, _, point = reference.rpartition("@")
    is_point = bool(name) and (point.isdigit() or point == "best")
    run = ledger.find(name if is_point else reference)
    if run.target == target.name and next(iter(storage.list(f"{key_of(run.output)}/")), None) is None:
        message = f"run {run.id} is {run.phase} and has left nothing to go on from"
        raise DataError(message, f"python -m launcher logs {run.id} --tail 50, or submit {run.job} without --resume")
    if not is_point:
        return Resume(run.output, None)
    steps, best = _checkpoints(run, storage)
    wanted = best if point == "best" else int(point)
    if wanted is None or wanted not in steps:
        there = f"it has {', '.join(map(str, sorted(steps)))}" if steps else "it has none at all"
        look = f"python -m launcher logs {run.id} --tail 50"
        hint = f"python -m launcher submit {run.job} --resume {run.id}@{max(steps)}" if steps else look
        raise DataError(f"run {run.id} has no checkpoint {point}; {there}", hint)
    return Resume(run.output, wanted)


def _checkpoints(run: Run, storage: Storage) -> tuple[set[int], int | None]:
    """The steps of a run's checkpoints, and that of the best one."""
    from launcher.plan import key_of

    try:
        with storage.read(f"{key_of(run.output)}/{MANIFEST}") as stream:
            manifest = json.loads(stream.read())
        steps = {str(entry["file"]): int(entry["step"]) for entry in manifest["checkpoints"]}
    except NotFound:
        return set(), None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} of run {run.id} cannot be read: {error}", "resume without @STEP") from None
    return set(steps.values()), steps.get(str(manifest.get("best")))
