"""train -> export -> verify -> infer -> report, each step once for the same inputs.

A state file remembers, for each step, the hash of its inputs, what it found, and the sha256 of the files it made. A
step is skipped if the inputs hash to the same and the files are there unchanged. The inputs are content: the code's and
the data's hashes, parameters, and the sha256 of what the steps before have made.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from launcher.devices import children, exporting, inferring, report
from launcher.devices.errors import ModelError, TrainingFailed
from launcher.devices.models import run_of, sidecar_of
from launcher.errors import UsageError
from launcher.jobs import Job, find_job
from launcher.ledger import Ledger
from launcher.output import Progress, Say
from launcher.paths import Home
from launcher.plan import Options, Plan, make_plan
from launcher.run import Run
from launcher.spec import override
from storage.files import hash_file, replacing

STEPS = ("train", "export", "verify", "infer", "report")
Facts = dict[str, Any]
Made = tuple[Facts, Sequence[Path]]
"""What a step found, and the files it made."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    job: str
    to: str = "onnx"
    assignments: tuple[str, ...] = ()
    data: str | None = None
    dynamic: bool = False
    report: Path | None = None
    force: bool = False


class Pipeline:
    """One job, to one format."""

    def __init__(self, home: Home, request: Request, *, say: Say, log: Callable[[bytes], None], progress: Progress):
        self.home, self.request = home, request
        self._say, self._log, self._progress = say, log, progress
        job = find_job(request.job, home)
        self.job = Job(override(job.spec, list(request.assignments)), job.project)
        folder = home.root / "pipelines"
        name = f"{self.job.spec.name}-{request.to}"
        self._state_file = folder / f"{self.job.spec.name}.json"
        self._sheet = folder / f"{name}.png"
        self._page = request.report or folder / f"{name}.html"
        self._state: dict[str, Any] = {} if request.force else _read(self._state_file)
        self._did: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        """Do what is not done yet; every step's facts, and which steps were skipped."""
        from launcher.targets import open_target

        self._preflight()
        target = open_target("local", self.home)
        plan = make_plan(self.job, Options(data=self.request.data), target, self.home, self._progress)
        code = plan.snapshot.manifest.content_hash
        data = plan.data.url if plan.data else ""
        train = self._step(
            "train", {"code": code, "data": data, "parameters": plan.parameters}, lambda: self._train(plan)
        )
        with Ledger(self.home) as ledger:
            run = ledger.find(train["run"])
        source, checkpoint = self._data(run), train["checkpoint"]["sha256"]
        asked = {
            "checkpoint": checkpoint,
            "code": _code_of(self.job.project),
            "format": self.request.to,
            "dynamic": self.request.dynamic,
        }
        export = self._step("export", asked, lambda: self._export(run))
        model = Path(export["file"])
        inputs = {"model": export["sha256"], "checkpoint": checkpoint, "data": data, "code": asked["code"]}
        verify = self._step("verify", inputs, lambda: self._verify(run, model, source))
        infer = self._step("infer", inputs, lambda: self._infer(model, source))
        facts = {"train": train, "export": export, "verify": verify, "infer": infer}
        shown = {**facts, "export": {**export, "file": os.path.relpath(model, self.home.project)}}
        summary = report.lines(self.job.spec.name, shown)
        page = {"page": str(self._page), "lines": summary, "sheet": hash_file(self._sheet)}
        self._step("report", page, lambda: self._report(summary, shown))
        return {"job": self.job.spec.name, "to": self.request.to, "steps": self._did, **facts, "summary": summary,
                "report": str(self._page)}  # fmt: skip

    def _preflight(self) -> None:
        """UsageError or ModelError before the training, for what would stop the steps after it."""
        from launcher.settings import load_settings

        if self._page.is_dir():
            raise UsageError(f"--report {self._page} is a folder", f"--report {self._page / 'report.html'}")
        if self.request.to == "onnx" and not load_settings(self.home).python and not find_spec("onnxruntime"):
            raise ModelError(
                "an ONNX model is compared with MindSpore by onnxruntime, which is not here",
                f'{sys.executable} -m pip install onnxruntime "numpy<2"; or --to mindir',
            )

    def _step(self, name: str, inputs: Mapping[str, Any], make: Callable[[], Made]) -> Facts:
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()
        key = name if name == "train" else f"{name} {self.request.to}"  # one training serves all formats
        known = self._state.get(key)
        if known and known["inputs"] == digest and all(_is(path, sha) for path, sha in known["files"].items()):
            self._did[name] = "skipped"
            self._say(f"{name}: nothing has changed")
            facts: Facts = known["facts"]
            return facts
        self._say(f"{name}: …")
        self._did[name] = "done"
        facts, files = make()
        self._state[key] = {"inputs": digest, "facts": facts, "files": {str(p): hash_file(p) for p in files}}
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(str(self._state_file)) as stream:
            stream.write((json.dumps(self._state, indent=1) + "\n").encode())
        return facts

    def _train(self, plan: Plan) -> Made:
        from launcher.cli.common import watcher
        from launcher.logs import LogReader, follow
        from launcher.submit import bring_data, exit_code_of, submit
        from launcher.targets import open_target

        target = open_target("local", self.home, submits=True)
        try:
            python = plan.options.python
            target.preflight(plan.job, python, [plan.data.url] if plan.data and plan.data.manifest is None else [])
            plan = bring_data(plan, self._say, self._progress)
            with Ledger(self.home, create=True) as ledger:
                run = submit(plan, target, ledger, self._progress)
                try:
                    reader = LogReader(target, run)
                    run = follow(reader, ledger, self._log, watcher(target, reader, self._say))
                except KeyboardInterrupt:
                    target.stop(run, ledger)
                    raise
        finally:
            target.close()
        if run.phase != "Completed":
            raise TrainingFailed(
                f"the training {run.id} ended as {run.phase}",
                f"python -m launcher logs {run.id} --tail 50",
                exit_code_of(run),
            )
        output = exporting.bring(self.home, run, self._progress)
        entry = inferring.newest_entry(output)
        facts = {"run": run.id, "parameters": run.parameters, "result": run.result, "checkpoint": entry}
        return facts, [inferring.newest_checkpoint(output)]

    def _data(self, run: Run) -> str:
        return exporting.data_of(self.home, run, self.request.data or "", self._say, self._progress)

    def _export(self, run: Run) -> Made:
        made = exporting.export(
            self.home,
            run,
            self.request.to,
            dynamic=self.request.dynamic,
            data=self.request.data or "",
            say=self._say,
            progress=self._progress,
        )
        path = Path(made["file"])
        return {name: made[name] for name in ("file", "size", "sha256", "check", "made", "input")}, [
            path,
            sidecar_of(path),
        ]

    def _verify(self, run: Run, model: Path, data: str) -> Made:
        """The model and MindSpore itself must say the same of every test picture."""
        checkpoint = inferring.newest_checkpoint(self.home.outputs / run.id)
        answers = [self._examine(path, data)["test_set"]["predictions"] for path in (checkpoint, model)]
        different = sum(one != other for one, other in zip(*answers, strict=True))
        if different:
            raise ModelError(
                f"{model} and MindSpore differ on {different} of {len(answers[0])} test pictures",
                f"python -m launcher export {run.id} --format mindir",
            )
        return {"pictures": len(answers[0]), "different": different}, []

    def _infer(self, model: Path, data: str) -> Made:
        with tempfile.TemporaryDirectory(prefix="launcher-pipeline-") as folder:
            sheet = Path(folder, "sheet.png")
            answer = self._examine(model, data, "--sheet", str(sheet))
            self._sheet.parent.mkdir(parents=True, exist_ok=True)
            with replacing(str(self._sheet)) as stream:
                stream.write(sheet.read_bytes())
        found = {name: value for name, value in answer["test_set"].items() if name != "predictions"}
        return {**found, "runtime": answer["runtime"]}, [self._sheet]

    def _examine(self, model: Path, data: str, *flags: str) -> dict[str, Any]:
        words = ["--test-set", data, *flags, "--", str(model)]
        return children.ask(self.home, "infer", words, self._say, run_of(model))

    def _report(self, summary: Sequence[str], facts: Mapping[str, Facts]) -> Made:
        page = report.page(self.job.spec.name, summary, facts, self._sheet.read_bytes())
        self._page.absolute().parent.mkdir(parents=True, exist_ok=True)
        with replacing(str(self._page.absolute())) as stream:
            stream.write(page.encode())
        return {}, [self._page]


def _code_of(project: Path) -> str:
    """The hash of what exports and infers, the launcher's own and the project's: other code, another answer."""
    from launcher.jobs import HOUSE
    from storage.manifest import Entry, Manifest, scan

    entries: list[Entry] = []
    for number, place in enumerate(dict.fromkeys((HOUSE, project))):
        for room in ("entrypoints", "jobs"):
            found = scan(place / room).entries if (place / room).is_dir() else ()
            entries += [e._replace(path=f"{number}/{room}/{e.path}") for e in found if e.path.endswith(".py")]
    return Manifest(entries).content_hash


def _is(path: str, sha256: str) -> bool:
    return Path(path).is_file() and hash_file(path) == sha256


def _read(path: Path) -> dict[str, Any]:
    """The state as it was written; none if that cannot be understood."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return {name: step for name, step in content.items() if {"inputs", "facts", "files"} <= set(step)}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
