"""How a picture becomes what a network sees: the one place, for training, for the check of an export, for every device.

A job describes its pictures once, as a `Pictures`. The training prepares its arrays with it; an export writes it into
the model's sidecar; the application on a device reads it there. So a model is fed what it was trained on, everywhere.

Only the standard library and numpy: this module travels to devices.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from jobs import JobError

LIGHT_ON_DARK = "light-on-dark"
DARK_ON_LIGHT = "dark-on-light"
BLOCK = 250
"""Pictures prepared at a time."""
BLOCK_PIXELS = 1 << 18
"""Pixels resized at a time, so that the intermediate arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Pictures:
    """What a network was trained on. Heights come before widths."""

    channels: int
    """1: grey; 3: red, green, blue."""
    native: Tuple[int, int]
    """The size of the training pictures in their files. Larger pictures are averaged down to it first."""
    size: Tuple[int, int]
    """The size at the door of the network."""
    scale: Tuple[float, ...]
    shift: Tuple[float, ...]
    """A pixel of a channel becomes pixel * scale + shift, from the byte 0 to 255: MindSpore's Rescale."""
    mean: Tuple[float, ...] = ()
    deviation: Tuple[float, ...] = ()
    """And then (that - mean) / deviation: MindSpore's Normalize. Empty: left away."""
    polarity: str = ""
    """`light-on-dark` or `dark-on-light` where the network has seen only that; empty where it does not matter."""
    fit: str = "stretch"
    """What becomes of a picture of other proportions: `stretch`, or `pad` with its own ground."""

    def __post_init__(self) -> None:
        sides = [*self.native, *self.size]
        good = (
            self.channels in (1, 3)
            and len(self.native) == len(self.size) == 2
            and all(isinstance(side, int) and 1 <= side <= 8192 for side in sides)
            and len(self.scale) == len(self.shift) == self.channels
            and len(self.mean) == len(self.deviation)
            and len(self.mean) in (0, self.channels)
            and all(math.isfinite(value) for value in (*self.scale, *self.shift, *self.mean, *self.deviation))
            and all(self.deviation)
            and self.polarity in ("", LIGHT_ON_DARK, DARK_ON_LIGHT)
            and self.fit in ("stretch", "pad")
        )
        if not good:
            raise ValueError(f"{self} describes no pictures")

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Channels, height, width at the door of the network."""
        return (self.channels, *self.size)

    def prepare(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Resize and normalise, to the bit as MindSpore's own pipeline does: uint8 of shape (n, height, width), or
        (n, height, width, 3) for colour, to float32 of (n, channels, *size)."""
        colour = (self.channels,) if self.channels > 1 else ()
        if images.dtype != np.uint8 or images.shape[3:] != colour or images.ndim < 3:
            raise ValueError(f"{images.dtype} of shape {images.shape} are no pictures of {self.channels} channels")
        return self.prepare_planes(np.moveaxis(images, 3, 1) if colour else images[:, None])

    def prepare_planes(self, planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The same from uint8 of (n, channels, height, width)."""
        tables = _tables(self)
        prepared = np.empty((len(planes), *self.shape), np.float32)
        for start in range(0, len(planes), BLOCK):
            block = resize(planes[start : start + BLOCK], self.size)
            for channel, table in enumerate(tables):
                table.take(block[:, channel], out=prepared[start : start + BLOCK, channel], mode="clip")
        return prepared

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Dict[str, Any]) -> Pictures:
        """The same from a sidecar; ValueError, TypeError or KeyError for what is none."""
        names = ("scale", "shift", "mean", "deviation")
        numbers = {name: tuple(float(value) for value in content.get(name, ())) for name in names}
        sides = {name: tuple(int(value) for value in content[name]) for name in ("native", "size")}
        return cls(
            channels=int(content["channels"]),
            native=sides["native"],  # type: ignore[arg-type]  # the lengths are checked when it is made
            size=sides["size"],  # type: ignore[arg-type]
            scale=numbers["scale"],
            shift=numbers["shift"],
            mean=numbers["mean"],
            deviation=numbers["deviation"],
            polarity=str(content.get("polarity", "")),
            fit=str(content.get("fit", "stretch")),
        )


def resize(planes: np.ndarray[Any, Any], size: Tuple[int, int]) -> np.ndarray[Any, Any]:
    """Bilinear, to the bit as `mindspore.dataset.vision.Resize`, whose arithmetic is OpenCV's fixed-point one.

    uint8 of shape (..., height, width) to the same of another size. Each output pixel mixes two neighbours, along rows
    and then along columns, with weights of 1/2048. OpenCV drops four bits of the first mix, and cuts each of the two
    terms of the second to quarters before it adds and rounds them. Where all weights are sixteenths (28 to 32, say),
    the same comes out in 16 bits, which is twice as fast. (Halving is an operation of its own in OpenCV, the mean of
    four pixels, which comes out the same too.)
    """
    if planes.shape[-2:] == tuple(size):
        return planes
    rows, columns = _mixing(planes.shape[-2], size[0]), _mixing(planes.shape[-1], size[1])
    flat = planes.reshape(-1, *planes.shape[-2:])
    resized = np.empty((len(flat), *size), np.uint8)
    step = max(1, BLOCK_PIXELS // (size[0] * size[1]))
    mix = _mix_sixteenths if rows.sixteenths and columns.sixteenths else _mix
    for start in range(0, len(flat), step):
        resized[start : start + step] = mix(flat[start : start + step], rows, columns)
    return resized.reshape(*planes.shape[:-2], *size)


def is_inverted(pictures: Pictures, image: np.ndarray[Any, Any], told: str = "auto") -> bool:
    """Whether a picture, uint8 of shape (height, width) or (height, width, 3), has to be inverted for this network.

    `told` is a polarity, or `auto`: the picture is dark on light if its ground, the median of its edge, is nearer to
    its lightest part than to its darkest. Never for a network that takes both.
    """
    if not pictures.polarity:
        return False
    if told != "auto":
        return told != pictures.polarity
    grey = image if image.ndim == 2 else image.mean(axis=2)
    lightest, darkest = float(grey.max()), float(grey.min())
    middle = (lightest + darkest) / 2 if lightest - darkest > 32 else 127.5
    light = ground(grey) > middle
    return bool(light == (pictures.polarity == LIGHT_ON_DARK))


def invert(pictures: Pictures, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A picture in the other polarity. Paper that is not quite white, as on photographs, becomes quite black, as the
    ground of the training pictures is."""
    if pictures.polarity != LIGHT_ON_DARK:
        return 255 - image
    if image.ndim == 3:
        return np.stack([invert(pictures, image[..., channel]) for channel in range(image.shape[2])], axis=2)
    paper = max(float(ground(image)), 1.0)
    lit = np.minimum(np.rint(np.arange(256) * (255.0 / paper)), 255.0)
    inverted: np.ndarray[Any, Any] = (255 - lit).astype(np.uint8)[image]  # by a table: a photograph is large
    return inverted


def ground(image: np.ndarray[Any, Any]) -> Any:
    """The median of a picture's edge: a number for grey, one a channel for colour."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.median(edge, axis=0)


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Confidences, which sum up to 1: (n, classes) to float64 of (n, classes)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    confidences: np.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return confidences


def polarity(text: Optional[str]) -> str:
    """A polarity as a flag has it; JobError for any other word."""
    known = ("auto", DARK_ON_LIGHT, LIGHT_ON_DARK)
    if text not in known:
        raise JobError(f"polarity is {text!r}", "pass --polarity " + ", ".join(known))
    return text


class _Mixing(NamedTuple):
    """For each of the new pixels along one side: its two neighbours, and their weights in 1/2048."""

    first: np.ndarray[Any, Any]
    second: np.ndarray[Any, Any]
    near: np.ndarray[Any, Any]
    far: np.ndarray[Any, Any]
    sixteenths: bool
    """Whether all weights are such."""


@functools.lru_cache(maxsize=16)
def _mixing(before: int, after: int) -> _Mixing:
    position = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    below = np.floor(position)
    far = np.rint((position - below) * np.float32(2048)).astype(np.int32)
    first, second = (np.clip(below + by, 0, before - 1).astype(np.intp) for by in (0, 1))
    return _Mixing(first, second, 2048 - far, far, not (far % 128).any())


def _mix(planes: np.ndarray[Any, Any], rows: _Mixing, columns: _Mixing) -> np.ndarray[Any, Any]:
    pixels = planes.astype(np.int32)
    mixed = pixels.take(columns.first, axis=2)
    mixed *= columns.near
    other = pixels.take(columns.second, axis=2)
    other *= columns.far
    mixed += other
    mixed >>= 4
    upper = mixed.take(rows.first, axis=1)
    upper *= rows.near[:, None]
    upper >>= 16
    lower = mixed.take(rows.second, axis=1)
    lower *= rows.far[:, None]
    lower >>= 16
    upper += lower
    upper += 2
    upper >>= 2
    return upper


def _mix_sixteenths(planes: np.ndarray[Any, Any], rows: _Mixing, columns: _Mixing) -> np.ndarray[Any, Any]:
    pixels = planes.astype(np.uint16)
    near, far, above, beneath = ((each // 128).astype(np.uint16) for each in (*columns[2:4], *rows[2:4]))
    mixed = pixels.take(columns.first, axis=2) * near + pixels.take(columns.second, axis=2) * far
    upper: np.ndarray[Any, Any] = (mixed.take(rows.first, axis=1) * above[:, None]) >> 6
    lower = (mixed.take(rows.second, axis=1) * beneath[:, None]) >> 6
    upper += lower + 2
    upper >>= 2
    return upper


@functools.lru_cache(maxsize=8)
def _tables(pictures: Pictures) -> List[np.ndarray[Any, Any]]:
    """For each channel, what each of the 256 bytes becomes. MindSpore holds all constants in single precision; it
    rescales in double, and normalises in single."""
    single = np.float32
    pairs = zip(pictures.scale, pictures.shift)
    tables = [(np.arange(256) * float(single(a)) + float(single(b))).astype(single) for a, b in pairs]
    if not pictures.mean:
        return tables
    return [(table - single(a)) / single(b) for table, a, b in zip(tables, pictures.mean, pictures.deviation)]
