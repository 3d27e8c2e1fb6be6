"""Where data sets lie on this machine, whether their bytes are right, and the stamp that says they were.

A stamp is written after the hashes matched: a small file in the cache, not beside the data (an upload of the folder
carries data only). It holds size and mtime of each file; any change of either makes it void.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from .registry import DataFile, Dataset


def cache_dir() -> Path:
    """``$LAUNCHER_CACHE_DIR``, else ``modelarts-launcher`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``.

    A relative ``$XDG_CACHE_HOME`` is ignored, as its specification asks.
    """
    own = os.environ.get("LAUNCHER_CACHE_DIR")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "modelarts-launcher"


def default_dest(dataset: Dataset) -> Path:
    """The folder that all runs on this machine share."""
    return cache_dir() / "datasets" / dataset.folder


def is_right(path: Path, file: DataFile) -> bool:
    """Whether ``path`` is a plain file with the size and SHA-256 of ``file``. An unreadable one is not right."""
    try:
        status = path.stat()
        return stat.S_ISREG(status.st_mode) and status.st_size == file.size and sha256(path) == file.sha256
    except OSError:
        return False


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_stamp(dataset: Dataset, folder: Path, source: str) -> None:
    """Remember that ``folder`` was verified just now. A cache that cannot be written costs time later, no more."""
    with suppress(OSError):
        path = _stamp_path(dataset, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(
            json.dumps({"folder": str(folder.absolute()), "source": source, "files": _signature(dataset, folder)}),
            encoding="utf-8",
        )
        os.replace(temporary, path)


def read_stamp(dataset: Dataset, folder: Path) -> dict[str, Any] | None:
    """The stamp, if the files are still those that were verified: ``{"folder", "source", "files"}``."""
    try:
        stamp = json.loads(_stamp_path(dataset, folder).read_text(encoding="utf-8"))
        if isinstance(stamp, dict) and stamp["files"] == _signature(dataset, folder):
            return stamp
    except (OSError, ValueError, KeyError):
        pass
    return None


def _signature(dataset: Dataset, folder: Path) -> dict[str, list[int | str]]:
    """What a stamp compares; the table's hash is in it, so that a changed row voids old stamps."""
    signature: dict[str, list[int | str]] = {}
    for file in dataset.files:
        status = (folder / file.path).stat()
        signature[file.path] = [status.st_size, status.st_mtime_ns, file.sha256]
    return signature


def _stamp_path(dataset: Dataset, folder: Path) -> Path:
    import hashlib

    place = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    return cache_dir() / "datasets" / ".verified" / f"{dataset.name}-{place}.json"
