"""Jobs as real processes: a training job's body as a request of the local target's runner, and its hands on it.

The runner's home is the emulator's state folder, the run's id is the job's, so that logs are named
`modelarts-job-<id>-worker-N.log`; the supervisor reaches the object store over HTTP with keys that are the job's own.

As on the real service, the boot file is started once for each Ascend card of a node. Not as there: the folders of the
container lie below the state folder, so the arguments name other places than the echoed `local_dir`; nodes are
processes of this machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.errors import RunNotFound
from launcher.ledger import Ledger
from launcher.locks import is_held
from launcher.paths import Home
from launcher.run import Run, now
from launcher.targets.container import SHOWN, stop_group
from launcher.targets.driver import Driver
from launcher.targets.local import LocalTarget

from .catalogue import FLAVORS, POOL_FLAVORS
from .objects import Objects, place_of
from .settings import Settings
from .state import Job

FOR_EVER = 10 * 365 * 24 * 3600
_NOT_PASSED = ("OBS_", "HUAWEICLOUD_", "LAUNCHER_", "AWS_", "S3_")


class Runner:
    """What drives the processes of jobs. Used by one thread, which also closes it, but for `log` and `shown`."""

    def __init__(self, folder: Path, objects: Objects, settings: Settings) -> None:
        self.home = Home(folder, folder / "home")
        self.objects, self.settings = objects, settings
        self._ledger: Ledger | None = None
        self._supervisors: list[int] = []

    @property
    def ledger(self) -> Ledger:
        """The runner's record, opened by the thread that uses it."""
        if self._ledger is None:
            self._ledger = Ledger(self.home, create=True)
        return self._ledger

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def start(self, job: Job) -> None:
        """Start the job's processes, for the first time or again; what an earlier attempt left is put away."""
        kept = self._put_away(job)
        target = LocalTarget(self.home)
        target.driver = driver = Driver(self._environment(job))
        self._supervisors.append(driver.pid)
        request = {**request_of(job.body, self.settings), "attempt": job.attempt}
        run = Run(job.id, job.name, "local", job.name, "Creating", now(), {}, "", request=request)
        with contextlib.closing(driver), target.claim(run.id):
            if kept is not None and self.settings.restart_log == "append":
                for log in kept.glob("*.log"):
                    shutil.copy2(log, self.home.run(run.id).logs)
            self.ledger.add(run)
            target.create(run, self.ledger)

    def reap(self) -> None:
        """Let supervisors that have ended go: this process started them, so they would stay as zombies."""
        for pid in list(self._supervisors):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._supervisors.remove(pid)

    def look(self, job: Job) -> tuple[Run | None, list[dict[str, str]]]:
        """The run as it is now, None if there is none, and its steps."""
        try:
            run = self.ledger.get(job.id)
        except RunNotFound:
            return None, []
        run = LocalTarget(self.home).refresh(run, self.ledger)
        return run, self.ledger.steps(run.id)

    def is_driven(self, job_id: str) -> bool:
        """Whether a supervisor has the job, maybe after its end yet."""
        return is_held(self.home.run(job_id).root / "lock")

    def never_began(self, job: Job) -> bool:
        """The run is over, and no supervisor ever took it up: an emulator was killed while it handed the run over.

        A supervisor that has been told of a run opens its log before all else, and holds the run's lock from then on.
        """
        return self.ledger.get(job.id).final and not self.home.run(job.id).supervisor_log.exists()

    def stop(self, job: Job, now: bool) -> None:
        """Ask the processes to end, or end them at once."""
        LocalTarget(self.home).stop(self.ledger.get(job.id), self.ledger, now)

    def signal(self, job: Job, number: int) -> None:
        """Send a signal to the processes, as a fault of the hardware would have it."""
        for pid in self._pids(job).values():
            stop_group(pid, number)

    def remove(self, job: Job) -> None:
        """Remove the job's folders and forget its runs: in this order, since the disk may be full."""
        for folder in (self.home.run(job.id).root, *self._attempts().glob(f"{job.id}-*")):
            shutil.rmtree(folder, ignore_errors=True)
        self.ledger.delete(job.id)

    def forget_keys(self, job: Job) -> None:
        """Remove the files with the job's keys, which a supervisor that was killed has left."""
        for file in self.home.run(job.id).root.glob("worker-*/credentials"):
            file.unlink(missing_ok=True)

    def log(self, job_id: str, worker: int) -> Path:
        """The worker's log as it is being written."""
        return self.home.run(job_id).log(worker)

    def shown(self, job_id: str, worker: int) -> Path:
        """The worker's log as far as the platform shows it: what has been copied out."""
        return self.home.run(job_id).root / SHOWN / self.log(job_id, worker).name

    def rotate(self, job: Job, worker: int) -> bytes:
        """Begin the worker's log anew and return what was in it; the job stands still meanwhile, so nothing is lost."""
        log, pid = self.log(job.id, worker), self._pids(job).get(worker)
        if pid:
            stop_group(pid, signal.SIGSTOP)
        try:
            data = log.read_bytes()
            os.truncate(log, 0)  # it is open for appending, so what follows begins at 0
        finally:
            if pid:
                stop_group(pid, signal.SIGCONT)
        return data

    def read_use(self, job: Job) -> dict[int, tuple[float, float]]:
        """Of each worker: seconds of processor time so far and its share of memory in percent, where /proc tells."""
        found: dict[int, tuple[float, float]] = {}
        if not Path("/proc/self/stat").exists():
            return found
        for worker, session in self._pids(job).items():
            ticks = pages = 0
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = stat.read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[3] == str(session):
                    ticks += int(fields[11]) + int(fields[12])
                    pages += int(fields[21])
            memory = 100.0 * pages / max(1, os.sysconf("SC_PHYS_PAGES"))
            found[worker] = (ticks / os.sysconf("SC_CLK_TCK"), memory)
        return found

    def _pids(self, job: Job) -> dict[int, int]:
        found = {}
        for worker in range(job.nodes):
            try:
                found[worker] = int((self.home.run(job.id).root / f"worker-{worker}.pid").read_text())
            except (OSError, ValueError):
                continue
        return found

    def _attempts(self) -> Path:
        return self.home.root / "attempts"

    def _put_away(self, job: Job) -> Path | None:
        """Move the folder of the attempt before out of the way; its logs' new place."""
        root = self.home.run(job.id).root
        self.ledger.delete(job.id)
        if not root.exists():
            return None
        aside = self._attempts() / f"{job.id}-{job.attempt - 1}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        root.rename(aside)
        return aside / "log"

    def _environment(self, job: Job) -> dict[str, str]:
        """The supervisor's: the object store with the job's own keys, and nothing else that leads to a cloud."""
        passed = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED)}
        return {**passed, **self.objects.environment(job.keys)}


