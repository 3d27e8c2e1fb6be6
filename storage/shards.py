"""Shards written and read: many small files into one tar, and out of it again. See `storage.packing`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from typing import BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .base import Storage
from .errors import from_os_error, translated
from .files import CHUNK, SourceFile, glance, sha256_of, sweep, temporary_beside, write_small
from .packing import BLOCK, TAIL, Place, Shard, header, verify
from .retry import carefully

PIECE = 16 << 20
"""Bytes of a shard that one request fetches."""
GAP = 1 << 20
"""Bytes that are rather fetched in vain than with a request of their own before and after them."""

_MANY_SMALL = 16 << 10
"""Bytes of a mean file below which unpacking is next to nothing but work under the interpreter's lock."""
_turn = threading.Lock()
"""Who unpacks such files holds it, and lets go of it to wait for the next block: threads that fight for the
interpreter's lock at every file take up to twice the CPU of one (20,000 files of 3 KiB: 0.8 s, and 1.3 to 1.9 s with
four)."""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Member(NamedTuple):
    """A local file, as it is to be."""

    path: str
    """In the tree."""
    size: int
    """Bytes."""
    sha256: str
    """Empty: whatever it is when it is read."""
    location: str
    data: Optional[bytes] = None
    """Content that takes the place of the file's own."""


class Piece(NamedTuple):
    """Neighbours in one shard, in order of their offsets."""

    shard: int
    places: Tuple[Place, ...]


Read = Callable[[Member, os.stat_result, str, int], None]
"""Told of each file that was read: its status, its sha256, and when reading began (POSIX nanoseconds)."""


@contextlib.contextmanager
def built(
    number: int, members: Sequence[Member], read: Optional[Read] = None
) -> Iterator[Tuple[str, Shard, List[Place]]]:
    """A shard as a local temporary file: (where it lies, what it is, where its files are). Memory: 1 MiB.

    The file lies in the system's temporary folder (TMPDIR), and takes up to twice `packing.SHARD`; it is removed when
    the block ends, or by a later call if this process is killed. SourceChanged if a file is not what its member says
    or changes meanwhile, NotFound if it has gone.
    """
    import tempfile  # not free to import, and not needed by those who read shards

    folder = tempfile.gettempdir()
    sweep(folder)
    name = temporary_beside(os.path.join(folder, "shard"))
    try:
        with translated(f"cannot write {name}"):
            descriptor = os.open(name, _CREATE, 0o600)
        with open(descriptor, "wb", buffering=0) as target:
            size, digest, places = _write(target, number, members, read)
        yield name, Shard(f"{number:05}-{digest[:16]}.tar", size, digest), places
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def pieces(places: Iterable[Place]) -> List[Piece]:
    """What to fetch for these files: runs of neighbours of about PIECE bytes, with no gap over GAP."""
    ordered = sorted(places, key=lambda place: (place.shard, place.offset))
    found: List[Piece] = []
    run: List[Place] = []
    for place in ordered:
        if run:
            end = run[-1].offset + run[-1].size
            far = place.offset - end > GAP or end - run[0].offset >= PIECE
            if far or place.shard != run[0].shard:
                found.append(Piece(run[0].shard, tuple(run)))
                run = []
        run.append(place)
    return [*found, Piece(run[0].shard, tuple(run))] if run else found


def unpack(storage: Storage, key: str, piece: Piece, root: str, done: Callable[[int], None]) -> None:
    """Write the files of a piece below the folder `root`, while they stream in from the shard at `key`.

    Each file is verified, written under a temporary name and renamed; `done` gets its size. A file that takes the
    place of an older one is fsynced first. One that is new is not: `download_tree` has all of them written at its end,
    and what a power cut does to them before, the next download finds and mends. From the first file whose bytes are
    wrong the piece is fetched again, twice; then Corrupt, and none of the bad bytes visible. Memory: 1 MiB and a file.
    """
    count = 0

    def counted(size: int) -> None:
        nonlocal count
        count += 1
        done(size)

    def once() -> None:
        _unpack(storage, key, piece._replace(places=piece.places[count:]), root, counted)

    carefully(once, lambda: count)


