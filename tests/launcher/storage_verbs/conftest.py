"""A project with local buckets, and the folders in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def buckets(project, cli) -> Path:
    """The folder of local buckets of a project that is the working folder; `one` and `two` are there."""
    for name in ("one", "two"):
        cli("storage", "mb", f"obs://{name}")
    assert (project.home / "buckets" / "two").is_dir()
    return project.home / "buckets"


@pytest.fixture
def storage(cli):
    """``storage("ls", …)``."""
    return lambda *words: cli("storage", *words)


@pytest.fixture
def write(project) -> Write:
    """``write("data", {"a.txt": "text"})`` makes files below a folder of the project."""

    def made(folder: str, files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = project.root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return project.root / folder

    return made


def tree(folder: Path) -> dict[str, str]:
    """Path -> text of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}
