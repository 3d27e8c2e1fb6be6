"""What several jobs have in common. Imports neither numpy nor MindSpore; its modules do."""

from __future__ import annotations

import math
from typing import Any

from jobs import JobError

MOST_SEEDS = 2**32


def require(good: bool, message: str, hint: str) -> None:
    """JobError with these two lines, unless `good`."""
    if not good:
        raise JobError(message, hint)


def check_common(parameters: Any) -> None:
    """JobError unless `epochs`, `batch_size`, `momentum` and `seed` are what they can be."""
    require(parameters.epochs >= 1, f"epochs is {parameters.epochs}", "pass --epochs=1 or more")
    require(parameters.batch_size >= 1, f"batch_size is {parameters.batch_size}", "pass --batch_size=1 or more")
    require(
        0 <= parameters.momentum < 1,
        f"momentum is {parameters.momentum}",
        "pass a number from 0 to below 1: --momentum=0.9",
    )
    require(
        0 <= parameters.seed < MOST_SEEDS,
        f"seed is {parameters.seed}",
        f"pass a number from 0 to {MOST_SEEDS - 1}: --seed=1",
    )


def check_positive(name: str, value: float, example: str) -> None:
    """JobError unless `value` is a positive, finite number."""
    require(
        math.isfinite(value) and value > 0, f"{name} is {value}", f"pass a positive number, such as --{name}={example}"
    )


def check_pictures(folder: str, pictures: int, batch_size: int) -> None:
    """JobError if the training set does not fill one batch."""
    require(
        pictures >= batch_size,
        f"{folder} has {pictures} training pictures, fewer than one batch of {batch_size}",
        f"pass --batch_size={pictures} or less",
    )
