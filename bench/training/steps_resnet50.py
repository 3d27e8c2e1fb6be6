"""Our ResNet-50's steps: the boot file's own trainer, which prepares the batches beside them. Prints a line of JSON.

--save=FILE writes the first weights, and does no step. The first step is not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from entrypoints import devices
from jobs.resnet50 import JOB, Parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--save")
    arguments = parser.parse_args()

    parameters = Parameters(image_size=arguments.size)
    device = devices.start("CPU", 0, lambda text: print(text, file=sys.stderr))
    trainer = JOB.trainer(JOB.read(arguments.data, parameters), parameters, device)
    if arguments.save:
        no_weights = ("moments.", "global_step")
        np.savez(arguments.save, **{k: v for k, v in trainer.state().items() if not k.startswith(no_weights)})
        print(json.dumps({}))
        return
    trainer.compile()
    times, processor, losses = [], [], []
    for step in range(arguments.steps + 1):
        begun, busy = time.perf_counter(), time.process_time()
        losses.append(trainer.train(0, step, step + 1))
        times.append(time.perf_counter() - begun)
        processor.append(time.process_time() - busy)
        print(f"{times[-1]:.3f} s, loss {losses[-1]:.6f}", file=sys.stderr)
    version = f"MindSpore {devices.describe(device)['mindspore']}"
    report = {"version": version, "seconds": times[1:], "processor": processor[1:], "losses": losses}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
