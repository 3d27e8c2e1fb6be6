"""Where the launcher keeps things: every path, in one place.

::

    PROJECT/.launcher/            Home.root, or $LAUNCHER_HOME; ignored by git
        ledger.sqlite             every run
        hashes.sqlite             the hashes of files already read
        buckets/BUCKET/…          the local buckets
        outputs/RUN/              what came home
        runs/RUN/                 RunPaths: one run on the local target
"""

from __future__ import annotations

import os
from pathlib import Path

BUCKET = "local"
"""The bucket of the local target; a legal OBS bucket name."""
ROOT = "launcher"
"""The prefix under which everything of ours lies in a bucket."""


class Home:
    """The launcher's own folder in a project."""

    def __init__(self, project: Path, root: Path | None = None) -> None:
        self.project = project
        self.root = root if root is not None else project / ".launcher"
        self.ledger = self.root / "ledger.sqlite"
        self.hashes = self.root / "hashes.sqlite"
        self.buckets = self.root / "buckets"
        self.outputs = self.root / "outputs"
        self.runs = self.root / "runs"

    @classmethod
    def find(cls) -> Home:
        """The home of the project that the working folder belongs to.

        A project is the nearest folder upwards that has ``.launcher``, ``launcher.yaml`` or ``jobs``; else it is the
        working folder.
        """
        here = Path.cwd()
        marks = (".launcher", "launcher.yaml", "jobs")
        project = next((d for d in (here, *here.parents) if any((d / m).exists() for m in marks)), here)
        override = os.environ.get("LAUNCHER_HOME")
        return cls(project, Path(override).absolute() if override else None)

    def create(self) -> None:
        """Make the folder, and keep git away from it."""
        self.runs.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.runs / run_id, run_id)


class RunPaths:
    """The folder of one local run.

    ``lock`` is held by whoever drives the run, ``job.lock`` by the job's own processes: a lock that can be taken
    means that nobody is left. ``ballast`` is disk space kept back so that the end can be recorded on a full disk.
    ``control`` is overwritten in place to ask for a stop, which needs no new disk space either.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.lock = root / "lock"
        self.job_lock = root / "job.lock"
        self.control = root / "control"
        self.ballast = root / "ballast"
        self.request = root / "request.json"
        self.supervisor_log = root / "supervisor.log"
        self.logs = root / "log"
        self._vj_name = f"modelarts-job-{run_id}"

    def log(self, worker: int) -> Path:
        """The worker's log, named as ModelArts names it in OBS."""
        return self.logs / f"{self._vj_name}-worker-{worker}.log"

    def worker(self, worker: int) -> WorkerPaths:
        return WorkerPaths(self.root / f"worker-{worker}")


class WorkerPaths:
    """One worker's container: the folders that ModelArts lays out under ``/home/ma-user`` and ``/cache``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home" / "ma-user"
        self.mount = self.home / "modelarts"
        self.job_dir = self.mount / "user-job-dir"
        self.inputs = self.mount / "inputs"
        self.outputs = self.mount / "outputs"
        self.log = self.mount / "log"
        self.cache = root / "cache"

    def create(self) -> None:
        for folder in (self.job_dir, self.inputs, self.outputs, self.log, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
