"""Labelled pictures in memory: their order in an epoch, and what their labels must be. numpy only."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np

from jobs import ALONE, JobError, Shard


class Split(NamedTuple):
    """Pictures, (n, ...), and their labels, (n,). Which types and sizes is each job's own affair."""

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def order(samples: int, batch_size: int, seed: int, epoch: int, shard: Shard = ALONE) -> np.ndarray[Any, Any]:
    """Which pictures each step of an epoch sees: int32 of shape (steps, batch_size); the incomplete batch is dropped.

    A function of its arguments alone, so a resumed run sees what it would have seen. The devices of one run see
    neighbouring parts of one batch of `batch_size * shard.size`. (RandomState and not the newer Generator: its numbers
    are promised never to change with numpy's version.)
    """
    together = batch_size * shard.size
    steps = samples // together
    shuffled = np.random.RandomState([seed, epoch]).permutation(samples)
    batches = shuffled[: steps * together].reshape(steps, together).astype(np.int32)
    mine = batches[:, shard.rank * batch_size : (shard.rank + 1) * batch_size]
    return np.ascontiguousarray(mine)


def check_classes(path: str, labels: np.ndarray[Any, Any], names: Sequence[str], hint: str) -> None:
    """JobError if a class has no picture in the training set: a network would never name it."""
    counts = np.bincount(labels, minlength=len(names))
    missing = [f"{number} ({name})" if name else str(number) for number, name in enumerate(names) if not counts[number]]
    if missing:
        raise JobError(f"{path} has no picture of class {', '.join(missing)}", hint)
