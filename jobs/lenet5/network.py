"""LeNet-5 in the form that the course uses."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn


class LeNet5(nn.Cell):
    """Two convolutions and three dense layers: float32 of shape (n, 1, 32, 32) to logits of shape (n, 10).

    As in the references, nothing bends between the dense layers. Weights begin as MindSpore's own default has them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, pad_mode="valid")
        self.conv2 = nn.Conv2d(6, 16, 5, pad_mode="valid")
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Dense(16 * 5 * 5, 120)
        self.fc2 = nn.Dense(120, 84)
        self.fc3 = nn.Dense(84, 10)

    def construct(self, images: ms.Tensor) -> ms.Tensor:
        """Logits of a batch."""
        features = self.pool(self.relu(self.conv1(images)))
        features = self.pool(self.relu(self.conv2(features)))
        return self.fc3(self.fc2(self.fc1(self.flatten(features))))
