"""The supervisor's process, started early: it loads its modules while the launcher is still making the plan.

It waits at a socket for the run, and for the run's lock; when the socket closes with nothing said, it ends. This module
is small because it is the first that a submit loads.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import LauncherError

SUPERVISOR = Path(__file__).resolve().with_name("supervisor.py")
IMPORT_PATH = str(SUPERVISOR.parent.parent.parent)
"""Where the supervisor finds ``launcher`` and ``storage``: where this process did."""
ANSWER_SECONDS = 60.0
"""How long a busy machine may take to start a Python."""


class Driver:
    """A supervisor that waits for its run."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is the supervisor's in place of this process's own."""
        self._socket, theirs = socket.socketpair()
        variables = os.environ if environment is None else environment
        path = [IMPORT_PATH, *filter(None, [variables.get("PYTHONPATH")])]
        with theirs:
            theirs.set_inheritable(True)
            self.pid = os.posix_spawn(  # by its path, since -m would look for modules in the working folder first
                sys.executable,
                [sys.executable, str(SUPERVISOR), str(theirs.fileno())],
                {**variables, "PYTHONPATH": os.pathsep.join(path)},
                file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)],
                setsid=True,
            )

    def close(self) -> None:
        """Let the process go: there is no run for it."""
        self._socket.close()

    def drive(self, home: Path, run_id: str, lock: int) -> None:
        """Hand the run over, and its lock with it: there is no moment at which neither process holds it.

        Returns when the supervisor has answered; LauncherError if there is none.
        """
        with self._socket:
            self._socket.settimeout(ANSWER_SECONDS)
            try:
                socket.send_fds(self._socket, [json.dumps([str(home), run_id]).encode()], [lock])
                answer = self._socket.recv(1)
            except OSError:
                answer = b""
        if not answer:
            hint = f"{sys.executable} -c 'import launcher.targets.supervisor' shows why"
            raise LauncherError("the process that drives local runs did not start", hint)


def told(descriptor: int) -> tuple[Path, str] | None:
    """The supervisor's side: the home and the run, once they are known; the lock stays open in this process."""
    with socket.socket(fileno=descriptor) as launcher:
        message, locks, _, _ = socket.recv_fds(launcher, 1 << 16, 1)
        if not message or not locks:
            return None
        launcher.send(b"!")
    home, run_id = json.loads(message)
    return Path(home), run_id
