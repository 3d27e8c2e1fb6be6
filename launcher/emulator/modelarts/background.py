"""An emulator as a process of its own: started, asked after, stopped.

The state folder's lock tells whether one runs; `emulator.json` in it says where. The process logs to `emulator.log`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.locks import is_held
from launcher.targets.driver import IMPORT_PATH

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Running:
    """An emulator that serves."""

    pid: int
    endpoint: str
    environment: dict[str, str]


def find(folder: Path) -> Running | None:
    """The emulator of that state folder, None when there is none or it does not serve yet."""
    if not is_held(folder / "lock"):
        return None
    try:
        told = json.loads((folder / "emulator.json").read_text())
        found = Running(told["pid"], told["endpoint"], told["environment"])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(found.endpoint + "/_emulator", timeout=5) as reply:
            json.load(reply)
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    return found


def start(folder: Path, words: Sequence[str]) -> Running:
    """Start `emulator` with those words in a session of its own; returns when it serves."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "emulator.log"
    path = [IMPORT_PATH, *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(log, "ab") as output:
        before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", "emulator", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            start_new_session=True,
        )
    ends = time.monotonic() + START_SECONDS
    while (found := find(folder)) is None or found.pid != process.pid:
        if process.poll() is not None or time.monotonic() > ends:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            said = log.read_bytes()[before:].decode("utf-8", "replace").strip().splitlines()[-2:] or ["it said nothing"]
            raise LauncherError(f"the emulator did not start: {' '.join(said)}", f"cat {log}")
        time.sleep(0.02)
    process.returncode = 0  # it is to outlive this process: nobody waits for it
    return found


def stop(folder: Path) -> bool:
    """End the emulator of that folder and wait until its lock is free; whether there was one. Its jobs go on."""
    try:
        told: dict[str, Any] = json.loads((folder / "emulator.json").read_text())
    except (OSError, ValueError):
        return False
    if not is_held(folder / "lock"):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(told["pid"], signal.SIGTERM)
    ends = time.monotonic() + STOP_SECONDS
    while is_held(folder / "lock"):
        if time.monotonic() > ends:
            raise LauncherError(f"the emulator (process {told['pid']}) does not end", f"kill -9 {told['pid']}")
        time.sleep(0.02)
    return True
