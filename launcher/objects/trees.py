"""The two sides of a ``sync``: what a local folder holds, what lies at a prefix, and where they differ."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from launcher.objects.engine import Spot
from launcher.objects.filters import Keep
from launcher.objects.names import url
from launcher.objects.report import Report
from storage.base import Storage
from storage.errors import Corrupt, NotFound, StorageError
from storage.files import SourceFile, refuse_linked_folders, sweep
from storage.manifest import Entry, HashCache, Manifest, committed
from storage.packing import index_key
from storage.parallel import Crew
from storage.tree import Found, walk
from storage.urls import check_key

Advance = Callable[[int], None]


class Item(NamedTuple):
    """One file of a side; a sha256 that is not known is empty."""

    path: str
    size: int
    sha256: str


class Listing(NamedTuple):
    """What lies at a prefix."""

    items: list[Item]
    packed: Manifest | None
    """The tree's manifest, if its files lie in shards; the items are its files then."""


def local_files(root: str, keep: Keep | None, report: Report) -> Iterator[Found]:
    """The files of a folder that take part; links and names that are refused are failures in the report."""
    for found in walk(root, refused=lambda error: report.fail(root, error)):
        if keep is None or keep(found.path):
            yield found


def scan_local(root: str, keep: Keep | None, cache: HashCache | None, report: Report, advance: Advance) -> Manifest:
    """`storage.manifest.scan`, but a file that cannot be read, or is written to, is a failure in the report."""
    crew = Crew(min(8, os.cpu_count() or 1), advance)
    known = cache.recall(os.path.realpath(root)) if cache is not None else lambda *_: ""
    entries: list[Entry] = []

    def read(found: Found) -> None:
        sha256, size = known(found.location, found.status), found.status.st_size
        if sha256:
            crew.advance(size)
        else:
            started = time.time_ns()
            try:
                with SourceFile(found.location, crew.advance) as source:
                    for _ in source:
                        pass
                    sha256, size = source.finish(), source.size
            except NotFound:  # it has gone, as a file may
                return
            except StorageError as error:
                report.fail(found.location, error)
                return
            if cache is not None:
                cache.put(found.location, source.status, sha256, started)
        entries.append(Entry(found.path, size, sha256))

    try:
        crew.run(read, local_files(root, keep, report))
    finally:
        if cache is not None:
            cache.flush()
    return Manifest(entries)


def listing(
    storage: Storage, bucket: str, prefix: str, keep: Keep | None, report: Report, unpack: bool, seen: Advance
) -> Listing:
    """The objects below a prefix. Names that could leave a target are failures in the report; folder markers are left
    out. A manifest beside the tree tells the sha256s, if it is of these very names and sizes."""
    base = prefix + "/" if prefix else ""
    found: dict[str, Item] = {}
    bad: list[tuple[str, StorageError]] = []
    for info in storage.list(base):
        seen(1)
        path = info.key[len(base) :]
        if not path or path.endswith("/"):
            continue
        try:
            found[path] = Item(check_key(path), info.size, info.sha256)
        except StorageError as error:
            bad.append((url(bucket, info.key), error))
    for name, problem in bad:
        report.fail(name, problem)
    manifest = _manifest(storage, prefix, report)
    packed = manifest if unpack and index_key(prefix)[len(base) :] in found else None
    if packed is not None:
        items = [Item(*entry) for entry in packed.entries]
    elif manifest is not None and [entry[:2] for entry in manifest.entries] == [item[:2] for item in found.values()]:
        items = [Item(*entry) for entry in manifest.entries]
    else:
        items = list(found.values())
    return Listing([item for item in items if keep is None or keep(item.path)], packed)


def differing(
    wanted: Iterable[Item],
    there: dict[str, Item],
    same: Callable[[Item, Item], bool],
    report: Report,
    workers: int,
    advance: Advance,
) -> list[Item]:
    """Those that the other side lacks or has otherwise, in order; the unchanged ones are counted in the report."""
    found: list[Item] = []
    crew = Crew(workers, advance)

    def look(item: Item) -> None:
        other = there.get(item.path)
        try:
            unchanged = other is not None and other.size == item.size and same(item, other)
        except NotFound:
            unchanged = False
        except StorageError as error:
            report.fail(item.path, error)
            return
        if unchanged:
            with report.lock:
                report.unchanged += 1
            crew.advance(item.size)
        else:
            found.append(item)

    crew.run(look, wanted)
    return sorted(found)


def prepare(root: str, items: Iterable[Item], report: Report, bucket: str) -> list[Item]:
    """Those items that may be written below `root`: no link leads their folders elsewhere. Says which names would
    fall together where the file system ignores case."""
    problems: dict[str, StorageError | None] = {}
    fine: list[Item] = []
    folded: dict[str, str] = {}
    ignores = ignores_case(root)
    for item in items:
        folder = item.path.rpartition("/")[0]
        if folder not in problems:
            problems[folder] = None
            try:
                refuse_linked_folders(root, folder.split("/") if folder else [])
                sweep(os.path.join(root, folder))
            except StorageError as error:
                problems[folder] = error
        problem = problems[folder]
        if problem is not None:
            report.fail(item.path, problem, bucket)
            continue
        other = folded.setdefault(item.path.casefold(), item.path) if ignores else item.path
        if other != item.path:
            report.warnings.append(f"{other} and {item.path} differ by case only: one file here, and the last one wins")
        fine.append(item)
    return fine


def ignores_case(folder: str) -> bool:
    """Whether names that differ by case are one on that folder's file system; nothing is written to find out."""
    place = os.path.abspath(folder)
    while place != os.path.dirname(place):
        above, name = os.path.split(place)
        other = os.path.join(above, name.swapcase())
        if os.path.exists(place) and name != name.swapcase():
            return os.path.exists(other) and os.path.samefile(place, other)
        place = above
    return sys.platform in ("win32", "darwin")


def extras(root: str, wanted: set[str], keep: Keep | None, report: Report) -> Iterator[Spot]:
    """Local files that are not wanted. One that is only reached through a linked folder is another file: it stays."""
    for found in walk(root, follow_outside=True, refused=lambda _: None):
        if found.path in wanted or not (keep is None or keep(found.path)):
            continue
        try:
            refuse_linked_folders(root, found.path.split("/")[:-1])
        except StorageError as error:
            report.fail(found.path, error)
            continue
        yield Spot(os.path.join(root, *found.path.split("/")))


def _manifest(storage: Storage, prefix: str, report: Report) -> Manifest | None:
    if not prefix:
        return None
    data = committed(storage, prefix)
    if data is None:
        return None
    try:
        return Manifest.from_json(data)
    except Corrupt as error:
        report.warnings.append(f"{prefix}.manifest.json is not believed: {error}")
    except StorageError:
        pass
    return None
