"""A PNG with a grid of samples and their labels."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from math import ceil, sqrt
from pathlib import Path
from typing import Any

from launcher.errors import DataError, PreflightError

from .registry import Dataset, Sample

SPLITS = ("train", "test")
MOST = 400
PAPER, INK = (255, 255, 255), (30, 33, 38)


def write(dataset: Dataset, root: Path, target: Path, *, split: str, count: int, seed: int) -> list[Sample]:
    """Write ``count`` samples of ``split``, drawn with ``seed``, to ``target``; the same call gives the same picture.

    ``root`` must have passed the checker. The samples are returned in the order of the grid, row by row.
    """
    module, _, function = dataset.sampler.partition(":")
    sampler: Callable[[Path, str, Callable[[int], Sequence[int]]], list[Sample]]
    sampler = getattr(import_module(module), function)
    totals: list[int] = []

    def choose(total: int) -> Sequence[int]:
        totals.append(total)
        return random.Random(seed).sample(range(total), min(count, total))

    samples = sampler(root, split, choose)
    title = f"{dataset.title}, {split}: {len(samples)} of {totals[0]:,} samples (seed {seed})"
    _save(_draw(samples, title), target)
    return samples


def _draw(samples: Sequence[Sample], title: str) -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise PreflightError("a preview needs Pillow, which is not installed", "pip install Pillow") from error
    columns = max(1, ceil(sqrt(len(samples))))
    rows = ceil(len(samples) / columns)
    width, height = samples[0].size
    scale = max(1, _target_side(len(samples)) // max(width, height))
    cell_width, cell_height = width * scale, height * scale
    gap, caption, margin, head = 10, 24, 20, 34
    font, big = ImageFont.load_default(16), ImageFont.load_default(18)
    grid_width = columns * (cell_width + gap) - gap
    total_width = 2 * margin + max(grid_width, ceil(big.getlength(title)))
    left = (total_width - grid_width) // 2
    canvas = Image.new("RGB", (total_width, 2 * margin + head + rows * (cell_height + caption + gap) - gap), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((total_width / 2, margin), title, INK, big, anchor="mt")
    for number, sample in enumerate(samples):
        row, column = divmod(number, columns)
        x, y = left + column * (cell_width + gap), margin + head + row * (cell_height + caption + gap)
        picture = Image.frombytes(sample.mode, sample.size, sample.pixels).convert("RGB")
        canvas.paste(picture.resize((cell_width, cell_height), Image.Resampling.NEAREST), (x, y))
        pen.text((x + cell_width / 2, y + cell_height + caption / 2 + 2), sample.label, INK, font, anchor="mm")
    return canvas


def _target_side(count: int) -> int:
    """Pixels that a sample's side should have, so that the picture fits a screen."""
    return 112 if count <= 36 else 84 if count <= 100 else 56


def _save(canvas: Any, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(temporary, format="PNG", optimize=True)
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror}", "name another file with --out") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
