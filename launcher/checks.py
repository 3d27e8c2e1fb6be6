"""What ``doctor`` finds: a list of checks, and those of this machine and of a job. Nothing here knows ModelArts."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from launcher.errors import LauncherError, look_at
from storage.errors import StorageError

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.paths import Home
    from launcher.settings import Settings

LEVELS = ("ok", "skip", "warn", "fail")
PACKAGES = {"msgspec": "msgspec", "yaml": "pyyaml", "pathspec": "pathspec", "rich": "rich", "tenacity": "tenacity"}
"""Module -> what pip calls it; the launcher's own."""
LITTLE_DISK, TOO_LITTLE_DISK = 5 << 30, 200 << 20
THREADS = 6


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    level: str
    """Of `LEVELS`; `skip`: it could not be looked at, for what failed before it."""
    found: str
    hint: str = ""
    """The command or the console's page that mends it."""
    code: str = ""
    """The service's error code, where one was met."""

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.name,
            "status": self.level,
            "found": self.found,
            "code": self.code or None,
            "hint": self.hint or None,
        }


Task = tuple[str, Callable[[], Iterable[Check]]]
"""A name, for what goes wrong unforeseen, and what looks."""


def side_by_side(tasks: Sequence[Task], done: Callable[[int], None] = lambda count: None) -> list[Check]:
    """Every task in a thread; the checks in the order of the tasks. No exception comes out, but Ctrl-C's."""

    def one(task: Task) -> list[Check]:
        found = guarded(*task)
        done(1)
        return found

    pool = ThreadPoolExecutor(THREADS)
    try:
        return [check for found in pool.map(one, tasks) for check in found]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, nobody waits for a host that does not answer


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """What ``look`` finds, and as a failed check what it raises."""
    found: list[Check] = []
    try:
        found.extend(look())
    except (LauncherError, StorageError) as error:
        found.append(failed(name, error))
    except OSError as error:
        place = str(error.filename or "this machine")
        found.append(Check(name, "fail", f"{place}: {error.strerror or type(error).__name__}", look_at(place)))
    except Exception as error:  # a doctor that falls ill helps nobody
        hint = "this is a defect of the launcher; please report it with the output of doctor --json"
        found.append(Check(name, "fail", f"the check itself broke: {type(error).__name__}", hint))
    return found


def failed(name: str, error: LauncherError | StorageError, level: str = "fail") -> Check:
    """An error as a check, with its code if it is a service's."""
    return Check(name, level, " ".join(error.message.split()), error.hint, getattr(error, "code", "") or "")


def check_machine(home: Home) -> Iterable[Check]:
    """Python, the launcher's packages, room on the disk."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok", f"{version} at {sys.executable}")
    missing = [package for module, package in PACKAGES.items() if not has_module(module)]
    if missing:
        hint = f"{sys.executable} -m pip install {' '.join(missing)}"
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", hint)
    else:
        yield Check("packages", "ok", f"all {len(PACKAGES)} of the launcher are there")
    folder = home.root if home.root.is_dir() else home.project
    free = shutil.disk_usage(folder).free
    level = "fail" if free < TOO_LITTLE_DISK else "warn" if free < LITTLE_DISK else "ok"
    hint = "" if level == "ok" else f"free some space: du -sh {home.root}; python -m launcher delete RUN"
    yield Check("disk", level, f"{free / (1 << 30):.1f} GiB free at {folder}", hint)


def check_local_target(home: Home, settings: Settings) -> Iterable[Check]:
    """Whether a job could run here: its folder, its interpreter, the training framework."""
    folder = home.root if home.root.is_dir() else home.project
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as probe:
        (Path(probe) / "file").write_bytes(b"x" * 4096)
    if os.name != "posix":
        yield Check("local target", "fail", "needs Linux or macOS", "run it inside WSL")
        return
    python = settings.python or sys.executable
    if not shutil.which(python):
        origin = settings.origins.get("python", "")
        yield Check("local target", "fail", f"{python!r} ({origin}) is no program", "pass --python PATH")
        return
    yield Check("local target", "ok", f"runs are kept in {home.root}, with {python}")
    if settings.python:
        import subprocess

        words = [python, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('mindspore'))"]
        there = subprocess.run(words, capture_output=True, timeout=60).returncode == 0
    else:
        there = has_module("mindspore")
    if there:
        yield Check("mindspore", "ok", f"{python} has it")
    else:
        yield Check("mindspore", "warn", f"{python} has no mindspore: jobs that train will not run here", "make run")


def check_job(name: str, home: Home, settings: Settings, local: bool) -> tuple[list[Check], Job | None]:
    """What can be said of a job before it is sent: its words, its code, its data; the job if it can be read."""
    from launcher.jobs import find_job

    try:
        job = find_job(name, home)
    except LauncherError as error:
        return [failed(f"job {name}", error)], None
    return guarded(f"job {name}", lambda: _check_parts(job, home, settings, local)), job


def _check_parts(job: Job, home: Home, settings: Settings, local: bool) -> Iterable[Check]:
    from launcher.snapshot import take

    code = take(job)
    size = sum(file.size or 0 for file in code.files)
    yield Check("code", "ok", f"{len(code.files)} files, {size / 1024:.0f} KiB; {job.spec.boot_file} compiles")
    for note in code.notes:
        yield Check("code", "warn", note, f"python -m launcher submit {job.spec.name} --dry-run")
    if job.spec.data:
        yield _check_data(job, job.spec.data)
    if local:
        from launcher.targets import open_target

        target = open_target("local", home)
        try:
            target.preflight(job, settings.python, [])
        finally:
            target.close()
        yield Check(f"job {job.spec.name}", "ok", "could start on the local target")


def _check_data(job: Job, name: str) -> Check:
    from launcher import datasets

    if name not in [row.name for row in datasets.known()]:
        return Check("data", "ok", f"{name}")
    if datasets.prepared(name):
        return Check("data", "ok", f"{name} is prepared")
    return Check("data", "ok", f"{name} is not on this machine yet; submit brings it")


def has_module(name: str) -> bool:
    """Whether it could be imported; it is not."""
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
