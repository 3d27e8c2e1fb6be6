"""CIFAR-10 in memory: its binary files read and checked, and turned batch by batch into what the network takes.

The course does this with MindSpore's data pipeline::

    Cifar10Dataset -> RandomCrop, padding 4 -> RandomHorizontalFlip -> Resize -> Rescale 1/255 -> Normalize -> HWC2CHW

Here it is numpy, to the bit as MindSpore does it (tests compare them), because the random crops and flips must be a
function of (seed, epoch, step): MindSpore's own cannot be taken up again in the middle. From the resize on it is
`jobs.pictures`, which every user of the trained network goes through too. All pictures stay in memory as bytes, 184 MB.
"""

from __future__ import annotations

import os
import zlib
from typing import Any, Dict, NamedTuple, Sequence, Tuple

import numpy as np

from jobs import JobError
from jobs.pictures import Pictures
from jobs.shared.pictures import Split, check_classes

SIDE = 32
PADDING = 4
ROW = 1 + 3 * SIDE * SIDE
"""Bytes of a picture in the files: its label; all red pixels, row by row; all green; all blue."""

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
NAMES_FILE = "batches.meta.txt"
ARRANGEMENTS = (("train", "eval"), ("train", "test"), ("", ""), ("cifar-10-batches-bin", "cifar-10-batches-bin"))
"""Where the training files and the test file may lie: the course's way, MNIST's way, the official archive's way."""

MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2023, 0.1994, 0.2010)
"""The references' constants. The mean is that of the training set. The deviation is not: it is the mean of the single
pictures' deviations, a slip that is copied widely and does no harm. That of the set is 0.2470, 0.2435, 0.2616.
"""

FLIP = 0.5
"""How often a picture is mirrored. The references have device_id / (device_id + 1): never on the first device, and more
often the higher a device's number is. It looks like a slip, and is not repeated here.
"""

FIRST_PICTURES: Dict[int, str] = {
    0x485DEB95: "data_batch_1.bin",
    0xA401CFB7: "data_batch_2.bin",
    0x6C67965E: "data_batch_3.bin",
    0xD3162DAE: "data_batch_4.bin",
    0x08A37B03: "data_batch_5.bin",
    0xEDDE7A6B: "test_batch.bin",
}
"""CRC-32 of the first row of each official file: which of them a file is, whatever its name says."""


class Cifar10(NamedTuple):
    """The training set and the test set: images uint8 of (n, 3, 32, 32), labels int32 of (n,)."""

    train: Split
    test: Split
    classes: Tuple[str, ...] = CLASSES
    """What batches.meta.txt calls them."""


class Draws(NamedTuple):
    """The random part of an epoch, one entry for each picture in the order in which it is seen."""

    top: np.ndarray[Any, Any]
    left: np.ndarray[Any, Any]
    """Where the crop begins in the padded picture, 0 to 8."""
    flip: np.ndarray[Any, Any]


def draw(samples: int, seed: int, epoch: int) -> Draws:
    """A function of seed and epoch alone; a step takes its slice of it."""
    random = np.random.RandomState([seed, epoch, 1])  # 1: other numbers than those of the order
    corners = random.randint(0, 2 * PADDING + 1, (2, samples))
    return Draws(corners[0], corners[1], random.random_sample(samples) < FLIP)


def augment(images: np.ndarray[Any, Any], draws: Draws) -> np.ndarray[Any, Any]:
    """Each picture cropped out of itself with a black frame, and perhaps mirrored: uint8 of (n, 3, 32, 32)."""
    frame = ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING))
    padded = np.pad(images, frame, mode="constant")
    result = np.empty_like(images)
    for number, (top, left, flip) in enumerate(zip(*draws)):
        crop = padded[number, :, top : top + SIDE, left : left + SIDE]
        result[number] = crop[:, :, ::-1] if flip else crop
    return result


def pictures_of(size: int) -> Pictures:
    """What the network is trained on when it takes pictures of this height and width."""
    return Pictures(3, (SIDE, SIDE), (size, size), (1 / 255,) * 3, (0.0,) * 3, MEAN, DEVIATION)


