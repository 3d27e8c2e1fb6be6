"""Looking at files and folders: nothing here changes anything."""

from __future__ import annotations

import fnmatch
import glob as local_glob
import os
import re
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

from ._errors import missing
from ._trees import tree_of
from ._urls import parse


class Status(NamedTuple):
    """What `stat` tells."""

    length: int
    """Bytes."""
    mtime_nsec: int
    """Nanoseconds since 1970."""
    is_directory: bool


class Entry:
    """What `scan_dir` gives: the part of `os.DirEntry` that also makes sense for objects."""

    def __init__(self, name: str, path: str, is_directory: bool) -> None:
        self.name = name
        self.path = path
        self._is_directory = is_directory

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._is_directory

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not self._is_directory

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> Status:
        return stat(self.path)

    def __fspath__(self) -> str:
        return self.path


def exists(url: Any) -> bool:
    """Whether there is a file or a folder; with a slash at the end, a folder."""
    place = parse(url)
    tree = tree_of(place)
    if place.bucket and not place.key:
        return bool(tree.children(""))
    return bool((not place.is_folder and tree.is_file(place.key)) or tree.is_folder(place.key))


def is_directory(url: Any) -> bool:
    """Whether there is a folder."""
    place = parse(url)
    return bool(tree_of(place).is_folder(place.key))


def stat(url: Any) -> Status:
    """Length, time and kind; MoxFileNotExistsException for what is not there."""
    place = parse(url)
    tree = tree_of(place)
    if not place.bucket or (not place.is_folder and tree.is_file(place.key)):
        item = tree.look(place.key)
        return Status(item.length, item.mtime_nsec, item.is_directory)
    if not tree.is_folder(place.key):
        raise missing(place.text)
    return Status(0, 0, True)


def get_size(url: Any, recursive: bool = False) -> int:
    """Bytes. A folder of OBS is 0 unless `recursive`; a folder of this machine is always the sum of its files."""
    place = parse(url)
    tree = tree_of(place)
    if not place.is_folder and tree.is_file(place.key):
        return int(tree.look(place.key).length)
    if not tree.is_folder(place.key):
        raise missing(place.text)
    if place.bucket and not recursive:
        return 0
    return sum(item.length for item in tree.below(place.key) if not item.is_directory)


def list_directory(
    url: Any, recursive: bool = False, remove_sep: bool = True, skip_file: bool = False, skip_dir: bool = False
) -> List[str]:
    """Names relative to `url`, folders without a slash unless `remove_sep` is False; MoxFileNotExistsException if there
    is no folder, NotADirectoryError for a file."""
    place = parse(url)
    tree = tree_of(place)
    if not tree.is_folder(place.key):
        if not place.is_folder and tree.is_file(place.key):
            raise NotADirectoryError(f"{place.text} is a file")
        raise missing(place.text)
    items = tree.below(place.key) if recursive else tree.children(place.key)
    end = "" if remove_sep else "/"
    return [
        item.name + (end if item.is_directory else "")
        for item in items
        if not (skip_dir if item.is_directory else skip_file)
    ]


def glob(url: Any) -> List[str]:
    """Absolute URLs (or local paths) that match; `*`, `?` and `[…]` do not match slashes."""
    place = parse_pattern(url)
    if place is None:
        return local_glob.glob(os.fspath(url))
    head, pattern = place
    found = [head]
    parts = [part for part in pattern.split("/") if part]
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        deeper: List[str] = []
        for folder in found:
            if local_glob.has_magic(part):
                matches = re.compile(fnmatch.translate(part)).match
                items = tree_of(parse(folder)).children(parse(folder).key)
                names = [item.name for item in items if matches(item.name) and (is_last or item.is_directory)]
                visible = [name for name in names if part.startswith(".") or not name.startswith(".")]
                deeper.extend(f"{folder}/{name}" for name in dict.fromkeys(visible))
            elif exists(f"{folder}/{part}"):
                deeper.append(f"{folder}/{part}")
        found = deeper
    return found if parts else ([url] if exists(url) else [])


def parse_pattern(url: Any) -> Optional[Tuple[str, str]]:
    """The bucket's URL and the pattern in it; None for a local pattern."""
    text = os.fspath(url)
    match = re.match(r"((?:obs|s3)://[^/]+)/?(.*)", text, re.IGNORECASE | re.DOTALL)
    return (match.group(1), match.group(2)) if match else None


def walk(
    url: Any, topdown: bool = True, onerror: Optional[Callable[[OSError], Any]] = None, followlinks: bool = False
) -> Iterator[Tuple[str, List[str], List[str]]]:
    """As `os.walk`, with URLs for folders. On OBS the other arguments are ignored, as the real one does."""
    place = parse(url)
    if not place.bucket:
        yield from os.walk(place.text, topdown, onerror, followlinks)
        return
    tree = tree_of(place)
    if not tree.is_folder(place.key):
        return
    pending = [place.text.rstrip("/")]
    while pending:
        folder = pending.pop()
        items = tree.children(parse(folder).key)
        folders = [item.name for item in items if item.is_directory]
        yield folder, folders, [item.name for item in items if not item.is_directory]
        pending.extend(f"{folder}/{name}" for name in reversed(folders))


def scan_dir(url: Any) -> Iterator[Any]:
    """Entries with `name`, `path`, `is_dir()`, `is_file()` and `stat()`."""
    place = parse(url)
    if not place.bucket:
        return os.scandir(place.text)
    list_directory(url, skip_file=True, skip_dir=True)  # raises what it must
    items = tree_of(place).children(place.key)
    return iter([Entry(item.name, place.below(item.name), item.is_directory) for item in items])
