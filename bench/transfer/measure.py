"""One command as a whole process: wall time, CPU time, peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What a process took, its children included."""

    seconds: float
    cpu: float
    """User and system seconds."""
    peak: float
    """MB (1e6 bytes): the most that its processes together had resident at one look of many."""
    error: str = ""
    """The end of what it said, if it did not end with 0 or in time."""


def measure(command: Sequence[str], environment: Mapping[str, str], limit: float) -> Measured:
    """Run it, for at most ``limit`` seconds, in a session of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    watch = _Watch(process.pid)
    watch.start()
    said = bytearray()
    reader = threading.Thread(target=lambda: said.extend(process.stdout.read() if process.stdout else b""), daemon=True)
    reader.start()
    timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    timer.cancel()
    watch.ended.set()
    watch.join()
    reader.join(5)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout:
        process.stdout.close()
    error = ""
    if process.returncode:
        text = bytes(said).decode(errors="replace").strip()
        error = f"no end after {limit:.0f} s" if seconds >= limit else text[-2000:] or f"exit code {process.returncode}"
    peak = max(watch.peak, usage.ru_maxrss * 1024)
    return Measured(seconds, usage.ru_utime + usage.ru_stime, peak / 1e6, error)


class _Watch(threading.Thread):
    """Adds up what the processes of a session have resident, ten times a second; a single process' own peak, which the
    kernel keeps, is more exact."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.peak = 0
        self.ended = threading.Event()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.ended.wait(0.1):
            total = 0
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = stat.read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self.session:
                    total += int(fields[21]) * page
            self.peak = max(self.peak, total)