def _unpack(storage: Storage, key: str, piece: Piece, root: str, done: Callable[[int], None]) -> None:
    start = piece.places[0].offset
    length = piece.places[-1].offset + piece.places[-1].size - start
    if not length:  # empty files only
        for place in piece.places:
            verify(b"", place, key)
            _put(os.path.join(root, *place.path.split("/")), b"")
            done(0)
        return
    folders: Dict[str, str] = {}
    turn = _turn if length < _MANY_SMALL * len(piece.places) else threading.Lock()
    with storage.read(key, start, length) as stream, turn:
        blocks = _Blocks(stream, start, turn)
        for place in piece.places:
            data = blocks.take(place.offset, place.size)
            verify(data, place, key)
            above, _, name = place.path.rpartition("/")
            if above not in folders:
                folders[above] = os.path.join(root, *above.split("/")) if above else root
            _put(os.path.join(folders[above], name), data)
            done(place.size)


class _Blocks:
    """A stream that is taken in order, with gaps left out; its first byte is number `start` of the shard."""

    def __init__(self, stream: BinaryIO, start: int, turn: threading.Lock) -> None:
        self._stream = stream
        self._turn = turn
        self._block = b""
        self._first = start
        """Number of the block's first byte."""

    def take(self, offset: int, size: int) -> bytes:
        """`size` bytes from byte `offset` on; fewer at the end of the stream."""
        while self._first + len(self._block) < offset:
            if not self._next():
                return b""
        at = offset - self._first
        parts = [self._block[at : at + size]]
        missing = size - len(parts[0])
        while missing and self._next():
            parts.append(self._block[:missing])
            missing -= len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def _next(self) -> bool:
        self._first += len(self._block)
        self._turn.release()
        try:
            self._block = self._stream.read(CHUNK)
        finally:
            self._turn.acquire()
        return bool(self._block)


def _write(
    target: BinaryIO, number: int, members: Sequence[Member], read: Optional[Read]
) -> Tuple[int, str, List[Place]]:
    digest = hashlib.sha256()
    places: List[Place] = []
    parts: List[bytes] = []
    written = held = 0

    def flush() -> None:
        data = b"".join(parts)
        parts.clear()
        digest.update(data)
        view = memoryview(data)
        with translated("cannot write a temporary file"):
            while view:
                view = view[target.write(view) :]

    for member in members:
        head = header(member.path, member.size)
        data, sha256 = _content(member, read)
        padding = -len(data) % BLOCK
        parts += (head, data, bytes(padding)) if padding else (head, data)
        places.append(Place(member.path, member.size, sha256, number, written + held + len(head)))
        held += len(head) + len(data) + padding
        if held >= CHUNK:
            flush()
            written, held = written + held, 0
    parts.append(bytes(TAIL))
    flush()
    return written + held + TAIL, digest.hexdigest(), places


def _content(member: Member, read: Optional[Read]) -> Tuple[bytes, str]:
    """What a member holds, and its sha256. The quick way for a small file that stays as it is; whatever looks odd is
    left to SourceFile, which knows all the errors."""
    if member.data is not None:
        return member.data, sha256_of(member.data)
    started = time.time_ns()
    found = glance(member.location, member.size)
    sha256 = sha256_of(found[1]) if found is not None else ""
    if found is not None and len(found[1]) == member.size and member.sha256 in ("", sha256):
        status, data = found
    else:
        with SourceFile(member.location) as source:
            data, status = b"".join(source), source.status
            sha256 = source.finish(member.sha256)
            if len(data) != member.size:
                source.finish("of another size")  # raises SourceChanged
    if read is not None:
        read(member, status, sha256, started)
    return data, sha256


def _put(path: str, data: bytes) -> None:
    try:
        write_small(path, data, durable=False)
    except OSError as error:
        raise from_os_error(error, f"cannot write {path}") from error
