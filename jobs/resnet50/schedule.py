"""The learning rate of each step: up in a straight line, then down in a parabola.

With t the steps after the warm-up, and T all steps that come after it::

    warm-up    lr_init + (lr_max - lr_init) * step / warm-up steps
    after      lr_max * (1 - t / T)^2

A pure function of the step, so a resumed run goes on where it was. It is handed to the optimizer as a whole: the
optimizer's own `global_step`, which a checkpoint has, picks the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def rates(
    epochs: int,
    steps_per_epoch: int,
    lr_init: float = 0.01,
    lr_max: float = 0.1,
    warmup_epochs: int = 5,
    first: int = 0,
) -> np.ndarray[Any, Any]:
    """The rates of all steps from `first` on: float32 of shape (epochs * steps_per_epoch - first,).

    To the bit the values of the references' `get_lr`, which computes in double precision and rounds at the end. With no
    more epochs than the warm-up has, lr_max is never reached; that is theirs too.
    """
    total, warmup = epochs * steps_per_epoch, warmup_epochs * steps_per_epoch
    step = np.arange(first, total, dtype=np.float64)
    rising = float(lr_init) + (float(lr_max) - float(lr_init)) / max(warmup, 1) * step
    left = 1.0 - (step - warmup) / max(total - warmup, 1)
    return np.where(step < warmup, rising, float(lr_max) * left * left).astype(np.float32)
