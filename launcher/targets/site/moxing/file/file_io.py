"""The knobs that troubleshooting guides turn in `moxing.file.file_io`. Here they change nothing."""

from __future__ import annotations

import os

from ._accounts import set_auth
from ._copying import append_remote, copy, copy_parallel, rename
from ._looking import exists, get_size, glob, is_directory, list_directory, scan_dir, stat, walk
from ._making import append, make_dirs, mk_dir, read, remove, write
from ._stream import File

__all__ = [
    "File",
    "append",
    "append_remote",
    "copy",
    "copy_parallel",
    "exists",
    "get_size",
    "glob",
    "is_directory",
    "list_directory",
    "make_dirs",
    "mk_dir",
    "read",
    "remove",
    "rename",
    "scan_dir",
    "set_auth",
    "stat",
    "walk",
    "write",
]


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default


_LARGE_FILE_METHOD = 1
_NUMBER_OF_PROCESSES = 1
_LARGE_FILE_TASK_NUM = _number("MOX_FILE_LARGE_FILE_TASK_NUM", 1)
_PARTIAL_MAXIMUM_SIZE = _number("MOX_FILE_PARTIAL_MAXIMUM_SIZE", 5 << 30)
