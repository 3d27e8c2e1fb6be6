"""What a run does about the signals that ask it to end."""

from __future__ import annotations

import os
import shutil
import signal


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

    def _hear(self, number: int, _: object) -> None:
        self.code = 128 + number
        if not self._deferred:
            # No print, in which the signal may have come, and no exception, which MindSpore may take for its own.
            os.write(2, f"stopped by {signal.Signals(number).name} before the first step\n".encode())
            shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(self.code)
