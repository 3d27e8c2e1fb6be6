"""The same ResNet-50 in PyTorch, on batches that lie ready in memory. Prints one line of JSON.

--like=FILE makes it begin with our first weights, and pad as MindSpore's pad_mode "same" does (at the end first, which
takes PyTorch an operation more): for comparing losses, not speeds. Needs PyTorch and NumPy, and no MindSpore.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jobs.resnet50 import Parameters, data
from jobs.shared.pictures import order

EXPANSION = 4
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))


class Padded(nn.Module):
    """A layer with `same` padding where an even side is halved: one pixel more at the end than at the beginning."""

    def __init__(self, layer: nn.Module, size: int, value: float = 0.0) -> None:
        super().__init__()
        self.layer, self.value = layer, value
        self.before, self.after = (size - 2) // 2, (size - 1) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(functional.pad(x, (self.before, self.after) * 2, value=self.value))


class Block(nn.Module):
    def __init__(self, inner: int, channels: int, stride: int, same: bool) -> None:
        super().__init__()
        outer = channels * EXPANSION
        self.conv1, self.bn1 = conv(inner, channels, 1, 1, same), bn(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3, stride, same), bn(channels)
        self.conv3, self.bn3 = conv(channels, outer, 1, 1, same), bn(outer)
        nn.init.zeros_(self.bn3.weight)
        self.down_sample_layer = None
        if stride != 1 or inner != outer:
            self.down_sample_layer = nn.Sequential(conv(inner, outer, 1, stride, same), bn(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = functional.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.down_sample_layer is None else self.down_sample_layer(x)
        return functional.relu(out, inplace=True)


class ResNet50(nn.Module):
    def __init__(self, same: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 7, 2, same), bn(64)
        self.pool = Padded(nn.MaxPool2d(3, 2), 3, -torch.inf) if same else nn.MaxPool2d(3, 2, 1)
        inner = 64
        for number, (blocks, channels, stride) in enumerate(STAGES, 1):
            inners = [inner] + [channels * EXPANSION] * (blocks - 1)
            stage = [Block(one, channels, 1 if place else stride, same) for place, one in enumerate(inners)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            inner = channels * EXPANSION
        self.end_point = nn.Linear(inner, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(functional.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.end_point(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def conv(inner: int, outer: int, size: int, stride: int, same: bool) -> nn.Module:
    padded = same and stride > 1 and size > 1
    layer = nn.Conv2d(inner, outer, size, stride, 0 if padded else size // 2, bias=False)
    nn.init.normal_(layer.weight, std=0.01)
    return Padded(layer, size) if padded else layer


def bn(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-4, momentum=0.1)


def adopt(network: nn.Module, path: str) -> None:
    """MindSpore's names are PyTorch's, but for those of batch norms."""
    weights = np.load(path)
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    taken = {}
    for name in weights.files:
        stem, _, last = name.rpartition(".")
        taken[f"{stem}.{names.get(last, last)}"] = torch.from_numpy(weights[name])
    own = {key.replace(".layer.weight", ".weight"): key for key in network.state_dict()}
    counters = {key: torch.tensor(0) for key in own if key.endswith("num_batches_tracked")}
    network.load_state_dict({own[key]: value for key, value in {**taken, **counters}.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--like")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    layout: Any = torch.channels_last if arguments.channels_last else torch.contiguous_format
    split = data.read(arguments.data).train
    parameters, samples = Parameters(), len(split.labels)
    draws = data.draw(samples, parameters.seed, 0)
    batches = []
    for step, rows in enumerate(order(samples, 32, parameters.seed, 0)[: arguments.steps + 1]):
        part = data.Draws(*(each[step * 32 : step * 32 + 32] for each in draws))
        pictures = data.prepare(data.augment(split.images[rows], part), arguments.size)
        batches.append((torch.from_numpy(pictures).to(memory_format=layout), torch.from_numpy(split.labels[rows])))
    network = ResNet50(same=arguments.like is not None)
    if arguments.like:
        adopt(network, arguments.like)
    network = network.to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=parameters.lr_init, momentum=0.9, weight_decay=1e-4)
    times, processor, losses = [], [], []
    for images, labels in batches:
        begun, busy = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels.long())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - begun)
        processor.append(time.process_time() - busy)
        print(f"{times[-1]:.3f} s, loss {losses[-1]:.6f}", file=sys.stderr)
    report = {
        "version": f"PyTorch {torch.__version__}",
        "seconds": times[1:],
        "processor": processor[1:],
        "losses": losses,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
