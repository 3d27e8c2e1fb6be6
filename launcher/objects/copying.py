"""``cp``: where each file goes is decided first, then all are copied.

A folder goes into a DST that is a folder under its own name, its content if SRC ends with a slash; to a DST that is not
there it becomes DST. What a pattern finds goes into DST as it lies below the pattern's fixed part.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from launcher.errors import UsageError
from launcher.objects.engine import Copy, Spot, Stores, copy_all, copy_one
from launcher.objects.errors import STORAGE, NotFound
from launcher.objects.filters import without
from launcher.objects.names import Local, Remote, fixed_folder, matches, nothing_at, parse, stat
from launcher.objects.report import Report
from launcher.objects.trees import local_files
from launcher.paths import Home
from storage import errors
from storage.errors import StorageError
from storage.files import refuse_linked_folders
from storage.urls import check_key, join_key

Named = Remote | Local


def plan(
    sources: Sequence[str], target: str, stores: Stores, report: Report, home: Home, recursive: bool, clobber: bool
) -> list[Copy]:
    """Every copy, in order. UsageError for what cannot be meant; what cannot be copied is in the report."""
    froms = [_single(name) if isinstance(name, Local) else name for word in sources for name in _expanded(parse(word))]
    to = parse(target)
    if isinstance(to, Local) and any(isinstance(source, Local) for source in froms):
        raise UsageError(f"{froms[0]} and {to} are both on this machine", f"cp -r {froms[0]} {to}")
    if isinstance(to, Remote) and to.pattern and not to.folder:
        raise UsageError(f"{to}: a target cannot be a pattern", "name one object or folder")
    if isinstance(to, Remote):
        next(stores[to.bucket].list(to.prefix), None)  # raises if there is no such bucket
    into = _is_folder(to, stores)
    if not into and (len(froms) > 1 or any(_is_pattern(source) for source in froms)):
        into = True
        if (isinstance(to, Remote) and not to.folder) or (isinstance(to, Local) and os.path.exists(to.path)):
            raise UsageError(f"many files cannot all become {to}", f"end it with a slash: {str(to).rstrip('/')}/")
    copies: list[Copy] = []
    for source in froms:
        if isinstance(source, Local):
            found = _from_local(source, home, report, recursive)
        else:
            found = _from_remote(source, stores, recursive, to)
        copies += _aimed(found, to, into, source, report)
    _refuse_doubles(copies)
    if not clobber:
        kept = [copy for copy in copies if not _exists(copy.target, stores)]
        report.unchanged += len(copies) - len(kept)
        copies = kept
    report.files = len(copies) + report.unchanged + len(report.failures)
    return copies


def copy(copies: Sequence[Copy], stores: Stores, report: Report, progress: Callable[[int], None]) -> None:
    """Carry it out, or note it down when it is a dry run."""
    if report.dry_run:
        report.actions += [copy.action for copy in copies]
        return
    copy_all(copies, stores, report, progress)


def from_stream(stream: BinaryIO, target: str, stores: Stores, report: Report) -> None:
    """Make an object from what a pipe gives, whole or not at all; kept in a temporary file meanwhile."""
    to = parse(target)
    if not isinstance(to, Remote) or to.folder:
        raise UsageError(f"what comes from stdin needs a name, and {target} is none", "obs://bucket/folder/name")
    report.files = 1
    with tempfile.TemporaryDirectory(prefix="launcher-") as folder:
        between = os.path.join(folder, "stdin")
        with open(between, "wb") as file:
            while chunk := stream.read(1 << 20):
                file.write(chunk)
        report.sent(copy_one(Copy(Spot(between), Spot(to.key, to.bucket), 0), stores, lambda _: None))


def _expanded(name: Named) -> list[Named]:
    """A local pattern that the shell has left alone (Windows' never expands them)."""
    if isinstance(name, Remote) or os.path.lexists(name.path) or not glob.has_magic(name.path):
        return [name]
    found = sorted(glob.glob(name.path, recursive=True))
    if not found:
        raise NotFound(f"nothing matches {name.path}", f"ls {os.path.dirname(name.path) or '.'}")
    return [Local(path, False) for path in found]


def _single(name: Local) -> Local:
    if not os.path.lexists(name.path):
        raise NotFound(f"there is no {name.path}", f"ls {os.path.dirname(name.path.rstrip('/')) or '.'}")
    return name


def _is_pattern(name: Named) -> bool:
    return isinstance(name, Remote) and name.pattern


def _is_folder(to: Named, stores: Stores) -> bool:
    if to.folder or isinstance(to, Local):
        return to.folder or os.path.isdir(str(to))
    below = next(stores[to.bucket].list(to.prefix), None)
    return below is not None and stat(stores[to.bucket], to.key) is None


Found = tuple[Spot, str, int]
"""(where it lies, its path below DST if that is a folder, bytes)"""


def _from_local(source: Local, home: Home, report: Report, recursive: bool) -> Iterator[Found]:
    name = os.path.basename(os.path.abspath(source.path))
    if not os.path.isdir(source.path):
        yield Spot(source.path), name, os.path.getsize(source.path) if os.path.exists(source.path) else 0
        return
    if not recursive:
        raise UsageError(f"{source.path} is a folder", f"{STORAGE} cp -r {source.path} ...")
    own = "" if source.folder else name + "/"
    for found in local_files(source.path, without(None, source.path, home.root), report):
        yield Spot(os.path.join(source.path, *found.path.split("/"))), own + found.path, found.status.st_size


def _from_remote(source: Remote, stores: Stores, recursive: bool, to: Named) -> Iterator[Found]:
    storage = stores[source.bucket]
    info = stat(storage, source.key) if source.key and not source.folder else None
    if info is not None:
        yield Spot(info.key, source.bucket), info.key.rpartition("/")[2], info.size
        return
    if source.pattern:
        start, listing = len(fixed_folder(source.key)), matches(storage, source)
    elif next(storage.list(source.prefix), None) is None and source.key:
        raise nothing_at(source)
    elif not recursive:
        raise UsageError(f"{source} is a folder", f"{STORAGE} cp -r {source} {to}")
    else:
        above = source.key.rpartition("/")[0]
        start = len(source.prefix) if source.folder else len(above) + 1 if above else 0
        listing = storage.list(source.prefix)
    empty = True
    for entry in listing:
        empty = False
        if not entry.key.endswith("/"):
            yield Spot(entry.key, source.bucket), entry.key[start:], entry.size
    if empty and source.key:
        raise nothing_at(source)


def _aimed(found: Iterator[Found], to: Named, into: bool, source: Named, report: Report) -> Iterator[Copy]:
    """Each file with its target; a name that could leave the target is a failure."""
    linked: dict[str, StorageError | None] = {}
    alone = not into
    for spot, path, size in found:
        try:
            if alone and not source.folder:  # a file or a folder becomes DST: its own name goes
                path = path.partition("/")[2]
            if path:
                check_key(path)
            if isinstance(to, Remote):
                key = join_key(to.key, path) if path else to.key
                target = Spot(key, to.bucket)
            else:
                target = Spot(os.path.join(to.path, *path.split("/")) if path else to.path)
                folder = path.rpartition("/")[0]
                if folder not in linked:
                    linked[folder] = _linked(to.path, folder)
                problem = linked[folder]
                if problem is not None:
                    raise problem
        except StorageError as error:
            report.fail(str(spot), error)
            continue
        if spot == target:
            raise UsageError(f"{spot} would be copied onto itself", "name another target")
        yield Copy(spot, target, size)


def _linked(root: str, folder: str) -> StorageError | None:
    try:
        refuse_linked_folders(root, folder.split("/") if folder else [])
    except StorageError as error:
        return error
    return None


def _refuse_doubles(copies: Sequence[Copy]) -> None:
    seen: dict[Spot, Spot] = {}
    for copy in copies:
        if copy.target in seen:
            raise UsageError(
                f"{seen[copy.target]} and {copy.source} would both become {copy.target}", "copy them apart"
            )
        seen[copy.target] = copy.source


def _exists(spot: Spot, stores: Stores) -> bool:
    if not spot.bucket:
        return os.path.lexists(spot.path)
    try:
        stores[spot.bucket].stat(spot.path)
    except errors.NotFound:
        return False
    return True


def how_to_go_on(sources: Sequence[str], target: str) -> str:
    """The command that finishes an interrupted copy without sending again what has arrived."""
    if len(sources) == 1 and sources[0].endswith("/"):
        return f"{STORAGE} sync {sources[0]} {target}"
    return f"{STORAGE} cp --no-clobber -r {' '.join(sources)} {target}"
