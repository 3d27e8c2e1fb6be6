"""Each target with a project that runs there: the local one, and ModelArts with an emulator on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher.jobs import find_job
from launcher.ledger import Ledger
from launcher.output import Output
from launcher.paths import Home
from launcher.plan import Options, Plan, make_plan
from launcher.targets import open_target
from launcher.targets.base import Target
from storage.base import Storage
from storage.filesystem import FileSystemStorage
from tests.modelarts.conftest import HOUSE, SPEAKS, Rig, modelarts, quick

__all__ = ["modelarts", "quick"]


class Place:
    """A target, and what a person and a bystander see of it."""

    def __init__(self, name: str, project: Any, cli: Any, rig: Rig | None) -> None:
        self.name, self.project, self.rig = name, project, rig
        self.cli = cli
        self.home = Home(project.root)

    def write_job(self, pause: float = 0.0) -> None:
        """`tiny`, which pauses for so many seconds after each of its lines."""
        script = WITNESSED.format(witness=str(self.project.root / "witness")) + SPEAKS
        self.project.job("tiny", script, parameters={"lines": 5, "pause": pause, "code": 0})

    def submit(self, job: str = "tiny", *words: str) -> Any:
        return self.cli("submit", job, "--target", self.name, *words)

    def python(self, *words: str) -> subprocess.Popen[str]:
        """In a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, *words], env=environment, stdout=pipe, stderr=pipe, text=True)

    @contextmanager
    def opened(self) -> Iterator[tuple[Target, Ledger]]:
        target = open_target(self.name, self.home)
        try:
            with Ledger(self.home, create=True) as ledger:
                yield target, ledger
        finally:
            target.close()

    def plan(self, target: Target) -> Plan:
        return make_plan(find_job("tiny", self.home), Options(), target, self.home, Output("quiet").progress)

    def bucket(self) -> Storage:
        return self.rig.bucket() if self.rig else FileSystemStorage(self.home.buckets / "local", "local")

    def left_of(self, run: str) -> list[str]:
        """All that lies anywhere for a run."""
        here = [str(path) for path in self.project.home.rglob("*") if run in str(path)]
        return here + [info.key for info in self.bucket().list() if run in info.key]

    @property
    def starts(self) -> int:
        """How often a job has begun; see WITNESSED."""
        witness = Path(self.project.root) / "witness"
        return witness.stat().st_size if witness.exists() else 0


WITNESSED = """
with open({witness!r}, "a") as stream:
    stream.write("x")
"""


@pytest.fixture(params=["local", "modelarts"])
def place(request: pytest.FixtureRequest, project: Any, cli: Any) -> Place:
    """`tiny` is a job there that tells a witness when it begins."""
    rig = request.getfixturevalue("modelarts") if request.param == "modelarts" else None
    made = Place(request.param, project, cli, rig)
    made.write_job()
    return made
