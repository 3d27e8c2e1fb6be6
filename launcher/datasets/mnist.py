"""MNIST's own checker, and its samples for a preview. Any data set in the same layout passes: Fashion-MNIST does."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.errors import DataError

from . import contents, idx
from .layout import locate, quoted
from .registry import DataFile, Dataset, Problem, Sample

SIDE = 28
CLASSES = 10
OFFICIAL = {"train": 60_000, "test": 10_000}
KINDS = {idx.IMAGES: "images", idx.LABELS: "labels"}


def check(dataset: Dataset, root: Path) -> list[Problem]:
    """All that is wrong with ``root``: places first, then contents, then what does not fit together."""
    located = locate(dataset, root)
    problems = list(located.problems)
    again = f"python -m launcher data prepare {dataset.name} {quoted(root / located.base)} --force"
    counts: dict[tuple[str, int], int] = {}
    for file in dataset.files:
        place = located.files.get(file.path)
        if place is None:
            continue
        header, problem = _read(root / place, file, place, again)
        if problem is not None:
            problems.append(problem)
        if header is not None:
            counts[file.folder, header.magic] = header.sizes[0]
    problems += _misfits(counts, again)
    place = located.files.get("train/train-labels-idx1-ubyte")
    return problems or (_missing_class(root / place, place, again) if place else [])


def samples(root: Path, split: str, choose: Callable[[int], Sequence[int]]) -> list[Sample]:
    """The samples that ``choose(number of images)`` picks; for a folder that passed ``check``."""
    stem = {"train": "train/train", "test": "test/t10k"}[split]
    with open(root / f"{stem}-images-idx3-ubyte", "rb") as images:
        header = idx.parse(images.read(16))
        if header is None:
            raise DataError(f"{images.name} is no IDX file", f"python -m launcher data check {quoted(root)}")
        indices = choose(header.sizes[0])
        pixels = []
        for index in indices:
            images.seek(header.length + index * SIDE * SIDE)
            pixels.append(images.read(SIDE * SIDE))
    labels = (root / f"{stem}-labels-idx1-ubyte").read_bytes()[8:]
    return [Sample(i, str(labels[i]), "L", (SIDE, SIDE), p) for i, p in zip(indices, pixels, strict=True)]


def _read(path: Path, file: DataFile, place: str, again: str) -> tuple[idx.Header | None, Problem | None]:
    """The header, where it can be trusted, and the one problem of this file's content."""
    headers: list[idx.Header | None] = [None]

    def judge(head: bytes, size: int) -> Problem | None:
        headers[0], problem = _judge(head, size, path, file, place, again)
        return problem

    problem = contents.inspect(path, place, again, judge)
    return headers[0], problem


def _judge(
    head: bytes, size: int, path: Path, file: DataFile, place: str, again: str
) -> tuple[idx.Header | None, Problem | None]:
    wanted = idx.IMAGES if "images" in file.name else idx.LABELS
    header = idx.parse(head)
    if header is None:
        return None, Problem(place, _bad_header(head, wanted), again)
    if header.magic != wanted:
        other = path.with_name(path.name.replace("images-idx3", "\0").replace("labels-idx1", "images-idx3"))
        other = other.with_name(other.name.replace("\0", "labels-idx1"))
        return None, Problem(
            place,
            f"holds {KINDS[header.magic]}, not {KINDS[wanted]} (magic {header.magic}, not {wanted})",
            f"swap the names of {quoted(path)} and {quoted(other)}",
        )
    if header.magic == idx.IMAGES and header.sizes[1:] != (SIDE, SIDE):
        rows, columns = header.sizes[1:]
        return header, Problem(place, f"has images of {rows} x {columns}, not {SIDE} x {SIDE}", again)
    if header.sizes[0] == 0:
        return None, Problem(place, f"holds 0 {KINDS[wanted]}", again)
    if size != header.file_size:
        return header, Problem(place, _wrong_size(size, header), again)
    return header, _bad_label(path, place, again) if wanted == idx.LABELS else None


def _bad_header(head: bytes, wanted: int) -> str:
    if len(head) >= 4:
        (magic,) = struct.unpack_from(">I", head)
        (turned,) = struct.unpack_from("<I", head)
        if turned == wanted:
            return "has its header's bytes in the wrong order (little-endian)"
        if magic not in KINDS:
            return f"is no IDX file of {KINDS[wanted]} (magic {magic}, not {wanted})"
    return f"is cut short: {len(head)} bytes, less than its header"


def _wrong_size(size: int, header: idx.Header) -> str:
    kind, count = KINDS[header.magic], header.sizes[0]
    promise = f"its header promises {header.file_size:,} ({count:,} {kind})"
    if size < header.file_size:
        return f"is cut short: {size:,} bytes, and {promise}"
    return f"is too long: {size:,} bytes, and {promise}"


def _bad_label(path: Path, place: str, again: str) -> Problem | None:
    with open(path, "rb") as stream:
        stream.seek(8)
        position = 0
        while chunk := stream.read(1 << 20):
            strange = chunk.translate(None, bytes(range(CLASSES)))
            if strange:
                index = position + chunk.index(strange[:1])
                return Problem(
                    place, f"has label {strange[0]} at index {index:,}; labels are 0 to {CLASSES - 1}", again
                )
            position += len(chunk)
    return None


def _missing_class(path: Path, place: str, again: str) -> list[Problem]:
    """Labels that no training image has: a network would never say them. For a file that is right otherwise."""
    missing = sorted(set(range(CLASSES)) - set(path.read_bytes()[8:]))
    return [Problem(place, f"has no image of class {', '.join(map(str, missing))}", again)] if missing else []


def _misfits(counts: dict[tuple[str, int], int], again: str) -> list[Problem]:
    """Counts that cannot be right together."""
    problems = []
    for split, own in OFFICIAL.items():
        images, labels = counts.get((split, idx.IMAGES)), counts.get((split, idx.LABELS))
        if images is not None and labels is not None and images != labels:
            problems.append(Problem(f"{split}/", f"has {images:,} images but {labels:,} labels", again))
        other = "test" if split == "train" else "train"
        if images is not None and images == OFFICIAL[other] and counts.get((other, idx.IMAGES)) == own:
            text = f"holds the {images:,} images of {other}: train and test are swapped"
            problems.append(Problem(f"{split}/", text, f"swap the files of {split}/ and {other}/"))
    return problems
