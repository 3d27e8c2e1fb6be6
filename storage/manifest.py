"""What a tree holds: every file's path, size and sha256. Written last, a manifest is what commits an uploaded tree."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from .base import AnyPath, Progress, Storage
from .errors import Conflict, Corrupt, NotFound, UnsafeKey
from .files import SHA256, SourceFile
from .hashcache import HashCache
from .parallel import Crew
from .tree import Found, find, walk
from .urls import MAX_KEY_BYTES, check_key

__all__ = ["Entry", "HashCache", "Manifest", "committed", "is_committed", "manifest_key", "scan"]

Lookup = Callable[[str, os.stat_result], str]

AGAIN = "try again; if it stays so,"
"""What comes first where bytes are wrong: they may be right in the store."""
_VERSION = 1
_ROW = [str, int, str]
_PLAIN = re.compile("[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
"""Most paths: ASCII of the kind that `check_key` lets through, so that it need not be asked about each of them."""
_AT_ONCE = 4096
_SMALL = 64 << 10


class Entry(NamedTuple):
    """One file of a tree."""

    path: str
    """Relative, with slashes; passes `check_key`."""
    size: int
    """Bytes."""
    sha256: str
    """64 small hexadecimal digits."""

    @classmethod
    def of(cls, path: str, data: bytes) -> Entry:
        """The entry of a file with that content."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The files of a tree, in order of their paths' UTF-8 bytes, whatever the order they are given in.

    Raises UnsafeKey for a path that `check_key` refuses, Conflict for a path that is there twice or is also a folder,
    Corrupt for a size or sha256 that cannot be one.
    """

    entries: Tuple[Entry, ...]
    digest: str = field(init=False, compare=False)
    """sha256 over path, size and sha256 of all files: equal for equal trees only."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ordered = tuple(sorted(entries))  # code point order is the order of the UTF-8 bytes
        _check(ordered)
        self._fill(ordered)

    @classmethod
    def of_walk(cls, entries: Iterable[Entry]) -> Manifest:
        """The same from what `storage.tree.walk` found, which has no bad path and none twice, and from hashes that
        were made here: nothing is checked again."""
        manifest = cls.__new__(cls)
        manifest._fill(tuple(sorted(entries)))
        return manifest

    def _fill(self, ordered: Tuple[Entry, ...]) -> None:
        digest = hashlib.sha256()
        for start in range(0, len(ordered), _AT_ONCE):
            rows = [f"{path}\0{size}\0{sha256}\n" for path, size, sha256 in ordered[start : start + _AT_ONCE]]
            digest.update("".join(rows).encode())
        object.__setattr__(self, "entries", ordered)
        object.__setattr__(self, "digest", digest.hexdigest())

    @property
    def content_hash(self) -> str:
        """The first 20 digits of the digest: the tree's name in URLs."""
        return self.digest[:20]

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    def to_json(self) -> bytes:
        """UTF-8, one line a file; the same bytes for the same tree."""
        lines = ",\n".join(
            [
                f'["{path}", {size}, "{sha256}"]' if '"' not in path else quoted(path, size, sha256)
                for path, size, sha256 in self.entries
            ]
        )
        return f'{{"version": {_VERSION}, "digest": "{self.digest}", "files": [\n{lines}\n]}}\n'.encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote; believes nothing. Corrupt or UnsafeKey for anything else, a cut-off file
        included."""
        try:
            document = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _bad(f"it is not JSON ({error})") from error
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            raise _bad(f"it is not of version {_VERSION}")
        files = document.get("files")
        if not isinstance(files, list):
            raise _bad("it has no list of files")
        for row in files:
            if type(row) is not list or [type(value) for value in row] != _ROW:
                raise _bad(f"{row!r:.100} is no file")
        entries = [Entry(*row) for row in files]
        try:
            manifest = cls(entries)
        except (Conflict, Corrupt) as error:
            raise _bad(error.message) from error
        if document.get("digest") != manifest.digest:
            raise _bad("its files do not have its digest")
        return manifest


def manifest_key(prefix: str) -> str:
    """Where the manifest of the tree at `prefix` lies: beside the tree, so that the tree holds nothing of ours.

    UnsafeKey for the empty prefix, which has no beside.
    """
    if not prefix:
        raise UnsafeKey("a tree needs a prefix of its own in the bucket", "give it a name")
    return check_key(prefix + ".manifest.json")


def committed(storage: Storage, prefix: str) -> Optional[bytes]:
    """The manifest of the tree at `prefix`, as it was written; None if no tree is committed there."""
    try:
        with storage.read(manifest_key(prefix)) as stream:
            return stream.read()
    except NotFound:
        return None


def is_committed(storage: Storage, prefix: str, manifest: Manifest) -> bool:
    """Whether exactly this tree is committed at `prefix`.

    A small manifest is read and compared. A large one (over 64 KiB, some 600 files) is asked about first: its size
    settles it if it differs, its sha256 if the back end keeps one, and only otherwise is it read.
    """
    wanted = manifest.to_json()
    if len(wanted) > _SMALL:
        try:
            info = storage.stat(manifest_key(prefix))
        except NotFound:
            return False
        if info.size != len(wanted) or info.sha256:
            return info.size == len(wanted) and info.sha256 == hashlib.sha256(wanted).hexdigest()
    return committed(storage, prefix) == wanted


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that a scan makes is garbage: to look through all of it for some, again and again, took a sixth of its
    time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_uncollected()
def scan(
    root: AnyPath,
    follow_outside: bool = False,
    cache: Optional[HashCache] = None,
    progress: Progress = None,
    paths: Optional[Iterable[str]] = None,
    workers: Optional[int] = None,
) -> Manifest:
    """The manifest of a folder, or of only the files `paths` (relative to it), hashed in parallel.

    Links and special files: see `storage.tree`. What a killed download left is no content. `cache` spares reading
    files that have not changed. `progress` gets the bytes that are known, read or not.

    Raises NotFound for a missing root or path, LinkRefused, UnsafeKey for a name that cannot be a key, AccessDenied,
    SourceChanged for a file that is being written to. Memory: 1 MiB a worker and about 0.5 KiB a file.
    """
    crew = Crew(workers or min(8, os.cpu_count() or 1), progress)
    entries: List[Entry] = []
    lookup: Optional[Lookup] = None
    if cache is not None:  # of a few files it would be a waste to ask about the whole folder
        lookup = cache.recall(os.path.realpath(root)) if paths is None else cache.get

    def unknown() -> Iterator[Found]:
        for found in _listed(root, paths, follow_outside):
            path, location, status = found
            known = lookup(location, status) if lookup is not None else ""
            if known:
                entries.append(Entry(path, status.st_size, known))
                if progress is not None:
                    crew.advance(status.st_size)
            else:
                yield found

    def read(found: Found) -> None:
        started = time.time_ns()
        with SourceFile(found.location, crew.advance) as source:
            for _ in source:
                pass
            sha256 = source.finish()
        entries.append(Entry(found.path, source.size, sha256))
        if cache is not None:
            cache.put(found.location, source.status, sha256, started)

    try:
        crew.run(read, unknown())
    finally:
        if cache is not None:
            cache.flush()
    return Manifest.of_walk(entries) if paths is None else Manifest(entries)


def _listed(root: AnyPath, paths: Optional[Iterable[str]], follow_outside: bool) -> Iterator[Found]:
    if paths is not None:
        return (find(root, path, follow_outside) for path in paths)
    return walk(root, follow_outside)


def _check(ordered: Tuple[Entry, ...]) -> None:
    paths = {entry.path for entry in ordered}
    folders: Set[str] = set()
    before = ""
    for entry in ordered:
        path, size, sha256 = entry
        if not _PLAIN.fullmatch(path) or len(path) > MAX_KEY_BYTES:
            check_key(path)
        if path == before:
            raise Conflict(f"the file {path!r} is there twice")
        before = path
        if size < 0 or not SHA256.fullmatch(sha256):
            raise Corrupt(f"the entry {entry} has no valid size and sha256")
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            if folder in paths:
                raise Conflict(f"{folder!r} is a file and a folder", "rename one of them")
            folders.add(folder)
            folder = folder.rpartition("/")[0]


def quoted(*line: Union[str, int]) -> str:
    """The line of a path that has a quotation mark; what else JSON would escape, `check_key` refuses."""
    return json.dumps(line, ensure_ascii=False)


def _bad(why: str) -> Corrupt:
    return Corrupt(
        f"the manifest cannot be trusted: {why}", f"{AGAIN} delete it (*.manifest.json) and upload the tree again"
    )
