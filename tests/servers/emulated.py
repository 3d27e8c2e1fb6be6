"""Our own OBS, in the process of the tests or in one of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher.emulator.obs import Account, Faults, ObsServer
from tests.servers.process import ACCESS_KEY, SECRET_KEY, Server, free_ports, running, wait_until_usable

HOUSE = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def emulated() -> Iterator[Server]:
    """A server with one account, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="obs-") as folder, serving(Path(folder)) as server:
        yield Server("emulated", server.endpoint)


@contextlib.contextmanager
def serving(
    root: Path, faults: Faults | None = None, tls: tuple[Path, Path] | None = None, **accounts: Account
) -> Iterator[ObsServer]:
    """The server itself, for what can be done with it from inside."""
    known = {ACCESS_KEY: Account(SECRET_KEY), **accounts}
    with ObsServer(root, accounts=known, faults=faults, tls=tls) as server:
        yield server


@contextlib.contextmanager
def process(root: Path) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """The server as a process that can be killed."""
    root.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "launcher.emulator.obs", "--root", str(root), "--port", str(port)]
    env = {"OBS_ACCESS_KEY_ID": ACCESS_KEY, "OBS_SECRET_ACCESS_KEY": SECRET_KEY, "PYTHONPATH": str(HOUSE)}
    server = Server("emulated", f"http://127.0.0.1:{port}")
    log = root.with_name(root.name + ".log")
    with running(command, log, env) as started:
        wait_until_usable(server, [started], log, 30)
        yield server, started
