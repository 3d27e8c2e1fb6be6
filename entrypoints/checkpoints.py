"""Checkpoints: each is there whole, or not there.

    checkpoints/lenet5-2_1875.ckpt    after step 1875 of epoch 2; MindSpore's own format, all that `Trainer.state` has
    checkpoints/manifest.json         the checkpoints that count, oldest first, each with its size and sha256

A checkpoint is written to scratch, sent under a temporary name, renamed, and only then named in the manifest, which is
itself replaced whole. Whatever is killed whenever: what the manifest names is good. An old one is deleted only after
the manifest has ceased to name it, and a name is used again only after that too. All of this is done by the output's
thread; the training waits only while a state is copied in memory.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from jobs import JobError, State
from storage.errors import Corrupt, NotFound
from storage.files import hash_file

from .output import At, Output

if TYPE_CHECKING:
    import numpy as np

FOLDER = "checkpoints"
MANIFEST = FOLDER + "/manifest.json"
SHOWN_DIFFERENCES = 3

Note = Callable[[str], None]
Metrics = Mapping[str, float]
"""Of a checkpoint: `loss`, the mean over the epoch so far; `total`, its sum, to the bit; `accuracy`, if measured."""
Value = Union[int, float, str]
Settings = Mapping[str, Value]


class Checkpoint(NamedTuple):
    """One line of the manifest."""

    file: str
    size: int
    sha256: str
    step: int
    """Steps done since the beginning of the training."""
    epoch: int
    """The epoch, from 1, that the last of them belongs to."""
    time: str
    metrics: Dict[str, float]


class Manifest(NamedTuple):
    """What `checkpoints/manifest.json` says."""

    job: str
    schedule: Dict[str, Value]
    """What must be equal for a run to continue another one: steps_per_epoch, batch_size, seed, ..."""
    checkpoints: Tuple[Checkpoint, ...] = ()
    parameters: Mapping[str, Value] = MappingProxyType({})
    """All of them, and what the run trained on: a difference from another run's is told."""
    run: str = ""
    """What the platform calls the run that wrote it."""

    def best(self) -> Optional[Checkpoint]:
        """The one with the highest accuracy, or else with the lowest loss; the newest of equals."""
        return max(reversed(self.checkpoints), key=_merit, default=None)

    def encode(self) -> bytes:
        best = self.best()
        content = {
            **self._asdict(),
            "parameters": dict(self.parameters),
            "checkpoints": [checkpoint._asdict() for checkpoint in self.checkpoints],
        }
        content["best"] = best.file if best else None
        return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


class Found(NamedTuple):
    """A checkpoint that has been verified and is here."""

    checkpoint: Checkpoint
    path: str
    manifest: Manifest
    """Without the checkpoints that are newer, which are damaged."""


