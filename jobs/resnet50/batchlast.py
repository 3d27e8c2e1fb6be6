"""A ResNet's loss as a CPU likes it: the sums of `network.ResNet`, over its parameters, added in another order.

MindSpore hands oneDNN plain NCHW, whose convolution multiplies a matrix for each picture. Where features are small,
that reads all weights for a few pixels, once a picture. Here the pictures of a batch lie innermost from the first stage
on whose features are no larger than LARGEST, and a convolution is one product for the whole batch: of features as they
are (1x1), or of copies of them, one for each place in a kernel (3x3) that ever meets a pixel. docs/resnet50.md has
figures.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .network import ResidualBlock, ResNet

LARGEST = 28
"""Height and width. Beyond it, NCHW is as fast, and the copies would take up many times the memory of the features."""


class BatchLastLoss(nn.Cell):
    """In place of `nn.WithLossCell(network, loss)`: (n, 3, size, size) and (n,) to the mean loss."""

    def __init__(self, network: ResNet, loss: nn.Cell, size: int) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        side = _half(_half(size)) if network.large_stem else size
        before: List[nn.Cell] = []
        blocks: List[Block] = []
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            if not blocks and side > LARGEST:
                before.append(stage)
                side = -(-side // _stride(stage[0].conv2))
                continue
            for block in stage:
                blocks.append(Block(block, side))
                side = blocks[-1].side
        self.before = nn.CellList(before, auto_prefix=False) if before else ()
        self.blocks = nn.CellList(blocks, auto_prefix=False)
        self.pixels = side * side

    def construct(self, images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        network, batch = self.network, images.shape[0]
        features = network.relu(network.bn1(network.conv1(images)))
        if network.large_stem:
            features = network.maxpool(features)
        for stage in self.before:
            features = stage(features)
        features = ops.reshape(ops.transpose(features, (1, 2, 3, 0)), (features.shape[1], -1))
        for block in self.blocks:
            features = block(features, batch)
        features = ops.reshape(features, (-1, self.pixels, batch)).mean(1)
        return self.loss(network.end_point(ops.transpose(features, (1, 0))), labels)


class Block(nn.Cell):
    """A `ResidualBlock`, (channels, height * width * batch) to the same; `side` is the result's height and width."""

    def __init__(self, block: ResidualBlock, side: int) -> None:
        super().__init__(auto_prefix=False)
        self.conv1 = Convolution(block.conv1, side)
        self.conv2 = Convolution(block.conv2, side)
        self.side = self.conv2.side
        self.conv3 = Convolution(block.conv3, self.side)
        self.bn1, self.bn2, self.bn3 = (Normalisation(each) for each in (block.bn1, block.bn2, block.bn3))
        self.relu = block.relu
        self.down_sample = block.down_sample
        if self.down_sample:
            self.short_cut = Convolution(block.down_sample_layer[0], side)
            self.short_cut_bn = Normalisation(block.down_sample_layer[1])

    def construct(self, x: ms.Tensor, batch: int) -> ms.Tensor:
        out = self.relu(self.bn1(self.conv1(x, batch)))
        out = self.relu(self.bn2(self.conv2(out, batch)))
        out = self.bn3(self.conv3(out, batch))
        if self.down_sample:
            x = self.short_cut_bn(self.short_cut(x, batch))
        return self.relu(out + x)


class Normalisation(nn.Cell):
    """A batch norm of (channels, numbers): to it, one very high picture."""

    def __init__(self, bn: nn.BatchNorm2d) -> None:
        super().__init__(auto_prefix=False)
        self.bn = bn

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ops.reshape(self.bn(ops.reshape(x, (1, x.shape[0], x.shape[1], 1))), x.shape)


class Convolution(nn.Cell):
    """A convolution with `same` padding, as one product of matrices; `side` is the result's height and width."""

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        super().__init__(auto_prefix=False)
        self.conv = conv
        self.filters, self.channels, size, _ = conv.weight.shape
        stride = _stride(conv)
        self.multiply = ops.MatMul()
        self.copied = size > 1 or stride > 1
        self.side = -(-side // stride)
        if self.copied:
            patches = find_patches(self.channels, side, size, stride)
            self.rows = ms.Tensor(patches.rows)
            self.framed = bool((patches.rows == self.channels * side * side).any())
            self.trimmed = patches.places.shape[1] < size * size
            self.places = ms.Tensor(patches.places)

    def construct(self, x: ms.Tensor, batch: int) -> ms.Tensor:
        weight = self.conv.weight
        if self.copied:
            x = ops.reshape(x, (-1, batch))
            if self.framed:
                x = ops.concat((x, ops.zeros((1, batch), ms.float32)), 0)
            x = ops.gather(x, self.rows, 0)
            if self.trimmed:  # as a slice would, whose kernel goes through the numbers one by one
                weight = self.multiply(ops.reshape(weight, (self.filters * self.channels, -1)), self.places)
            x = ops.reshape(x, (-1, self.side * self.side * batch))
        return self.multiply(ops.reshape(weight, (self.filters, -1)), x)


class Patches(NamedTuple):
    """What the pixels of a convolution's result see."""

    rows: np.ndarray[Any, Any]
    """For each channel, place in the kernel and pixel: the row of the features, or of the zeros after them."""
    places: np.ndarray[Any, Any]
    """(places in the kernel, those that meet a pixel at all): 1 where they are the same, else 0. Of 3x3 on one pixel,
    only the one in the middle meets it."""


def find_patches(channels: int, side: int, size: int, stride: int) -> Patches:
    """For features of (channels, side, side), with the padding that MindSpore calls `same`."""
    out = -(-side // stride)
    before = max((out - 1) * stride + size - side, 0) // 2
    places = np.arange(size)[:, None] + stride * np.arange(out) - before
    inside = (places >= 0) & (places < side)
    meeting = np.flatnonzero(inside.any(1))
    first, stop = int(meeting[0]), int(meeting[-1]) + 1
    places, inside = places[first:stop].clip(0, side - 1), inside[first:stop]
    numbers = np.arange(channels * side * side, dtype=np.int32).reshape(channels, side, side)
    rows = numbers[:, places[:, None, :, None], places[None, :, None, :]]
    good = inside[:, None, :, None] & inside[None, :, None, :]
    met = np.arange(size * size).reshape(size, size)[first:stop, first:stop].reshape(-1)
    rows = np.where(good, rows, np.int32(numbers.size)).reshape(-1)
    return Patches(rows, np.eye(size * size, dtype=np.float32)[:, met])


def _stride(conv: nn.Conv2d) -> int:
    stride: Tuple[int, ...] = conv.stride if isinstance(conv.stride, tuple) else (conv.stride,)
    return int(stride[-1])


def _half(side: int) -> int:
    return -(-side // 2)
