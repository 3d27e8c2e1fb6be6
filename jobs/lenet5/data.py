"""MNIST in memory: the four IDX files read, checked, and turned once into what the network takes.

The course does this with MindSpore's data pipeline, anew for each picture in each epoch:

    MnistDataset -> Resize 32x32 -> Rescale 1/(255*0.3081), -0.1307/0.3081 -> HWC2CHW

All of it is the same for a picture in every epoch, so it is done here once for all pictures, with numpy, to the bit as
MindSpore does it (a test compares them), by `jobs.pictures`, which every user of the trained network goes through too.
Which leaves the shuffling: `jobs.shared.pictures.order`.
"""

from __future__ import annotations

import functools
import operator
import os
from typing import Any, NamedTuple

import numpy as np

from jobs import JobError, pictures
from jobs.pictures import Pictures
from jobs.shared.pictures import Split, check_classes

RESCALE = 1 / (255 * 0.3081)
SHIFT = -0.1307 / 0.3081
"""A pixel becomes pixel * RESCALE + SHIFT: mean 0, deviation 1 over the training set."""

INPUT = 28
OUTPUT = 32
"""Height and width of a picture in the file, and at the door of the network."""

PICTURES = Pictures(
    channels=1,
    native=(INPUT, INPUT),
    size=(OUTPUT, OUTPUT),
    scale=(RESCALE,),
    shift=(SHIFT,),
    polarity=pictures.LIGHT_ON_DARK,
    fit="pad",
)

IMAGES_MAGIC = 2051
LABELS_MAGIC = 2049


class Mnist(NamedTuple):
    """The training set and the test set.

    As read: uint8 of shape (n, 28, 28) and labels in uint8. As prepared: float32 of (n, 1, 32, 32) and labels in int32.
    """

    train: Split
    test: Split


def read(folder: str) -> Mnist:
    """Read `train/*-ubyte` and `test/*-ubyte` below a folder; JobError says what is wrong with them and what to do."""
    _check_folder(folder)
    return Mnist(_read_split(folder, "train", "train"), _read_split(folder, "test", "t10k"))


def check(folder: str, raw: Mnist) -> None:
    """JobError if a digit is missing in the training set."""
    check_classes(os.path.join(folder, "train"), raw.train.labels, [""] * 10, _FETCH)


def prepare(raw: Mnist) -> Mnist:
    """The arrays that the network takes. About half a second for MNIST, and 286 MB."""
    return Mnist(_prepare_split(raw.train), _prepare_split(raw.test))


def resize(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bilinear 28 -> 32, as MindSpore's own: uint8 of shape (n, 28, 28) to uint8 of (n, 32, 32)."""
    return pictures.resize(images, (OUTPUT, OUTPUT))


def read_split(folder: str, split: str, prefix: str) -> Split:
    """One of the two splits: `train` and `train`, or `test` and `t10k`. JobError as `read` raises it."""
    _check_folder(folder)
    return _read_split(folder, split, prefix)


def _check_folder(folder: str) -> None:
    if not os.path.isdir(folder):
        raise JobError(
            f"there is no folder {folder}", "pass the folder that has train/ and test/ in it: --data_url=.../MNIST"
        )
    if not os.path.isdir(os.path.join(folder, "train")) and os.path.isdir(os.path.join(folder, "MNIST", "train")):
        raise JobError(f"{folder} has no folder train", f"pass --data_url={os.path.join(folder, 'MNIST')}")


def _prepare_split(split: Split) -> Split:
    return Split(PICTURES.prepare(split.images), split.labels.astype(np.int32))


def _read_split(folder: str, split: str, prefix: str) -> Split:
    images_path = os.path.join(folder, split, prefix + "-images-idx3-ubyte")
    labels_path = os.path.join(folder, split, prefix + "-labels-idx1-ubyte")
    images = _read_idx(images_path, IMAGES_MAGIC, 3)
    labels = _read_idx(labels_path, LABELS_MAGIC, 1)
    if images.shape[1:] != (INPUT, INPUT):
        raise JobError(f"{images_path} has pictures of {images.shape[1]}x{images.shape[2]}, not 28x28", _FETCH)
    if len(images) != len(labels):
        raise JobError(f"{images_path} has {len(images)} pictures, and {labels_path} has {len(labels)} labels", _FETCH)
    if not len(images):
        raise JobError(f"{images_path} has no pictures", _FETCH)
    if labels.max() > 9:
        raise JobError(f"{labels_path} has the label {labels.max()}; digits go from 0 to 9", _FETCH)
    return Split(images, labels)


_FETCH = "fetch MNIST anew: python -m launcher data prepare mnist"


def _read_idx(path: str, magic: int, dimensions: int) -> np.ndarray[Any, Any]:
    """The array in an IDX file of bytes: a magic number, the sizes, the values; all numbers big-endian 32 bit."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        if os.path.exists(path + ".gz"):
            raise JobError(f"{path} is still packed", f"gunzip {path}.gz") from error
        raise JobError(f"cannot read {path}: {error.strerror}", _FETCH) from error
    if content[:2] == b"\x1f\x8b":
        raise JobError(f"{path} is still packed", f"mv {path} {path}.gz && gunzip {path}.gz")
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise JobError(f"{path} ends within its header, after {len(content)} bytes", _FETCH)
    numbers = np.frombuffer(content, ">u4", 1 + dimensions)
    if numbers[0] != magic:
        raise JobError(f"{path} begins with {numbers[0]}, where an IDX file of this kind has {magic}", _FETCH)
    shape = tuple(int(number) for number in numbers[1:])
    expected = header + functools.reduce(operator.mul, shape)
    if len(content) != expected:
        raise JobError(f"{path} has {len(content)} bytes, and its header promises {expected}", _FETCH)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
