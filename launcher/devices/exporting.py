"""A run's checkpoint as a model file: found at home or brought there, exported by a child, sidecar beside."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from launcher.devices import children
from launcher.devices.errors import ModelError
from launcher.errors import UsageError
from launcher.jobs import known_jobs
from launcher.ledger import Ledger
from launcher.output import Progress, Say
from launcher.paths import Home
from launcher.run import Run
from launcher.targets import open_target
from storage.urls import is_remote

FORMATS = ("onnx", "mindir", "air")
MANIFEST = Path("checkpoints", "manifest.json")


def export(
    home: Home,
    run: Run,
    form: str,
    *,
    dynamic: bool = False,
    output: Path | None = None,
    data: str = "",
    checkpoint: str = "",
    images: int = 1000,
    say: Say,
    progress: Progress,
) -> dict[str, Any]:
    """Make the model file; what the child says of it: ``file``, ``sha256``, ``check``, and all of the sidecar."""
    if form == "air" and not glob.glob("/dev/davinci[0-9]*"):
        usual = data or _usual_data(home, run)
        raise ModelError(
            f"AIR is written where there is an Ascend only, and there is none here: {run.id}",
            f"in a job: python -m launcher submit export --resume {run.id} --set format=air --target modelarts"
            + (f" --data {usual}" if usual else ""),
        )
    target = output or default_output(home, run, form)
    if target.is_dir():
        raise UsageError(f"{target} is a folder", f"--output {target / f'{run.job}.{form}'}")
    arguments = [
        f"--resume_url={bring(home, run, progress)}",
        f"--data_url={data_of(home, run, data, say, progress)}",
        f"--train_url={target.absolute().parent}",
        f"--file={target.name}",
        f"--format={form}",
        f"--images={images}",
        f"--checkpoint={checkpoint}",
        *(["--dynamic_batch=yes"] if dynamic else []),
    ]
    return {**children.ask(home, "export", arguments, say, run.id), "run": run.id, "file": str(target)}


def default_output(home: Home, run: Run, form: str) -> Path:
    """Where a run's model goes unless somebody says otherwise."""
    return home.outputs / run.id / "models" / f"{run.job}.{form}"


def bring(home: Home, run: Run, progress: Progress) -> Path:
    """The run's output at home, with its checkpoints."""
    folder = home.outputs / run.id
    if not run.final or not (folder / MANIFEST).is_file():  # of a run that goes on, there may be a newer one
        with Ledger(home) as ledger:
            target = open_target(run.target, home)
            run = target.refresh(run, ledger)
        with progress(f"bringing {run.id} home", 0) as advance:
            target.pull(run, folder, advance)
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"{run.id} has published no checkpoint", f"python -m launcher logs {run.id} --tail 50")
    return folder


def data_of(home: Home, run: Run, given: str, say: Say, progress: Progress) -> str:
    """The folder, or the URL, of the data that the run was trained on, which has the test set."""
    from launcher import datasets

    known = [row.name for row in datasets.known()]
    url = _data_url(run)
    if not given and url:
        given = next((name for name in known if url.rstrip("/").endswith(_official(name))), "")
        if not given:
            return url
    given = given or _usual_data(home, run)
    if given in known:
        return str(datasets.prepared(given) or datasets.prepare(given, say=say, progress=progress))
    if given and (is_remote(given) or Path(given).is_dir()):
        return given
    raise UsageError(f"there is no data {given!r} to compare the model on", "pass --data FOLDER, URL or data set")


def _usual_data(home: Home, run: Run) -> str:
    """What the run's job is trained on unless somebody says otherwise; empty if it does not say."""
    from launcher.spec import read

    jobs = known_jobs(home)
    return read(jobs[run.job]).data or "" if run.job in jobs else ""


def _data_url(run: Run) -> str:
    """Where its data lay, as the local target's request says it or as ModelArts' does; empty if it had none."""
    algorithm = run.request.get("algorithm", run.request)
    given = [*(algorithm.get("inputs") or ()), *(algorithm.get("parameters") or ())]  # a URL itself: the old contract
    channel: dict[str, Any] = next((each for each in given if each["name"] == "data_url"), {})
    url = channel.get("url") or channel.get("value") or channel.get("remote", {}).get("obs", {}).get("obs_url", "")
    return f"obs:/{url}" if url.startswith("/") and "remote" in channel else str(url)


def _official(name: str) -> str:
    """What the URL of the known data set ends with where a submit has put it."""
    from launcher import datasets
    from storage.manifest import Entry, Manifest

    files = [Entry(file.path, file.size, file.sha256) for file in datasets.get(name).files]
    return f"/data/{name}/{Manifest(files).content_hash}"
