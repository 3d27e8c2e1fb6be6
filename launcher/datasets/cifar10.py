"""CIFAR-10's own checker, and its samples for a preview. Any data set in the same layout passes: synthetic ones do.

A file is rows of 3073 bytes: the label, then 1024 red, 1024 green and 1024 blue pixels, row by row. How many pictures a
file has is free; that all six are there is not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.errors import DataError

from . import contents
from .layout import arranged, locate, quoted
from .registry import Dataset, Problem, Sample, get

SIDE = 32
PLANE = SIDE * SIDE
ROW = 1 + 3 * PLANE
NAMES = "batches.meta.txt"
PICKLE = b"\x80\x02}"

FIRST_PICTURES: dict[int, str] = {
    0x485DEB95: "data_batch_1.bin",
    0xA401CFB7: "data_batch_2.bin",
    0x6C67965E: "data_batch_3.bin",
    0xD3162DAE: "data_batch_4.bin",
    0x08A37B03: "data_batch_5.bin",
    0xEDDE7A6B: "test_batch.bin",
}
"""CRC-32 of the first row of each official file."""


def check(dataset: Dataset, root: Path) -> list[Problem]:
    """All that is wrong with ``root``: places first, then contents, then what does not fit together."""
    dataset = arranged(dataset, root)
    located = locate(dataset, root)
    again = f"python -m launcher data prepare {dataset.name} {quoted(root / located.base)} --force"
    problems = [problem for problem in located.problems if not problem.file.endswith(NAMES)]  # nothing depends on it
    firsts: dict[bytes, str] = {}
    seen: set[int] = set()
    for file in dataset.files:
        place = located.files.get(file.path)
        if place is None or file.name == NAMES:
            continue
        path = root / place

        def judge(
            head: bytes, size: int, path: Path = path, place: str = place, name: str = file.name
        ) -> Problem | None:
            return _judge(head, size, path, place, name, again, firsts, seen)

        problem = contents.inspect(path, place, again, judge)
        if problem is not None and head_of(path, len(PICKLE)) == PICKLE:
            return [problem]  # every other one follows from it
        problems += [problem] if problem else []
    missing = sorted(set(range(10)) - seen)
    if not problems and missing:
        text = f"has no picture of class {', '.join(map(str, missing))}"
        problems.append(Problem(f"{dataset.files[0].folder or '.'}/", text, again))
    return problems


def samples(root: Path, split: str, choose: Callable[[int], Sequence[int]]) -> list[Sample]:
    """The samples that ``choose(number of images)`` picks; for a folder that passed ``check``."""
    *files, names_file = arranged(get("cifar10"), root).files
    files = files[:-1] if split == "train" else files[-1:]
    counts = [(root / file.path).stat().st_size // ROW for file in files]
    names = _names(root / names_file.path)
    drawn = []
    for index in choose(sum(counts)):
        within, number = index, 0
        while within >= counts[number]:
            within, number = within - counts[number], number + 1
        with open(root / files[number].path, "rb") as stream:
            stream.seek(within * ROW)
            row = stream.read(ROW)
        if len(row) < ROW or row[0] >= len(names):
            raise DataError(f"{stream.name} is no file of CIFAR-10", f"python -m launcher data check {quoted(root)}")
        pixels = bytearray(3 * PLANE)
        for colour in range(3):
            pixels[colour::3] = row[1 + colour * PLANE : 1 + (colour + 1) * PLANE]
        drawn.append(Sample(index, names[row[0]], "RGB", (SIDE, SIDE), bytes(pixels)))
    return drawn


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file; none of one that cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(size)
    except OSError:
        return b""


def _names(path: Path) -> list[str]:
    """What the classes are called; their numbers if nobody says."""
    try:
        return path.read_text("utf-8", "replace").split() or [str(number) for number in range(10)]
    except OSError:
        return [str(number) for number in range(10)]


def _judge(
    head: bytes, size: int, path: Path, place: str, name: str, again: str, firsts: dict[bytes, str], seen: set[int]
) -> Problem | None:
    """The one problem of a file's content; ``firsts`` and ``seen`` gather what the training files hold."""
    if head.startswith(PICKLE):
        return Problem(place, "is CIFAR-10 as a pickle for Python; the binary version is needed", again)
    pictures, left = divmod(size, ROW)
    if left:
        text = f"is cut short: {size:,} bytes, which is no multiple of the {ROW:,} of a picture"
        return Problem(place, text, again)
    with open(path, "rb") as stream:
        first = stream.read(ROW)
        official = FIRST_PICTURES.get(zlib.crc32(first), name)
        if official != name:
            return Problem(place, f"holds the pictures of {official}", again)
        if first in firsts and pictures > 1:
            return Problem(place, f"begins with the same picture as {firsts[first]}", again)
        firsts[first] = place
        stream.seek(0)
        index = 0
        while chunk := stream.read(ROW * 256):
            labels = chunk[::ROW]
            strange = labels.translate(None, bytes(range(10)))
            if strange:
                where = index + labels.index(strange[:1])
                return Problem(place, f"has label {strange[0]} at picture {where:,}; labels are 0 to 9", again)
            index += len(labels)
            if not name.startswith("test"):
                seen.update(labels)
    return None
