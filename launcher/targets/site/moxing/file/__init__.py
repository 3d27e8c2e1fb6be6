"""`moxing.file`: files on this machine and objects of OBS alike. See `docs/moxing.md`."""

from __future__ import annotations

from . import file_io as file_io
from ._accounts import set_auth
from ._copying import append_remote, copy, copy_parallel, rename
from ._errors import (
    MoxFileNameDuplicateException,
    MoxFileNotExistsException,
    MoxFileReadException,
    MoxFileRespException,
)
from ._looking import exists, get_size, glob, is_directory, list_directory, scan_dir, stat, walk
from ._making import append, make_dirs, mk_dir, read, remove, write
from ._shifting import shift, unshift
from ._stream import File

__all__ = [
    "File",
    "MoxFileNameDuplicateException",
    "MoxFileNotExistsException",
    "MoxFileReadException",
    "MoxFileRespException",
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
    "shift",
    "stat",
    "unshift",
    "walk",
    "write",
]
