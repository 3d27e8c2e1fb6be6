"""The training of LeNet-5: softmax cross-entropy and Momentum, many steps in one call of a compiled graph.

What a step computes is the course's recipe, to the bit. What is left out is what surrounds a step there: the data
pipeline, the copy of each batch, and Python, which here hands over only the order of an epoch's pictures and two
numbers. The pictures are a constant of the graph, shared with numpy and never copied.
`docs/decisions/0003-lenet5-speed.md` has figures.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from jobs import State, Trainer

from . import Parameters
from .data import Mnist, Split, order
from .network import LeNet5

EVALUATION_BATCH = 1000


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
    """The steps `first` to `stop` of an epoch whose batches are the rows of `batches`. Returns the sum of losses."""

    def __init__(self, step: TrainStep) -> None:
        super().__init__(auto_prefix=False)
        self.step = step

    def construct(self, batches: ms.Tensor, first: ms.Tensor, stop: ms.Tensor) -> ms.Tensor:
        total = ms.Tensor(0.0, ms.float32)
        row = first
        while row < stop:
            total = total + self.step(batches[row])
            row = row + 1
        return total


class LeNet5Trainer(Trainer):
    """`loop_in_graph`: whether the loop over steps is compiled too, which pays where a call costs as much as a step."""

    def __init__(self, data: Mnist, parameters: Parameters, loop_in_graph: bool) -> None:
        ms.set_seed(parameters.seed)
        self._data = data
        self._parameters = parameters
        self._network = LeNet5()
        loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
        self._optimizer = nn.Momentum(self._network.trainable_params(), parameters.lr, parameters.momentum)
        step = nn.TrainOneStepCell(nn.WithLossCell(self._network, loss), self._optimizer)
        self._step = TrainStep(step.set_train(), data.train)
        self._steps = TrainSteps(self._step) if loop_in_graph else None
        self._batches: Tuple[int, ms.Tensor] = (-1, None)
        self.steps_per_epoch = len(data.train.labels) // parameters.batch_size

    def compile(self) -> None:
        if self._steps is not None:
            self.train(0, 0, 0)  # no step at all compiles the loop around it
            return
        before = self.state()
        self.train(0, 0, 1)
        self.restore(before)

    def train(self, epoch: int, first: int, stop: int) -> float:
        batches = self._batches_of(epoch)
        if self._steps is not None:
            return float(self._steps(batches, ms.Tensor(first, ms.int32), ms.Tensor(stop, ms.int32)).asnumpy())
        losses = [self._step(batches[row]) for row in range(first, stop)]
        return float(sum(float(loss.asnumpy()) for loss in losses))

    def evaluate(self) -> Dict[str, float]:
        images, labels = self._data.test
        self._network.set_train(False)
        parts = [images[start : start + EVALUATION_BATCH] for start in range(0, len(images), EVALUATION_BATCH)]
        logits = np.concatenate([self._network(ms.Tensor.from_numpy(part)).asnumpy() for part in parts]).astype(
            np.float64
        )
        self._network.set_train(True)
        peak = logits.max(axis=1)
        losses = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak - logits[np.arange(len(labels)), labels]
        return {"accuracy": float((logits.argmax(axis=1) == labels).mean()), "loss": float(losses.mean())}

    def state(self) -> State:
        return {name: parameter.asnumpy().copy() for name, parameter in self._stateful().items()}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, parameter in self._stateful().items():
            parameter.set_data(ms.Tensor(state[name]))

    def _stateful(self) -> Dict[str, ms.Parameter]:
        """The weights, their moments and the step number. The rate is no state: each run's parameters have it."""
        found = [*self._network.get_parameters(), *self._optimizer.moments, self._optimizer.global_step]
        return {parameter.name: parameter for parameter in found}

    def _batches_of(self, epoch: int) -> ms.Tensor:
        if self._batches[0] != epoch:
            parameters = self._parameters
            rows = order(len(self._data.train.labels), parameters.batch_size, parameters.seed, epoch)
            self._batches = (epoch, ms.Tensor(rows))
        return self._batches[1]
