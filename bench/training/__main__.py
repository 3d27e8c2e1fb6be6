"""``python -m bench training``: the references' recipe, ours, and the same network in PyTorch, in turn, in one run.

Each measurement is a process of its own, and all take turns, so that all see the same weather on a shared machine. It
prints Markdown tables. The targets: ours the fastest of the three on LeNet-5, at least on a par with PyTorch on
ResNet-50, nowhere slower than the recipe.
"""

from __future__ import annotations

import argparse
import os

from . import lenet5, resnet50, runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench training", description=__doc__)
    parser.add_argument("--only", choices=("lenet5", "resnet50"), help="one of the two networks")
    parser.add_argument("--size", type=int, choices=(32, 224), help="one of the two sizes of ResNet-50's pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer steps, no accuracies, no whole runs")
    parser.add_argument(
        "--pinned", action="store_true", help="everything on one CPU: for a machine that others use too"
    )
    parser.add_argument("--default", action="store_true", help="LeNet-5's recipe also on the wheel that pip picks")
    parser.add_argument("--torch-python", help="a Python with PyTorch and NumPy; default: makes one")
    arguments, _ = parser.parse_known_args()  # python -m bench training: the name of the bench is there too
    if arguments.pinned:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # what is started inherits it
    torch = arguments.torch_python or runs.torch_python()
    if arguments.only != "resnet50":
        data = runs.launcher_data("mnist")
        lenet5.main(arguments.rounds, arguments.quick, arguments.default, data, torch)
        print()
    if arguments.only != "lenet5":
        sizes = [arguments.size] if arguments.size else [32, 224]
        resnet50.main(arguments.rounds, arguments.quick, runs.launcher_data("cifar10"), torch, sizes)


if __name__ == "__main__":
    main()
