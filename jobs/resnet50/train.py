"""The training of ResNets: softmax cross-entropy, Momentum, weight decay, a loss scale; the batches prepared beside it.

A batch takes numpy some milliseconds (32 pictures at 224x224: 18 on one core), which threads spend while the network is
busy with the batch before. On a CPU the network's sums are added in another order (`batchlast`). On an Ascend or GPU
the batches go by way of a queue on the device (sink mode), and the network computes in float16, but for what needs
more (O2).
"""

from __future__ import annotations

import concurrent.futures
import math
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

from jobs import ALONE, BadLoss, Epoch, JobError, Shard, never
from jobs.shared.network import NetworkTrainer
from jobs.shared.pictures import Split, order
from jobs.shared.together import mean_loss

from . import Parameters
from .batchlast import BatchLastLoss
from .data import Cifar10, Draws, augment, draw, prepare
from .network import build
from .schedule import rates

EVALUATION_PIXELS = 100 * 32 * 32
"""Pixels of a batch when the network is judged, such as 100 pictures of 32x32; at least a batch of the training."""

AHEAD = 2
"""Batches that each thread has ready or in work."""

Batch = Tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]


class Batches:
    """The steps' pictures and labels: float32 of (batch, 3, size, size) and int32 of (batch,), prepared ahead of use.

    What a batch holds is a function of the seed, the epoch and the step. Asked for in order, they are ready when they
    are needed; in any other order they are right too.
    """

    def __init__(self, split: Split, parameters: Parameters, threads: int, shard: Shard = ALONE) -> None:
        self._split = split
        self._parameters = parameters
        self._shard = shard
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._ahead = AHEAD * threads
        self._waiting: Dict[Tuple[int, int], "concurrent.futures.Future[Batch]"] = {}
        self._epochs: Dict[int, Tuple[np.ndarray[Any, Any], Draws]] = {}
        self.steps = len(split.labels) // (parameters.batch_size * shard.size)

    def get(self, epoch: int, step: int) -> Batch:
        """One batch; the next ones are begun."""
        place = epoch * self.steps + step
        wanted = [divmod(number, self.steps) for number in range(place, place + self._ahead + 1)]
        self._waiting = {key: self._waiting.get(key) or self._begin(*key) for key in wanted}
        return self._waiting.pop((epoch, step)).result()

    def from_here(self, epoch: int, step: int) -> Iterator[Batch]:
        """This batch and all that follow, without end."""
        while True:
            yield self.get(epoch, step)
            epoch, step = divmod(epoch * self.steps + step + 1, self.steps)

    def _begin(self, epoch: int, step: int) -> "concurrent.futures.Future[Batch]":
        if epoch not in self._epochs:
            parameters, samples = self._parameters, len(self._split.labels)
            rows = order(samples, parameters.batch_size, parameters.seed, epoch, self._shard)
            self._epochs = {**self._epochs, epoch: (rows, draw(samples, parameters.seed, epoch))}
            self._epochs.pop(epoch - 2, None)
        rows, draws = self._epochs[epoch]
        batch = self._parameters.batch_size
        start = (step * self._shard.size + self._shard.rank) * batch
        return self._pool.submit(self._make, rows[step], Draws(*(each[start : start + batch] for each in draws)))

    def _make(self, rows: np.ndarray[Any, Any], draws: Draws) -> Batch:
        images = augment(self._split.images[rows], draws)
        return prepare(images, self._parameters.image_size), self._split.labels[rows]


