"""The rules of the house: who may import whom, what a start may load, which files may be long."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
OURS = {"storage", "jobs", "entrypoints", "launcher", "tests", "bench"}
MAY_IMPORT = {
    "storage": set(),
    "jobs": set(),
    "entrypoints": {"storage", "jobs"},
    "launcher": {"storage"},
}
"""Room -> the other rooms that it may know."""
TRAVELLING = ("storage", "jobs", "entrypoints")
HEAVY = {"rich", "PIL", "numpy", "mindspore", "tenacity", "argcomplete", "asyncio", "http", "ssl", "urllib.request"}
"""What no start of the launcher may load."""


def imports(path: Path, everywhere: bool) -> list[str]:
    """The modules that a file imports; at import time only, or ``everywhere`` in it."""
    tree = ast.parse(path.read_text())
    found = []
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(path.parts[len(HOUSE.parts)] if node.level else str(node.module))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            nodes += node.orelse
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes += list(ast.iter_child_nodes(node))
    return found


def files(room: str) -> list[Path]:
    return sorted((HOUSE / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_knows_only_the_rooms_it_may(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in files(room):
        known = {name.split(".")[0] for name in imports(path, everywhere=True)} & OURS
        assert known <= allowed, f"{path.relative_to(HOUSE)} imports {known - allowed}"


@pytest.mark.parametrize("room", TRAVELLING)
def test_what_travels_needs_nothing_that_a_container_lacks(room: str) -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "mindspore"} | OURS
    for path in files(room):
        needed = {name.split(".")[0] for name in imports(path, everywhere=False)}
        assert needed <= allowed, f"{path.relative_to(HOUSE)} imports {needed - allowed} when it is loaded"


def loaded_by(*words: str, cwd: Path = HOUSE) -> set[str]:
    """The modules in memory after a command line of the launcher."""
    code = "import sys; from launcher.__main__ import main; main(sys.argv[1:]); sys.stderr.write(' '.join(sys.modules))"
    command = [sys.executable, "-c", code, *words]
    env = {"PYTHONPATH": str(HOUSE), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)
    return set(done.stderr.split())


def test_help_loads_little() -> None:
    """The budget of 60 ms, in a form that no busy machine can break."""
    modules = loaded_by("--help")
    assert "launcher.__main__" in modules
    assert not modules & (HEAVY | {"yaml", "msgspec", "pathspec", "sqlite3", "subprocess", "hashlib"})
    assert len(modules) < 110


def test_a_dry_run_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """The budget of 150 ms, likewise."""
    job = tmp_path / "jobs" / "tiny"
    job.mkdir(parents=True)
    (job / "main.py").write_text("print(1)\n")
    (job / "job.yaml").write_text("name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [jobs/tiny]}\n")
    modules = loaded_by("submit", "tiny", "--dry-run", cwd=tmp_path)
    assert "launcher.plan" in modules
    assert not modules & (HEAVY | {"sqlite3", "concurrent.futures", "logging"})
    assert len(modules) < 260


@pytest.mark.parametrize("room", [*MAY_IMPORT, "tests", "bench"])
def test_no_file_is_longer_than_four_hundred_lines(room: str) -> None:
    long = {str(p.relative_to(HOUSE)): n for p in files(room) if (n := len(p.read_text().splitlines())) > 400}
    assert not long
