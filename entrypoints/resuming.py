"""From which checkpoint a run goes on, if from any: by wish, or because the platform has started it again."""

from __future__ import annotations

import os
from typing import Callable, Optional, Tuple

from jobs import JobError
from storage import is_remote

from . import checkpoints
from .contract import Arguments, Container
from .output import Output

Say = Callable[[str], None]


def find_checkpoint(
    arguments: Arguments, container: Container, output: Output, scratch: str, say: Say, note: Say
) -> Tuple[Optional[checkpoints.Found], Output]:
    """The checkpoint to continue from, brought to `scratch`, and the output that it is of, which may be another run's.

    JobError if what is there is none of ours, or damaged where that step was asked for.
    """
    restarted = _was_restarted(arguments, container, output, say)
    places = [arguments.train_url] if arguments.resume == "yes" or restarted else []
    places += [arguments.resume_url] if arguments.resume_url else []
    step = -1 if restarted else arguments.resume_step  # it was for the first start
    for place in places:
        source = output if _place(place) == _place(arguments.train_url) else Output(place)
        found = checkpoints.find(source, scratch, note, step)
        if found:
            say(f"resuming from {found.checkpoint.file} of {place}")
            return found, source
        say(f"{place} has no checkpoint to resume from")
    if places:
        say("starting from scratch")
    return None, output


def _was_restarted(arguments: Arguments, container: Container, output: Output, say: Say) -> bool:
    """Whether the output has checkpoints of this run: those of another run are never taken for our own."""
    if arguments.resume == "no" or not container.run:
        return False
    try:
        manifest = checkpoints.read_manifest(output)
    except JobError:  # somebody else's; it will be replaced
        return False
    if manifest is None or manifest.run != container.run or not manifest.checkpoints:
        return False
    say(f"the platform started {container.run} again")
    return True


def _place(url: str) -> str:
    """The same text for every way to write the same output."""
    return url.rstrip("/").replace("s3://", "obs://") if is_remote(url) else os.path.realpath(url)
