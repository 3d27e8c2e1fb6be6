"""The emulated `moxing.file` over local buckets, and over OBS where the SDK is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.moxing.emulation import emulated_moxing


@pytest.fixture(autouse=True)
def local_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "buckets"
    monkeypatch.setenv("LAUNCHER_BUCKETS", str(folder))
    monkeypatch.setenv("MOX_SILENT_MODE", "1")
    return folder


@pytest.fixture(params=["local", "obs"])
def mox(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`moxing.file` with an empty bucket called `bkt`."""
    file = emulated_moxing().file
    if request.param == "local":
        yield file
        return
    pytest.importorskip("obs")
    from storage.obs import ObsService, ObsSettings
    from tests.servers.emulated import serving
    from tests.servers.process import ACCESS_KEY, SECRET_KEY

    accounts = file.set_auth.__globals__
    with serving(tmp_path / "server") as server:
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        service = ObsService(ObsSettings(endpoint=server.endpoint, **keys))
        service.make_bucket("bkt")
        service.close()
        monkeypatch.setitem(accounts, "_given", {})
        monkeypatch.setitem(accounts, "_service", None)
        file.set_auth(ACCESS_KEY, SECRET_KEY, server.endpoint)
        yield file
        accounts["_account"]().close()
