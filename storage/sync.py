"""The periodic copy-out of a folder that a live job writes to."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Callable, Dict, Iterable, Iterator, List, MutableMapping, NamedTuple, Optional, Sequence, Tuple

from .base import AnyPath, Progress, Storage
from .errors import NotFound, SourceChanged, StorageError
from .files import SourceFile, hash_file
from .parallel import Crew
from .tree import Found, walk
from .urls import join_key

TEMPORARY_SUFFIXES = (".tmp", ".part")
"""A job that writes beside and renames ends its temporary names in one of these; they are not copied."""

RACY_SECONDS = 2.0
"""A file written to less than this before a round can change again without a new mtime: it is looked at again next
round."""

_SNAPSHOT_TRIES = 3


@dataclass(frozen=True)
class SyncResult:
    """What one round did."""

    sent_files: int
    sent_bytes: int
    later: Tuple[str, ...]
    """Files that changed or vanished while they were copied, and the commit files held back for them: for the next
    round."""
    refused: Tuple[StorageError, ...]
    """Names and links that are never copied (LinkRefused, UnsafeKey)."""


def sync_tree(
    source: AnyPath,
    storage: Storage,
    prefix: str,
    seen: MutableMapping[str, Tuple[int, int]],
    commit_last: Sequence[str] = ("manifest.json",),
    workers: Optional[int] = None,
    progress: Progress = None,
    temporaries: bool = False,
) -> SyncResult:
    """One round: copy what is new or changed since `seen`, a mapping of path -> (size, mtime_ns) that this function
    updates.

    Guaranteed: what a commit file (a name in `commit_last`, at any depth) in the bucket names, below its own folder,
    is in the bucket whole, if the job publishes as usual: write a file beside and rename it, never reuse its name,
    then rename the commit file into place; and take a file out of the commit file before deleting it. To that end
    commit files are read into memory first, then the other files are looked for and copied, then the commit files are
    written as they were read. One is held back for the next round if it changed before the others were found, or if a
    file of its folder, at any depth, changed or vanished while it was copied.

    A file whose object is there with the same size and sha256 is not sent, so that an empty `seen` costs reading, not
    sending. Names ending in TEMPORARY_SUFFIXES are left out. Nothing is ever deleted from the bucket. `progress` gets
    the bytes sent. Memory: as in `storage.transfer`, and the commit files. NotFound if `source` is not a folder; other
    errors as the back end raises them.
    """
    started = time.time_ns()
    refused: Dict[str, StorageError] = {}
    commits, others, later = _look(source, commit_last, refused, temporaries)
    crew = Crew(workers or storage.workers, progress)
    lock = threading.Lock()
    sent: List[int] = []

    def done(path: str, status: os.stat_result, sent_bytes: Optional[int]) -> None:
        with lock:
            if sent_bytes is not None:
                sent.append(sent_bytes)
            if started - status.st_mtime_ns > RACY_SECONDS * 1e9:
                seen[path] = _stamp(status)

    def copy(found: Found) -> None:
        key = join_key(prefix, found.path)
        try:
            is_there = _is_there(storage, key, found.status.st_size, lambda: hash_file(found.location))
            sent_bytes = None if is_there else storage.upload(found.location, key, progress=crew.advance).size
        except (SourceChanged, NotFound) as error:
            if isinstance(error, NotFound) and os.path.exists(found.location):
                raise  # it is the bucket that is not there
            with lock:
                later.append(found.path)
            return
        done(found.path, found.status, sent_bytes)

    def publish(commit: _Commit) -> None:
        key = join_key(prefix, commit.path)
        if _is_there(storage, key, len(commit.data), lambda: sha256(commit.data).hexdigest()):
            done(commit.path, commit.status, None)
            return
        storage.write(key, commit.data)
        crew.advance(len(commit.data))
        done(commit.path, commit.status, len(commit.data))

    crew.run(copy, (found for found in others if seen.get(found.path) != _stamp(found.status)))
    for commit in sorted(commits, key=lambda commit: -commit.path.count("/")):  # one held back holds back those above
        if _is_above(commit.path, later):
            later.append(commit.path)
        elif seen.get(commit.path) != _stamp(commit.status):
            publish(commit)
    return SyncResult(len(sent), sum(sent), tuple(sorted(later)), tuple(refused.values()))


def known_tree(source: AnyPath) -> Dict[str, Tuple[int, int]]:
    """`seen` for a folder that has just been filled from the bucket: a file of it is sent only when it has changed."""
    _, files, _ = _look(source, (), {}, True)
    return {found.path: _stamp(found.status) for found in files}


class _Commit(NamedTuple):
    """A commit file as it was read."""

    path: str
    location: str
    status: os.stat_result
    data: bytes


def _look(
    source: AnyPath, commit_last: Sequence[str], refused: Dict[str, StorageError], temporaries: bool
) -> Tuple[List[_Commit], List[Found], List[str]]:
    """The commit files, then the other files, and the paths of commit files that changed in between."""

    def refuse(error: StorageError) -> None:
        refused[error.message] = error

    def files() -> Iterator[Found]:
        everything = walk(source, refused=refuse)
        return (found for found in everything if temporaries or not found.path.endswith(TEMPORARY_SUFFIXES))

    def is_commit(found: Found) -> bool:
        return found.path.rpartition("/")[2] in commit_last

    for _ in range(_SNAPSHOT_TRIES):
        read = {found.path: _snapshot(found) for found in files() if is_commit(found)}
        found_now = list(files())
        names = {found.path for found in found_now if is_commit(found)}.union(read)
        commits = [commit for commit in read.values() if commit is not None and _is_still(commit)]
        changed = names.difference(commit.path for commit in commits)
        if not changed:
            break
    return commits, [found for found in found_now if not is_commit(found)], sorted(changed)


def _snapshot(found: Found) -> Optional[_Commit]:
    """None if it vanished or shrank; other changes show when it is compared later."""
    try:
        with SourceFile(found.location) as file:
            return _Commit(found.path, found.location, file.status, b"".join(file))
    except (SourceChanged, NotFound):
        return None


def _is_still(commit: _Commit) -> bool:
    """Compares bytes: a file system's clock is too coarse for a job that publishes as fast as it can, and inodes come
    back."""
    try:
        with open(commit.location, "rb") as file:
            return file.read() == commit.data
    except OSError:
        return False


def _is_above(commit: str, paths: Iterable[str]) -> bool:
    folder = commit[: commit.rfind("/") + 1]
    return any(path.startswith(folder) for path in paths)


def _is_there(storage: Storage, key: str, size: int, sha256_here: Callable[[], str]) -> bool:
    try:
        return storage.stat(key).size == size and storage.stat(key, digest=True).sha256 == sha256_here()
    except NotFound:
        return False


def _stamp(status: os.stat_result) -> Tuple[int, int]:
    return status.st_size, status.st_mtime_ns
