"""Copies of whole trees: plan, transfer in parallel, verify, commit.

A tree in storage is committed by its manifest, `<prefix>.manifest.json`, written last: without it the tree does not
exist, and the next upload completes it. Progress goes to a callback, in bytes of the tree that are where
they should be, sent or not; it is called from worker threads, one at a time, and what it raises stops the transfer.
Nothing prints.

Memory of every function here: `workers` x 1 MiB, and about 0.5 KiB for each file of the tree (its manifest). Errors
are StorageErrors. The first one stops the other workers at their next megabyte, and so does KeyboardInterrupt; what
has arrived whole stays and is not sent again.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Mapping, Optional, Tuple

from .base import AnyPath, Progress, Storage
from .errors import NotFound, SourceChanged, translated
from .files import hash_file, refuse_linked_folders, sweep
from .manifest import Entry, Manifest, committed, manifest_key
from .parallel import Crew
from .sync import SyncResult, sync_tree
from .urls import check_key, join_key

__all__ = ["SyncResult", "TransferResult", "download_tree", "sync_tree", "upload_tree"]


@dataclass(frozen=True)
class TransferResult:
    """What a copy of a tree did: `files` = `already_there` + `sent_files`."""

    files: int
    bytes: int
    already_there: int
    """Files that were whole at the other end before."""
    sent_files: int
    sent_bytes: int


def upload_tree(
    source: AnyPath,
    storage: Storage,
    prefix: str,
    manifest: Manifest,
    content: Optional[Mapping[str, bytes]] = None,
    workers: Optional[int] = None,
    progress: Progress = None,
) -> TransferResult:
    """Make `prefix` hold the tree that `manifest` describes, with files from the folder `source`.

    `content` gives bytes for some of the manifest's paths; their files are not read. A tree that is committed and
    equal costs one small read. Otherwise objects that are there whole (size and sha256) stay, the others are sent,
    each verified against the manifest while it is read, and the manifest comes last. A different manifest at `prefix`
    is removed first, so that a mixture never looks committed; objects that are not in the manifest stay.

    SourceChanged if a file or `content` is not what the manifest says, NotFound if a file has gone; then no manifest
    is written.
    """
    content = content or {}
    _check_content(manifest, content)
    crew = Crew(workers or storage.workers, progress)
    tally = _Tally()
    wanted, there = manifest.to_json(), committed(storage, prefix)
    if there == wanted:
        crew.advance(manifest.total_bytes)
        return TransferResult(len(manifest.entries), manifest.total_bytes, len(manifest.entries), 0, 0)
    if there is not None:
        storage.delete([manifest_key(prefix)])

    def send(item: Tuple[Entry, int]) -> None:
        entry, size_there = item
        key = _below(prefix, entry.path)
        if size_there == entry.size and _sha256(storage, key) == entry.sha256:
            crew.advance(entry.size)
            return
        if entry.path in content:
            storage.write(key, content[entry.path])
            crew.advance(entry.size)
        else:
            storage.upload(os.path.join(source, *entry.path.split("/")), key, entry.sha256, crew.advance)
        tally.add(entry.size)

    crew.run(send, _with_sizes(storage, prefix, manifest.entries))
    storage.write(manifest_key(prefix), wanted)
    return tally.result(manifest.entries)


def download_tree(
    storage: Storage,
    prefix: str,
    destination: AnyPath,
    manifest: Optional[Manifest] = None,
    workers: Optional[int] = None,
    progress: Progress = None,
) -> TransferResult:
    """Make the folder `destination` hold the tree at `prefix`; files that are there and right stay, others are kept
    as well.

    What the tree holds is told by `manifest`, else by the manifest at `prefix`, and every file is verified against
    it; else by a listing, and every file by its length. OBS' folder markers (`dir/`) are not copied.

    NotFound if there is nothing at `prefix` or an object is missing; Corrupt if a manifest or an object is damaged.
    Before anything is written: UnsafeKey for a name that could climb out, LinkRefused if a folder in `destination`
    that files would go into is a link. A link where a file should be is replaced, not written through.
    """
    entries = _entries(storage, prefix, manifest)
    root = os.path.realpath(destination)
    _prepare(root, entries)
    crew = Crew(workers or storage.workers, progress)
    tally = _Tally()

    def fetch(entry: Entry) -> None:
        key, path = _below(prefix, entry.path), os.path.join(root, *entry.path.split("/"))
        if _has_size(path, entry.size) and hash_file(path) == (entry.sha256 or _sha256(storage, key)):
            crew.advance(entry.size)
            return
        storage.download(key, path, entry.sha256, crew.advance)
        tally.add(entry.size)

    crew.run(fetch, entries)
    return tally.result(entries)


class _Tally:
    """What the workers have sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files = 0
        self._bytes = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._files += 1
            self._bytes += size

    def result(self, entries: Iterable[Entry]) -> TransferResult:
        sizes = [entry.size for entry in entries]
        return TransferResult(len(sizes), sum(sizes), len(sizes) - self._files, self._files, self._bytes)


def _check_content(manifest: Manifest, content: Mapping[str, bytes]) -> None:
    expected = {entry.path: entry for entry in manifest.entries}
    for path, data in content.items():
        if expected.get(path) != Entry.of(path, data):
            raise SourceChanged(
                f"the content given for {path!r} is not what the manifest says", "build the manifest from it"
            )


def _with_sizes(storage: Storage, prefix: str, entries: Iterable[Entry]) -> Iterator[Tuple[Entry, int]]:
    """Each entry with the size of the object that is there, or -1: one listing, merged with entries in the same
    order."""
    listing = storage.list(_below(prefix, ""))
    there = next(listing, None)
    for entry in entries:
        key = _below(prefix, entry.path)
        while there is not None and there.key < key:
            there = next(listing, None)
        yield entry, there.size if there is not None and there.key == key else -1


def _entries(storage: Storage, prefix: str, manifest: Optional[Manifest]) -> List[Entry]:
    if manifest is None and prefix:
        data = committed(storage, prefix)
        manifest = Manifest.from_json(data) if data is not None else None
    if manifest is not None:
        return list(manifest.entries)
    root = _below(prefix, "")
    entries = [
        Entry(check_key(info.key[len(root) :]), info.size, info.sha256)
        for info in storage.list(root)
        if not info.key.endswith("/")
    ]
    if not entries:
        raise NotFound(f"there is nothing at {prefix or 'this place'!r}", "look at what there is with a listing")
    return entries


def _prepare(root: str, entries: Iterable[Entry]) -> None:
    for folder in {entry.path.rpartition("/")[0] for entry in entries}:
        names = folder.split("/") if folder else []
        refuse_linked_folders(root, names)
        sweep(os.path.join(root, *names))
    with translated(f"cannot make {root}"):
        os.makedirs(root, exist_ok=True)


def _has_size(path: str, size: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _sha256(storage: Storage, key: str) -> str:
    """Of the object; "" if there is none."""
    with contextlib.suppress(NotFound):
        return storage.stat(key, digest=True).sha256
    return ""


def _below(prefix: str, path: str) -> str:
    """The key of a tree's file; with the path "" what all the tree's keys start with."""
    if path:
        return join_key(prefix, path)
    return prefix + "/" if prefix else ""