def request_of(body: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The runner's request (`LocalTarget.request` has its keys) for a job as it is echoed."""
    algorithm, spec = body["algorithm"], body["spec"]
    code, boot = algorithm.get("code_dir", ""), algorithm.get("boot_file", "")
    resource, stop = spec["resource"], spec.get("auto_stop")
    flavor = next((flavor for flavor in FLAVORS if flavor.id == resource.get("flavor_id")), None)
    cards = flavor.cards if flavor else POOL_FLAVORS.get(resource.get("flavor_id", ""), 0)
    return {
        "run": body["metadata"]["id"],
        "store": "obs",
        "contract": "old" if algorithm["engine"].get("v1_compatible") else "new",
        "code_url": url_of(code) if code else "",
        "boot_file": place_of(boot)[1][len(place_of(code)[1]) :] if boot else "",
        "command": algorithm.get("command", "") if not boot else "",
        "python": settings.python or sys.executable,
        "parameters": [{"name": p["name"], "value": p["value"]} for p in algorithm["parameters"]],
        "arguments": [],
        "environment": algorithm.get("environments", {}),
        "inputs": [_channel(channel) for channel in algorithm["inputs"]],
        "outputs": [_channel(channel) for channel in algorithm["outputs"]],
        "output_url": "",
        "log_url": url_of(spec["log_export_path"].get("obs_url", "")),
        "nodes": resource["node_count"],
        "cards": cards,
        "devices": max(1, cards) if boot and (flavor is None or flavor.kind == "Ascend") else 1,
        "time_limit_seconds": stop["duration"] * settings.hour if stop else FOR_EVER,
        "output_period": settings.output_period,
        "log_period": settings.log_period,
        "late_log": settings.late_log,
        "closing_line": settings.closing_line == "yes",
    }


def url_of(path: str) -> str:
    """`obs://bucket/key` for any way to write a place; "" for none."""
    if not path:
        return ""
    bucket, key = place_of(path)
    return f"obs://{bucket}/{key}"


def _channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": channel["name"],
        "url": url_of(channel["remote"]["obs"]["obs_url"]),
        "access": channel["access_method"],
        "prefetch": bool(channel.get("prefetch_to_local")),
    }
