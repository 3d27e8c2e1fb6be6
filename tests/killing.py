"""A launcher that is killed at a named step: for `python -c`, in a process of its own."""

from __future__ import annotations

import os
import signal
from typing import Any


def kill_at(owner: Any, name: str, before: bool) -> None:
    """Make a function of `owner` kill this process, before it does anything or after it has done all."""
    real = getattr(owner, name)

    def killed(*words: Any, **named: Any) -> None:
        if not before:
            real(*words, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killed)
