"""The job contract: what a boot file is given, and how it says what went wrong.

ModelArts calls a boot file with `--data_url=... --train_url=...` and the job's parameters as `--name=value`. There are
two contracts, told apart by the values:

    old   data_url and train_url are s3:// or obs:// URLs; the boot file copies, in and out
    new   they are folders, which the platform fills before the start, and copies out every 30 s and at the end

Which arguments the platform adds besides is its own affair: what is not known here is named in one line and ignored.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from typing import Any, Mapping, NoReturn, Optional, Sequence, Tuple

from jobs import Job, JobError
from storage import StorageError

from . import devices

DEVICES = ("auto", "Ascend", "GPU", "CPU")
TRUE = ("1", "true", "yes", "on")
FALSE = ("", "0", "false", "no", "off")
SETTLED_SECONDS = 60.0
"""A scratch folder that was made this long ago has its lock, if its process lives."""


@dataclass(frozen=True)
class Arguments:
    """A command line, understood."""

    data_url: str
    train_url: str
    resume: str
    """Whether to continue from a good checkpoint in train_url: `yes`, `no`, or `auto`: if this very run wrote it."""
    resume_url: str
    """Continue from the output of an earlier run, if train_url has nothing to continue from. May be empty."""
    resume_step: int
    """Continue from the checkpoint of this step and no other; -1: from the newest good one."""
    device_target: str
    keep_last: int
    checkpoint_minutes: float
    """Between two checkpoints, besides those that end an epoch; 0: only those."""
    evaluate_every: int
    """Epochs between two evaluations; 0: only one at the end."""
    parameters: Any
    """The job's own `parameters`."""
    unknown: Tuple[str, ...]
    """What was given and is not known here."""