def prepare(images: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """What the network takes: uint8 of (n, 3, 32, 32) to float32 of (n, 3, size, size)."""
    return pictures_of(size).prepare_planes(images)


def read(folder: str) -> Cifar10:
    """Read the six files below a folder, in any of ARRANGEMENTS; JobError says what is wrong and what to do."""
    train, test = _find(folder)
    parts = [_read_file(os.path.join(folder, train, name)) for name in TRAIN_FILES]
    tested = _read_file(os.path.join(folder, test, TEST_FILE))
    paths = [os.path.join(folder, train, name) for name in TRAIN_FILES] + [os.path.join(folder, test, TEST_FILE)]
    _check_mixed_up(paths, [*parts, tested])
    classes = _classes(
        os.path.join(folder, os.path.dirname(train), NAMES_FILE), os.path.join(folder, train, NAMES_FILE)
    )
    return Cifar10(_split(np.concatenate(parts)), _split(tested), classes)


def read_test(folder: str) -> Split:
    """The test set alone; JobError as `read` raises it."""
    path = os.path.join(folder, _find(folder)[1], TEST_FILE)
    rows = _read_file(path)
    _check_mixed_up([path], [rows])
    return _split(rows)


def check(folder: str, raw: Cifar10) -> None:
    """JobError if a class is missing in the training set."""
    check_classes(folder, raw.train.labels, raw.classes, _FETCH)


_FETCH = "fetch CIFAR-10 anew: python -m launcher data prepare cifar10"


def _find(folder: str) -> Tuple[str, str]:
    """The arrangement that has most of the files."""
    if not os.path.isdir(folder):
        raise JobError(
            f"there is no folder {folder}", "pass the folder that has train/ and eval/ in it: --data_url=..."
        )

    def count(arrangement: Tuple[str, str]) -> int:
        train, test = arrangement
        there = [os.path.join(folder, train, name) for name in TRAIN_FILES] + [os.path.join(folder, test, TEST_FILE)]
        return sum(os.path.exists(path) for path in there)

    best = max(ARRANGEMENTS, key=count)
    if count(best):
        return best
    names = sorted(os.listdir(folder))
    inside = next((name for name in names if any(count((os.path.join(name, a), b)) for a, b in ARRANGEMENTS)), "")
    if inside:
        raise JobError(f"{folder} has no data_batch_1.bin", f"pass --data_url={os.path.join(folder, inside)}")
    packed = next((name for name in names if name.endswith((".tar.gz", ".tgz", ".zip"))), "")
    if packed:
        archive = os.path.join(folder, packed)
        unpack = f"unzip {archive} -d {folder}" if packed.endswith(".zip") else f"tar -xf {archive} -C {folder}"
        raise JobError(f"{archive} is still packed", unpack)
    if any(os.path.exists(os.path.join(folder, place, "data_batch_1")) for place in ("", "cifar-10-batches-py")):
        raise JobError(f"{folder} has CIFAR-10 as pickles for Python, and the binary version is needed", _FETCH)
    raise JobError(f"{folder} has no data_batch_1.bin", _FETCH)


def _read_file(path: str) -> np.ndarray[Any, Any]:
    """The rows of a file: uint8 of (n, 3073)."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror or error}", _FETCH) from error
    if not len(content):
        raise JobError(f"{path} is empty", _FETCH)
    if len(content) % ROW:
        raise JobError(f"{path} has {len(content)} bytes, which is no multiple of the {ROW} of a picture", _FETCH)
    rows: np.ndarray[Any, Any] = content.reshape(-1, ROW)
    worst = int(rows[:, 0].argmax())
    if rows[worst, 0] >= len(CLASSES):
        raise JobError(f"{path} has the label {rows[worst, 0]} at picture {worst}; classes go from 0 to 9", _FETCH)
    return rows


def _check_mixed_up(paths: Sequence[str], files: Sequence[np.ndarray[Any, Any]]) -> None:
    """JobError for a file that is there twice, or that is another one of the official six than its name says."""
    seen: Dict[int, str] = {}
    for path, rows in zip(paths, files):
        first = zlib.crc32(rows[0].tobytes())
        official = FIRST_PICTURES.get(first, os.path.basename(path))
        if official != os.path.basename(path):
            raise JobError(f"{path} holds the pictures of {official}", _FETCH)
        if first in seen and len(rows) > 1:
            raise JobError(f"{path} begins with the same picture as {seen[first]}", _FETCH)
        seen[first] = path


def _classes(*paths: str) -> Tuple[str, ...]:
    """The names in the first of these files that is there; nothing else depends on it."""
    for path in paths:
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                return tuple(file.read().split())
    return CLASSES


def _split(rows: np.ndarray[Any, Any]) -> Split:
    images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, 3, SIDE, SIDE)
    return Split(images, rows[:, 0].astype(np.int32))
