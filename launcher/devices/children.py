"""Boot files as children: they import MindSpore and the job's code, which the launcher never does.

Their stdout is one JSON value, their stderr is talk (``entrypoints/application/telling.py``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from launcher.devices.errors import ModelError
from launcher.devices.models import named
from launcher.jobs import HOUSE
from launcher.output import Say
from launcher.paths import Home
from launcher.settings import load_settings

PARTING_SECONDS = 10
QUIET = "4"
"""MindSpore's own log: what goes wrong is told in two lines, and not in its C++ lines before them too."""


def ask(home: Home, boot: str, arguments: Sequence[str], say: Say, run: str = "") -> dict[str, Any]:
    """Run ``entrypoints/BOOT.py`` of the project, or of the launcher where it has none; its answer.

    ModelError with the child's own two lines where it failed; where they say RUN, it is ``run``, which the child does
    not know. Ctrl-C ends the child too.
    """
    python = load_settings(home).python or sys.executable
    path = next((place for place in (home.project, HOUSE) if (place / "entrypoints" / f"{boot}.py").is_file()), HOUSE)
    code = [f"--code={home.project}"] if home.project != path else []
    command = [python, str(path / "entrypoints" / f"{boot}.py"), "--json", *code, *arguments]
    environment = {"GLOG_v": QUIET, **os.environ, "LAUNCHER_BUCKETS": str(home.buckets)}
    try:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C comes by way of us, and finds it where it can tidy up
        )
    except OSError as error:
        raise ModelError(f"{python} cannot be started: {error.strerror}", "mend python: in the settings") from None
    with child:
        talk = _Talk(child, say)
        try:
            out = child.stdout.read() if child.stdout else b""
            child.wait()
        except BaseException:
            _end(child)
            raise
        finally:
            talk.join()
    return _answer(out, child.returncode, talk.last, boot, run)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let it tidy up, if it does so soon."""
    child.terminate()
    try:
        child.wait(timeout=PARTING_SECONDS)
    except BaseException:  # it is busy, or Ctrl-C came again
        child.kill()
        child.wait()


def _answer(out: bytes, code: int, last: str, boot: str, run: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        if code < 0:
            hint = "run the same command again; if it is killed again, look whether the memory is enough: free -h"
            raise ModelError(f"{boot}.py was killed by signal {-code}", hint) from None
        more = f": {last}" if last else ""
        raise ModelError(
            f"{boot}.py ended with {code}, without an answer{more}", "LAUNCHER_DEBUG=1 shows more"
        ) from None
    if "error" in answer:
        raise ModelError(answer["error"]["message"], named(answer["error"]["hint"], run))
    return answer


class _Talk(threading.Thread):
    """The child's stderr, line by line."""

    def __init__(self, child: subprocess.Popen[bytes], say: Say) -> None:
        super().__init__(daemon=True)
        self._stream, self._say, self.last = child.stderr, say, ""
        self.start()

    def run(self) -> None:
        for line in self._stream or ():
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self.last = text
                self._say(text)
