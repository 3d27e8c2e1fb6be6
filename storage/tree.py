"""What a local folder holds, and the one symlink policy of this project.

 1. A link to a file or folder inside the root is followed and stands for its content: a tree in storage has no links.
 2. A link that leads out of the root is refused, unless the caller passes `follow_outside=True`.
 3. A link that dangles or leads back to a folder above it is refused, always.
 4. Pipes, sockets and devices are refused, always.
 5. Temporary files of ours (`storage.files`) are no content. Empty folders are not kept.

Refused means LinkRefused, naming the link. The root itself may be a link.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import os
import re
import stat
from operator import itemgetter
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from .base import AnyPath
from .errors import Conflict, LinkRefused, NotFound, StorageError, UnsafeKey, translated
from .files import is_temporary, special_file
from .urls import MAX_KEY_BYTES, check_key

_PLAIN = re.compile("[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""Most names: ASCII of the kind that `check_key` lets through, so that it need not be asked about each of them."""


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
    """Every file below `root`, in order of the paths' UTF-8 bytes, which is also the order of `Storage.list`; a file
    that vanishes meanwhile may or may not be among them.

    What the policy or `check_key` refuses (LinkRefused, UnsafeKey) goes to `refused` and is left out, or is raised
    when that is None. NotFound if the root is not a folder; AccessDenied naming a folder that cannot be read. Memory:
    about 0.5 KiB for each name in a folder and in the folders above it.
    """
    top = os.path.realpath(root)
    if not os.path.isdir(top):
        raise NotFound(f"{os.fspath(root)} is not a folder")
    walker = _Walker(top, follow_outside, refused)
    pending = [walker.children(_Folder(top, "", True, (top,)))]
    while pending:
        for files, folder in pending[-1]:
            yield from files
            if folder is not None:
                pending.append(walker.children(folder))
                break
        else:
            pending.pop()


def find(root: AnyPath, path: str, follow_outside: bool = False) -> Found:
    """One file of the tree, under the same policy. NotFound if there is none; UnsafeKey for a path that climbs out."""
    top = os.path.realpath(root)
    location = os.path.join(top, *check_key(path).split("/"))
    status = _status(top, location, follow_outside)
    if status is None or stat.S_ISDIR(status.st_mode):
        raise NotFound(f"there is no file {path!r} in {os.fspath(root)}")
    return Found(path, location, status)


class _Folder(NamedTuple):
    """A folder that is to be walked."""

    location: str
    prefix: str
    """What the paths of its files start with."""
    is_plain: bool
    """Whether the prefix is made of names that match _PLAIN."""
    above: Tuple[str, ...]
    """The real paths of this folder and of those that it is in."""


class _Walker:
    """The parts of `walk` that are the same in every folder."""

    def __init__(self, top: str, follow_outside: bool, refused: Optional[Callable[[StorageError], None]]) -> None:
        self._top = top
        self._follow_outside = follow_outside
        self._refused = refused

    def children(self, folder: _Folder) -> Iterator[Tuple[List[Found], Optional[_Folder]]]:
        """What is in a folder, in order: some files, and the folder that comes after them; a folder counts as its name
        with the slash that follows."""
        files: List[Found] = []
        folders: Dict[str, _Folder] = {}
        self._read(folder, files, folders)
        files.sort(key=itemgetter(0))
        done = 0
        for path in sorted(folders):
            following = bisect.bisect_left(files, (path,), done)
            yield files[done:following], folders[path]
            done = following
        yield files[done:], None

    def _read(self, folder: _Folder, files: List[Found], folders: Dict[str, _Folder]) -> None:
        prefix, is_plain, above = folder.prefix, folder.is_plain, os.path.join(folder.location, "")
        plain, is_regular, longest = _PLAIN.fullmatch, stat.S_ISREG, MAX_KEY_BYTES
        with _entries(folder.location, missing_is_fine=folder.location != self._top) as entries:
            for entry in entries:
                name = entry.name
                path = prefix + name
                try:
                    status: Optional[os.stat_result] = entry.stat(follow_symlinks=False)
                except OSError:
                    status = None
                try:
                    if status is not None and is_regular(status.st_mode) and is_plain and plain(name):
                        if len(path) > longest:
                            check_key(path)
                        files.append(Found(path, above + name, status))
                    else:
                        self._look(name, folder, files, folders)
                except (LinkRefused, UnsafeKey) as error:
                    if self._refused is None:
                        raise
                    self._refused(error)

    def _look(self, name: str, folder: _Folder, files: List[Found], folders: Dict[str, _Folder]) -> None:
        """What takes more than a glance: folders, links, special files, unusual names, what has just vanished."""
        location = os.path.join(folder.location, name)
        is_link = os.path.islink(location)
        status = _status(self._top, location, self._follow_outside or not is_link)  # `folder` is a real path inside
        if status is None:
            return
        path = folder.prefix + name
        if stat.S_ISDIR(status.st_mode):
            real = os.path.realpath(location) if is_link else location
            if real in folder.above:
                raise _refused(location, "leads back to a folder that it is in")
            is_plain = folder.is_plain and _PLAIN.fullmatch(name) is not None
            folders[path + "/"] = _Folder(real, path + "/", is_plain, (*folder.above, real))
        elif not is_temporary(name):
            files.append(Found(check_key(path), location, status))


@contextlib.contextmanager
def _entries(folder: str, missing_is_fine: bool) -> Iterator[List[os.DirEntry[str]]]:
    """What is in a folder. While the block lasts, an entry's status is asked for by its name in the open folder, where
    the system knows that: it takes a fifth less time than by a path."""
    with contextlib.ExitStack() as opened:
        entries: List[os.DirEntry[str]] = []
        try:
            with translated(f"cannot read {folder}"):
                place: Union[str, int] = folder
                if os.scandir in os.supports_fd:  # not on every system, nor with what moxing puts in its place
                    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                    opened.callback(os.close, place)
                with os.scandir(place) as listing:
                    entries = list(listing)
        except (NotFound, Conflict):
            if not missing_is_fine:
                raise
        yield entries


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
