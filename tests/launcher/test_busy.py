"""A terminal shows that something is at work; whoever is no terminal sees nothing of it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
CODE = """
import sys, time
from launcher.output import Output
with Output(sys.argv[1]).busy("loading the model"):
    time.sleep(float(sys.argv[2]))
"""


def shown(mode: str, seconds: str) -> str:
    """What a terminal gets to see."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", CODE, mode, seconds]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "TERM": "xterm"}
    try:
        subprocess.run(command, env=environment, stderr=theirs, stdout=subprocess.DEVNULL, check=True, timeout=60)
        os.write(theirs, b"\n.")
        return os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_lasts_is_shown_and_what_is_over_at_once_is_not() -> None:
    assert "loading the model" in shown("human", "2")
    assert "loading the model" not in shown("human", "0")
    assert "loading the model" not in shown("quiet", "2")
