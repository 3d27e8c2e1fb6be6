"""A drill: a run that kills itself at a given point, as the kernel or a power cut would, to show that nothing is lost.

LAUNCHER_DRILL=kill@0.5 in the environment: after half of all steps; kill@1234: after that step. A run that has resumed
is spared, so that a platform which starts it again ends the drill, unless LAUNCHER_DRILL_AGAIN is set.
"""

from __future__ import annotations

import math
import os
import re
import signal
from typing import Mapping

from jobs import JobError

VARIABLE = "LAUNCHER_DRILL"
AGAIN = "LAUNCHER_DRILL_AGAIN"


def kill_step(environ: Mapping[str, str], steps: int, resumed: bool = False) -> int:
    """After which of all `steps` to die; -1 for never. JobError for a drill that cannot be."""
    text = environ.get(VARIABLE, "")
    if not text or (resumed and not environ.get(AGAIN)):
        return -1
    match = re.fullmatch(r"kill@(\d+(?:\.\d*)?|\.\d+)", text)
    number = float(match.group(1)) if match else 0.0
    step = math.ceil(number * steps) if number < 1 else int(number)
    if not 1 <= step <= steps:
        raise JobError(
            f"{VARIABLE} is {text!r}, which is no point of a training of {steps} steps",
            f"set it to kill@0.5, or to a step from kill@1 to kill@{steps}",
        )
    return step


def kill() -> None:
    """SIGKILL to this process: nothing is saved, nothing is said, no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)
