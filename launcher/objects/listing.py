"""Looking at objects: one level of folders, sums of a tree, patterns. A listing is read as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from launcher.objects.engine import Stores
from launcher.objects.names import Remote, matches, nothing_at, stat
from storage.base import ObjectInfo

Seen = Callable[[int], None]
"""Called with 1 for each object that a listing has passed."""


class Folder(NamedTuple):
    """One level's folder: what its keys start with, the last slash included."""

    key: str


class Sum(NamedTuple):
    """What lies below a prefix."""

    prefix: str
    objects: int
    bytes: int


def entries(
    stores: Stores, place: Remote, recursive: bool, seen: Seen = lambda _: None
) -> Iterator[ObjectInfo | Folder]:
    """What ``ls`` shows. NotFound where there is nothing, but for an empty bucket."""
    found = 0
    for entry in _entries(stores, place, recursive, seen):
        found += 1
        yield entry
    if not found and place.key:
        raise nothing_at(place)


def objects(stores: Stores, place: Remote, seen: Seen = lambda _: None) -> Iterator[ObjectInfo]:
    """All objects that a name stands for: itself, those of a pattern, those in the folder at any depth."""
    return (entry for entry in _entries(stores, place, True, seen) if isinstance(entry, ObjectInfo))


def sums(stores: Stores, place: Remote, depth: int, seen: Seen = lambda _: None) -> Iterator[Sum]:
    """The sum of each folder up to ``depth`` levels down, as soon as it is known, and the whole's at last."""
    start = len(place.prefix)
    open_sums: list[tuple[str, int, int]] = [(str(place), 0, 0)]
    for info in objects(stores, place, seen):
        folders = info.key[start:].split("/")[:-1][:depth] if info.key.startswith(place.prefix) else []
        names = [place.prefix + "/".join(folders[: i + 1]) + "/" for i in range(len(folders))]
        while len(open_sums) > 1 and open_sums[-1][0] not in names:
            yield _closed(open_sums)
        open_sums += [(name, 0, 0) for name in names[len(open_sums) - 1 :]]
        name, count, size = open_sums[-1]
        open_sums[-1] = (name, count + 1, size + info.size)
    while len(open_sums) > 1:
        yield _closed(open_sums)
    if not open_sums[0][1] and place.key:
        raise nothing_at(place)
    yield Sum(*open_sums[0])


def _closed(open_sums: list[tuple[str, int, int]]) -> Sum:
    name, count, size = open_sums.pop()
    above, objects_above, bytes_above = open_sums[-1]
    open_sums[-1] = (above, objects_above + count, bytes_above + size)
    return Sum(name, count, size)


def _entries(stores: Stores, place: Remote, recursive: bool, seen: Seen) -> Iterator[ObjectInfo | Folder]:
    storage = stores[place.bucket]
    if place.key and not place.folder:
        info = stat(storage, place.key)
        if info is not None:
            yield info
        if place.pattern:
            if info is None:
                yield from matches(storage, place)
            return
    last = ""
    for info in storage.list(place.prefix):
        seen(1)
        folder, slash, _ = info.key[len(place.prefix) :].partition("/")
        if recursive or not slash:
            if info.key != place.prefix:  # a marker of the folder itself
                yield info
        elif folder != last:
            last = folder
            yield Folder(f"{place.prefix}{folder}/")
