"""ResNet-50 on CIFAR-10, as the course teaches it: batch 32, 224x224, 90 epochs, a rate that rises and then falls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List

from jobs import ALONE, Job, Shard, Trainer
from jobs.shared import check_common, check_pictures, check_positive, require

NETWORKS = ("resnet50", "resnet101", "small")
PRECISIONS = ("auto", "float32", "mixed")
FEEDS = ("auto", "direct", "sink")


@dataclass(frozen=True)
class Parameters:
    """What `job.yaml` and the command line may set."""

    epochs: int = field(default=90, metadata={"help": "how often to go through the training set"})
    batch_size: int = field(
        default=32, metadata={"help": "pictures per step; what is left over in an epoch is dropped"}
    )
    network: str = field(
        default="resnet50", metadata={"help": "resnet50, resnet101, or small for a machine without NPU"}
    )
    image_size: int = field(default=224, metadata={"help": "height and width that the 32x32 pictures are resized to"})
    lr_init: float = field(default=0.01, metadata={"help": "learning rate of the first step"})
    lr_max: float = field(default=0.1, metadata={"help": "learning rate after the warm-up; it then falls to 0"})
    warmup_epochs: int = field(default=5, metadata={"help": "epochs in which the rate grows"})
    momentum: float = field(default=0.9, metadata={"help": "of the optimizer Momentum"})
    weight_decay: float = field(default=0.0001, metadata={"help": "of the optimizer Momentum, on every weight"})
    loss_scale: float = field(default=1024.0, metadata={"help": "keeps small gradients from vanishing in float16"})
    precision: str = field(default="auto", metadata={"help": "auto, float32 or mixed; auto: mixed, but not on a CPU"})
    feed: str = field(default="auto", metadata={"help": "auto, direct or sink (a queue on the device; not on a CPU)"})
    seed: int = field(
        default=1,
        metadata={"help": "of the first weights, the order of the pictures, and their random crops and flips"},
    )

    def __post_init__(self) -> None:
        check_common(self)
        check_positive("lr_init", self.lr_init, "0.01")
        check_positive("lr_max", self.lr_max, "0.1")
        check_positive("loss_scale", self.loss_scale, "1024")
        _one_of("network", self.network, NETWORKS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("feed", self.feed, FEEDS)
        size, warmup, decay = self.image_size, self.warmup_epochs, self.weight_decay
        require(8 <= size <= 1024, f"image_size is {size}", "pass a size from 8 to 1024: --image_size=224")
        require(warmup >= 0, f"warmup_epochs is {warmup}", "pass --warmup_epochs=0 or more")
        require(0 <= decay < 1, f"weight_decay is {decay}", "pass a number from 0 to below 1: --weight_decay=0.0001")


class ResNet50Job(Job):
    """See the module's docstring."""

    name = "resnet50"
    parameters = Parameters
    rate = "--lr_max"
    schedule = ("batch_size", "seed", "network", "image_size", "loss_scale")

    def read(self, folder: str, parameters: Any) -> Any:
        from . import data

        raw = data.read(folder)
        check_pictures(folder, len(raw.train.labels), parameters.batch_size)
        data.check(folder, raw)
        return raw

    def data_lines(self, raw: Any) -> List[str]:
        synthetic = "synthetic" in " ".join(raw.classes)
        return ["the data are synthetic pictures, not CIFAR-10: no result on them means anything"] if synthetic else []

    def prepare(self, raw: Any) -> Any:
        """Nothing can be done once for all epochs: crops are random, and 60,000 resized pictures would be 36 GB."""
        return raw

    def trainer(self, data: Any, parameters: Any, device: str, shard: Shard = ALONE) -> Trainer:
        from .train import ResNetTrainer

        return ResNetTrainer(data, parameters, device, shard)


def _one_of(name: str, value: str, known: Any) -> None:
    require(value in known, f"{name} is {value!r}", f"pass --{name}=" + " or ".join(known))


JOB = ResNet50Job()
