"""ResNet-50: training steps on CIFAR-10 at two sizes; the recipe, ours and PyTorch in turn."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import runs

STEPS = {32: 20, 224: 2}
EQUAL_STEPS = {32: 3, 224: 1}
"""Losses that are compared from equal weights, beside that of the first step."""


def main(rounds: int, quick: bool, data: str, torch: str, sizes: list[int]) -> None:
    """Prints Markdown tables. `quick`: fewer steps."""
    for size in sizes:
        steps = max(1, STEPS[size] // 4) if quick else STEPS[size]
        measure(rounds, data, torch, [f"--size={size}", f"--steps={steps}"], size)
        compare(data, torch, size)


def measure(rounds: int, data: str, torch: str, arguments: list[str], size: int) -> None:
    trained: dict[str, tuple[str, str, list[str]]] = {
        "recipe": (sys.executable, "recipe_resnet50.py", []),
        "ours": (sys.executable, "steps_resnet50.py", []),
    }
    for threads in runs.pytorch_threads():
        for layout, more in (("", []), (", channels_last", ["--channels-last"])):
            name = f"PyTorch, {threads} thread{'s' if threads > 1 else ''}{layout}"
            trained[name] = (torch, "pytorch_resnet50.py", [f"--threads={threads}", *more])
    reports: dict[str, list[Any]] = {name: [] for name in trained}
    for number in range(rounds):
        print(f"ResNet-50 at {size}x{size}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, (python, script, more) in trained.items():
            reports[name].append(runs.run(python, script, data, *arguments, *more))
    print(
        f"ResNet-50, batch 32, {size}x{size}, {' '.join(arguments[1:])} after one that is not timed; {rounds} rounds."
    )
    print(f"{runs.machine()}.\n")
    print("| | ms a step, min | median | processor ms, min | times ours | loss after the last step |")
    print("| --- | --- | --- | --- | --- | --- |")
    times = {name: [1000 * each for report in found for each in report["seconds"]] for name, found in reports.items()}
    for name, found in reports.items():
        cells = [f"{name} ({found[0]['version']})", f"{min(times[name]):.0f}", f"{statistics.median(times[name]):.0f}"]
        cells += [f"{min(1000 * each for report in found for each in report['processor']):.0f}"]
        losses = sorted({round(report["losses"][-1], 3) for report in found})
        cells += [
            runs.ratio(times[name], times["ours"]),
            "–".join(str(e) for e in dict.fromkeys(losses[:1] + losses[-1:])),
        ]
        print("|", " | ".join(cells), "|")
    print("\nTimes ours: of the medians (of the minima).\n")


def compare(data: str, torch: str, size: int) -> None:
    """Whether they are the same network: losses step by step, from our first weights, on the same batches."""
    arguments = [f"--size={size}", f"--steps={EQUAL_STEPS[size]}"]
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.npz")
        runs.run(sys.executable, "steps_resnet50.py", data, *arguments, f"--save={weights}")
        ours = runs.run(sys.executable, "steps_resnet50.py", data, *arguments)["losses"]
        theirs = runs.run(torch, "pytorch_resnet50.py", data, *arguments, f"--like={weights}")["losses"]
    print(f"| loss from equal weights at {size}x{size}, step | ours | PyTorch |")
    print("| --- | --- | --- |")
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True), 1):
        print(f"| {step} | {one:.5f} | {other:.5f} |")
    print()