class ResNetTrainer(NetworkTrainer):
    """See the module's docstring."""

    def __init__(self, data: Cifar10, parameters: Parameters, device: str, shard: Shard = ALONE) -> None:
        ms.set_seed(parameters.seed)
        _check_device(parameters, device)
        threads = 1 if device == "CPU" else min(8, os.cpu_count() or 1)
        self._data = data
        self._parameters = parameters
        self._on_cpu = device == "CPU"
        self._batches = Batches(data.train, parameters, threads, shard)
        self.steps_per_epoch = self._batches.steps
        settings = (parameters.lr_init, parameters.lr_max, parameters.warmup_epochs)
        self._rates = rates(parameters.epochs, self.steps_per_epoch, *settings)
        network = build(parameters.network)
        optimizer = nn.Momentum(
            network.trainable_params(),
            ms.Tensor(self._rates),
            parameters.momentum,
            parameters.weight_decay,
            loss_scale=parameters.loss_scale,
        )
        super().__init__(network, optimizer, shard)
        mixed = parameters.precision == "mixed" or (parameters.precision == "auto" and device != "CPU")
        self._step = mean_loss(self._build_step(mixed), shard.size)
        self._sunk = parameters.feed == "sink" or (parameters.feed == "auto" and device != "CPU")
        self._queue: Tuple[int, Optional[Callable[[], ms.Tensor]]] = (-1, None)
        self._no_queue = ""
        self._last_loss = math.nan

    def compile(self) -> None:
        size, batch = self._parameters.image_size, self._parameters.batch_size
        if self._sunk and self._try_queue():
            return
        self._batches.get(0, 0)  # the threads begin
        self._step.compile(
            ms.Tensor(np.zeros((batch, 3, size, size), np.float32)), ms.Tensor(np.zeros(batch, np.int32))
        )

    def train(self, epoch: int, first: int, stop: int, total: float = 0.0) -> float:
        for step in range(first, stop):
            self._last_loss = float(self._do(epoch, step).asnumpy())
            if not math.isfinite(self._last_loss):
                raise BadLoss(step + 1, self._last_loss)
            total += self._last_loss
        return total

    def learning_rate(self, step: int) -> float:
        return float(self._rates[min(step, len(self._rates) - 1)])

    def evaluate(self, stop: Callable[[], bool] = never) -> Dict[str, float]:
        size, (images, labels) = self._parameters.image_size, self._data.test
        batch = max(self._parameters.batch_size, EVALUATION_PIXELS // size**2)
        return self.judge(lambda start, end: prepare(images[start:end], size), labels, batch, stop)

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        super().restore(state)
        self._queue = (-1, None)

    def advice(self) -> List[str]:
        if self._no_queue:
            return [f"feed is direct: a queue on the device does not work here: {self._no_queue}"]
        if not self._on_cpu or self._parameters.network == "small":
            return []
        return [
            f"{self._parameters.network} is meant for an Ascend: at 224x224 a step of ResNet-50 takes two cores 6 s; "
            "--network=small --image_size=32 takes them 0.04 s"
        ]

    def epoch_lines(self, epoch: Epoch) -> List[str]:
        """In the words of the references' PerformanceCallback and of MindSpore's LossMonitor: scripts look for them."""
        time, steps = epoch.seconds, epoch.steps
        return [
            f"epoch {epoch.number} cost time = {time}, train step num: {steps}, "
            + f"one step time: {1000 * time / steps} ms, "
            + f"train samples per second of cluster: {epoch.samples_per_second:.1f}",
            f"epoch: {epoch.number} step {self.steps_per_epoch}, loss is {self._last_loss}",
        ]

    def evaluation_lines(self, evaluation: Mapping[str, float]) -> List[str]:
        """The references' words; they judge whole batches only, 9984 of the 10,000 pictures."""
        return [f"Evaluation result: {{'acc': {evaluation['accuracy']}}}."]

    def _do(self, epoch: int, step: int) -> ms.Tensor:
        """One step; its loss."""
        if not self._sunk:
            images, labels = self._batches.get(epoch, step)
            return self._step(ms.Tensor.from_numpy(images), ms.Tensor.from_numpy(labels))
        place = epoch * self.steps_per_epoch + step
        following, call = self._queue
        if call is None or following != place:
            call = self._open_queue(epoch, step)
        self._queue = (place + 1, call)
        return call()

    def _open_queue(self, epoch: int, step: int) -> Callable[[], ms.Tensor]:
        """A function that does a step with the batch that is next in a queue on the device, which begins here."""
        from mindspore import dataset

        source = dataset.GeneratorDataset(
            lambda: self._batches.from_here(epoch, step), ["image", "label"], num_parallel_workers=1
        )
        call: Callable[[], ms.Tensor] = ms.data_sink(self._step, source)
        return call

    def _try_queue(self) -> bool:
        """Do a step by way of a queue, and undo it; False, with the reason kept, if that fails and need not work."""
        before = self.state()
        try:
            self.train(0, 0, 1)
        except (RuntimeError, ValueError, TypeError) as error:
            if self._parameters.feed == "sink" or self.shard.size > 1:  # asked for by name; or others wait in this step
                raise
            self._sunk, self._no_queue = False, (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.restore(before)
        return self._sunk

    def _build_step(self, mixed: bool) -> nn.Cell:
        loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
        scale = self._parameters.loss_scale
        if self._on_cpu:
            judged = BatchLastLoss(self._network, loss, self._parameters.image_size)
            return nn.TrainOneStepCell(judged, self._optimizer, scale).set_train()
        if not mixed:
            return nn.TrainOneStepCell(nn.WithLossCell(self._network, loss), self._optimizer, scale).set_train()
        manager = ms.FixedLossScaleManager(scale, drop_overflow_update=False)
        return ms.amp.build_train_network(
            self._network, self._optimizer, loss, level="O2", loss_scale_manager=manager, keep_batchnorm_fp32=False
        ).set_train()


def _check_device(parameters: Parameters, device: str) -> None:
    """JobError for what a CPU has not: float16 in its kernels, and a queue of its own."""
    for name, value in (("precision", "mixed"), ("feed", "sink")):
        if device == "CPU" and getattr(parameters, name) == value:
            raise JobError(f"{name} is {value}, which a CPU does not have", f"leave --{name} away")
