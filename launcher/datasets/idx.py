"""IDX, the format of MNIST's files: big-endian magic (0, 0, type, number of dimensions), the sizes, the bytes.

2051 (0x00000803) is bytes in three dimensions: images, rows, columns. 2049 (0x00000801) is bytes in one: labels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod

IMAGES = 2051
LABELS = 2049


@dataclass(frozen=True)
class Header:
    """``sizes`` is (images, rows, columns) or (labels,)."""

    magic: int
    sizes: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes of the header itself."""
        return 4 + 4 * len(self.sizes)

    @property
    def file_size(self) -> int:
        """Bytes that the whole file should have."""
        return self.length + prod(self.sizes)


def parse(head: bytes) -> Header | None:
    """The header at the start of ``head``; None if the magic is neither of the two or the bytes do not suffice."""
    if len(head) < 4:
        return None
    (magic,) = struct.unpack_from(">I", head)
    dimensions = {IMAGES: 3, LABELS: 1}.get(magic)
    if dimensions is None or len(head) < 4 + 4 * dimensions:
        return None
    return Header(magic, struct.unpack_from(f">{dimensions}I", head, 4))
