"""A synthetic MNIST: a few hundred generated pictures, in the layout and format of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_digits(folder: Path, train: int = 330, test: int = 45) -> Path:
    """Ten patterns, one for each label, with noise. 330 pictures are ten batches of 32 and a rest."""
    random = np.random.RandomState(7)
    patterns = random.randint(0, 200, (10, 28, 28)) * (random.rand(10, 28, 28) > 0.7)
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        labels = random.randint(0, 10, count).astype(np.uint8)
        images = (patterns[labels] + random.randint(0, 56, (count, 28, 28))).astype(np.uint8)
        (folder / split).mkdir(parents=True, exist_ok=True)
        write_idx(folder / split / f"{prefix}-images-idx3-ubyte", 2051, images)
        write_idx(folder / split / f"{prefix}-labels-idx1-ubyte", 2049, labels)
    return folder


def write_idx(path: Path, magic: int, array: np.ndarray) -> None:
    header = np.array([magic, *array.shape], ">u4")
    path.write_bytes(header.tobytes() + array.tobytes())
