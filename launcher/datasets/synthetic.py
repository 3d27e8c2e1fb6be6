"""Small synthetic pictures in CIFAR-10's layout: for quick tests, never for results. They say so in their class names.

Ten kinds of coloured stripes: a class has its direction, its width and its colours; a picture adds a phase and noise. A
network learns them in a few dozen steps. The same bytes on every machine and with every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from .registry import DataFile

SIDE = 32
PHASES = 8
TRAIN, TEST = 5 * 96, 100
"""Pictures that ``data prepare`` makes: 15 steps an epoch at batch 32."""
NAMES = "".join(f"synthetic-{number}\n" for number in range(10))
DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1))
NOISE = int.from_bytes(b"\x3f" * (3 * SIDE * SIDE), "big")
"""Six bits of noise for each pixel; patterns stay below 192, so that nothing is carried into the next byte."""


def generate(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """An unpacker (``sources.py``) that needs nothing fetched."""
    write(into)


def write(folder: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """Write ``train/data_batch_1.bin`` to ``5``, ``eval/test_batch.bin`` and ``batches.meta.txt``; the folder."""
    numbers = random.Random("synthetic pictures")
    patterns = [[_pattern(label, phase) for phase in range(PHASES)] for label in range(10)]
    sizes = {f"train/data_batch_{n + 1}.bin": train // 5 + (n < train % 5) for n in range(5)}
    drawn = 0
    for name, count in {**sizes, "eval/test_batch.bin": test}.items():
        rows = []
        for _ in range(count):
            label, phase = drawn % 10, numbers.getrandbits(3)
            noise = numbers.getrandbits(8 * 3 * SIDE * SIDE) & NOISE
            rows.append(bytes([label]) + (patterns[label][phase] + noise).to_bytes(3 * SIDE * SIDE, "big"))
            drawn += 1
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"".join(rows))
    (folder / "batches.meta.txt").write_text(NAMES)
    return folder


def _pattern(label: int, phase: int) -> int:
    """A picture without noise, as one large number."""
    across, down = DIRECTIONS[label % 5]
    width = 4 if label < 5 else 8
    colours = (40 + 15 * label, 175 - 15 * label, 60 + 60 * (label % 3))
    dark = [colour // 4 for colour in colours]
    pixels = bytearray()
    for colour in range(3):
        for y in range(SIDE):
            for x in range(SIDE):
                stripe = (across * x + down * y + phase) // width % 2
                pixels.append(colours[colour] if stripe else dark[colour])
    return int.from_bytes(pixels, "big")
