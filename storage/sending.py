"""Trees from a local folder into storage. See `storage.transfer`."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from . import processes
from .base import AnyPath, Progress, Storage
from .errors import NotFound, SourceChanged, StorageError, UnsafeKey
from .files import hash_file
from .hashcache import HashCache
from .manifest import Entry, Manifest, committed, is_committed, manifest_key, scan
from .packing import ALONE, MANY, Index, Place, Shard, index_key, lay_out, shard_key
from .parallel import Crew, Pace, in_background
from .shards import Member, built
from .tally import Tally, TransferResult, below
from .tree import walk

_LOOKED_AT = 32
"""Files by whose sizes it is decided how to begin."""
SHARDS_AT_ONCE = 2
"""One is built while another one is sent; each takes up to 128 MiB of the temporary folder, but no memory."""


def upload_tree(
    source: AnyPath,
    storage: Storage,
    prefix: str,
    manifest: Manifest,
    content: Optional[Mapping[str, bytes]] = None,
    workers: Optional[int] = None,
    progress: Progress = None,
    pack: bool = False,
) -> TransferResult:
    """Make `prefix` hold the tree that `manifest` describes, with files from the folder `source`.

    `content` gives bytes for some of the manifest's paths; their files are not read. A tree that is committed and
    equal costs one small read. Otherwise objects that are there whole (size and sha256) stay, the others are sent,
    each verified against the manifest while it is read, and the manifest comes last. A different manifest at `prefix`
    is removed first, so that a mixture never looks committed; objects that are not in the manifest stay.

    With `pack`, a tree that `storage.packing.lay_out` finds worth it is sent as shards.

    SourceChanged if a file or `content` is not what the manifest says, NotFound if a file has gone; then no manifest
    is written. UnsafeKey, and nothing is touched, for a tree that can be packed and has a file of its own where the
    index of a packed one lies.
    """
    content = content or {}
    _check_content(manifest, content)
    _refuse_index([entry.path for entry in manifest.entries])
    crew = Crew(workers or storage.workers, progress)
    if is_committed(storage, prefix, manifest):
        crew.advance(manifest.total_bytes)
        return TransferResult(len(manifest.entries), manifest.total_bytes, len(manifest.entries), 0, 0)
    root = os.fspath(source)
    members = (
        Member(
            entry.path, entry.size, entry.sha256, os.path.join(root, *entry.path.split("/")), content.get(entry.path)
        )
        for entry in manifest.entries
    )
    sender = _Sender(storage, prefix, crew, None)
    sender.begin()
    sender.send(list(members) if pack else members, pack, manifest)
    storage.write(manifest_key(prefix), manifest.to_json())
    return sender.tally.result()


def send_tree(
    source: AnyPath,
    storage: Storage,
    prefix: str,
    cache: Optional[HashCache] = None,
    follow_outside: bool = False,
    workers: Optional[int] = None,
    progress: Progress = None,
    pack: bool = False,
) -> Tuple[Manifest, TransferResult]:
    """Make `prefix` hold the tree in the folder `source` as it is now, in one pass: each file is listed, hashed and
    sent as the one before it is still on its way.

    The same as `scan` and `upload_tree`, and just that if a tree is committed at `prefix` already: then only what is
    new has to be sent, and hashes tell what that is. Guarantees, `pack`, errors: as there.
    """
    if committed(storage, prefix) is not None:
        manifest = scan(source, follow_outside, cache)
        return manifest, upload_tree(source, storage, prefix, manifest, None, workers, progress, pack)
    lookup = cache.recall(os.path.realpath(source)) if cache is not None else lambda *_: ""
    members: Iterable[Member] = (
        Member(found.path, found.status.st_size, lookup(found.location, found.status), found.location)
        for found in walk(source, follow_outside)
    )
    if os.path.lexists(os.path.join(os.fspath(source), *index_key("").split("/"))):
        members = list(members)
        _refuse_index([member.path for member in members])
    sender = _Sender(storage, prefix, Crew(workers or storage.workers, progress), cache)
    try:
        manifest = sender.send(list(members) if pack else members, pack)
    finally:
        if cache is not None:
            cache.flush()
    storage.write(manifest_key(prefix), manifest.to_json())
    return manifest, sender.tally.result()


class _Sender:
    """One tree on its way up, all but its manifest."""

    def __init__(self, storage: Storage, prefix: str, crew: Crew, cache: Optional[HashCache]) -> None:
        manifest_key(prefix)  # raises what is wrong with it
        self.tally = Tally()
        self._storage = storage
        self._prefix = prefix
        self._crew = crew
        self._cache = cache
        self._files = FileSender(storage, prefix, crew.advance, cache)
        self._before: Dict[str, str] = {}
        """What an older manifest at the prefix vouches for: path -> sha256 of an object of its own."""
        self._places: List[Place] = []
        self._shards: List[Shard] = []
        self._shards_there: Callable[[], Dict[str, int]] = dict
        """What lay there before."""

    def begin(self) -> None:
        """Take an older manifest away; there is no tree at the prefix from now on."""
        storage, prefix = self._storage, self._prefix
        data = committed(storage, prefix)
        if data is None:
            return
        keys = [manifest_key(prefix)]
        try:
            storage.stat(index_key(prefix))
            keys.append(index_key(prefix))  # the manifest goes first
        except NotFound:
            with contextlib.suppress(StorageError):
                self._before = {entry.path: entry.sha256 for entry in Manifest.from_json(data).entries}
        for key in keys:
            storage.delete([key])

    def send(self, members: Iterable[Member], pack: bool, manifest: Optional[Manifest] = None) -> Manifest:
        """Bring them all there. Their manifest: the one given, else one of what was sent, which `walk` has found."""
        groups: List[Sequence[Member]] = []
        if pack:
            members = list(members)
            groups, members = _groups(members)
        if groups:
            self._shards_there = in_background(self._list_shards)
            self._send_shards(groups)
        source = iter(members)
        is_shared = processes.recipe_of(self._storage) is not None
        first = list(itertools.islice(source, processes.MANY if is_shared else _LOOKED_AT))
        sizes = [member.size for member in first]
        errand = {"do": "send", "prefix": self._prefix, "cache": self._cache.path if self._cache is not None else ""}
        helpers = [
            processes.Helper(self._crew, self._storage, errand, self._packed, self._sent)
            for _ in range(processes.count(self._crew, self._storage, sizes))
        ]
        pace = self._crew.pace_for(sizes[:_LOOKED_AT])
        self._crew.run(self._send_file, self._with_sizes(itertools.chain(first, source)), pace, helpers)
        if manifest is None:
            manifest = Manifest.of_walk(Entry(place.path, place.size, place.sha256) for place in self._places)
        if groups:
            index = Index.of(self._shards, self._places, manifest)
            self._storage.write(index_key(self._prefix), index.to_json())
            self._remove_shards(keep={shard.name for shard in self._shards})
        elif len(self._places) >= MANY:  # what a packed upload that was broken off may have left would be believed
            self._storage.delete([index_key(self._prefix)])
        return manifest

    def _send_file(self, item: Tuple[Member, int]) -> None:
        member, size_there = item
        self._sent(item, self._files.send(member, size_there, self._before.get(member.path, "")))

    def _packed(self, item: Tuple[Member, int]) -> Optional[List[Any]]:
        """For another process, if it may go there."""
        (path, size, sha256, location, data), size_there = item
        if data is not None or size > processes.LARGEST:
            return None
        return [path, size, sha256, location, size_there, self._before.get(path, "")]

    def _sent(self, item: Tuple[Member, int], result: Sequence[Any]) -> None:
        was_there, size, sha256 = result
        self._arrived(item[0], size, sha256)
        (self.tally.there if was_there else self.tally.sent)(size)

    def _arrived(self, member: Member, size: int, sha256: str) -> None:
        self._places.append(Place(member.path, size, sha256, ALONE, 0))

    def _send_shards(self, groups: Sequence[Sequence[Member]]) -> None:
        there = self._shards_there

        def send(item: Tuple[int, Sequence[Member]]) -> None:
            number, members = item
            with built(number, members, self._remember) as (location, shard, places):
                key, payload = shard_key(self._prefix, shard.name), sum(place.size for place in places)
                if there().get(key) == shard.size and _sha256(self._storage, key) == shard.sha256:
                    self._crew.advance(payload)
                    self.tally.there(payload, len(members))
                else:
                    share = _Share(self._crew, shard.size, payload)
                    self._storage.upload(location, key, shard.sha256, share.advance)
                    self.tally.sent(payload, len(members))
            self._shards.append(shard)
            self._places.extend(places)

        self._crew.run(send, enumerate(groups), Pace(SHARDS_AT_ONCE, first=SHARDS_AT_ONCE))

    def _remember(self, member: Member, status: os.stat_result, sha256: str, started: int) -> None:
        if self._cache is not None:
            self._cache.put(member.location, status, sha256, started)

    def _list_shards(self) -> Dict[str, int]:
        """Key -> size of the shards, and whatever else lies beside them."""
        return {info.key: info.size for info in self._storage.list(shard_key(self._prefix, ""))}

    def _remove_shards(self, keep: Iterable[str]) -> None:
        kept = {shard_key(self._prefix, name) for name in keep}.union([index_key(self._prefix)])
        keys = [key for key in self._shards_there() if key not in kept]
        if keys:
            self._storage.delete(keys)

    def _with_sizes(self, members: Iterable[Member]) -> Iterator[Tuple[Member, int]]:
        """Each with the size of the object that is there, or -1: one listing, merged with members in the same order."""
        there = None
        listing = None
        for member in members:
            key = below(self._prefix, member.path)
            if listing is None:
                listing = self._storage.list(below(self._prefix, ""))
                there = next(listing, None)
            while there is not None and there.key < key:
                there = next(listing, None)
            yield member, there.size if there is not None and there.key == key else -1


class FileSender:
    """Files that go up one by one."""

    def __init__(
        self, storage: Storage, prefix: str, advance: Callable[[int], None], cache: Optional[HashCache]
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._advance = advance
        self._cache = cache

    def send(self, member: Member, size_there: int, before: str) -> Tuple[bool, int, str]:
        """(Was it there, its size, its sha256). `size_there` is what a listing says, or -1; `before` is the sha256 that
        an older manifest vouches for."""
        storage, key, sha256 = self._storage, below(self._prefix, member.path), member.sha256
        if size_there == member.size:
            sha256 = sha256 or hash_file(member.location)
            if before == sha256 or _sha256(storage, key) == sha256:
                self._advance(member.size)
                return True, member.size, sha256
        if member.data is not None:
            storage.write(key, member.data)
            self._advance(member.size)
            return False, member.size, sha256
        size, sha256 = self._upload(member, key, sha256)
        return False, size, sha256

    def _upload(self, member: Member, key: str, sha256: str) -> Tuple[int, str]:
        """Size and sha256 of what was sent."""
        started = time.time_ns()
        before = os.stat(member.location) if self._cache is not None and not sha256 else None
        info = self._storage.upload(member.location, key, sha256, self._advance)
        if sha256:
            return member.size, sha256
        found = info.sha256
        if not found:  # a back end that does not tell what it has sent: make sure that it was this
            found = hash_file(member.location)
            info = self._storage.upload(member.location, key, found)
        if before is not None and self._cache is not None:
            after = os.stat(member.location)
            if _stamp(before) == _stamp(after):
                self._cache.put(member.location, after, found, started)
        return info.size, found


class _Share:
    """Bytes of a shard turned into bytes of the files in it, for the progress."""

    def __init__(self, crew: Crew, size: int, payload: int) -> None:
        self._lock = threading.Lock()
        self._crew = crew
        self._size = size
        self._payload = payload
        self._done = 0

    def advance(self, count: int) -> None:
        with self._lock:
            before = self._payload * self._done // self._size
            self._done += count
            step = self._payload * self._done // self._size - before
        self._crew.advance(step)


def _groups(members: Sequence[Member]) -> Tuple[List[Sequence[Member]], List[Member]]:
    """The members of each shard, and those that go alone."""
    numbers = lay_out((member.path, member.size) for member in members)
    shards: Dict[int, List[Member]] = {}
    alone: List[Member] = []
    for member, number in zip(members, numbers):
        (alone if number == ALONE else shards.setdefault(number, [])).append(member)
    return [shards[number] for number in sorted(shards)], alone


def _check_content(manifest: Manifest, content: Mapping[str, bytes]) -> None:
    expected = {entry.path: entry for entry in manifest.entries} if content else {}
    for path, data in content.items():
        if expected.get(path) != Entry.of(path, data):
            raise SourceChanged(
                f"the content given for {path!r} is not what the manifest says", "build the manifest from it"
            )


def _refuse_index(paths: Sequence[str]) -> None:
    """A tree of so many files is looked for in shards: a file of its own at the place of their index would be believed
    to be it, and the next plain upload would remove it."""
    if len(paths) >= MANY and index_key("") in paths:
        raise UnsafeKey(
            f"a tree of {MANY:,} files cannot have a file {index_key('')!r}: the index of a packed one lies there",
            "rename it; of a packed tree in a bucket, `storage sync` gives the files",
        )


def _sha256(storage: Storage, key: str) -> str:
    """Of the object; "" if there is none."""
    with contextlib.suppress(NotFound):
        return storage.stat(key, digest=True).sha256
    return ""


def _stamp(status: os.stat_result) -> Tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
