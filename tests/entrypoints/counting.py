"""A boot file whose job trains nothing, in a way that gives each step away: for tests of what surrounds the training.

Its state is a hash of all steps so far, in order. With the stub of MindSpore, a run takes a fifth of a second.
"""

import hashlib
import os
import sys
import time
from dataclasses import dataclass

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np  # noqa: E402

from entrypoints.training import main  # noqa: E402
from jobs import BadLoss, Job, JobError, Trainer  # noqa: E402


@dataclass(frozen=True)
class Parameters:
    epochs: int = 3
    batch_size: int = 2
    seed: int = 1
    step_ms: float = 0.0
    width: int = 8
    prepare_ms: float = 0.0
    good_epoch: int = 0  # its loss is half of the others'
    bad_step: int = 0  # of the run, from 1: its loss is nan
    bad_weights: int = 0  # after this step the weights are nan
    fail: str = ""  # what the first step raises a RuntimeError with


class CountingTrainer(Trainer):
    steps_per_epoch = 10

    def __init__(self, parameters):
        self.parameters = parameters
        self.hash = np.zeros((parameters.width, 32), np.uint8)
        self.weights = np.zeros(3, np.float32)

    def compile(self):
        pass

    def train(self, epoch, first, stop, total=0.0):
        for step in range(first, stop):
            seen = self.hash.tobytes() + f"{self.parameters.seed} {epoch} {step}".encode()
            self.hash[:] = np.frombuffer(hashlib.sha256(seen).digest(), np.uint8)
            time.sleep(self.parameters.step_ms / 1000)
            total += 0.05 if epoch + 1 == self.parameters.good_epoch else 0.1  # sums that round
            if epoch * 10 + step + 1 == self.parameters.bad_step:
                raise BadLoss(step + 1, float("nan"))
            if epoch * 10 + step + 1 == self.parameters.bad_weights:
                self.weights[1] = np.nan
            if self.parameters.fail:
                raise RuntimeError(self.parameters.fail + "\nand many more lines")
        return total

    def learning_rate(self, step):
        return 0.01

    def evaluate(self, stop=None):
        print("evaluated", flush=True)
        return {"accuracy": 1.0, "loss": 0.5}

    def state(self):
        return {"hash": self.hash.copy(), "weights": self.weights.copy()}

    def restore(self, state):
        self.hash, self.weights = state["hash"].copy(), state["weights"].copy()


class CountingJob(Job):
    name = "counting"
    parameters = Parameters

    def read(self, folder, parameters):
        if not os.path.isdir(folder):
            raise JobError(f"there is no folder {folder}", "make it")
        if os.path.exists(os.path.join(folder, "explode")):
            raise RuntimeError("boom\nand more lines")

    def prepare(self, raw):
        return None

    def trainer(self, data, parameters, device, shard):
        print("preparing", flush=True)
        time.sleep(parameters.prepare_ms / 1000)
        return CountingTrainer(parameters)


if __name__ == "__main__":
    sys.exit(main(CountingJob()))
