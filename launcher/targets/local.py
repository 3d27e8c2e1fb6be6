"""The local target: the same way round, on this machine, with buckets that are folders.

A run is driven by a process of its own (``supervisor``), found again by two file locks, so neither a killed launcher
nor a killed supervisor leaves a run that nobody answers for::

    lock          job.lock      who is there                 what refresh does
    held          any           launcher or supervisor       reads the ledger
    free          held          the job alone                kills the job, records Abnormal
    free          free          nobody                       records Abnormal (Terminated if a stop was asked)
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import DataError, PreflightError
from launcher.locks import is_held, take
from launcher.paths import BUCKET, ROOT, Home
from launcher.run import Run, now
from launcher.targets.base import LogChunk, Target
from launcher.targets.driver import Driver
from storage.base import Storage
from storage.filesystem import FileSystemStorage

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.ledger import Ledger
    from launcher.plan import Plan

BALLAST_BYTES = 256 << 10
CHUNK_BYTES = 1 << 20


class LocalTarget(Target):
    """Runs on this machine (Linux or macOS); storage is ``.launcher/buckets``."""

    name = "local"
    place = "this machine"
    poll_seconds = (0.005, 0.25)
    bucket, root = BUCKET, ROOT

    def __init__(self, home: Home) -> None:
        self.home = home
        self._locks: dict[str, int] = {}
        self.driver: Driver | None = None

    def close(self) -> None:
        if self.driver:
            self.driver.close()

    def preflight(self, job: Job, python: str, in_place: Sequence[str]) -> None:
        if os.name != "posix":
            raise PreflightError("the local target needs Linux or macOS", "run it inside WSL")
        if python and not shutil.which(python):
            raise PreflightError(f"{python!r} is no program", "pass --python PATH of an interpreter")
        missing = _missing_modules(job.spec.requires, python)
        if missing:
            raise PreflightError(
                f"{python or sys.executable} has no module {missing[0]!r}, which job {job.spec.name!r} needs",
                f"{python or sys.executable} -m pip install {missing[0]}",
            )
        for url in in_place:
            from storage import locate

            storage, prefix = locate(url, buckets=str(self.home.buckets))
            if next(iter(storage.list(prefix.rstrip("/") + "/")), None) is None:
                raise DataError(
                    f"there is nothing at {url} among the local buckets",
                    "pass a folder, or a run that has output; the local target cannot see the cloud's buckets",
                )

    def storage(self) -> Storage:
        return FileSystemStorage(self.home.buckets / BUCKET, BUCKET)

    def request(self, plan: Plan) -> dict[str, Any]:
        from launcher.spec import as_text

        spec = plan.job.spec
        access = script_access(plan) if plan.job.script else {}
        inputs = [("data_url", plan.data.url)] if plan.data else []
        inputs += [("resume_url", plan.options.resume)] if plan.options.resume else []
        return {
            "run": plan.run,
            "contract": spec.contract,
            "code_url": plan.code_url,
            "boot_file": spec.boot_file,
            "python": os.path.abspath(shutil.which(plan.options.python or sys.executable) or sys.executable),
            "parameters": [{"name": k, "value": as_text(v)} for k, v in plan.parameters.items()],
            "arguments": list(plan.options.arguments),
            "environment": dict(spec.environment),
            "inputs": [{"name": n, "url": u, "access": access.get(n, "parameter")} for n, u in inputs],
            "outputs": [{"name": "train_url", "url": plan.output_url, "access": access.get("train_url", "parameter")}],
            "output_url": plan.output_url,
            "log_url": plan.log_url,
            "nodes": spec.resources.nodes,
            "devices": spec.resources.devices or 1,
            "time_limit_seconds": spec.time_limit_seconds,
        }

    def again(self, run: Run, new_id: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        from launcher.spec import as_text

        request = json.loads(json.dumps(run.request).replace(f"/runs/{run.id}/", f"/runs/{new_id}/"))
        request["run"] = new_id
        request["parameters"] = [{"name": k, "value": as_text(v)} for k, v in parameters.items() if v is not None]
        code = request["code_url"].split("/", 3)[3].rstrip("/")
        if next(iter(self.storage().list(code + "/")), None) is None:
            raise DataError(f"the code of {run.id} is no longer in the bucket", f"python -m launcher submit {run.job}")
        return request["output_url"], request

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[None]:
        paths = self.home.run(run_id)
        paths.logs.mkdir(parents=True)
        descriptor = take(paths.lock)
        assert descriptor is not None  # nobody else has heard of the run
        self._locks[run_id] = descriptor
        paths.control.write_text("run \n")
        with open(paths.ballast, "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, BALLAST_BYTES) if hasattr(os, "posix_fallocate") else None
        try:
            yield
        finally:
            if run_id in self._locks:  # it was not handed over
                paths.ballast.unlink(missing_ok=True)
                os.close(self._locks.pop(run_id))

    def create(self, run: Run, ledger: Ledger) -> None:
        paths = self.home.run(run.id)
        paths.request.write_text(json.dumps(run.request, indent=2), "utf-8")
        if not ledger.move(run.id, "Pending", since=("Creating",)):
            ledger.move(run.id, "Terminated", ("Terminating",), ended_at=now(), message="stopped before it started")
            return
        driver, self.driver = self.driver or Driver(), None
        driver.drive(self.home.root, run.id, self._locks[run.id])
        os.close(self._locks.pop(run.id))

    def refresh(self, run: Run, ledger: Ledger) -> Run:
        if run.final or is_held(self.home.run(run.id).lock):
            return ledger.get(run.id)
        run = ledger.get(run.id)  # its driver may have written the end since
        if not run.final:
            self._settle(run, ledger)
        return ledger.get(run.id)

    def workers(self, run: Run) -> int:
        return int(run.request.get("nodes", 1))

    def read_log(self, run: Run, worker: int, cursor: int) -> LogChunk:
        try:
            with open(self.home.run(run.id).log(worker), "rb") as stream:
                stream.seek(cursor)
                data = stream.read(CHUNK_BYTES)
        except FileNotFoundError:
            data = b""
        return LogChunk(data, cursor + len(data))

    def stop(self, run: Run, ledger: Ledger, now: bool = False) -> None:
        with contextlib.suppress(FileNotFoundError), open(self.home.run(run.id).control, "r+b") as control:
            control.write(b"kill\n" if now else b"stop\n")  # first: it needs no disk space, and the ledger does
        ledger.move(run.id, "Terminating", since=("Creating", "Pending", "Running"))

    def pull(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        from storage import locate
        from storage.transfer import download_tree, sync_tree

        storage, prefix = locate(run.output, buckets=str(self.home.buckets))
        prefix = prefix.rstrip("/")
        for worker in range(self.workers(run)):
            left = self.home.run(run.id).worker(worker).outputs / "train_url_0"
            if run.final and left.is_dir():  # the end could not copy it out: the disk was full, say
                sync_tree(left, storage, prefix, {}, temporaries=True)
        files = sorted(info.key[len(prefix) + 1 :] for info in storage.list(prefix + "/"))
        if files:
            download_tree(storage, prefix, destination, progress=progress)
        return files

    def pull_logs(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        from storage.transfer import download_tree

        prefix = f"{ROOT}/runs/{run.id}/log"
        files = sorted(info.key[len(prefix) + 1 :] for info in self.storage().list(prefix + "/"))
        if files:
            download_tree(self.storage(), prefix, destination, progress=progress)
        return files

    def delete(self, run: Run, keep_output: bool) -> None:
        shutil.rmtree(self.home.run(run.id).root, ignore_errors=True)
        if not keep_output:
            storage = self.storage()
            storage.delete([info.key for info in storage.list(f"{ROOT}/runs/{run.id}/")])
            shutil.rmtree(self.home.buckets / BUCKET / ROOT / "runs" / run.id, ignore_errors=True)  # empty folders
            shutil.rmtree(self.home.outputs / run.id, ignore_errors=True)

    def _settle(self, run: Run, ledger: Ledger) -> None:
        """Its driver was killed: end what is left of the job, and write down how the run ended."""
        from launcher.targets.container import stop_group

        paths = self.home.run(run.id)
        deadline = time.monotonic() + 5
        while is_held(paths.job_lock) and time.monotonic() < deadline:
            for pid_file in paths.root.glob("worker-*.pid"):
                text = pid_file.read_text().strip()
                if text.isdigit():
                    stop_group(int(text), signal.SIGKILL)
            time.sleep(0.02)
        paths.ballast.unlink(missing_ok=True)
        if run.phase == "Terminating":
            ledger.move(run.id, "Terminated", ended_at=now(), message="stopped")
            return
        who = (
            "the launcher was killed before the run started" if run.phase == "Creating" else "its supervisor was killed"
        )
        ledger.move(run.id, "Abnormal", ended_at=now(), message=who)


def _missing_modules(modules: Sequence[str], python: str) -> list[str]:
    if not modules:
        return []
    if not python or os.path.realpath(python) == os.path.realpath(sys.executable):
        return [module for module in modules if not _is_there(module)]
    code = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m.split('.')[0]) is None])"
    try:
        answer = subprocess.run([python, "-c", code, *modules], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PreflightError(f"{python} is no working Python: {error}", "pass --python PATH") from None
    return answer.stdout.split()


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its package is not there
        return False


def script_access(plan: Plan) -> dict[str, str]:
    """How an unadapted script is told its folders: as an argument if it knows the name, else as a variable."""
    import re

    source = plan.job.boot_file.read_text("utf-8", "replace")
    takes_any = "parse_known_args(" in source
    access = {}
    for name in ("data_url", "train_url", "resume_url"):
        declared = re.search(rf"""["'](?:--)?{name}["']""", re.sub(rf"""environ[^\n]*?["']{name}["']""", "", source))
        access[name] = "parameter" if takes_any or declared else "env"
    return access
