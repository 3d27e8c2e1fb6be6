"""Trees from storage into a local folder. See `storage.transfer`."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from . import processes
from .base import AnyPath, Progress, Storage
from .durable import later, sync_disks, sync_folders
from .errors import NotFound, translated
from .files import SMALL, hash_file, refuse_linked_folders, sweep
from .manifest import Entry, Manifest, committed
from .packing import ALONE, MANY, Index, Place, Shard, bad_index, find_index, index_key, shard_key
from .parallel import Crew
from .shards import Piece, pieces, unpack
from .tally import Tally, TransferResult, below
from .urls import check_key

_LOOKED_AT = 32
"""Files by whose sizes it is decided how to begin."""


def download_tree(
    storage: Storage,
    prefix: str,
    destination: AnyPath,
    manifest: Optional[Manifest] = None,
    workers: Optional[int] = None,
    progress: Progress = None,
    unpacked: bool = True,
) -> TransferResult:
    """Make the folder `destination` hold the tree at `prefix`; files that are there and right stay, others are kept
    as well.

    What the tree holds is told by `manifest`, else by the manifest at `prefix`, and every file is verified against
    it; else by a listing, and every file by its length. OBS' folder markers (`dir/`) are not copied. A packed tree is
    unpacked while it streams in; with `unpacked=False` its shards are copied as they are, as anybody else would copy
    them.

    NotFound if there is nothing at `prefix` or an object is missing; Corrupt if a manifest, an index or an object is
    damaged. Before anything is written: UnsafeKey for a name that could climb out, LinkRefused if a folder in
    `destination` that files would go into is a link. A link where a file should be is replaced, not written through.
    """
    tree = _tree(storage, prefix, manifest, unpacked)
    if not unpacked and tree.shards:
        tree = _as_it_lies(storage, prefix, tree)
    root = os.path.realpath(destination)
    there = _prepare(root, itertools.chain(tree.alone, tree.packed))
    crew = Crew(workers or storage.workers, progress)
    tally = Tally()
    changed: Set[str] = set()
    """Folders that files have come into."""

    def is_there(name: str, path: str, size: int, sha256: str, key: str) -> bool:
        if name.rpartition("/")[0] not in there:
            return False
        if not _is_right(storage, path, size, sha256, key):
            return False
        crew.advance(size)
        tally.there(size)
        return True

    def is_folder_there(entry: Entry) -> bool:
        return entry.path.rpartition("/")[0] in there

    def packed(item: Union[Entry, Piece]) -> Optional[List[Any]]:
        if isinstance(item, Piece) or item.size > processes.LARGEST:
            return None
        return [*item, is_folder_there(item)]

    def fetched(item: Union[Entry, Piece], result: Sequence[Any]) -> None:
        assert isinstance(item, Entry)
        if result[0]:
            tally.there(item.size)
        else:
            changed.add(item.path.rpartition("/")[0])
            tally.sent(item.size)

    def done(size: int) -> None:
        crew.advance(size)
        tally.sent(size)

    def fetch_piece(piece: Piece) -> None:
        key = shard_key(prefix, tree.shards[piece.shard].name)
        missing = [
            place
            for place in piece.places
            if not is_there(place.path, os.path.join(root, *place.path.split("/")), place.size, place.sha256, key)
        ]
        for part in pieces(missing):
            unpack(storage, key, part, root, done)

    def fetch(item: Union[Entry, Piece]) -> None:
        if isinstance(item, Piece):
            fetch_piece(item)
        else:
            fetched(item, [fetch_file(storage, prefix, root, item, is_folder_there(item), crew.advance)])

    errand = {"do": "fetch", "prefix": prefix, "root": root}
    helpers = [
        processes.Helper(crew, storage, errand, packed, fetched)
        for _ in range(processes.count(crew, storage, [entry.size for entry in tree.alone]))
    ]
    items: Iterator[Union[Entry, Piece]] = itertools.chain(pieces(tree.packed), tree.alone)
    crew.run(fetch, items, crew.pace_for([entry.size for entry in tree.alone[:_LOOKED_AT]]), helpers)
    with translated(f"cannot write {root}"):
        if tree.packed:
            sync_disks(root, {place.path.rpartition("/")[0] for place in tree.packed})  # shards' files are not fsynced
        elif changed:
            sync_folders(root, changed)
    return tally.result()


def fetch_file(
    storage: Storage, prefix: str, root: str, entry: Entry, is_folder_there: bool, advance: Callable[[int], None]
) -> bool:
    """Bring one file of the tree; whether it was there. Without its folder it cannot have been. Its folder is the
    caller's to fsync."""
    key, path = below(prefix, entry.path), os.path.join(root, *entry.path.split("/"))
    if is_folder_there and _is_right(storage, path, entry.size, entry.sha256, key):
        advance(entry.size)
        return True
    with later:
        small: Optional[Callable[..., None]] = getattr(storage, "download_small", None)  # OBS has a short way
        if small is not None and entry.sha256 and entry.size <= SMALL:
            small(key, path, entry.size, entry.sha256, advance)
        else:
            storage.download(key, path, entry.sha256, advance)
    return False


