"""The same LeNet-5 in PyTorch: the pictures in memory, prepared once, in our order. Prints one line of JSON.

Needs PyTorch and NumPy, and no MindSpore.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional

from jobs.lenet5 import data
from jobs.shared.pictures import order


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, bias=False)
        self.conv2 = nn.Conv2d(6, 16, 5, bias=False)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        features = functional.max_pool2d(functional.relu(self.conv2(features)), 2)
        return self.fc3(self.fc2(self.fc1(features.flatten(1))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1875)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    prepared = data.prepare(data.read(arguments.data))
    images, labels = (torch.from_numpy(part) for part in prepared.train)
    labels = labels.long()
    network = LeNet5()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    seconds, processor = [], []
    for epoch in range(arguments.epochs):
        batches = torch.from_numpy(order(len(labels), 32, 1, epoch)).long()[: arguments.steps]
        begun, busy = time.perf_counter(), time.process_time()
        for batch in batches:
            optimizer.zero_grad()
            functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - busy)
    with torch.no_grad():
        found = network(torch.from_numpy(prepared.test.images)).argmax(1).numpy()
    accuracy = float((found == prepared.test.labels).mean())
    report = {
        "version": f"PyTorch {torch.__version__}",
        "seconds": seconds,
        "processor": processor,
        "accuracy": accuracy,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
