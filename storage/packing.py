"""Very many small files as a few shards with an index.

A request takes a store as long as some ten thousand bytes do, and is billed. So of a tree of very many small files
the small ones are moved as shards: plain, uncompressed POSIX tar files, which hold one file after another, with an
index that tells where each one lies:

    <prefix>.manifest.json             the tree: path, size and sha256 of every file, as if nothing were packed
    <prefix>/.shards/index.json        see Index
    <prefix>/.shards/00000-<sha>.tar   the small files, in order of their paths
    <prefix>/<path>                    every other file, as ever

The manifest, written last, commits the tree; whether it is packed makes no difference to its digest. The shards lie
inside the prefix because ModelArts copies folders: what it has copied is a packed tree too, and needs no manifest.
The same tree gives the same shards, byte for byte. When a tree is packed: see `lay_out`.

`storage.transfer` packs when it is asked to, finds packed trees by itself, and unpacks them; `storage.shards` reads
and writes the shards.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any, BinaryIO, Dict, Iterable, List, NamedTuple, Optional, Tuple

from .base import Storage
from .errors import Conflict, Corrupt, NotFound
from .files import SHA256
from .manifest import AGAIN, Entry, Manifest, quoted
from .retry import carefully
from .urls import check_key

MANY = 1000
"""A tree with fewer small files is not packed. Not to be raised: in a committed tree of fewer files no index is looked
for, so those that were packed before would not be found any more."""
SMALL = 128 << 10
"""Bytes up to which a file is small (an estimate, not measured yet)."""
SHARD = 64 << 20
"""A shard has from this to twice as many bytes; the only one of a small tree may have fewer."""
BLOCK = 512
"""Of tar: headers and files begin at its multiples."""
TAIL = 2 * BLOCK
"""Zeros at the end of a tar."""
ALONE = -1
"""In place of a shard's number: the file is an object of its own."""

_FOLDER = ".shards"
_FORMAT = "launcher shards 1"
_PLACE = [str, int, str, int, int]
_SHARD = [str, int, str]
_NAME = re.compile("[0-9]{5,9}-[0-9a-f]{16}[.]tar")


class Shard(NamedTuple):
    """One tar of a packed tree."""

    name: str
    """Its number, and the first 16 digits of its sha256."""
    size: int
    """Bytes."""
    sha256: str


class Place(NamedTuple):
    """Where one file of a packed tree lies."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    shard: int
    """Number of the shard, or ALONE."""
    offset: int
    """Byte of the shard at which the content begins; 0 for a file that is alone."""


class Index(NamedTuple):
    """All of a packed tree: enough to read it with nothing else known."""

    manifest: Manifest
    shards: Tuple[Shard, ...]
    places: Tuple[Place, ...]
    """In order of their paths' UTF-8 bytes: one for each entry of the manifest."""

    @classmethod
    def of(cls, shards: Iterable[Shard], places: Iterable[Place], manifest: Optional[Manifest] = None) -> Index:
        """The index of these shards and places, given in any order; `manifest` is that of the places, if it is there
        already."""
        ordered = tuple(sorted(places))
        if manifest is None:
            manifest = Manifest(Entry(place.path, place.size, place.sha256) for place in ordered)
        return cls(manifest, tuple(sorted(shards)), ordered)

    def to_json(self) -> bytes:
        """UTF-8, one line a shard and a file; the same bytes for the same tree."""
        shards = ",\n".join(json.dumps(shard) for shard in self.shards)
        files = ",\n".join(
            [
                f'["{path}", {size}, "{sha256}", {shard}, {offset}]'
                if '"' not in path
                else quoted(path, size, sha256, shard, offset)
                for path, size, sha256, shard, offset in self.places
            ]
        )
        head = f'"format": "{_FORMAT}", "digest": "{self.manifest.digest}"'
        return f'{{{head}, "shards": [\n{shards}\n], "files": [\n{files}\n]}}\n'.encode()

    @classmethod
    def from_json(cls, data: bytes) -> Index:
        """Read what `to_json` wrote; believes nothing: Corrupt or UnsafeKey for anything else, a cut-off file
        included."""
        try:
            document = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise bad_index(f"it is not JSON ({error})") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise bad_index(f"it is not of the format {_FORMAT!r}")
        shards = tuple(Shard(*row) for row in _rows(document.get("shards"), _SHARD))
        places = tuple(Place(*row) for row in _rows(document.get("files"), _PLACE))
        for number, shard in enumerate(shards):
            if not _NAME.fullmatch(shard.name) or int(shard.name[:-21]) != number or not SHA256.fullmatch(shard.sha256):
                raise bad_index(f"{shard.name!r} is no shard")
        for place in places:
            if place.shard == ALONE:
                continue
            end = place.offset + place.size
            if not 0 <= place.shard < len(shards) or place.offset < 0 or end > shards[place.shard].size:
                raise bad_index(f"{place.path!r} lies outside of its shard")
        try:
            index = cls.of(shards, places)
        except (Conflict, Corrupt) as error:
            raise bad_index(error.message) from error
        if document.get("digest") != index.manifest.digest:
            raise bad_index("its files do not have its digest")
        return index


