"""LeNet-5's loss as a CPU likes it: the sums of `network.LeNet5`, over its parameters, added in another order.

MindSpore hands oneDNN plain NCHW, for which its convolutions and poolings are slow. Here the pictures of a batch lie
innermost, so that copies are runs of a whole batch, and a convolution together with the pooling after it is one product
of matrices: a pooled pixel depends on 6x6 pixels, and each of the four 5x5 kernels that it is the maximum of is a row
of 36 weights, 11 of them zero. ReLU comes after the maximum, which is the same. `docs/decisions/0003` has figures.
"""

from __future__ import annotations

from typing import Any, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .network import LeNet5

KERNEL = 5
WINDOW = KERNEL + 1
"""Height and width of what a pooled pixel depends on: pooling is 2x2."""


class BatchLastLoss(nn.Cell):
    """In place of `nn.WithLossCell(network, loss)`: (n, 1, 32, 32) and (n,) to the mean loss."""

    def __init__(self, network: LeNet5, loss: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        self.first = ConvolvePool(1, 32, 6)
        self.second = ConvolvePool(6, 14, 16)

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        network = self.network
        features = ops.transpose(ops.reshape(images, (images.shape[0], -1)), (1, 0))
        features = self.second(network.conv2.weight, self.first(network.conv1.weight, features))
        features = ops.transpose(features, (1, 0))
        return self.loss(network.fc3(network.fc2(network.fc1(features))), labels)


class ConvolvePool(nn.Cell):
    """A 5x5 convolution, ReLU and 2x2 pooling: from (channels * height * width, n) to the same of the result."""

    def __init__(self, channels: int, side: int, filters: int) -> None:
        super().__init__(auto_prefix=False)
        self.channels = channels
        self.filters = filters
        self.pixels = ((side - KERNEL + 1) // 2) ** 2
        self.windows = ms.Tensor(windows(channels, side))
        self.corners = ms.Tensor(corners())
        self.multiply = ops.MatMul()
        self.largest = LargestOfFour()
        self.relu = ops.ReLU()

    def construct(self, weight: ms.Tensor, features: ms.Tensor) -> ms.Tensor:
        inputs, window, batch = self.channels, WINDOW * WINDOW, features.shape[1]
        weights = self.multiply(ops.reshape(weight, (self.filters * inputs, KERNEL * KERNEL)), self.corners)
        weights = ops.transpose(ops.reshape(weights, (self.filters, inputs, 4, window)), (2, 0, 1, 3))
        weights = ops.reshape(weights, (4 * self.filters, inputs * window))
        seen = ops.reshape(ops.gather(features, self.windows, 0), (inputs * window, self.pixels * batch))
        pooled = self.relu(self.largest(self.multiply(weights, seen)))
        return ops.reshape(pooled, (self.filters * self.pixels, batch))


class LargestOfFour(nn.Cell):
    """The maximum over the four quarters of the rows. MindSpore's gradient of Maximum costs several times this one."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.halves = ops.Split(0, 2)
        self.maximum = ops.Maximum()
        self.not_less = ops.GreaterEqual()
        self.cast = ops.Cast()
        self.join = ops.Concat(0)

    def construct(self, rows: ms.Tensor) -> ms.Tensor:
        upper, lower = self.halves(rows)
        even, odd = self.halves(self.maximum(upper, lower))
        return self.maximum(even, odd)

    def bprop(self, rows: ms.Tensor, out: ms.Tensor, gradient: ms.Tensor) -> Tuple[ms.Tensor]:
        """All of a gradient goes to one of the largest, as in MaxPool; a number less itself, or less 0, is exact."""
        upper, lower = self.halves(rows)
        even, odd = self.halves(self.maximum(upper, lower))
        to_even = gradient * self.cast(self.not_less(even, odd), ms.float32)
        both = self.join((to_even, gradient - to_even))
        to_upper = both * self.cast(self.not_less(upper, lower), ms.float32)
        return (self.join((to_upper, both - to_upper)),)


def windows(channels: int, side: int) -> np.ndarray[Any, Any]:
    """For every channel and place in a window, which row of the features each pooled pixel has there: int32."""
    numbers = np.arange(channels * side * side, dtype=np.int32).reshape(channels, side, side)
    places = np.arange(WINDOW)[:, None] + 2 * np.arange((side - KERNEL + 1) // 2)
    return numbers[:, places[:, None, :, None], places[None, :, None, :]].reshape(-1)


def corners() -> np.ndarray[Any, Any]:
    """What a kernel is multiplied by to lie in each corner of a window: (25, 4 * 36), zeros and ones."""
    found = np.zeros((KERNEL, KERNEL, 2, 2, WINDOW, WINDOW), np.float32)
    for row, column, down, right in np.ndindex(KERNEL, KERNEL, 2, 2):
        found[row, column, down, right, down + row, right + column] = 1
    return found.reshape(KERNEL * KERNEL, 4 * WINDOW * WINDOW)
