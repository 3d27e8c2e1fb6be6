"""LeNet-5 on MNIST, as the course teaches it: batch 32, Momentum 0.9, learning rate 0.01, three epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from jobs import Job, JobError, Trainer


@dataclass(frozen=True)
class Parameters:
    """What `job.yaml` and the command line may set."""

    epochs: int = field(default=3, metadata={"help": "how often to go through the training set"})
    batch_size: int = field(
        default=32, metadata={"help": "pictures per step; what is left over in an epoch is dropped"}
    )
    lr: float = field(default=0.01, metadata={"help": "learning rate"})
    momentum: float = field(default=0.9, metadata={"help": "of the optimizer Momentum"})
    seed: int = field(default=1, metadata={"help": "of the first weights and of the order of the pictures"})

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs is {self.epochs}", "pass --epochs=1 or more")
        _require(self.batch_size >= 1, f"batch_size is {self.batch_size}", "pass --batch_size=1 or more")
        _require(
            math.isfinite(self.lr) and self.lr > 0, f"lr is {self.lr}", "pass a positive number, such as --lr=0.01"
        )
        _require(
            0 <= self.momentum < 1, f"momentum is {self.momentum}", "pass a number from 0 to below 1: --momentum=0.9"
        )
        _require(0 <= self.seed < 2**32, f"seed is {self.seed}", "pass a number from 0 to 4294967295: --seed=1")


class LeNet5Job(Job):
    """See the module's docstring."""

    name = "lenet5"
    parameters = Parameters

    def read(self, folder: str, parameters: Any) -> Any:
        from . import data

        raw = data.read(folder)
        pictures = len(raw.train.labels)
        if pictures < parameters.batch_size:
            raise JobError(
                f"{folder} has {pictures} training pictures, fewer than one batch of {parameters.batch_size}",
                f"pass --batch_size={pictures} or less",
            )
        return raw

    def prepare(self, raw: Any) -> Any:
        from . import data

        return data.prepare(raw)

    def trainer(self, data: Any, parameters: Any, device: str) -> Trainer:
        from .train import LeNet5Trainer

        return LeNet5Trainer(data, parameters, loop_in_graph=device == "CPU")


def _require(good: bool, message: str, hint: str) -> None:
    if not good:
        raise JobError(message, hint)


JOB = LeNet5Job()
