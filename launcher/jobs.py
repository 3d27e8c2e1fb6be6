"""Which jobs there are, and the job that a name or a script stands for."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from launcher.errors import UsageError, nearest
from launcher.paths import Home
from launcher.spec import JobSpec, read

HOUSE = Path(__file__).resolve().parent.parent
"""The checkout that this launcher lies in; its jobs are there whatever the working folder is."""


class Job(msgspec.Struct, frozen=True):
    """A job and the folder that its paths are relative to."""

    spec: JobSpec
    project: Path
    script: bool = False
    """A script that nobody adapted: it has no job.yaml, and may not know data_url and train_url."""

    @property
    def boot_file(self) -> Path:
        return self.project / self.spec.boot_file


def known_jobs(home: Home) -> dict[str, Path]:
    """Name -> job.yaml: the project's own, then those that come with the launcher."""
    found: dict[str, Path] = {}
    for project in (home.project, HOUSE):
        for path in sorted((project / "jobs").glob("*/job.yaml")):
            found.setdefault(path.parent.name, path)
    return found


def find_job(name: str, home: Home) -> Job:
    """The job called ``name``, or the one in the job.yaml (or its folder) that ``name`` is a path to."""
    path = Path(name)
    if path.is_dir() and (path / "job.yaml").is_file():
        path = path / "job.yaml"
    elif not (path.suffix in (".yaml", ".yml") and path.is_file()):
        jobs = known_jobs(home)
        if name not in jobs:
            raise UsageError(f"there is no job {name!r}", nearest(name, jobs) or "write jobs/NAME/job.yaml")
        path = jobs[name]
    path = path.resolve()
    folder = path.parent.parent
    project = folder.parent if folder.name == "jobs" else path.parent
    return _checked(Job(read(path), project))


def script_job(script: str) -> Job:
    """A job around a bare script: its folder is the code, it takes any parameters, it promises nothing."""
    path = Path(script)
    if not path.is_file():
        raise UsageError(f"there is no script {script!r}", "python -m launcher submit --script PATH")
    if path.suffix != ".py":
        raise UsageError(f"{script!r} is no Python file", "ModelArts starts a boot file that ends with .py")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")[:40] or "script"
    path = path.absolute()
    try:
        return Job(JobSpec(name=name, boot_file=path.name), path.parent, script=True)
    except ValueError as error:
        raise UsageError(str(error), "rename the script") from None


def code_paths(job: Job) -> list[str]:
    """The files and folders, relative to the project, that the code consists of; ``.`` is all of it."""
    folder = PurePosixPath(job.spec.boot_file).parent
    return list(job.spec.code.include) or [str(folder)]


def _checked(job: Job) -> Job:
    if not job.boot_file.is_file():
        raise UsageError(
            f"job {job.spec.name!r}: there is no boot file {job.spec.boot_file}", "mend boot_file: in job.yaml"
        )
    for path in job.spec.code.include:
        if not (job.project / path).exists():
            raise UsageError(f"job {job.spec.name!r}: there is no {path!r}", "mend code.include: in job.yaml")
    included = [PurePosixPath(path) for path in code_paths(job)]
    boot = PurePosixPath(job.spec.boot_file)
    if not any(str(path) == "." or path == boot or path in boot.parents for path in included):
        raise UsageError(
            f"job {job.spec.name!r}: code.include leaves the boot file {job.spec.boot_file} out",
            f"add {boot.parent} to code.include: in job.yaml",
        )
    return job