def read_manifest(output: Output) -> Optional[Manifest]:
    """The manifest of a run's output, if it has one; JobError if it is none of ours."""
    data = output.read(MANIFEST)
    if data is None:
        return None
    try:
        content = json.loads(data.decode())
        checkpoints = tuple(_checkpoint(entry) for entry in content["checkpoints"])
        schedule, parameters = dict(content["schedule"]), dict(content.get("parameters", {}))
        return Manifest(str(content["job"]), schedule, checkpoints, parameters, str(content.get("run", "")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobError(
            f"{output.url}: {MANIFEST} is not a manifest of checkpoints ({type(error).__name__}: {error})",
            "remove that file to start anew, or pass --resume_url with the output of another run",
        ) from error


def find(output: Output, scratch: str, note: Note, step: int = -1) -> Optional[Found]:
    """Bring the newest checkpoint that verifies, or only that of `step`, to the folder `scratch`, if any.

    `note` hears of damaged ones. JobError if there are checkpoints, but no good one of `step`.
    """
    manifest = read_manifest(output)
    if manifest is None or not manifest.checkpoints:
        return None
    steps = [checkpoint.step for checkpoint in manifest.checkpoints]
    if step >= 0 and step not in steps:
        raise JobError(
            f"{output.url} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}",
            f"resume from one of these, such as the newest: --resume_step={steps[-1]}",
        )
    for count in range(len(steps), 0, -1):
        checkpoint = manifest.checkpoints[count - 1]
        if step not in (-1, checkpoint.step):
            continue
        path = os.path.join(scratch, checkpoint.file)
        try:
            size = output.download(f"{FOLDER}/{checkpoint.file}", path, checkpoint.sha256)
            if size != checkpoint.size:
                raise Corrupt(f"it has {size} bytes and must have {checkpoint.size}")
        except (NotFound, Corrupt) as error:
            if step >= 0:
                raise JobError(
                    f"checkpoint {checkpoint.file} is damaged: {error}",
                    "resume from the newest that is whole: --resume",
                ) from error
            note(f"warning: checkpoint {checkpoint.file} is damaged and skipped: {error}")
            continue
        return Found(checkpoint, path, manifest._replace(checkpoints=manifest.checkpoints[:count]))
    return None


def check_schedule(found: Found, job: str, schedule: Settings) -> None:
    """JobError unless a run with this schedule would have come to that checkpoint by itself."""
    manifest = found.manifest
    if manifest.job != job:
        raise JobError(
            f"checkpoint {found.checkpoint.file} is of the job {manifest.job}, and this is {job}",
            "resume with the job that wrote it, or leave --resume away",
        )
    for name, value in schedule.items():
        before = manifest.schedule.get(name, 1 if name == "devices" else None)  # once there was only one
        if before != value:
            raise JobError(
                f"checkpoint {found.checkpoint.file} was trained with {name}={before}, and this run has {name}={value}",
                "use the same data, or leave --resume away"
                if name == "steps_per_epoch"
                else f"train on {before} again, or leave --resume away"
                if name == "devices"
                else f"pass --{name}={before}, or leave --resume away",
            )


def changes(found: Found, parameters: Settings) -> List[str]:
    """What differs from the run that wrote the checkpoint, and is allowed to: a line each."""
    before = found.manifest.parameters
    return [
        f"{name} is {value} from here on; up to step {found.checkpoint.step} it was {before[name]}"
        for name, value in parameters.items()
        if name in before and before[name] != value
    ]


def load(found: Found, expected: State) -> State:
    """The arrays of a checkpoint. JobError, with the difference, unless names, shapes and types are those of
    `expected`.

    MindSpore's own load_param_into_net is too helpful here: when names do not match it drops their prefixes, and may
    put moments into weights.
    """
    import mindspore

    try:
        loaded = mindspore.load_checkpoint(found.path)
    except (ValueError, RuntimeError) as error:
        raise JobError(
            f"checkpoint {found.checkpoint.file} is whole, but MindSpore cannot read it: {error}",
            "resume with the version that wrote it",
        ) from error
    state = {name: parameter.asnumpy().copy() for name, parameter in loaded.items()}
    differences = _differences(state, expected)
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        shown = "; ".join(differences[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise JobError(
            f"checkpoint {found.checkpoint.file} is of another network: {shown}",
            "resume with the code that wrote it, or leave --resume away",
        )
    return state


class Publisher:
    """Writes the checkpoints of one run to its output, and keeps the manifest."""

    def __init__(self, output: Output, manifest: Manifest, keep_last: int, scratch: str) -> None:
        """`manifest`: as it is to be written, without checkpoints."""
        self._output = output
        self._manifest = manifest
        self._keep_last = keep_last
        self._scratch = scratch

    def begin(self, kept: Sequence[Checkpoint] = ()) -> None:
        """Start from these checkpoints of the output; others that lie there are of no run any more and go."""
        ours = re.compile(re.escape(self._manifest.job) + r"-\d+_\d+\.ckpt")
        names = {f"{FOLDER}/{checkpoint.file}" for checkpoint in kept}
        stale = [
            name for name in self._output.names(FOLDER) if ours.fullmatch(os.path.basename(name)) and name not in names
        ]
        self._manifest = self._manifest._replace(checkpoints=tuple(kept))
        self._output.write(MANIFEST, self._manifest.encode())
        self._output.remove(stale)

    def adopt(self, found: Found) -> None:
        """Publish a checkpoint of another output as it is. Its file in scratch is gone afterwards."""
        self._output.later(lambda at: self._send(at, found.path, found.checkpoint))

    def publish(self, state: State, epoch: int, step: int, metrics: Metrics, patience: Optional[float] = None) -> bool:
        """Save a state, which must not change any more, as it is after `step` steps in all, and send it off.

        Returns at once, unless the last one is still on its way: then it waits, so that no more than one is in memory.
        False if that takes longer than `patience` seconds. `Output.flush` tells when it has arrived. A state that is
        not finite is not published: the next call of the output raises JobError.
        """
        done = step - (epoch - 1) * int(self._manifest.schedule["steps_per_epoch"])
        file = f"{self._manifest.job}-{epoch}_{done}.ckpt"
        if not self._output.flush(patience):
            return False

        def work(at: At) -> None:
            path = os.path.join(self._scratch, file)
            _check_finite(state, step, self._manifest)
            save(state, path)
            written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            new = Checkpoint(file, os.path.getsize(path), hash_file(path), step, epoch, written, dict(metrics))
            self._send(at, path, new)

        self._output.later(work)
        return True

    def newest(self) -> str:
        """The file of the last checkpoint that has arrived, for people."""
        return self._manifest.checkpoints[-1].file if self._manifest.checkpoints else ""

    def _send(self, at: At, path: str, new: Checkpoint) -> None:
        """The file first, then the manifest that names it, and only then the removal of what that no longer names."""
        everything = self._manifest._replace(checkpoints=(*self._manifest.checkpoints, new))
        stay = {checkpoint.file for checkpoint in everything.checkpoints[-self._keep_last :]}
        best = everything.best()
        stay.update({best.file} if best else ())
        kept = tuple(checkpoint for checkpoint in everything.checkpoints if checkpoint.file in stay)
        old = [checkpoint.file for checkpoint in everything.checkpoints if checkpoint.file not in stay]
        at.upload(path, f"{FOLDER}/{new.file}", new.sha256)
        manifest = everything._replace(checkpoints=kept)
        at.write(MANIFEST, manifest.encode())
        self._manifest = manifest
        at.remove([f"{FOLDER}/{file}" for file in old])


def save(state: State, path: str) -> None:
    """Write arrays as a MindSpore checkpoint, readable by all: MindSpore itself leaves its files with mode 0400."""
    import mindspore

    parameters = [{"name": name, "data": mindspore.Tensor(array)} for name, array in state.items()]
    logger = logging.getLogger(f"ME.mindspore.log.{os.getpid()}")  # MindSpore's own, which says less than its exception
    logger.disabled = True
    try:
        mindspore.save_checkpoint(parameters, path)
    except (RuntimeError, ValueError, OSError) as error:
        raise JobError(
            f"cannot save a checkpoint in {os.path.dirname(path)}: {error}",
            "free space there, and start again with --resume",
        ) from error
    finally:
        logger.disabled = False
    os.chmod(path, 0o644)


def _merit(checkpoint: Checkpoint) -> Tuple[float, float]:
    metrics = checkpoint.metrics
    return metrics.get("accuracy", -1.0), -metrics.get("loss", 0.0)


def _check_finite(state: State, step: int, manifest: Manifest) -> None:
    """JobError for weights that are nan or inf, which the loss shows only a step later."""
    import numpy as np

    bad = [name for name, array in state.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad:
        last = manifest.checkpoints[-1].file if manifest.checkpoints else ""
        raise JobError(
            f"after step {step} the weights are no numbers any more ({bad[0]}); they were not saved",
            f"the last good checkpoint is {last}: resume from it with a smaller learning rate"
            if last
            else "train with a smaller learning rate",
        )


def _checkpoint(entry: Any) -> Checkpoint:
    checkpoint = Checkpoint(**{name: entry[name] for name in Checkpoint._fields})
    if not re.fullmatch(r"[\w.-]+\.ckpt", checkpoint.file) or not re.fullmatch(r"[0-9a-f]{64}", checkpoint.sha256):
        raise ValueError(f"{checkpoint.file!r} is not described as a checkpoint is")
    if not all(
        isinstance(number, int) and number >= 0 for number in (checkpoint.size, checkpoint.step, checkpoint.epoch)
    ):
        raise ValueError(f"{checkpoint.file} has an odd size, step or epoch")
    return checkpoint


def _differences(there: State, here: State) -> List[str]:
    differences = []
    for name in sorted(set(there) | set(here)):
        if name not in there:
            differences.append(f"it has no {name}")
        elif name not in here:
            differences.append(f"it has {name}, which this network has not")
        elif (there[name].shape, there[name].dtype) != (here[name].shape, here[name].dtype):
            differences.append(f"{name} is {_describe(there[name])} there and {_describe(here[name])} here")
    return differences


def _describe(array: np.ndarray[Any, Any]) -> str:
    return f"{array.dtype} {'x'.join(str(size) for size in array.shape) or 'scalar'}"
