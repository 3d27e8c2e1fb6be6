"""Our steps alone, in memory: the boot file's own trainer, called as the boot file calls it. Prints a line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time

from entrypoints import devices
from jobs.lenet5 import JOB, Parameters

STEPS_PER_CALL = 100
"""About what the boot file comes to on a CPU: a call of a quarter of a second."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1875)
    arguments = parser.parse_args()

    parameters = Parameters()
    device = devices.start("CPU", 0, lambda text: print(text, file=sys.stderr))
    trainer = JOB.trainer(JOB.prepare(JOB.read(arguments.data, parameters)), parameters, device)
    trainer.compile()
    seconds, processor = [], []
    for epoch in range(arguments.epochs):
        begun, busy = time.perf_counter(), time.process_time()
        for first in range(0, arguments.steps, STEPS_PER_CALL):
            trainer.train(epoch, first, min(first + STEPS_PER_CALL, arguments.steps))
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - busy)
    version = f"MindSpore {devices.describe(device)['mindspore']}"
    accuracy = trainer.evaluate()["accuracy"]
    print(json.dumps({"version": version, "seconds": seconds, "processor": processor, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
