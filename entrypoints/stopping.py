"""What a run does about the signals that ask it to end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

STUCK_SECONDS = 8.0
"""How long a call that does not return may keep a stop request from being heard: a step of ResNet-50 takes some."""

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

    def defer(self) -> None:
        self._deferred = True

    def watch(self) -> None:
        """From here on, end the process if it is asked to stop while it waits for another one that may be gone.

        A handler written in Python runs between two steps of Python, and a rank that waits for others does none.
        """
        heard, signalled = os.pipe()
        os.set_blocking(signalled, False)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(heard,), name="stop", daemon=True).start()

    def _watch(self, heard: int) -> None:
        while True:
            number = os.read(heard, 1)[0]
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            asked = time.monotonic()
            while time.monotonic() < asked + (ALL_SECONDS if self.code else STUCK_SECONDS):
                time.sleep(LOOK_SECONDS)
            os.write(2, f"ended by {signal.Signals(number).name} while waiting for other processes\n".encode())
            shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(128 + number)

    def _hear(self, number: int, _: object) -> None:
        self.code = 128 + number
        if not self._deferred:
            # No print, in which the signal may have come, and no exception, which MindSpore may take for its own.
            os.write(2, f"stopped by {signal.Signals(number).name} before the first step\n".encode())
            shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(self.code)
