"""What is trained: one folder a job, each with its `job.yaml`.

This module is the agreement between a job and `entrypoints.training`, which runs any of them. A job is a `Job`, made
without MindSpore; the work that needs MindSpore is in the `Trainer` that it makes.

A job travels into training containers, so it keeps to Python 3.7, numpy and mindspore, and imports nothing of ours but
this module, what jobs share (`jobs.shared`), and the way from a picture to the network (`jobs.pictures`). `jobs.models`
is how a trained network is found.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

if TYPE_CHECKING:  # a boot file hears SIGTERM sooner, and shows its help sooner, without numpy
    import numpy as np

State = Dict[str, "np.ndarray[Any, Any]"]
"""All that the next step depends on, by name: weights, statistics, `moments.*` of the optimizer, `global_step`."""


def never() -> bool:
    """Nobody asked to stop."""
    return False


class JobError(Exception):
    """A user's mistake or a broken input: what happened, and the one line that mends it. `str()` is the message."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Shard(NamedTuple):
    """One device's part of each step, where several train together: it is the `rank`-th of `size`."""

    rank: int = 0
    size: int = 1


ALONE = Shard()


class BadLoss(Exception):
    """A step whose loss is no number: the training has gone astray, and its weights are worth nothing."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step = step
        """Counted from 1 within the epoch, as people read it."""
        self.loss = loss


class Epoch(NamedTuple):
    """What an epoch came to, for the lines that a job prints about it."""

    number: int
    """From 1."""
    steps: int
    """Done by this process: all of them, unless it resumed in the middle."""
    seconds: float
    samples_per_second: float
    """Over all devices."""


class Trainer(abc.ABC):
    """A network in training. Steps are counted from 0 within an epoch, epochs from 0 within the run.

    Guaranteed:
     1. The bits of the weights and of the loss after a step depend on the parameters, the data and the machine, and not
        on how the steps were cut into calls of `train`, nor on a `state` and `restore` in between.
     2. `train` returns when its steps are done; `state` and `evaluate` may follow at once.
     3. Of several devices, each sees its own samples in a step; the gradients are averaged, so the weights stay equal,
        and so is the loss that `train` returns. All must do the same steps. What is gathered beside the weights, such
        as moving statistics, is each device's own until somebody restores the first one's state on all.
    Not guaranteed: the same bits on another CPU, another number of cores or another MindSpore.
    """

    steps_per_epoch: int

    shard: Shard
    """Which part of the training this device does; each sees `batch_size` samples a step."""

    @abc.abstractmethod
    def compile(self) -> None:
        """Do now what would otherwise make the first step slow."""

    @abc.abstractmethod
    def train(self, epoch: int, first: int, stop: int, total: float = 0.0) -> float:
        """Do the steps `first` to `stop`, without `stop`, of an epoch. `total`, with their losses added to it one after
        the other. BadLoss for a step whose loss is not finite; what follows it is not done.
        """

    @abc.abstractmethod
    def learning_rate(self, step: int) -> float:
        """What the step used or will use; counted from 0 within the run."""

    @abc.abstractmethod
    def evaluate(self, stop: Callable[[], bool] = never) -> Dict[str, float]:
        """`accuracy` (0 to 1) and mean `loss` over this device's part of the test set, and how many `samples` that has;
        nothing if `stop` says yes meanwhile, which is asked once a batch.
        """

    @abc.abstractmethod
    def state(self) -> State:
        """A copy of the present state."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Go on from a state that has the names and shapes of `state()`, which the caller has checked."""

    def advice(self) -> List[str]:
        """What to tell before the first step: that it will take very long here, say, and what would be quicker."""
        return []

    def epoch_lines(self, epoch: Epoch) -> List[str]:
        """What to print when an epoch is over, beside the line that every job has."""
        return []

    def evaluation_lines(self, evaluation: Mapping[str, float]) -> List[str]:
        """The same after the last evaluation."""
        return []


class Job(abc.ABC):
    """What can be trained. `read`, `prepare` and `trainer` are called once each, in this order."""

    name: str

    parameters: Any
    """A frozen dataclass, of str, int and float; at least `epochs` and `batch_size`. Its defaults are those of
    `job.yaml`; the `help` in a field's metadata is its line in `--help`. Making one checks the values: JobError."""

    schedule: Tuple[str, ...] = ("batch_size", "seed")
    """The parameters without which a resumed run would not do the steps of the one that it continues: which samples a
    step sees, and what becomes of them. It must have them as they were.
    """

    rate = "--lr"
    """Which parameter to make smaller when the loss is no number."""

    @abc.abstractmethod
    def read(self, folder: str, parameters: Any) -> Any:
        """The raw data in memory, all checked: JobError for anything wrong with it. Quick, and without MindSpore."""

    def data_lines(self, raw: Any) -> List[str]:
        """What must be said about the data in every log, such as that they are synthetic."""
        return []

    @abc.abstractmethod
    def prepare(self, raw: Any) -> Any:
        """The data as the network takes it. May take seconds; runs in a thread beside the import of MindSpore."""

    @abc.abstractmethod
    def trainer(self, data: Any, parameters: Any, device: str, shard: Shard = ALONE) -> Trainer:
        """Build the network on `device` (Ascend, GPU or CPU), which MindSpore has already been set to, as it has been
        to the averaging of gradients if there are several devices.
        """
