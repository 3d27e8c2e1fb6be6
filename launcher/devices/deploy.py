"""A run's model to a device: check the host, copy what is missing, run it on pictures, bring the results home.

On the host::

    PROJECT/releases/<hash>/    application, model with sidecar, pictures, env.sh: appears whole, never changes
    PROJECT/current             a link to the last of them that ran well
    PROJECT/outputs/<hash>/     a text file a picture, sheet.png

Nothing else there is touched. The environment is set for the one command, from CANN's own script; ``. current/env.sh``
sets it for a person.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from launcher.devices import atc, children, convert, exporting, inferring, models
from launcher.devices.errors import HostError, ModelError
from launcher.devices.remote import Conversation, Ssh
from launcher.jobs import HOUSE
from launcher.output import Progress, Say
from launcher.paths import Home
from launcher.run import Run
from storage.manifest import Manifest, scan

APPLICATION = ("entrypoints/__init__.py", "entrypoints/infer.py", "jobs/__init__.py", "jobs/pictures.py")
"""With all of entrypoints/application: what a device needs."""
PROJECTS = "HIAI_PROJECTS"
"""The folder in the user's home there; the name that the course gives it."""
SAMPLES = 10
MINIMUM_PYTHON = (3, 7)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
"""What is taken for a picture in a folder."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    run: Run
    ssh: Ssh
    soc: str = "Ascend310"
    model: Path | None = None
    pictures: Sequence[str] = ()
    folder: str = ""
    data: str = ""
    env: str = ""
    """Shell words that set the environment, where they are not found by themselves."""
    polarity: str = "auto"

    @property
    def project(self) -> str:
        return self.folder or f"{PROJECTS}/{self.run.job}"


def deploy(home: Home, request: Request, say: Say, progress: Progress) -> dict[str, Any]:
    """All of it. HostError or ModelError; the host's `current`, and older results here, are then what they were."""
    host = request.ssh.host
    convert.check_soc(request.soc)
    with Conversation(request.ssh) as conversation:
        found = conversation.ask("probe", folder=request.project, env=request.env)
    check(request, found)
    device = f"Python {'.'.join(map(str, found['python']))} on {found['machine']}"
    say(f"{host}: {device}, " + (f"environment: {found['env']}" if found["env"] else "no CANN environment"))
    model = request.model or choose(home, request, found, say, progress)
    sidecar = models.read(model)
    with tempfile.TemporaryDirectory(prefix="launcher-deploy-") as scratch:
        stage = Path(scratch, "release")
        expected = _gather(home, request, model, found["env"], stage, say, progress)
        manifest = scan(stage)
        release = manifest.content_hash
        with Conversation(request.ssh) as conversation:
            with progress(f"copying to {host}", manifest.total_bytes) as advance:
                files = {entry.path: stage / entry.path for entry in manifest.entries}
                sent = conversation.put(request.project, release, files, advance)["sent"]
            say(f"{host}: {len(manifest.entries)} files in {request.project}/releases/{release}, {sent} bytes sent")
            answer = _run(conversation, request, model.name, found, release, stage / "pictures")
            conversation.ask("settle", folder=request.project, release=release)
            results = home.outputs / request.run.id / "devices" / re.sub(r"[^A-Za-z0-9_.-]+", "-", host)
            _fetch(conversation, f"{found['folder']}/outputs/{release}", results)
    return _report(request, answer, expected, sidecar, manifest, sent, results)


def check(request: Request, found: dict[str, Any]) -> None:
    """HostError unless the application can run there."""
    ssh = request.ssh
    version = tuple(found["python"])
    if version[:2] < MINIMUM_PYTHON:
        have = ".".join(map(str, version))
        raise HostError(f"{ssh.host} has Python {have} as {ssh.python}; 3.7 is needed", "--python python3.7")
    if not found["writable"]:
        raise HostError(f"{ssh.host}: {found['folder']} cannot be written", "--folder FOLDER of your own there")
    missing = [name for name, module in (("numpy", "numpy"), ("pillow", "PIL")) if not found["modules"][module]]
    if missing:
        raise HostError(
            f"{ssh.host} has no {' and no '.join(missing)} for {ssh.python}",
            f"{ssh.by_hand()} {shlex.quote(ssh.python)} -m pip install {' '.join(missing)}",
        )
    if not found["modules"]["acl"] and not found["modules"]["onnxruntime"]:
        raise HostError(
            f"{ssh.host} can run no model: it has neither acl, of CANN, nor onnxruntime",
            "install one there; if CANN is in a place of its own: --env '. /path/to/set_env.sh'",
        )


def choose(home: Home, request: Request, found: dict[str, Any], say: Say, progress: Progress) -> Path:
    """The run's model for that host, made where it is not there yet: ``.om`` for AscendCL, ``.onnx`` otherwise."""
    run = request.run
    onnx = exporting.default_output(home, run, "onnx")
    newest = inferring.newest_entry(exporting.bring(home, run, progress))
    sidecar = current(onnx)
    if sidecar is None or sidecar["checkpoint"] != newest:
        exporting.export(home, run, "onnx", data=request.data, say=say, progress=progress)
        sidecar = models.read(onnx)
    if not found["modules"]["acl"]:
        return onnx
    compiled = onnx.with_suffix(".om")
    made = (current(compiled) or {}).get("made") or {}
    if (made.get("from_sha256"), made.get("soc")) == (sidecar["sha256"], request.soc):
        return compiled
    conversion = convert.plan(onnx, request.soc, compiled, "")
    if any(atc.find(os.environ)):
        convert.here(conversion, say)
    elif found["atc"]:
        convert.there(conversion, request.ssh, say, progress)
    else:
        raise ModelError(
            f"{request.ssh.host} needs an .om, and there is no atc, neither here nor there",
            f"where CANN is: python -m launcher convert {onnx} --soc {request.soc} --on THAT_HOST",
        )
    return compiled


