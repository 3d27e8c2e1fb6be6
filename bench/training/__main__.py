"""``python -m bench training``: the references' recipe beside ours, interleaved in one run; prints a Markdown table.

Four things take turns, each in a process of its own, so that all see the same weather on a shared machine:

    recipe, default wheel   what `pip install mindspore` gives today, with no setting at all; on some steps, since an
                            epoch takes a minute or two
    recipe, our wheel       the same recipe on this environment's MindSpore
    ours, steps             our training steps, in memory
    ours, whole             `python entrypoints/lenet5.py`: three epochs, with start-up, compilation and evaluation;
                            beside the recipe's whole run on the same wheel

The targets: ours at least 20 times the recipe on the default wheel, and 1.25 times the recipe on our wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
STEPS_PER_EPOCH = 1875
DEFAULT_STEPS = 60
STEPS = 900


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description="LeNet-5: the recipe beside ours.")
    parser.add_argument("--data", help="an MNIST folder; default: the launcher's own")
    parser.add_argument("--default-python", help="a Python with what `pip install mindspore` gives; default: makes one")
    parser.add_argument("--rounds", type=int, default=5)
    arguments, _ = parser.parse_known_args()  # python -m bench training: the name of the bench is there too
    data = arguments.data or launcher_data()
    default = arguments.default_python or default_python()

    default_ms, recipe_ms, our_ms, recipe_whole, our_whole = ([] for _ in range(5))
    versions = ""
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        report = run(default, HERE / "recipe.py", data, f"--steps={DEFAULT_STEPS}")
        versions = f"MindSpore {report['mindspore']}, NumPy {report['numpy']}"
        default_ms.append(min(report["step_ms"]))
        recipe_ms.append(min(run(sys.executable, HERE / "recipe.py", data, f"--steps={STEPS}")["step_ms"]))
        our_ms.append(min(run(sys.executable, HERE / "steps.py", data, f"--steps={STEPS}")["step_ms"]))
        recipe_whole.append(timed([sys.executable, str(HERE / "recipe.py"), f"--data={data}"]))
        with tempfile.TemporaryDirectory() as output:
            boot = str(HOUSE / "entrypoints" / "lenet5.py")
            our_whole.append(timed([sys.executable, boot, f"--data_url={data}", f"--train_url={output}"]))

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{processor()}, {cpus} CPUs, Python {platform.python_version()}"
    print(f"LeNet-5, batch 32, {machine}; {arguments.rounds} rounds.\n")
    print("| one step | ms, min | ms, median | s per epoch, median | times the default | times the recipe |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in (
        (f"recipe, default wheel ({versions}; {DEFAULT_STEPS} steps)", default_ms),
        ("recipe, our wheel", recipe_ms),
        ("ours", our_ms),
    ):
        middle = statistics.median(found)
        ratios = f"{ratio(default_ms, found)} | {ratio(recipe_ms, found)}"
        print(f"| {name} | {min(found):.2f} | {middle:.2f} | {middle * STEPS_PER_EPOCH / 1000:.1f} | {ratios} |")
    print("\n| three epochs, everything included | s, min | s, median | times the recipe |")
    print("| --- | --- | --- | --- |")
    for name, found in (("recipe, our wheel", recipe_whole), ("ours: python entrypoints/lenet5.py", our_whole)):
        print(f"| {name} | {min(found):.1f} | {statistics.median(found):.1f} | {ratio(recipe_whole, found)} |")
    print("\nRatios: of the medians (of the minima).")


def run(python: str, script: Path, data: str, *arguments: str) -> Any:
    """The JSON that a script of ours prints."""
    done = subprocess.run(
        [python, str(script), f"--data={data}", "--epochs=3", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode:
        sys.exit(f"{script.name} failed on {python}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def timed(command: list[str]) -> float:
    """Wall seconds of a process."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - begun


def environment() -> dict[str, str]:
    """That of this process, with none of the settings that are being compared."""
    settings = ("ONEDNN_", "DNNL_", "OMP_", "GLOG_", "MS_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(settings)}, "PYTHONPATH": str(HOUSE)}


def ratio(slow: list[float], fast: list[float]) -> str:
    return f"{statistics.median(slow) / statistics.median(fast):.2f} ({min(slow) / min(fast):.2f})"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def launcher_data() -> str:
    """The real MNIST, fetched if need be."""
    command = [sys.executable, "-m", "launcher", "data", "prepare", "mnist", "--json"]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["path"])


def default_python() -> str:
    """A Python beside the launcher's wheels, made once, in which somebody has typed `pip install mindspore`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(os.environ.get("LAUNCHER_CACHE_DIR") or Path(base) / "modelarts-launcher") / "bench" / "default"
    python = root / "bin" / "python"
    if not (root / "whole").exists():
        print(f"making {root} (once, over 700 MB)", file=sys.stderr, flush=True)
        venv.create(root, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "mindspore"], check=True)
        (root / "whole").touch()
    return str(python)


if __name__ == "__main__":
    main()
