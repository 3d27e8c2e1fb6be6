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

NOBODY = 65534


@contextlib.contextmanager
def filesystem(folder: Path) -> Iterator[Storage]:
    yield FileSystemStorage(folder / "bucket", "bucket")


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Storage]]] = {"filesystem": filesystem}


@pytest.fixture(params=sorted(BACKENDS))
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """An empty bucket of each back end in turn."""
    with BACKENDS[request.param](tmp_path_factory.mktemp("store")) as opened:
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
