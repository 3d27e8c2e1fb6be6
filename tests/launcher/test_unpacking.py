"""Which boot files are given packed data: read off their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.snapshot import Snapshot
from launcher.unpacking import unpacks
from storage.manifest import Entry, Manifest

BROUGHT = ("entrypoints/training.py", "entrypoints/staging.py")
HOUSE = Path(__file__).resolve().parents[2]


def asked(folder: Path, source: str, brought: tuple[str, ...] = BROUGHT, rewritten: bytes | None = None) -> bool:
    (folder / "boot.py").write_text(source)
    manifest = Manifest(Entry.of(path, b"") for path in ("boot.py", *brought))
    return unpacks("boot.py", Snapshot(folder, [], [], manifest, {"boot.py": rewritten} if rewritten else {}))


@pytest.mark.parametrize(
    "source",
    [
        "from entrypoints.training import main\nmain(JOB)",
        "import sys\nfrom entrypoints.training import main as train\nif 1:\n    sys.exit(train(JOB))",
        "from entrypoints import training\ntraining.main(JOB)",
        "from entrypoints import training as ours\nours.main(JOB)",
        "import entrypoints.training\nentrypoints.training.main(JOB)",
        "import os, entrypoints.training as t\nt.main(JOB)",
        "def go():\n    from entrypoints.training import main\n    return main(JOB)\ngo()",
        "# -*- coding: utf-8 -*-\n'\\d'\nfrom entrypoints.training import main\nmain(JOB, [])",
    ],
)
def test_a_boot_file_that_calls_our_main_unpacks(tmp_path: Path, source: str) -> None:
    assert asked(tmp_path, source)
    assert not asked(tmp_path, source, BROUGHT[:1]), "an older copy of ours cannot"
    assert not asked(tmp_path, source, BROUGHT[1:])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def main(): pass\nmain()",
        "from entrypoints.training import main",
        "from entrypoints.training import say\nsay('x')",
        "from entrypoints.training import say as main\nmain('x')",
        "from entrypoints.contract import main\nmain()",
        "from entrypoints import training\nmain()",
        "import entrypoints\nentrypoints.main()",
        "from .entrypoints.training import main\nmain()",
        "'from entrypoints.training import main'\nmain()  # entrypoints.training",
        "import training\ntraining.main()",
    ],
)
def test_any_other_script_sees_plain_files(tmp_path: Path, source: str) -> None:
    assert not asked(tmp_path, source)


def test_what_counts_is_what_is_sent(tmp_path: Path) -> None:
    assert asked(tmp_path, "", rewritten=b"from entrypoints.training import main\nmain(JOB)\n")


def test_our_own_boot_files_unpack() -> None:
    manifest = Manifest(Entry.of(path, b"") for path in ("entrypoints/lenet5.py", *BROUGHT))
    assert unpacks("entrypoints/lenet5.py", Snapshot(HOUSE, [], [], manifest, {}))
    assert all((HOUSE / path).is_file() for path in BROUGHT)
