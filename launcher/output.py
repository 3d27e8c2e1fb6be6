"""The one sink: data to stdout, talk to stderr, JSON never mixed with text.

Nothing else in the launcher prints. Modes: ``human`` (talk and progress on stderr), ``json`` (one JSON value on
stdout, talk still on stderr), ``quiet`` (data only).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
PHASE_STYLES = {
    "Completed": "green",
    "Failed": "red",
    "Abnormal": "red",
    "Terminated": "yellow",
    "Terminating": "yellow",
    "Running": "cyan",
}

Say = Callable[[str], None]
Advance = Callable[[int], None]
Progress = Callable[..., AbstractContextManager[Advance]]
"""``progress(label, total, unit="bytes")`` gives a context whose callback counts bytes, or whatever ``unit`` says; a
``total`` of 0 is not known."""


class Output:
    """Where a verb puts what it has to say."""

    def __init__(self, mode: str = "human", stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.mode = mode
        self._open_line = False
        self._bars: list[_Bar] = []
        self.counts_bytes = False
        """Whether bytes are being counted, be it in a bar that a person sees or not."""
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr

    @property
    def json_mode(self) -> bool:
        return self.mode == "json"

    def data(self, text: str) -> None:
        """A line of what was asked for."""
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def log(self, chunk: bytes) -> None:
        """Bytes of a job's log, as they are; with ``--json`` they are talk."""
        stream = self.stderr if self.json_mode else self.stdout
        self._open_line = not chunk.endswith(b"\n")
        stream.flush()
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(chunk.decode("utf-8", "replace"))
        else:
            buffer.write(chunk)
            buffer.flush()

    def json(self, value: Any) -> None:
        """The one JSON value of this call."""
        import json

        json.dump(_finite(value), self.stdout, indent=2, ensure_ascii=False, allow_nan=False)
        self.stdout.write("\n")
        self.stdout.flush()

    def say(self, text: str) -> None:
        """Talk: what is being done, what to type next."""
        if self.mode != "quiet":
            self._talk(text)

    def warn(self, text: str) -> None:
        """Talk that even ``--quiet`` keeps."""
        self._talk(self.style("warning: ", "yellow", self.stderr) + text)

    def error(self, code: str, message: str, hint: str) -> None:
        """Two lines: what happened, and what mends it. With ``--json``, one object on stdout."""
        message, hint = " ".join(message.split()), " ".join(hint.split())
        if self.json_mode:
            self.json({"error": {"code": code, "message": message, "hint": hint}})
            return
        self._talk(self.style("error: ", "red", self.stderr) + message)
        if hint:
            self._talk(self.style("hint:  ", "cyan", self.stderr) + hint)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns on stdout; phases are coloured in a terminal."""
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        self.data(self.style("  ".join(cell.ljust(w) for cell, w in zip(header, widths, strict=True)).rstrip(), "bold"))
        for row in rows:
            cells = [self.style(cell.ljust(w), PHASE_STYLES.get(cell, "")) for cell, w in zip(row, widths, strict=True)]
            self.data("  ".join(cells).rstrip())

    def style(self, text: str, style: str, stream: TextIO | None = None) -> str:
        """``text`` in colour where the stream is a terminal and ``NO_COLOR`` is not set."""
        if not style or not self.colour(stream if stream is not None else self.stdout):
            return text
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m"

    @staticmethod
    def colour(stream: TextIO) -> bool:
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "bytes") -> Iterator[Advance]:
        """A callback that counts; a terminal shows rate and time left once the work has taken half a second."""
        before, self.counts_bytes = self.counts_bytes, self.counts_bytes or unit == "bytes"
        try:
            if self.mode == "quiet" or not self.stderr.isatty():
                yield lambda count: None
                return
            bar = _Bar(label, total, unit)
            self._bars.append(bar)
            try:
                yield bar.advance
            finally:
                self._bars.remove(bar)
                bar.close()
        finally:
            self.counts_bytes = before

    @contextmanager
    def busy(self, label: str) -> Iterator[None]:
        """A terminal shows that something is at work which cannot be counted, once it has lasted half a second."""
        import threading

        with self.progress(label, 0, "") as advance:
            timer = threading.Timer(_Bar.DELAY + 0.1, advance, [0])
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()

    def _talk(self, text: str) -> None:
        if self._open_line and self.stdout.isatty():  # a log that ends without a line end
            text = "\n" + text
        self._open_line = False
        for drawn in (bar.bar for bar in list(self._bars) if bar.bar is not None):
            drawn.console.print(text, markup=False, highlight=False, soft_wrap=True)  # above the bar, not in it
            return
        self.stderr.write(text + "\n")
        self.stderr.flush()


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they are null there."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


class _Bar:
    """A rich progress bar that is not imported, and not drawn, for what is over at once."""

    DELAY = 0.5

    def __init__(self, label: str, total: int, unit: str = "bytes") -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.started = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def advance(self, count: int) -> None:
        self.done += count
        if self.bar is None and time.monotonic() - self.started > self.DELAY:
            self._open()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        counted = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} " + self.unit)]
        bytes_ = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn()]
        columns = bytes_ if self.unit == "bytes" else counted if self.unit else counted[:2]
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task(self.label, total=self.total or None, completed=self.done)
        self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
