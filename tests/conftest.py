"""What all tests share: a home of their own, a small project, the real MNIST."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or writes into, the settings of the person who runs it."""
    ours = [name for name in os.environ if name.startswith(("LAUNCHER_", "OBS_", "HUAWEICLOUD_"))]
    for name in set(ours) - {"LAUNCHER_CACHE_DIR"}:
        monkeypatch.delenv(name)
    monkeypatch.delenv("GLOG_v", raising=False)  # which a test that runs MindSpore in this process leaves behind
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # what was downloaded once is shared
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setenv("LAUNCHER_STATE", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("NO_COLOR", "1")


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Launch = Callable[..., Answer]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Launch:
    """``launch("submit", "hello", cwd=…)``: the launcher in a process of its own."""

    def run(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 120) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "launcher", *words],
            cwd=cwd or Path.cwd(),
            env={**os.environ, "PYTHONPATH": str(HOUSE), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
        )
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    return run


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Launch:
    """``cli("runs")``: the launcher inside the test's process, which is quick."""
    from launcher.__main__ import main

    def run(*words: str) -> Answer:
        capfd.readouterr()
        code = main(words)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@dataclass(frozen=True)
class Project:
    """A folder with jobs, and nothing else around it."""

    root: Path

    def job(self, name: str, script: str, **keys: Any) -> None:
        """Write ``jobs/NAME/job.yaml`` and its boot file; job.yaml is JSON, which YAML includes."""
        folder = self.root / "jobs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text(script)
        spec = {"name": name, "boot_file": f"jobs/{name}/main.py", "code": {"include": [f"jobs/{name}"]}, **keys}
        (folder / "job.yaml").write_text(json.dumps(spec, indent=1))

    @property
    def home(self) -> Path:
        return self.root / ".launcher"

    def last(self) -> dict[str, Any]:
        """The newest run, as the ledger has it."""
        from launcher.ledger import Ledger
        from launcher.paths import Home

        with Ledger(Home(self.root)) as ledger:
            return ledger.find("@last").to_json()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, which is the working folder."""
    root = tmp_path / "project"
    (root / "jobs").mkdir(parents=True)
    monkeypatch.chdir(root)
    return Project(root)


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The real MNIST, brought once into the cache outside the tree."""
    command = [sys.executable, "-m", "launcher", "data", "prepare", "mnist", "--json"]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["path"])