def current(path: Path) -> dict[str, Any] | None:
    """The sidecar of a model that is there and whole."""
    try:
        return models.read(path)
    except ModelError:
        return None


def _gather(
    home: Home, request: Request, model: Path, env: str, stage: Path, say: Say, progress: Progress
) -> dict[str, str]:
    """Lay the release out; the class of each picture, where it is known."""
    application = sorted((HOUSE / "entrypoints" / "application").glob("*.py"))
    for source in [*(HOUSE / path for path in APPLICATION), *application]:
        _copy(source, stage / source.relative_to(HOUSE))
    _copy(model, stage / "model" / model.name)
    _copy(models.sidecar_of(model), stage / "model" / models.sidecar_of(model).name)
    words = env or "# no CANN was found on this host"
    (stage / "env.sh").write_text(f"# What the application runs with; written by `launcher deploy`.\n{words}\n")
    pictures = stage / "pictures"
    pictures.mkdir()
    if not request.pictures:
        data = exporting.data_of(home, request.run, request.data, say, progress)
        flags = ["--test-set", data, "--samples", str(SAMPLES), "--outputs", str(pictures)]
        answer = children.ask(home, "infer", [*flags, "--", str(model)], say, request.run.id)
        return {sample["file"]: sample["class"] for sample in answer["samples"]}
    for source in _listed(request.pictures):
        name = source.name
        while (pictures / name).exists():
            name = f"_{name}"
        _copy(source, pictures / name)
    return {}


def _run(
    conversation: Conversation, request: Request, model: str, found: dict[str, Any], release: str, pictures: Path
) -> Any:
    outputs = f"{found['folder']}/outputs/{release}"
    names = sorted(os.listdir(pictures))
    named = [f"pictures/{name}" for name in names if not name.lower().endswith(SUFFIXES)]  # a folder stands for others
    words = [*(["pictures"] if len(named) < len(names) else []), *named]
    command = [found["executable"], "entrypoints/infer.py", f"model/{model}", *words, "--outputs", outputs]
    command += ["--sheet", f"{outputs}/sheet.png", "--polarity", request.polarity, "--json"]
    folder = f"{found['folder']}/releases/{release}"
    done = conversation.ask("run", folder=folder, command=command, env=found["env"])
    try:
        answer = json.loads(done["stdout"].strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = next((line for line in reversed(done["stderr"].splitlines()) if line.strip()), "nothing was said")
        raise HostError(
            f"the application ended with {done['code']} on {request.ssh.host}: {last}",
            f"see for yourself: {request.ssh.by_hand()}, then: "
            f"cd {shlex.quote(f'{request.project}/releases/{release}')} && . ./env.sh",
        ) from None
    if "error" in answer:
        hint = models.named(answer["error"]["hint"], request.run.id)
        raise HostError(f"{request.ssh.host}: {answer['error']['message']}", hint)
    return answer


def _fetch(conversation: Conversation, folder: str, target: Path) -> None:
    """The results, as a whole, in the place of older ones."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".coming-", dir=target.parent) as scratch:
        coming = Path(scratch, "results")
        coming.mkdir()
        conversation.fetch(folder, coming)
        if target.exists():
            target.rename(Path(scratch, "old"))
        coming.rename(target)


def _report(
    request: Request, answer: dict[str, Any], expected: dict[str, str], sidecar: dict[str, Any], manifest: Manifest,
    sent: int, results: Path,
) -> dict[str, Any]:  # fmt: skip
    pictures = []
    for picture in answer["pictures"]:
        name = picture["file"].rsplit("/", 1)[-1]
        pictures.append({**picture, "file": name, "expected": expected.get(name)})
    known = [picture for picture in pictures if picture["expected"] is not None]
    return {
        "run": request.run.id,
        "host": request.ssh.host,
        "folder": request.project,
        "release": manifest.content_hash,
        "model": {"file": answer["model"].rsplit("/", 1)[-1], "format": sidecar["format"], "sha256": sidecar["sha256"]},
        "runtime": answer["runtime"],
        "files": len(manifest.entries),
        "bytes_sent": sent,
        "pictures": pictures,
        "right": sum(picture["class"] == picture["expected"] for picture in known) if known else None,
        "images_per_second": answer["images_per_second"],
        "results": str(results),
    }


def _listed(words: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if not path.exists():
            raise ModelError(f"there is no picture {word}", "pass files, or a folder of them")
        if path.is_dir():
            inside = (file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES) and file.is_file())
            found += sorted(inside)
        else:
            found.append(path)
    if not found:
        raise ModelError(f"there is no picture in {' '.join(words)}", "pass a folder of png, jpg or bmp files")
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