def lay_out(files: Iterable[Tuple[str, int]]) -> List[int]:
    """The number of the shard that each file (path, size in bytes) belongs to, or ALONE. Paths come in order.

    A tree is packed if it has at least MANY files of up to SMALL bytes; these are packed, the others are not. They are
    cut into as many shards of equal size as have SHARD bytes or more each, at least one.
    """
    files = list(files)
    spans = [_span(path, size) if size <= SMALL else 0 for path, size in files]
    if sum(1 for span in spans if span) < MANY or any(path.startswith(_FOLDER + "/") for path, _ in files):
        return [ALONE] * len(files)
    total = sum(spans)
    count = max(1, total // SHARD)
    numbers, done = [], 0
    for span in spans:
        numbers.append(min(count - 1, done * count // total) if span else ALONE)
        done += span
    return numbers


def counts(manifest: Manifest) -> Optional[Dict[str, int]]:
    """What packing would come to, `{"files": …, "shards": …}`; None for a tree that is not worth it."""
    numbers = [number for number in lay_out((entry.path, entry.size) for entry in manifest.entries) if number != ALONE]
    return {"files": len(numbers), "shards": max(numbers) + 1} if numbers else None


def index_key(prefix: str) -> str:
    """Where the index of the tree at `prefix` (may be empty) lies."""
    return shard_key(prefix, "index.json")


def shard_key(prefix: str, name: str) -> str:
    """The key of a shard; with the empty name what all their keys start with."""
    folder = f"{prefix}/{_FOLDER}/" if prefix else _FOLDER + "/"
    return check_key(folder + name) if name else folder


def find_index(storage: Storage, prefix: str) -> Optional[Index]:
    """The index of the tree at `prefix`; None if it is not packed. Corrupt if it is damaged."""
    try:
        with storage.read(index_key(prefix)) as stream:
            data = stream.read()
    except NotFound:
        return None
    return Index.from_json(data)


def read_packed(storage: Storage, prefix: str, path: str) -> BinaryIO:
    """Open one file of the committed tree at `prefix`, packed or not, without fetching the rest of its shard.

    Costs the index, and one request. Bytes from a shard are verified before the first one is returned, and read again
    if they are wrong; a file of its own is read as `Storage.read` does. NotFound if the tree has no such file, Corrupt
    if it is damaged.
    """
    check_key(path)
    index = find_index(storage, prefix)
    if index is None:
        return storage.read(f"{prefix}/{path}" if prefix else path)
    place = next((place for place in index.places if place.path == path), None)
    if place is None:
        raise NotFound(f"the tree {prefix!r} has no file {path!r}")
    if place.shard == ALONE:
        return storage.read(f"{prefix}/{path}" if prefix else path)
    return io.BytesIO(carefully(lambda: _content(storage, shard_key(prefix, index.shards[place.shard].name), place)))


def _content(storage: Storage, key: str, place: Place) -> bytes:
    with storage.read(key, place.offset, place.size) as stream:
        data = stream.read()
    verify(data, place, key)
    return data


def verify(data: bytes, place: Place, key: str) -> None:
    """Corrupt unless these are the bytes of that file; `key` is the shard they come from."""
    if len(data) != place.size or hashlib.sha256(data).hexdigest() != place.sha256:
        raise Corrupt(f"{place.path!r} in the shard {key} is damaged", f"{AGAIN} upload the tree again")


def _span(path: str, size: int) -> int:
    """Bytes that a file takes in a shard."""
    head = BLOCK if _is_plain(path) else len(header(path, size))
    return head + (size + BLOCK - 1) // BLOCK * BLOCK


def _is_plain(path: str) -> bool:
    """Whether one block holds the header of a file of that name."""
    return len(path) <= 100 and path.isascii()


def header(path: str, size: int) -> bytes:
    """The tar header of a file: a block for most, three or more for a path of over 100 bytes or other than ASCII."""
    if not _is_plain(path):
        import tarfile  # not free to import, and seldom needed

        info = tarfile.TarInfo(path)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT)
    name, digits = path.encode(), b"%011o" % size
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(name) + sum(digits))
    return b"".join((name.ljust(100, b"\0"), _MODE_UID_GID, digits, _MTIME, checksum, _REST))


_MODE_UID_GID = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"\0" + b"0" * 11 + b"\0"
_REST = b"0" + bytes(100) + b"ustar\x0000" + bytes(BLOCK - 265)
_FIXED_SUM = sum(_MODE_UID_GID) + sum(_MTIME) + sum(b" " * 8) + sum(_REST)
"""What the fields that are the same in every header add to its checksum."""


def _rows(rows: Any, types: List[type]) -> List[List[Any]]:
    if not isinstance(rows, list):
        raise bad_index("it has no list of files and shards")
    for row in rows:
        if type(row) is not list or [type(value) for value in row] != types:
            raise bad_index(f"{row!r:.100} is no file or shard")
    return rows


def bad_index(why: str) -> Corrupt:
    """The error for an index that cannot be what was written."""
    return Corrupt(
        f"the index of the shards cannot be trusted: {why}",
        f"{AGAIN} delete the tree's manifest (*.manifest.json) and upload the tree again",
    )
