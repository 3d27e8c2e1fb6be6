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
from jobs import Job, JobError, Trainer  # noqa: E402


@dataclass(frozen=True)
class Parameters:
    epochs: int = 3
    batch_size: int = 2
    seed: int = 1
    step_ms: float = 0.0
    width: int = 8
    prepare_ms: float = 0.0


class CountingTrainer(Trainer):
    steps_per_epoch = 10

    def __init__(self, parameters):
        self.parameters = parameters
        self.hash = np.zeros((parameters.width, 32), np.uint8)

    def compile(self):
        pass

    def train(self, epoch, first, stop):
        for step in range(first, stop):
            seen = self.hash.tobytes() + f"{self.parameters.seed} {epoch} {step}".encode()
            self.hash[:] = np.frombuffer(hashlib.sha256(seen).digest(), np.uint8)
            time.sleep(self.parameters.step_ms / 1000)
        return float(stop - first)

    def evaluate(self):
        return {"accuracy": 1.0, "loss": 0.5}

    def state(self):
        return {"hash": self.hash.copy()}

    def restore(self, state):
        self.hash = state["hash"].copy()


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

    def trainer(self, data, parameters, device):
        print("preparing", flush=True)
        time.sleep(parameters.prepare_ms / 1000)
        return CountingTrainer(parameters)


if __name__ == "__main__":
    sys.exit(main(CountingJob()))
