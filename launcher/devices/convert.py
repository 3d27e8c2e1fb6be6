"""A model file to ``.om``: ATC run here, or on a host over ssh; the result verified, with a sidecar, or not there."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from launcher.devices import atc, models
from launcher.devices.errors import ModelError
from launcher.devices.remote import Conversation, Ssh
from launcher.errors import UsageError
from launcher.output import Progress, Say


class Conversion(msgspec.Struct, frozen=True):
    """What is to be done: the model, its sidecar, and the ``.om`` to be made."""

    model: Path
    target: Path
    soc: str
    sidecar: dict[str, Any]
    batch_sizes: tuple[int, ...] = ()
    more: tuple[str, ...] = ()

    def command(self, model: str, output: str) -> list[str]:
        """ATC's words, for these two paths; ``output`` is without ``.om``."""
        return atc.Command(model, output, self.soc, self.sidecar, self.batch_sizes, self.more).words()

    @property
    def shown(self) -> str:
        """The command as a person would type it."""
        return shlex.join(self.command(str(self.model), str(self.target.with_suffix(""))))


def plan(model: Path, soc: str, output: Path | None, batch_sizes: str, more: tuple[str, ...] = ()) -> Conversion:
    """Check the request; nothing is run. ModelError or UsageError for what cannot be converted."""
    check_soc(soc)
    sidecar = models.read(model)
    if sidecar["format"] not in atc.FRAMEWORKS:
        raise ModelError(
            f"{model} is of the format {sidecar['format']}, which ATC does not take", models.made_again(model)
        )
    dynamic = sidecar["input"]["shape"][0] is None
    sizes = _sizes(batch_sizes) if batch_sizes else atc.BATCH_SIZES if dynamic else ()
    if sizes and not dynamic:
        raise UsageError(f"{model} takes {sidecar['input']['shape'][0]} picture at once", "leave --batch-sizes away")
    target = output or model.with_suffix(".om")
    if target.suffix != ".om":
        raise UsageError(f"--output {target}: ATC's files end with .om", f"--output {target}.om")
    if target.is_dir():
        raise UsageError(f"--output {target} is a folder", f"--output {target / model.with_suffix('.om').name}")
    return Conversion(model, target, soc, sidecar, sizes, more)


def check_soc(soc: str) -> None:
    """UsageError for what is no name of a soc."""
    problem = atc.soc_problem(soc)
    if problem:
        raise UsageError(problem, "--soc Ascend310 for an Atlas 200 DK; npu-smi info shows others")


def here(conversion: Conversion, say: Say, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ATC on this machine. ModelError if it is not here, or fails."""
    environ = os.environ if environ is None else environ
    program, script = atc.find(environ)
    if not program and not script:
        raise ModelError(
            "atc is not on this machine, so nothing was converted",
            "run the printed command where CANN is (source its set_env.sh first), or pass --on HOST",
        )
    if not script and not any(environ.get(name) for name in atc.VARIABLES):
        say("none of " + ", ".join(atc.VARIABLES) + " is set: if ATC finds no operators, source CANN's set_env.sh")
    conversion.target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="launcher-convert-") as folder:
        made = Path(folder, "model.om")
        words = conversion.command(str(conversion.model.absolute()), str(made.with_suffix("")))
        say("running " + shlex.join(words))
        done = subprocess.run(
            atc.shell_words(words, script),
            cwd=folder,  # ATC leaves its own files where it runs
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return _finished(conversion, made, done.returncode, done.stdout.decode("utf-8", "replace"))


def there(conversion: Conversion, ssh: Ssh, say: Say, progress: Progress) -> dict[str, Any]:
    """Run ATC on a host: the model is copied and verified there, the ``.om`` brought back and verified here."""
    folder = f"/tmp/launcher-convert-{secrets.token_hex(6)}"
    with Conversation(ssh) as host:
        found = host.ask("probe", folder=folder)
        if not found["atc"]:
            hint = (
                "install CANN's toolkit there, or make its set_env.sh readable; the printed command is the one to run"
            )
            raise ModelError(f"{ssh.host} has no atc", hint)
        name, made = conversion.model.name, f"{folder}/made"
        with progress(f"copying {name} to {ssh.host}", conversion.sidecar["size"]) as advance:
            host.put(folder, "model", {name: conversion.model}, advance, scratch=True)
        words = conversion.command(f"{folder}/releases/model/{name}", f"{made}/model")
        say(f"running on {ssh.host}: " + shlex.join(words))
        host.ask("run", folder=folder, command=["mkdir", "-p", made])
        done = host.ask("run", folder=made, command=words, env=found["env"])
        with tempfile.TemporaryDirectory(prefix="launcher-convert-") as local:
            if not done["code"]:
                host.fetch(made, Path(local))
            return _finished(conversion, Path(local, "model.om"), done["code"], done["stdout"] + done["stderr"])


def _finished(conversion: Conversion, made: Path, code: int, said: str) -> dict[str, Any]:
    if code:
        raise ModelError(*atc.explain(said, code))
    if not made.is_file() or not made.stat().st_size:
        raise ModelError("ATC ended well, and left no model", "run the printed command with --log=info")
    conversion.target.absolute().parent.mkdir(parents=True, exist_ok=True)
    sidecar = {
        **conversion.sidecar,
        "format": "om",
        "batch_sizes": list(conversion.batch_sizes),
        "check": None,
        "made": {"from": conversion.model.name, "from_sha256": conversion.sidecar["sha256"], "soc": conversion.soc,
                 "command": conversion.shown},
    }  # fmt: skip
    return {**models.publish(made, conversion.target, sidecar), "file": str(conversion.target)}


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(",") if part.strip().isdigit())
    if len(sizes) < 2 or len(sizes) != len(text.split(",")) or min(sizes) < 1:
        raise UsageError(f"--batch-sizes {text}: two or more numbers", "--batch-sizes 1,2,4,8")
    return tuple(sorted(set(sizes)))
