"""What is trained: one folder a job, each with its `job.yaml`.

This module is the agreement between a job and `entrypoints.training`, which runs any of them. A job is a `Job`, made
without MindSpore; the work that needs MindSpore is in the `Trainer` that it makes.

A job travels into training containers, so it keeps to Python 3.7, numpy and mindspore, and imports nothing of ours but
this module and `pictures`, the way from a picture to the network. `models` is how a trained network is found.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Dict, Mapping, Tuple

if TYPE_CHECKING:  # a boot file hears SIGTERM sooner, and shows its help sooner, without numpy
    import numpy as np

State = Dict[str, "np.ndarray[Any, Any]"]
"""Everything that the next step depends on, by name: weights, `moments.*` of the optimizer, `global_step`."""


class JobError(Exception):
    """A user's mistake or a broken input: what happened, and the one line that mends it. `str()` is the message."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Trainer(abc.ABC):
    """A network in training. Steps are counted from 0 within an epoch, epochs from 0 within the run.

    Guaranteed:
     1. The bits of the weights after a step depend on the parameters, the data and the machine, and not on how the
        steps were cut into calls of `train`, nor on a `state` and `restore` in between.
     2. `train` returns when its steps are done; `state` and `evaluate` may follow at once.
    Not guaranteed: the same bits on another CPU, another number of cores or another MindSpore.
    """

    steps_per_epoch: int

    @abc.abstractmethod
    def compile(self) -> None:
        """Do now what would otherwise make the first step slow."""

    @abc.abstractmethod
    def train(self, epoch: int, first: int, stop: int) -> float:
        """Do the steps `first` to `stop`, without `stop`, of an epoch. The sum of their losses."""

    @abc.abstractmethod
    def evaluate(self) -> Dict[str, float]:
        """`accuracy` (0 to 1) and mean `loss` over every picture of the test set."""

    @abc.abstractmethod
    def state(self) -> State:
        """A copy of the present state."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Go on from a state that has the names and shapes of `state()`, which the caller has checked."""


class Job(abc.ABC):
    """What can be trained. `read`, `prepare` and `trainer` are called once each, in this order."""

    name: str

    parameters: Any
    """A frozen dataclass, of str, int and float; at least `epochs` and `batch_size`. Its defaults are those of
    `job.yaml`; the `help` in a field's metadata is its line in `--help`. Making one checks the values: JobError."""

    schedule: Tuple[str, ...] = ("batch_size", "seed")
    """The parameters that fix which samples a step sees. A resumed run must have them as they were."""

    @abc.abstractmethod
    def read(self, folder: str, parameters: Any) -> Any:
        """The raw data in memory, all checked: JobError for anything wrong with it. Quick, and without MindSpore."""

    @abc.abstractmethod
    def prepare(self, raw: Any) -> Any:
        """The data as the network takes it. May take seconds; runs in a thread beside the import of MindSpore."""

    @abc.abstractmethod
    def trainer(self, data: Any, parameters: Any, device: str) -> Trainer:
        """Build the network on `device` (Ascend, GPU or CPU), which MindSpore has already been set to."""