class _Tree(NamedTuple):
    """What is to be fetched."""

    alone: List[Entry]
    """Objects of their own; a sha256 that is not known is empty."""
    packed: List[Place]
    shards: Tuple[Shard, ...]


def _tree(storage: Storage, prefix: str, manifest: Optional[Manifest], unpacked: bool) -> _Tree:
    """The tree at the prefix. An index is only looked for where there can be one, and where it would be used."""
    index: Optional[Index] = None
    if manifest is None and prefix:
        data = committed(storage, prefix)
        if data is not None:
            if data.count(b"\n") >= MANY:
                index = find_index(storage, prefix)
            if index is None:
                return _Tree(list(Manifest.from_json(data).entries), [], ())
            if index.manifest.to_json() != data:
                raise bad_index("it is of another tree than the manifest")
            return _indexed(index.manifest.entries, index)
    if manifest is not None:
        index = find_index(storage, prefix) if len(manifest.entries) >= MANY else None
        return _indexed(manifest.entries, index) if index else _Tree(list(manifest.entries), [], ())
    listed = _listing(storage, prefix)
    if unpacked and any(below(prefix, entry.path) == index_key(prefix) for entry in listed):
        index = find_index(storage, prefix)
        if index is not None:
            return _indexed(index.manifest.entries, index)
    return _Tree(listed, [], ())


def _indexed(entries: Iterable[Entry], index: Index) -> _Tree:
    """These files, from shards where the index has just them."""
    places: Dict[Entry, Place] = {
        Entry(place.path, place.size, place.sha256): place for place in index.places if place.shard != ALONE
    }
    alone: List[Entry] = []
    packed: List[Place] = []
    for entry in entries:
        place = places.get(entry)
        if place is None:
            alone.append(entry)
        else:
            packed.append(place)
    return _Tree(alone, packed, index.shards)


def _as_it_lies(storage: Storage, prefix: str, tree: _Tree) -> _Tree:
    """The objects of a packed tree, whatever is in them."""
    known = {shard_key("", shard.name): shard.sha256 for shard in tree.shards}
    known.update((entry.path, entry.sha256) for entry in tree.alone)
    listed = _listing(storage, prefix)
    return _Tree([Entry(path, size, known.get(path, sha256)) for path, size, sha256 in listed], [], ())


def _listing(storage: Storage, prefix: str) -> List[Entry]:
    root = below(prefix, "")
    entries = [
        Entry(check_key(info.key[len(root) :]), info.size, info.sha256)
        for info in storage.list(root)
        if not info.key.endswith("/")
    ]
    if not entries:
        raise NotFound(f"there is nothing at {prefix or 'this place'!r}", "look at what there is with a listing")
    return entries


def _prepare(root: str, files: Iterable[Union[Entry, Place]]) -> Set[str]:
    """Make `root`, and look at the folders that the files go into; those that are there already."""
    there: Set[str] = set()
    for folder in {file.path.rpartition("/")[0] for file in files}:
        names = folder.split("/") if folder else []
        refuse_linked_folders(root, names)
        place = os.path.join(root, *names)
        if os.path.lexists(place):
            there.add(folder)
            sweep(place)
    with translated(f"cannot make {root}"):
        os.makedirs(root, exist_ok=True)
    return there


def _is_right(storage: Storage, path: str, size: int, sha256: str, key: str) -> bool:
    return _has_size(path, size) and hash_file(path) == (sha256 or _sha256(storage, key))


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
