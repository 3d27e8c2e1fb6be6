"""The training of LeNet-5: softmax cross-entropy and Momentum, many steps in one call of a compiled graph.

What a step computes is the course's recipe: to the bit, but on a CPU, where the same sums are added in another order
(`batchlast`). What is left out is what surrounds a step there: the data pipeline, the copy of each batch, and Python,
which here hands over only the order of an epoch's pictures and three numbers. The pictures are a constant of the graph,
shared with numpy and never copied. `docs/decisions/0003-lenet5-speed.md` has figures.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from jobs import ALONE, BadLoss, Shard, never
from jobs.shared.network import NetworkTrainer
from jobs.shared.pictures import Split, order
from jobs.shared.together import mean_loss

from . import Parameters
from .batchlast import BatchLastLoss
from .data import Mnist
from .network import LeNet5

EVALUATION_BATCH = 1000
FINITE = 3e38
"""A sum of losses below this is a number; inf and nan are not below it."""


class TrainStep(nn.Cell):
    """One step, on the pictures whose numbers it is given: int32 of shape (batch_size,). Returns the loss."""

    def __init__(self, step: nn.Cell, split: Split) -> None:
        super().__init__(auto_prefix=False)
        self.step = step
        self.images = ms.Tensor.from_numpy(split.images)
        self.labels = ms.Tensor.from_numpy(split.labels)

    def construct(self, batch: ms.Tensor) -> ms.Tensor:
        return self.step(ops.gather(self.images, batch, 0), ops.gather(self.labels, batch, 0))


class TrainSteps(nn.Cell):
    """The steps `first` to `stop` of an epoch whose batches are the rows of `batches`, up to one with a bad loss.

    Returns `total` with the losses added, and the step before which it stopped.
    """

    def __init__(self, step: TrainStep) -> None:
        super().__init__(auto_prefix=False)
        self.step = step

    def construct(
        self, batches: ms.Tensor, first: ms.Tensor, stop: ms.Tensor, total: ms.Tensor
    ) -> Tuple[ms.Tensor, ms.Tensor]:
        row = first
        while ops.logical_and(row < stop, total < FINITE):
            total = total + self.step(batches[row])
            row = row + 1
        return total, row


class LeNet5Trainer(NetworkTrainer):
    """`on_cpu`: whether the loop over steps is compiled too, which pays where a call costs as much as a step, and the
    loss computed as `BatchLastLoss` does."""

    def __init__(self, data: Mnist, parameters: Parameters, on_cpu: bool, shard: Shard = ALONE) -> None:
        ms.set_seed(parameters.seed)
        network = LeNet5()
        loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
        optimizer = nn.Momentum(network.trainable_params(), parameters.lr, parameters.momentum)
        super().__init__(network, optimizer, shard)
        self._data = data
        self._parameters = parameters
        judged = BatchLastLoss(network, loss) if on_cpu else nn.WithLossCell(network, loss)
        step = nn.TrainOneStepCell(judged, optimizer).set_train()
        self._step = TrainStep(mean_loss(step, shard.size), data.train)
        self._steps = TrainSteps(self._step) if on_cpu else None
        self._batches: Tuple[int, ms.Tensor] = (-1, None)
        self.steps_per_epoch = len(data.train.labels) // (parameters.batch_size * shard.size)

    def compile(self) -> None:
        if self._steps is not None:
            self.train(0, 0, 0)  # no step at all compiles the loop around it
            return
        before = self.state()
        self.train(0, 0, 1)
        self.restore(before)

    def train(self, epoch: int, first: int, stop: int, total: float = 0.0) -> float:
        """Both ways add in single precision, one step after the other: the same bits, however the steps are cut."""
        batches = self._batches_of(epoch)
        if self._steps is None:
            for row in range(first, stop):
                total = float(np.float32(total) + np.float32(self._step(batches[row]).asnumpy()))
                if not math.isfinite(total):
                    raise BadLoss(row + 1, total)
            return total
        numbers = (ms.Tensor(first, ms.int32), ms.Tensor(stop, ms.int32), ms.Tensor(total, ms.float32))
        summed, row = self._steps(batches, *numbers)
        total = float(summed.asnumpy())
        if not math.isfinite(total):
            raise BadLoss(int(row.asnumpy()), total)
        return total

    def learning_rate(self, step: int) -> float:
        return self._parameters.lr

    def evaluate(self, stop: Callable[[], bool] = never) -> Dict[str, float]:
        images, labels = self._data.test
        return self.judge(lambda start, end: images[start:end], labels, EVALUATION_BATCH, stop)

    def _batches_of(self, epoch: int) -> ms.Tensor:
        if self._batches[0] != epoch:
            parameters = self._parameters
            rows = order(len(self._data.train.labels), parameters.batch_size, parameters.seed, epoch, self.shard)
            self._batches = (epoch, ms.Tensor(rows))
        return self._batches[1]
