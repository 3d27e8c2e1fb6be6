"""What several devices in one training ask of MindSpore's collective operations: a sum over all of them.

A sum of single-precision numbers is all that MindSpore has on a CPU too, and all that is needed.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn, ops


class Sum(nn.Cell):
    """float32 of one shape on each device, to their sum on all. All devices must call it, in the same order."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.all_reduce = ops.AllReduce()

    def construct(self, numbers: ms.Tensor) -> ms.Tensor:
        return self.all_reduce(numbers)


class MeanLoss(nn.Cell):
    """A training step of one of several devices, whose loss is the mean of theirs: all see a bad one at once."""

    def __init__(self, step: nn.Cell, devices: int) -> None:
        super().__init__(auto_prefix=False)
        self.step = step
        self.devices = devices
        self.all_reduce = ops.AllReduce()

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return self.all_reduce(self.step(images, labels)) / self.devices


def mean_loss(step: nn.Cell, devices: int) -> Any:
    """The step itself, if it is alone. MindSpore averages the gradients: `entrypoints.cluster` has told it to."""
    return step if devices == 1 else MeanLoss(step, devices)
