"""Bilinear resizing, to the bit as `mindspore.dataset.vision.Resize`, whose arithmetic is OpenCV's for bytes.

OpenCV works in fixed point. The two weights of a pixel are rounded to 2048ths, each by itself. Along rows the products
are added exactly. Along columns each is cut to what remains after >> 4, * weight, >> 16; the two are added and rounded
by (+ 2) >> 2. Along rows, a position before the first or behind the last pixel takes that pixel whole; along columns it
takes it twice, with both weights. Halving is a different operation: the mean of four pixels.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Tuple

import numpy as np

UNIT = 2048
BLOCK_BYTES = 1 << 20
"""About how large an intermediate array may be, so that it stays in the processor's cache."""


class Mix(NamedTuple):
    """For each output position: the two inputs and their weights."""

    first: np.ndarray[Any, Any]
    second: np.ndarray[Any, Any]
    near: np.ndarray[Any, Any]
    far: np.ndarray[Any, Any]


def resize(images: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """uint8 of (n, c, side, side) to uint8 of (n, c, size, size)."""
    side = images.shape[-1]
    if size == side:
        return images
    if size * 2 == side:
        return _halve(images)
    planes = images.reshape(-1, side, side)
    result = np.empty((len(planes), size, size), np.uint8)
    step = max(1, BLOCK_BYTES // (4 * size * size))
    for start in range(0, len(planes), step):
        result[start : start + step] = _stretch(planes[start : start + step], size)
    return result.reshape(*images.shape[:2], size, size)


def _stretch(planes: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    along_rows, along_columns = _mixes(planes.shape[-1], size)
    pixels = planes.astype(np.int32)
    rows = pixels.take(along_rows.first, axis=2)
    rows *= along_rows.near
    other = pixels.take(along_rows.second, axis=2)
    other *= along_rows.far
    rows += other
    rows >>= 4
    upper = rows.take(along_columns.first, axis=1)
    upper *= along_columns.near[:, None]
    upper >>= 16
    lower = rows.take(along_columns.second, axis=1)
    lower *= along_columns.far[:, None]
    lower >>= 16
    upper += lower
    upper += 2
    upper >>= 2
    return upper


@functools.lru_cache(maxsize=8)
def _mixes(side: int, size: int) -> Tuple[Mix, Mix]:
    """How to mix along rows and along columns."""
    scale = side / size
    position = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
    below = np.floor(position)
    part = position - below
    first, second = np.clip(below, 0, side - 1).astype(np.intp), np.clip(below + 1, 0, side - 1).astype(np.intp)
    inside = np.where((below < 0) | (below >= side - 1), np.float32(0), part)
    return Mix(first, second, *_weights(inside)), Mix(first, second, *_weights(part))


def _weights(part: np.ndarray[Any, Any]) -> Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    unit, one = np.float32(UNIT), np.float32(1)
    return np.rint((one - part) * unit).astype(np.int32), np.rint(part * unit).astype(np.int32)


def _halve(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    four = images.astype(np.uint16)
    total = four[..., ::2, ::2] + four[..., ::2, 1::2] + four[..., 1::2, ::2] + four[..., 1::2, 1::2]
    halved: np.ndarray[Any, Any] = ((total + 2) >> 2).astype(np.uint8)
    return halved
