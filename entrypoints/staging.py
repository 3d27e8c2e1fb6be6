"""The data as a job reads it: a folder on this machine, with the very files that the user has.

A tree of very many small files travels as a few shards (`storage.packing`). Under the old contract the boot file copies
it, and it is unpacked while it streams in. Under the new one the platform has copied the objects as they lie in the
bucket: `.shards/index.json` in the folder says so, and the tree is made of them in the scratch folder.

The launcher packs only for boot files that hand their data to `entrypoints.training`, in code that has this file.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, Iterator, Type

from jobs import JobError
from storage import ObsUrl, StorageError, is_remote, locate
from storage.errors import Corrupt, NotFound
from storage.manifest import manifest_key
from storage.packing import ALONE, find_index, index_key
from storage.transfer import download_tree

Say = Callable[[str], None]

PATIENCE = 1.0
"""Seconds after which a copy that is not done yet begins to say how far it is."""

EVERY = 10.0
"""Seconds between two such lines."""


def bring(url: str, scratch: str, say: Say) -> str:
    """The folder that holds the data of `url`: itself, or one in `scratch` with a copy, verified file by file.

    Raises JobError for data that is damaged, and StorageErrors.
    """
    folder = url
    if is_remote(url):
        say(f"copying {url}")
        folder = _new_folder(scratch, "data")
        storage, prefix = locate(url)
        with _damage_told(url, Corrupt), _Told("copied", say) as told:
            download_tree(storage, prefix, folder, progress=told.advance)
    if not os.path.isfile(os.path.join(folder, *index_key("").split("/"))):
        return folder
    return _unpacked(folder, url, scratch, say)


def _unpacked(folder: str, url: str, scratch: str, say: Say) -> str:
    """The tree whose shards lie in `folder`. Files too large for a shard are linked where that can be, not copied."""
    tree = _new_folder(scratch, "tree")
    storage, _ = locate(folder)
    with _damage_told(url, Corrupt, NotFound):
        index = find_index(storage, "")
        if index is None:  # it has just been there
            raise NotFound(f"the index of the shards in {folder} has gone")
        shards = "1 shard" if len(index.shards) == 1 else f"{len(index.shards)} shards"
        say(f"unpacking {len(index.places):,} files, the small ones from {shards}")
        for place in index.places:
            if place.shard == ALONE:
                _link(folder, tree, place.path)
        with _Told("unpacked", say, index.manifest.total_bytes) as told:
            download_tree(storage, "", tree, progress=told.advance)
    return tree


def _link(folder: str, tree: str, path: str) -> None:
    """`download_tree` verifies what it finds in place, and copies what is not there."""
    target = os.path.join(tree, *path.split("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(os.path.join(folder, *path.split("/")), target)


def _new_folder(scratch: str, name: str) -> str:
    folder = os.path.join(scratch, name)
    os.mkdir(folder)
    return folder


@contextlib.contextmanager
def _damage_told(url: str, *kinds: Type[StorageError]) -> Iterator[None]:
    """Say which data is damaged. What a submit has sent counts as there until its manifest goes."""
    try:
        yield
    except kinds as error:
        manifest = "its *.manifest.json in the bucket"
        if is_remote(url) and ObsUrl.parse(url).key:
            place = ObsUrl.parse(url)
            manifest = f"obs://{place.bucket}/{manifest_key(place.key)}"
        raise JobError(
            f"the data at {url} is damaged: {error.message}",
            f"delete {manifest} and send the data again: a submit does, once that is gone",
        ) from error


class _Told:
    """Lines about a copy that takes long: how far it is, and that it is done."""

    def __init__(self, done: str, say: Say, total: int = 0) -> None:
        self._word = done
        self._say = say
        self._of = f" of {_mb(total)}" if total else ""
        self._bytes = 0
        self._begun = time.monotonic()
        self._next = self._begun + PATIENCE

    def __enter__(self) -> _Told:
        return self

    def advance(self, count: int) -> None:
        self._bytes += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._say(f"{self._word} {_mb(self._bytes)}{self._of}, after {now - self._begun:.0f} s")

    def __exit__(self, kind: object, *_: object) -> None:
        seconds = time.monotonic() - self._begun
        if kind is None and seconds >= PATIENCE:
            self._say(f"{self._word} all {_mb(self._bytes)} in {seconds:.1f} s")


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
