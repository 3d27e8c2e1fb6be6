"""How long the launcher keeps a person waiting, beside the least that Python itself takes.

Every row is a whole process, run in turn with the others; min and median of the rounds. The budgets: 60 ms for
``--help``, 150 ms for a dry run, 150 ms of overhead for a run that does nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
ROUNDS = 15


def project(root: Path) -> Path:
    """A project with a job that does nothing, and its boot file."""
    job = root / "jobs" / "noop"
    job.mkdir(parents=True)
    (job / "main.py").write_text("pass\n")
    spec = {"name": "noop", "boot_file": "jobs/noop/main.py", "code": {"include": ["jobs/noop"]}}
    (job / "job.yaml").write_text(json.dumps(spec))
    return job / "main.py"


def timed(command: list[str], cwd: Path) -> float:
    """Wall seconds of a whole process, which must end with 0."""
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        boot = project(root)
        python, launcher = [sys.executable], [sys.executable, "-m", "launcher"]
        commands: dict[str, list[str]] = {
            "python -c pass": [*python, "-c", "pass"],
            "launcher --help": [*launcher, "--help"],
            "submit noop --dry-run": [*launcher, "submit", "noop", "--dry-run"],
            "submit lenet5 --dry-run": [*launcher, "submit", str(HOUSE / "jobs" / "lenet5"), "--dry-run"],
            "boot file by hand": [*python, str(boot)],
            "submit noop": [*launcher, "submit", "noop"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS + 1):
            for name, command in commands.items():
                times[name].append(timed(command, root))
        show({name: values[1:] for name, values in times.items()})


def show(times: dict[str, list[float]]) -> None:
    """A table in milliseconds, each row against the interpreter's own start."""
    middle: Callable[[str], float] = lambda name: statistics.median(times[name]) * 1000  # noqa: E731
    least = middle("python -c pass")
    print("| command | min ms | median ms | x python -c pass |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {min(values) * 1000:.0f} | {middle(name):.0f} | {middle(name) / least:.1f} |")
    overhead = middle("submit noop") - middle("boot file by hand")
    print(f"\noverhead of a run over its boot file by hand: {overhead:.0f} ms")


if __name__ == "__main__":
    main()
