"""LeNet-5 on MNIST, as the course teaches it: batch 32, Momentum 0.9, learning rate 0.01, three epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs import ALONE, Job, Shard, Trainer
from jobs.shared import check_common, check_pictures, check_positive


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
        check_common(self)
        check_positive("lr", self.lr, "0.01")


class LeNet5Job(Job):
    """See the module's docstring."""

    name = "lenet5"
    parameters = Parameters

    def read(self, folder: str, parameters: Any) -> Any:
        from . import data

        raw = data.read(folder)
        check_pictures(folder, len(raw.train.labels), parameters.batch_size)
        data.check(folder, raw)
        return raw

    def prepare(self, raw: Any) -> Any:
        from . import data

        return data.prepare(raw)

    def trainer(self, data: Any, parameters: Any, device: str, shard: Shard = ALONE) -> Trainer:
        from .train import LeNet5Trainer

        return LeNet5Trainer(data, parameters, on_cpu=device == "CPU", shard=shard)


JOB = LeNet5Job()
