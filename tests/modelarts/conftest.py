"""An emulator of ModelArts in the test's own process, and the environment that leads the launcher to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import launcher.modelarts.jobs
import launcher.modelarts.logs
import storage.retry
from launcher.emulator.modelarts import Emulator, Settings
from launcher.ledger import Ledger
from launcher.paths import Home
from launcher.targets.modelarts import ModelArtsTarget
from storage.base import Storage
from storage.obs import ObsService, ObsSettings

HOUSE = Path(__file__).resolve().parents[2]
QUICK = Settings(creating=0, queuing=0.02, deleting=0.05, output_period=0.2, log_period=0.1, bucket="my-bucket")

SPEAKS = """
import argparse, json, os, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("--data_url"); parser.add_argument("--train_url")
parser.add_argument("--lines", type=int, default=5); parser.add_argument("--pause", type=float, default=0)
parser.add_argument("--code", type=int, default=0)
args, _ = parser.parse_known_args()
for number in range(args.lines):
    print(f"worker {os.environ['VC_TASK_INDEX']} line {number} 你好", flush=True)
    time.sleep(args.pause)
out = pathlib.Path(args.train_url)
if "://" not in args.train_url:
    (out / "model.bin").write_bytes(bytes(range(256)) * 100)
    (out / "result.json").write_text(json.dumps({"accuracy": 0.5}))
    (out / "metrics.jsonl").write_text('{"epoch": 1}\\n{"epoch": 2}\\n')
raise SystemExit(args.code)
"""


def spoken(lines: int, worker: int = 0) -> list[str]:
    """What SPEAKS prints."""
    return [f"worker {worker} line {number} 你好" for number in range(lines)]


def only_spoken(text: str) -> list[str]:
    """The job's own lines of a log, without the platform's."""
    return [line for line in text.splitlines() if line.startswith("worker ") or "line " in line]


class Rig:
    """The emulator and a project that runs there."""

    def __init__(self, emulator: Emulator, root: Path) -> None:
        self.emulator = emulator
        self.root = root
        self.home = Home(root)
        environment = emulator.environment()
        settings = ObsSettings(
            endpoint=environment["OBS_ENDPOINT"],
            access_key=emulator.account.access_key,
            secret_key=emulator.account.secret_key,
            signature=environment["OBS_SIGNATURE"],
            addressing="path",
        )
        self.objects = ObsService(settings)

    @property
    def jobs(self) -> list[str]:
        """The names of all jobs that were ever made and not deleted."""
        return [job.name for job in self.emulator.state.search("1", [], "number", 1000000, 0)]

    def faults(self, *faults: dict[str, Any]) -> None:
        self.emulator.set_faults(list(faults))

    def change(self, **settings: Any) -> None:
        self.emulator.house.change(settings)

    def target(self) -> ModelArtsTarget:
        return ModelArtsTarget(self.home)

    def ledger(self) -> Ledger:
        return Ledger(self.home, create=True)

    def bucket(self) -> Storage:
        return self.objects.bucket("my-bucket")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of a test: what takes seconds against the real service takes tenths here."""
    monkeypatch.setattr(ModelArtsTarget, "poll_seconds", (0.05, 0.3))
    monkeypatch.setattr(launcher.modelarts.logs, "LATE_SECONDS", 1.5)
    monkeypatch.setattr(launcher.modelarts.logs, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(launcher.modelarts.jobs, "SETTLING", (0.0, 0.1, 0.2))
    monkeypatch.setattr(storage.retry, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(storage.retry, "LONGEST_WAIT", 0.3)


@pytest.fixture
def modelarts(project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[Rig]:
    """An emulator with quick phases; the environment of the test leads to it, and `tiny` is a job."""
    monkeypatch.setenv("HOME", str(tmp_path))
    project.job("tiny", SPEAKS, parameters={"lines": 5, "pause": 0.0, "code": 0})
    with Emulator(tmp_path / "emulator", QUICK) as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        rig = Rig(emulator, project.root)
        yield rig
        rig.objects.close()
        _end(emulator)


def _end(emulator: Emulator) -> None:
    """No process of a job outlives its test."""
    emulator.set_faults([])
    for job in emulator.state.active():
        job.stop = "kill"
        emulator.state.save(job)
    emulator.house.lifecycle.wake()
    ends = time.monotonic() + 20
    while emulator.state.active() and time.monotonic() < ends:
        time.sleep(0.02)
