"""Bottleneck ResNets in the form that the course uses: version 1, the stride in the 3x3 convolution."""

from __future__ import annotations

from typing import Sequence

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import Normal

STAGES = 4


class ResidualBlock(nn.Cell):
    """1x1, 3x3 and 1x1 convolutions beside a short cut: (n, in_channel, h, w) to (n, out_channel, h/stride, ...)."""

    expansion = 4

    def __init__(self, in_channel: int, out_channel: int, stride: int = 1) -> None:
        super().__init__()
        channel = out_channel // self.expansion
        self.conv1 = _conv(in_channel, channel, 1)
        self.bn1 = _bn(channel)
        self.conv2 = _conv(channel, channel, 3, stride)
        self.bn2 = _bn(channel)
        self.conv3 = _conv(channel, out_channel, 1)
        self.bn3 = _bn(out_channel, gamma="zeros")  # so that a block begins as its short cut
        self.relu = nn.ReLU()
        self.down_sample = stride != 1 or in_channel != out_channel
        if self.down_sample:
            self.down_sample_layer = nn.SequentialCell([_conv(in_channel, out_channel, 1, stride), _bn(out_channel)])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """The block's output."""
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.down_sample:
            identity = self.down_sample_layer(identity)
        return self.relu(out + identity)


class ResNet(nn.Cell):
    """float32 of shape (n, 3, h, w) to logits of shape (n, num_classes).

    Each of the four stages has `layer_nums` blocks, of which the first goes from `in_channels` to `out_channels` with
    `strides`. The stem makes `in_channels[0]` channels: with `large_stem` by 7x7 with stride 2 and a pooling with
    stride 2, as for 224x224; else by 3x3, which leaves 32x32 as it is. Parameters have the references' names.
    """

    def __init__(
        self,
        layer_nums: Sequence[int],
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int = 10,
        large_stem: bool = True,
    ) -> None:
        super().__init__()
        lengths = [len(each) for each in (layer_nums, in_channels, out_channels, strides)]
        if lengths != [STAGES] * 4:
            raise ValueError(
                f"layer_nums, in_channels, out_channels, strides have {lengths} entries, not {STAGES} each"
            )
        if any(before != after for before, after in zip(out_channels, in_channels[1:])):
            raise ValueError(f"in_channels {list(in_channels)} do not go on from out_channels {list(out_channels)}")
        if any(channels % ResidualBlock.expansion for channels in out_channels):
            raise ValueError(f"out_channels {list(out_channels)} are no multiples of {ResidualBlock.expansion}")
        self.conv1 = _conv(3, in_channels[0], 7 if large_stem else 3, 2 if large_stem else 1)
        self.bn1 = _bn(in_channels[0])
        self.relu = nn.ReLU()
        self.large_stem = large_stem
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="same")
        stages = [_stage(*each) for each in zip(layer_nums, in_channels, out_channels, strides)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.flatten = nn.Flatten()
        self.end_point = nn.Dense(out_channels[-1], num_classes, weight_init=Normal(0.01), bias_init="zeros")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Logits of a batch."""
        x = self.relu(self.bn1(self.conv1(x)))
        if self.large_stem:
            x = self.maxpool(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.end_point(self.flatten(x.mean((2, 3))))


def build(name: str, num_classes: int = 10) -> ResNet:
    """`resnet50` (23,528,522 weights with ten classes), `resnet101` (42,520,650), or `small` (509,594) for 32x32."""
    if name == "small":
        return ResNet(
            [1, 1, 1, 1], [16, 64, 128, 256], [64, 128, 256, 512], [2, 2, 2, 1], num_classes, large_stem=False
        )
    layer_nums = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}[name]
    return ResNet(layer_nums, [64, 256, 512, 1024], [256, 512, 1024, 2048], [1, 2, 2, 2], num_classes)


def _stage(blocks: int, in_channel: int, out_channel: int, stride: int) -> nn.SequentialCell:
    rest = [ResidualBlock(out_channel, out_channel) for _ in range(1, blocks)]
    return nn.SequentialCell([ResidualBlock(in_channel, out_channel, stride), *rest])


def _conv(in_channel: int, out_channel: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Weights begin as the references': normal, with a deviation of 0.01."""
    return nn.Conv2d(in_channel, out_channel, size, stride, pad_mode="same", weight_init=Normal(0.01))


def _bn(channels: int, gamma: str = "ones") -> nn.BatchNorm2d:
    """With the references' constants: nine tenths of the moving statistics stay at each step."""
    return nn.BatchNorm2d(channels, eps=1e-4, momentum=0.9, gamma_init=gamma)
