"""What the benches of this room have in common: Pythons, processes, figures."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TORCH = ("torch==2.13.0", "numpy<2")


def run(python: str, script: str, data: str, *arguments: str) -> Any:
    """The JSON that a script of ours prints, in a process of its own."""
    done = subprocess.run(
        [python, str(HERE / script), f"--data={data}", *arguments], capture_output=True, text=True, env=environment()
    )
    if done.returncode:
        sys.exit(f"{script} failed on {python}:\n{done.stderr[-2000:]}")
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
    settings = ("ONEDNN_", "DNNL_", "OMP_", "MKL_", "GLOG_", "MS_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(settings)}, "PYTHONPATH": str(HOUSE)}


def ratio(slow: list[float], fast: list[float]) -> str:
    """Of the medians, and of the minima."""
    return f"{statistics.median(slow) / statistics.median(fast):.2f} ({min(slow) / min(fast):.2f})"


def pytorch_threads() -> list[int]:
    """Those of the processors, and one: on some machines, threads that spin while they wait are slower than one."""
    return sorted({1, cpus()})


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {cpus()} CPUs, Python {platform.python_version()}{load}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def launcher_data(name: str) -> str:
    """The real data set, fetched if need be."""
    command = [sys.executable, "-m", "launcher", "data", "prepare", name, "--json"]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["path"])


def default_python() -> str:
    """A Python in which somebody has typed `pip install mindspore`."""
    return _python("default", "mindspore")


def torch_python() -> str:
    """A Python with PyTorch, as `pip install torch` brings it. Nothing of ours depends on PyTorch."""
    return _python("torch", *TORCH)


def _python(name: str, *packages: str) -> str:
    """Made once, beside the launcher's wheels."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(os.environ.get("LAUNCHER_CACHE_DIR") or Path(base) / "modelarts-launcher") / "bench" / name
    python = root / "bin" / "python"
    if not (root / "whole").exists():
        print(f"making {root} (once): pip install {' '.join(packages)}", file=sys.stderr, flush=True)
        venv.create(root, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (root / "whole").touch()
    return str(python)
