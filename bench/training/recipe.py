"""The references' recipe for LeNet-5, written anew for MindSpore 2.x from its description; imports nothing of ours.

MnistDataset, mapped and shuffled anew in every epoch, in Model.train, on whatever MindSpore the interpreter has, with
no environment variable set. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import dataset as ds
from mindspore import nn
from mindspore.dataset import transforms, vision
from mindspore.train import Callback, Model


class LeNet5(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, stride=1, pad_mode="valid")
        self.conv2 = nn.Conv2d(6, 16, 5, stride=1, pad_mode="valid")
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Dense(400, 120)
        self.fc2 = nn.Dense(120, 84)
        self.fc3 = nn.Dense(84, 10)

    def construct(self, x: Any) -> Any:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        return self.fc3(self.fc2(self.fc1(self.flatten(x))))


class EpochTimes(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor: list[float] = []

    def on_train_epoch_begin(self, _: Any) -> None:
        self.begun, self.busy = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, _: Any) -> None:
        self.seconds.append(time.perf_counter() - self.begun)
        self.processor.append(time.process_time() - self.busy)


def pictures(folder: str, steps: int | None) -> Any:
    data = ds.MnistDataset(folder)
    image = [vision.Resize((32, 32)), vision.Rescale(1 / (255 * 0.3081), -0.1307 / 0.3081), vision.HWC2CHW()]
    data = data.map(image, "image").map(transforms.TypeCast(ms.int32), "label")
    data = data.shuffle(64).batch(32, drop_remainder=True)
    return data.take(steps) if steps else data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="per epoch; default: all")
    arguments = parser.parse_args()

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    network = LeNet5()
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    model = Model(network, loss, nn.Momentum(network.trainable_params(), 0.01, 0.9), metrics={"accuracy"})
    data = pictures(os.path.join(arguments.data, "train"), arguments.steps)
    times = EpochTimes()
    model.train(arguments.epochs, data, callbacks=[times], dataset_sink_mode=False)
    accuracy = None
    if not arguments.steps:
        metrics = model.eval(pictures(os.path.join(arguments.data, "test"), None), dataset_sink_mode=False)
        accuracy = metrics["accuracy"]
    report = {
        "version": f"MindSpore {ms.__version__}, NumPy {np.__version__}",
        "seconds": times.seconds,  # the first epoch compiles
        "processor": times.processor,
        "accuracy": accuracy,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
