"""What a run does about the signals that ask it to end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from typing import Iterator

STUCK_SECONDS = 8.0
"""How long one of several processes may not hear a stop request: a step of ResNet-50 takes some, and one that waits for
another which is gone will never hear it."""

ALL_SECONDS = 14.0
"""What a process that has heard it has in all; the platform kills it after 15 s."""

LOOK_SECONDS = 0.1


class StopRequest:
    """SIGTERM and Ctrl-C. Before the first step there is nothing to save, and the process ends at once; from `defer`
    on, `code` becomes the exit code, and whoever trains looks at it often.
    """

    def __init__(self) -> None:
        self.code = 0
        self.scratch = ""
        self._deferred = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    @property
    def name(self) -> str:
        """Of the signal, once there was one."""
        return signal.Signals(self.code - 128).name

    def defer(self) -> None:
        self._deferred = True

    @contextlib.contextmanager
    def watched(self, stuck_seconds: float = ALL_SECONDS) -> Iterator[None]:
        """Meanwhile, end the process if it is asked to stop and does not come to its end.

        A handler written in Python runs between two steps of Python. A process that compiles a network, or that waits
        for another one which may be gone, does none; how long that may take is `stuck_seconds`.
        """
        heard, signalled = os.pipe()
        os.set_blocking(signalled, False)
        before = signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(heard, stuck_seconds, over), name="stop", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            signal.set_wakeup_fd(before)
            os.close(signalled)
            thread.join()
            os.close(heard)

    def _watch(self, heard: int, stuck_seconds: float, over: threading.Event) -> None:
        number = 0
        while number not in (signal.SIGTERM, signal.SIGINT):
            told = os.read(heard, 1)
            if not told:
                return
            number = told[0]
        asked = time.monotonic()
        while time.monotonic() < asked + (ALL_SECONDS if self.code else stuck_seconds):
            if over.wait(LOOK_SECONDS):
                return
        os.write(2, f"ended by {signal.Signals(number).name}, which was not heard in time\n".encode())
        shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(128 + number)

    def _hear(self, number: int, _: object) -> None:
        self.code = 128 + number
        if not self._deferred:
            # No print, in which the signal may have come, and no exception, which MindSpore may take for its own.
            os.write(2, f"stopped by {signal.Signals(number).name} before the first step\n".encode())
            shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(self.code)