@dataclass(frozen=True)
class Container:
    """The place of this process among those of the run, as ModelArts' environment variables tell it."""

    rank: int
    """0 for the process that publishes checkpoints and results; the others only train."""
    size: int
    device_id: int
    run: str
    """What the platform calls this run; the same when it starts it again after a failure. Empty outside of one."""
    cards: int = 0
    """Of this node; 0 if the platform does not say."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Container:
        """RANK_ID and RANK_SIZE are set where the boot file runs once a card, VC_* where it runs once a node; DLS_* are
        those of the first training service."""
        return cls(
            rank=_number(environ, ("RANK_ID", "VC_TASK_INDEX", "DLS_TASK_INDEX"), 0),
            size=max(1, _number(environ, ("RANK_SIZE", "VC_WORKER_NUM", "MA_NUM_HOSTS", "DLS_TASK_NUMBER"), 1)),
            device_id=_number(environ, ("ASCEND_DEVICE_ID", "DEVICE_ID"), 0),
            run=environ.get("MA_VJ_NAME", ""),
            cards=_number(environ, ("MA_NUM_GPUS",), 0),
        )


def parse(job: Job, argv: Sequence[str], environ: Mapping[str, str]) -> Arguments:
    """Understand a command line: JobError for one that cannot be. `--help` prints and exits.

    An input or output whose access method is `env` comes as an environment variable called data_url or train_url.
    """
    parser = _Parser(
        prog=os.path.basename(sys.argv[0]), description=f"Train {job.name}.", argument_default=None, allow_abbrev=False
    )
    text = parser.add_argument
    text("--data_url", default=environ.get("data_url", ""), metavar="FOLDER|URL", help="the training data")
    text(
        "--train_url", default=environ.get("train_url", ""), metavar="FOLDER|URL", help="the output (default: ./output)"
    )
    text(
        "--resume",
        nargs="?",
        const="1",
        default="",
        metavar="yes|no",
        help="continue what train_url has the checkpoints of",
    )
    text("--resume_step", type=int, default=-1, metavar="N", help="continue from the checkpoint of this step")
    text("--resume_url", default="", metavar="FOLDER|URL", help="continue from the output of an earlier run")
    text(
        "--device_target", default="auto", metavar="|".join(DEVICES), help="where to train (default: the best there is)"
    )
    text(
        "--keep_last", type=int, default=5, metavar="N", help="how many checkpoints to keep, and the best (default: 5)"
    )
    text(
        "--checkpoint_minutes",
        type=float,
        default=10.0,
        metavar="N",
        help="between checkpoints within an epoch; 0: only at its end (default: 10)",
    )
    text(
        "--evaluate_every", type=int, default=0, metavar="N", help="epochs between evaluations; 0: at the end (default)"
    )
    own = dataclasses.fields(job.parameters)
    for field in own:
        about = f"{field.metadata.get('help', '')} (default: {field.default})"
        text(f"--{field.name}", type=type(field.default), default=field.default, metavar="N", help=about)
    found, unknown = parser.parse_known_args(argv)

    if not found.data_url:
        raise JobError(
            "--data_url is missing", f"pass the folder or URL of the training data: {parser.prog} --data_url=..."
        )
    if found.keep_last < 1:
        raise JobError(f"keep_last is {found.keep_last}", "pass --keep_last=1 or more")
    if not found.checkpoint_minutes >= 0:
        raise JobError(f"checkpoint_minutes is {found.checkpoint_minutes}", "pass --checkpoint_minutes=0 or more")
    if found.evaluate_every < 0:
        raise JobError(f"evaluate_every is {found.evaluate_every}", "pass --evaluate_every=0 or more")
    if found.resume.lower() not in TRUE + FALSE:
        raise JobError(f"resume is {found.resume!r}", "pass --resume, or --resume=no")
    devices = {device.lower(): device for device in DEVICES}
    if found.device_target.lower() not in devices:
        raise JobError(f"device_target is {found.device_target!r}", "pass --device_target=" + ", ".join(DEVICES))
    return Arguments(
        data_url=found.data_url,
        train_url=found.train_url or os.path.join(os.getcwd(), "output"),
        resume="yes" if found.resume.lower() in TRUE else "no" if found.resume else "auto",
        resume_url=found.resume_url,
        resume_step=found.resume_step,
        device_target=devices[found.device_target.lower()],
        keep_last=found.keep_last,
        checkpoint_minutes=found.checkpoint_minutes,
        evaluate_every=found.evaluate_every,
        parameters=job.parameters(**{field.name: getattr(found, field.name) for field in own}),
        unknown=tuple(unknown),
    )


def scratch_folder(name: str, environ: Mapping[str, str]) -> str:
    """A new folder for files that nobody needs afterwards, on the node's fast disk (/cache) if it has one.

    What was left there by one that was killed goes. Within a run it is known by its name: a platform that starts this
    very worker again does not empty the disk. By hand it is known by its lock, which ended with its process.
    """
    container = Container.of(environ)
    words = f"{name}-{container.run}-{container.rank}" if container.run else f"modelarts-launcher-{name}"
    own = re.sub(r"\W", "_", words) + "-"
    places = (environ.get("LAUNCHER_CACHE", ""), "/cache", tempfile.gettempdir())
    found = next((place for place in places if place and os.path.isdir(place) and os.access(place, os.W_OK)), None)
    for left in os.listdir(found) if found else ():
        path = os.path.join(str(found), left)
        if left.startswith(own) and (container.run or _is_left(path)):
            shutil.rmtree(path, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=own, dir=found)
    _lock(folder)
    return folder


def _is_left(folder: str) -> bool:
    """Whether it is ours, and the process that made it is gone; one that is just being made has no lock yet."""
    try:
        found = os.lstat(folder)
        old = time.time() - found.st_mtime > SETTLED_SECONDS
        if not (old and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()):
            return False
        lock = _lock(folder)
    except (OSError, AttributeError):  # it has gone, or this is no system that has users
        return False
    if lock is not None:
        os.close(lock)
    return lock is not None


def _lock(folder: str) -> Optional[int]:
    """Its descriptor, which holds the lock until the process ends; None if somebody has it, or it cannot be had."""
    descriptor = None
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except (OSError, ImportError):
        if descriptor is not None:
            os.close(descriptor)
        return None


def explain(error: BaseException, who: str = "") -> int:
    """Tell the user, in two lines on stderr, and give the exit code. LAUNCHER_DEBUG=1 shows the traceback too.

    `who` names the process, where there are several.
    """
    if os.environ.get("LAUNCHER_DEBUG", "") not in FALSE:
        traceback.print_exception(type(error), error, error.__traceback__)
    error = devices.mishap(error) or error
    if isinstance(error, (JobError, StorageError)):
        message, hint = error.message, error.hint or "look at the path or URL, and try again"
    elif isinstance(error, OSError):
        message, hint = str(error), "free space or give access there, and start again with --resume"
    else:
        message = f"{type(error).__name__}: {devices.first_line(str(error))}"
        hint = "LAUNCHER_DEBUG=1 shows where this came from"
    message = devices.first_line(message) or "no details were given"
    sys.stderr.write(f"error: {who}{message}\nhint: {devices.first_line(hint)}\n")  # at once: several may share a log
    sys.stderr.flush()
    return 1


def _number(environ: Mapping[str, str], names: Sequence[str], default: int) -> int:
    values: Tuple[Optional[str], ...] = tuple(environ.get(name) for name in names)
    return next((int(value) for value in values if value and value.isdigit()), default)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise JobError(message, f"{self.prog} --help lists the arguments")
