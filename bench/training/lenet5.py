"""LeNet-5: whole epochs of the full MNIST, three times; the recipe, ours and PyTorch in turn."""

from __future__ import annotations

import statistics
import sys
import tempfile
from typing import Any

from . import runs

STEPS_PER_EPOCH = 1875
DEFAULT_STEPS = 60
QUICK_STEPS = 300


def main(rounds: int, quick: bool, default: bool, data: str, torch: str) -> None:
    """Prints Markdown tables. `quick`: some steps of each epoch, and neither accuracies nor whole runs. `default`: the
    recipe also on the wheel that pip picks, where an epoch takes a minute or two."""
    some = [f"--steps={QUICK_STEPS}"] if quick else []
    steps = QUICK_STEPS if quick else STEPS_PER_EPOCH
    trained: dict[str, tuple[str, str, list[str]]] = {
        "recipe": (sys.executable, "recipe.py", some),
        "ours": (sys.executable, "steps.py", some),
    }
    for threads in runs.pytorch_threads():
        arguments = [f"--threads={threads}", *some]
        trained[f"PyTorch, {threads} thread{'s' if threads > 1 else ''}"] = (torch, "pytorch_lenet5.py", arguments)
    reports: dict[str, list[Any]] = {name: [] for name in trained}
    default_ms: list[float] = []
    default_version = ""
    whole: dict[str, list[float]] = {"recipe": [], "ours: python entrypoints/lenet5.py": []}
    for number in range(rounds):
        print(f"LeNet-5, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, (python, script, arguments) in trained.items():
            reports[name].append(runs.run(python, script, data, *arguments))
        if default:
            report = runs.run(runs.default_python(), "recipe.py", data, f"--steps={DEFAULT_STEPS}")
            default_version = report["version"]
            default_ms.append(1000 * min(report["seconds"][1:]) / DEFAULT_STEPS)
        if not quick:
            whole["recipe"].append(runs.timed([sys.executable, str(runs.HERE / "recipe.py"), f"--data={data}"]))
            with tempfile.TemporaryDirectory() as output:
                boot = [sys.executable, str(runs.HOUSE / "entrypoints" / "lenet5.py")]
                command = [*boot, f"--data_url={data}", f"--train_url={output}"]
                whole["ours: python entrypoints/lenet5.py"].append(runs.timed(command))

    step_ms = {name: [1000 * least(report) / steps for report in found] for name, found in reports.items()}
    print(f"LeNet-5, batch 32, {steps} steps an epoch, three epochs; {rounds} rounds. {runs.machine()}.\n")
    print("| | s, three epochs: min | median | ms a step: min | median | processor ms: min | times ours | accuracy |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, found in reports.items():
        sums = [sum(report["seconds"]) for report in found]
        cells = [f"{name} ({found[0]['version']})", f"{min(sums):.2f}", f"{statistics.median(sums):.2f}"]
        cells += [f"{min(step_ms[name]):.2f}", f"{statistics.median(step_ms[name]):.2f}"]
        cells += [f"{min(1000 * least(report, 'processor') / steps for report in found):.2f}"]
        print("|", " | ".join([*cells, runs.ratio(step_ms[name], step_ms["ours"]), accuracies(found)]), "|")
    if default_ms:
        name = f"recipe, default wheel ({default_version}; {DEFAULT_STEPS} steps)"
        cells = [name, "", "", f"{min(default_ms):.2f}", f"{statistics.median(default_ms):.2f}", ""]
        print("|", " | ".join([*cells, runs.ratio(default_ms, step_ms["ours"]), ""]), "|")
    print("\nms a step: of a run's best epoch but the first, in which MindSpore's recipe compiles.")
    print("Times ours: of the medians (of the minima).")
    if not quick:
        print("\n| three epochs, everything included | s, min | s, median | times ours |")
        print("| --- | --- | --- | --- |")
        ours = whole["ours: python entrypoints/lenet5.py"]
        for name, times in whole.items():
            print(f"| {name} | {min(times):.1f} | {statistics.median(times):.1f} | {runs.ratio(times, ours)} |")


def least(report: Any, what: str = "seconds") -> float:
    return float(min(report[what][1:]))


def accuracies(found: list[Any]) -> str:
    """On the test set, one a round: runs of ours are equal, and so are those of PyTorch; the recipe has no seed."""
    seen = sorted({round(report["accuracy"], 4) for report in found if report["accuracy"] is not None})
    return "–".join(f"{each:.4f}" for each in dict.fromkeys([seen[0], seen[-1]])) if seen else ""
