"""What a local folder holds, and the one symlink policy of this project.

 1. A link to a file or folder inside the root is followed and stands for its content: a tree in storage has no links.
 2. A link that leads out of the root is refused, unless the caller passes `follow_outside=True`.
 3. A link that dangles or leads back to a folder above it is refused, always.
 4. Pipes, sockets and devices are refused, always.
 5. Temporary files of ours (`storage.files`) are no content. Empty folders are not kept.

Refused means LinkRefused, naming the link. The root itself may be a link.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

from .base import AnyPath
from .errors import Conflict, LinkRefused, NotFound, StorageError, UnsafeKey, translated
from .files import is_temporary, special_file
from .urls import check_key


class Found(NamedTuple):
    """A file of a tree."""

    path: str
    """Relative to the root, with slashes; passes `check_key`."""
    location: str
    """Where to open it."""
    status: os.stat_result
    """Of the file itself, not of a link to it."""


def walk(
    root: AnyPath, follow_outside: bool = False, refused: Optional[Callable[[StorageError], None]] = None
) -> Iterator[Found]:
    """Every file below `root`, in no particular order; a file that vanishes meanwhile may or may not be among them.

    What the policy or `check_key` refuses (LinkRefused, UnsafeKey) goes to `refused` and is left out, or is raised
    when that is None. NotFound if the root is not a folder; AccessDenied naming a folder that cannot be read.
    """
    top = os.path.realpath(root)
    if not os.path.isdir(top):
        raise NotFound(f"{os.fspath(root)} is not a folder")
    pending: List[Tuple[str, str, Tuple[str, ...]]] = [(top, "", (top,))]
    while pending:
        folder, prefix, above = pending.pop()
        for name in _names(folder, missing_is_fine=folder != top):
            path, location = prefix + name, os.path.join(folder, name)
            try:
                is_link = os.path.islink(location)
                status = _status(top, location, follow_outside or not is_link)  # `folder` is a real path inside
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    real = os.path.realpath(location) if is_link else location
                    if real in above:
                        raise _refused(location, "leads back to a folder that it is in")
                    pending.append((real, path + "/", (*above, real)))
                elif not is_temporary(name):
                    yield Found(check_key(path), location, status)
            except (LinkRefused, UnsafeKey) as error:
                if refused is None:
                    raise
                refused(error)


def find(root: AnyPath, path: str, follow_outside: bool = False) -> Found:
    """One file of the tree, under the same policy. NotFound if there is none; UnsafeKey for a path that climbs out."""
    top = os.path.realpath(root)
    location = os.path.join(top, *check_key(path).split("/"))
    status = _status(top, location, follow_outside)
    if status is None or stat.S_ISDIR(status.st_mode):
        raise NotFound(f"there is no file {path!r} in {os.fspath(root)}")
    return Found(path, location, status)


def _names(folder: str, missing_is_fine: bool) -> List[str]:
    try:
        with translated(f"cannot read {folder}"):
            return os.listdir(folder)
    except (NotFound, Conflict):
        if missing_is_fine:
            return []
        raise


def _status(top: str, location: str, follow_outside: bool) -> Optional[os.stat_result]:
    """Of a file or folder that the policy lets through; None if there is nothing. `top` is a real path."""
    with translated(f"cannot read {location}"):
        try:
            status = os.stat(location)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(location):
                raise _refused(location, "is a link to nothing") from None
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise _refused(location, "is a link that leads in a circle") from None
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise special_file(location)
    if not follow_outside:
        real = os.path.realpath(location)
        if not os.path.join(real, "").startswith(os.path.join(top, "")):
            raise _refused(location, f"is reached by a link that leads out of {top}, to {real}")
    return status


def _refused(location: str, why: str) -> LinkRefused:
    return LinkRefused(f"{location} {why}", "remove the link, or put in its place what it should point to")
