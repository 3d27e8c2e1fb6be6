"""A bucket of our own OBS, and a file that goes there in parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from launcher.emulator.obs import Fault, Faults, Kind, ObsServer
from storage.obs import ObsService, ObsSettings, ObsStorage
from tests.servers.emulated import serving
from tests.servers.process import ACCESS_KEY, SECRET_KEY

LARGE = 40 << 20
PASSING = [
    Fault(Kind.FLIPPED_DOWNLOAD, after=77),
    Fault(Kind.TRUNCATED, after=1000),
    Fault(Kind.INTERNAL_ERROR),
    Fault(Kind.SLOW_DOWN, seconds=0.1),
    Fault(Kind.TIMEOUT_408),
    Fault(Kind.TOO_MANY, seconds=0.1),
    Fault(Kind.REQUEST_TIMEOUT),
    Fault(Kind.LOST_REPLY),
    Fault(Kind.SILENT),
]
"""What a download gets over. A reset is another matter before and after the answer has begun: each test has its own."""


class Place(NamedTuple):
    """A server that counts its requests and can be made to fail, and a bucket in it."""

    server: ObsServer
    service: ObsService
    bucket: ObsStorage

    @property
    def faults(self) -> Faults:
        return self.server.faults

    @property
    def leftovers(self) -> int:
        """Uploads that nobody has ended."""
        return len(list(self.service.leftovers("bucket")))


@contextmanager
def opened(server: ObsServer, **settings: Any) -> Iterator[Place]:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    service = ObsService(ObsSettings(**{"endpoint": server.endpoint, **keys, **settings}))
    service.make_bucket("bucket")
    yield Place(server, service, service.bucket("bucket"))
    service.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(tmp_path / "root") as server, opened(server, signature="obs", timeout=2) as place:
        yield place


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    return path
