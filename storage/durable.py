"""What makes files outlast a power cut: their folders are fsynced too, each time, or once for all files of a tree."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Dict, Iterable, Set


class _Later(threading.local):
    """See `later`."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


later = _Later()
"""`with later:` is for who brings many files: in this thread `sync_folder` does nothing, since `sync_folders` is going
to be called for all of them at once. Until then a power cut may take back the renaming of a file, never half of it."""


def sync_folder(folder: str) -> None:
    """Make the renames in a folder outlast a power cut. Windows cannot open folders and needs no such call."""
    if not later.depth and os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folders(root: str, folders: Iterable[str]) -> None:
    """The same for folders at or below `root`, whose names come relative to it with slashes, and for all that lead to
    them, since they may be new. What has gone meanwhile, or lies above `root` and may not be read, is left out."""
    wanted: Set[str] = {""}
    for folder in folders:
        while folder not in wanted:
            wanted.add(folder)
            folder = folder.rpartition("/")[0]
    with contextlib.suppress(PermissionError):
        sync_folder(os.path.dirname(root))
    for folder in sorted(wanted):
        with contextlib.suppress(FileNotFoundError):
            sync_folder(_place(root, folder))


def sync_disks(root: str, folders: Iterable[str]) -> None:
    """Write out all that the file systems of such folders still hold back; where the system cannot do just that, all
    there are, which takes long on a machine where others write too."""
    if not hasattr(os, "sync"):
        return
    try:
        import ctypes  # not free to import

        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, OSError, AttributeError):
        os.sync()
        return
    places: Dict[int, str] = {}
    for folder in {"", *folders}:
        with contextlib.suppress(OSError):
            places.setdefault(os.stat(_place(root, folder)).st_dev, folder)
    for folder in places.values():
        descriptor = os.open(_place(root, folder), os.O_RDONLY)
        try:
            if call(descriptor):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
        finally:
            os.close(descriptor)


def _place(root: str, folder: str) -> str:
    return os.path.join(root, *folder.split("/")) if folder else root
