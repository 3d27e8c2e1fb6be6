"""The back ends under test. Add one here and the contract and transfer suites run on it too."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from storage import Storage
from storage.filesystem import FileSystemStorage
from storage.moxing import MoxingStorage
from storage.obs import ObsService, ObsSettings
from tests.moxing.emulation import emulated_moxing
from tests.servers.emulated import emulated
from tests.servers.process import Server
from tests.servers.radosgw import radosgw
from tests.servers.seaweedfs import seaweedfs

NOBODY = 65534


@contextlib.contextmanager
def filesystem(folder: Path) -> Iterator[Storage]:
    yield FileSystemStorage(folder / "bucket", "bucket")


@contextlib.contextmanager
def moxing(folder: Path) -> Iterator[Storage]:
    """The platform's, which the launcher's emulation stands in for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAUNCHER_BUCKETS", str(folder))
        patch.setenv("MOX_SILENT_MODE", "1")
        yield MoxingStorage(emulated_moxing().file, "bucket")


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Storage]]] = {"filesystem": filesystem, "moxing": moxing}

OBS: dict[str, tuple[str, dict[str, str]]] = {
    "obs": ("emulated", {"signature": "obs"}),
    "obs by the SDK": ("emulated", {"signature": "obs", "wire": "sdk"}),
    "obs, v2": ("emulated", {"signature": "v2"}),
    "seaweedfs": ("seaweedfs", {}),
    "seaweedfs by the SDK": ("seaweedfs", {"wire": "sdk"}),
    "radosgw": ("radosgw", {}),
    "radosgw by the SDK": ("radosgw", {"wire": "sdk"}),
}
"""Name -> a server, and how it is spoken to."""
SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "emulated": emulated,
    "seaweedfs": seaweedfs,
    "radosgw": radosgw,
}
MARKS = {"seaweedfs": pytest.mark.slow, "radosgw": pytest.mark.radosgw}
LONGEST_SEGMENT = {"seaweedfs": 255}
"""Bytes of a key between two slashes, where a server has a limit of its own."""
LONG_SEGMENTS = {"test_list_is_recursive_by_string_prefix_and_in_byte_order"}
"""Tests whose keys are longer, without a parameter `key` to tell."""


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """`servers("seaweedfs")`: a running server, started when it is first asked for."""
    running: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def find(name: str) -> Server:
            if name not in running:
                running[name] = stack.enter_context(SERVERS[name]())
            return running[name]

        yield find


@contextlib.contextmanager
def fresh_bucket(server: Server, **settings: str) -> Iterator[Storage]:
    """An empty bucket of a server, which goes with what is in it."""
    keys = {"access_key": server.access_key, "secret_key": server.secret_key, "addressing": "path"}
    service = ObsService(ObsSettings(endpoint=server.endpoint, **keys, **settings))
    name = server.fresh_bucket()
    try:
        yield service.bucket(name)
        assert list(service.leftovers(name)) == []
        bucket = service.bucket(name)
        bucket.delete([info.key for info in bucket.list()])
        service.remove_bucket(name)
    finally:
        service.close()


@pytest.fixture(
    params=[
        *sorted(BACKENDS),
        *(pytest.param(name, marks=MARKS.get(server, ())) for name, (server, _) in OBS.items()),
    ]
)
def storage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    servers: Callable[[str], Server],
) -> Iterator[Storage]:
    """An empty bucket of each back end in turn."""
    if request.param in BACKENDS:
        with BACKENDS[request.param](tmp_path_factory.mktemp("store")) as opened:
            yield opened
        return
    name, settings = OBS[request.param]
    longest = LONGEST_SEGMENT.get(name, 1024)
    key = request.node.callspec.params.get("key", "")
    if request.node.originalname in LONG_SEGMENTS and longest < 1024:
        pytest.skip(f"{name} holds no name over {longest} bytes")
    if any(len(segment.encode("utf-8", "replace")) > longest for segment in key.split("/")) and len(key) <= 1024:
        pytest.skip(f"{name} holds no name over {longest} bytes")
    with fresh_bucket(servers(name), **settings) as opened:
        yield opened


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder in which permissions count, also when the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.fixture
def plant() -> Callable[..., Path]:
    """`plant(root, {"a/b": b"…"})`: files on the local disk."""

    def make(root: Path, files: dict[str, bytes]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return root

    return make


@pytest.fixture
def sha256() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For the name `localhost` only."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
