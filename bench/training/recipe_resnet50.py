"""The references' recipe for ResNet-50, written anew for MindSpore 2.x from its description. Prints one line of JSON.

Cifar10Dataset, mapped and shuffled anew in every epoch, in Model.train. The network is our `jobs.resnet50.network`,
which has the references' layers and first weights; the learning rates are those of their formula. The number of the
pipeline's workers is cut to the processors, since MindSpore 2.x refuses their 8 on a smaller machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import dataset as ds
from mindspore import nn
from mindspore.dataset import transforms, vision
from mindspore.train import Callback, Model

from jobs.resnet50.network import build
from jobs.resnet50.schedule import rates


class StepTimes(Callback):
    """From the end of a step to the end of the next, so what a step waits for is in it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.busy: list[float] = []
        self.losses: list[float] = []

    def on_train_step_end(self, context: Any) -> None:
        self.losses.append(float(context.original_args().net_outputs.asnumpy()))
        self.ends.append(time.perf_counter())
        self.busy.append(time.process_time())


def pictures(folder: str, size: int, steps: int) -> Any:
    workers = min(8, os.cpu_count() or 1)
    data = ds.Cifar10Dataset(folder, num_parallel_workers=workers, shuffle=True)
    image = [
        vision.RandomCrop((32, 32), (4, 4, 4, 4)),
        vision.RandomHorizontalFlip(0.5),
        vision.Resize((size, size)),
        vision.Rescale(1 / 255, 0.0),
        vision.Normalize([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
        vision.HWC2CHW(),
    ]
    data = data.map(transforms.TypeCast(ms.int32), "label", num_parallel_workers=workers)
    data = data.map(image, "image", num_parallel_workers=workers)
    return data.batch(32, drop_remainder=True).take(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    arguments = parser.parse_args()

    ms.set_seed(1)
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    network = build("resnet50")
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    rate = ms.Tensor(rates(90, 1562))
    optimizer = nn.Momentum(network.trainable_params(), rate, 0.9, 1e-4, 1024.0)
    scale = ms.FixedLossScaleManager(1024.0, drop_overflow_update=False)
    model = Model(network, loss, optimizer, loss_scale_manager=scale, amp_level="O0")
    times = StepTimes()
    data = pictures(os.path.join(arguments.data, "train"), arguments.size, arguments.steps + 1)
    model.train(1, data, callbacks=[times], dataset_sink_mode=False)
    seconds = list(np.diff(times.ends))
    print(*(f"{each:.3f} s" for each in seconds), file=sys.stderr)
    report = {"version": f"MindSpore {ms.__version__}", "seconds": seconds, "processor": list(np.diff(times.busy))}
    print(json.dumps({**report, "losses": times.losses}))


if __name__ == "__main__":
    main()
