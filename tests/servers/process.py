"""Processes that end with the tests, whatever happens to these, and what a server tells its users."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from obs import ObsClient

ACCESS_KEY = "TESTAK"
SECRET_KEY = "TESTSK"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Server:
    """A server that speaks S3 or OBS."""

    name: str
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def client(self, **options: object) -> ObsClient:
        """The SDK as it is, with its retries off; by path, and so with the signature of AWS version 2."""
        settings = {"path_style": True, "max_retry_count": 0, "timeout": 20, "signature": "v2", **options}
        return ObsClient(self.access_key, self.secret_key, server=self.endpoint, **settings)

    def fresh_bucket(self) -> str:
        """Make an empty bucket of a name that nobody has used."""
        name = f"test-{secrets.token_hex(8)}"
        answer = self.client().createBucket(name)
        assert answer.status < 300, (self.name, answer.status, answer.errorCode)
        return name


class NotReady(Exception):
    """The server did not come up."""


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed when the block ends, and by the kernel when the tests' own process does."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            preexec_fn=_die_with_parent,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_usable(server: Server, processes: Sequence[subprocess.Popen[bytes]], log: Path, seconds: float) -> None:
    """Until a bucket can be made and written to, which is later than when the port opens; NotReady."""
    wait_for(lambda: _is_usable(server), processes, log, seconds)


def wait_for(
    ready: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]], log: Path, seconds: float
) -> None:
    """Until `ready()`; NotReady when a process ends before or time is up."""
    ends = time.monotonic() + seconds
    while not ready():
        dead = [process.args for process in processes if process.poll() is not None]
        if dead or time.monotonic() > ends:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise NotReady(f"{'ended: ' + str(dead) if dead else 'not ready in time'}\n{tail}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _is_usable(server: Server) -> bool:
    name = f"ready-{secrets.token_hex(8)}"
    try:
        client = server.client(timeout=5)
        if client.createBucket(name).status >= 300 or client.putContent(name, "ready", "x").status >= 300:
            return False
        return bool(client.deleteObject(name, "ready").status < 300 and client.deleteBucket(name).status < 300)
    except Exception:
        return False


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
