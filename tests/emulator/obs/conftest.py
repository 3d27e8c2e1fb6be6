"""The server under test, in this process and freshly made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obs import ObsClient

from launcher.emulator.obs import ObsServer
from tests.servers.emulated import emulated, serving
from tests.servers.process import ACCESS_KEY, SECRET_KEY, Server
from tests.servers.radosgw import radosgw
from tests.servers.seaweedfs import seaweedfs

DIALECTS = {"v2": {"signature": "v2"}, "obs": {"signature": "obs", "client_mode": "workflow"}}
"""How the SDK is made to sign by path: with `obs` in no other mode."""

Client = Callable[..., ObsClient]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObsServer]:
    with serving(tmp_path / "root") as opened:
        yield opened


@pytest.fixture
def client(server: ObsServer) -> Client:
    """`client("obs")`: the SDK in that dialect, with its retries off."""

    def make(
        dialect: str = "obs", access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, **more: object
    ) -> ObsClient:
        options = {"path_style": True, "max_retry_count": 0, "timeout": 5, **DIALECTS[dialect], **more}
        return ObsClient(access_key, secret_key, server=server.endpoint, **options)

    return make


@pytest.fixture(params=sorted(DIALECTS))
def sdk(request: pytest.FixtureRequest, client: Client) -> ObsClient:
    """The SDK in both dialects in turn, with a bucket named `bucket`."""
    opened = client(request.param)
    assert opened.createBucket("bucket").status == 200
    return opened


REAL = {"emulated": emulated, "seaweedfs": seaweedfs, "radosgw": radosgw}
MARKS = {"emulated": (), "seaweedfs": (pytest.mark.slow,), "radosgw": (pytest.mark.radosgw,)}


@pytest.fixture(scope="session", params=[pytest.param(name, marks=MARKS[name]) for name in REAL])
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Ours and the real ones in turn, each started once."""
    with REAL[request.param]() as opened:
        yield opened
