"""Pictures through a model, by ``entrypoints/infer.py``; which model a word of the command line means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.devices import children
from launcher.devices.errors import ModelError
from launcher.devices.exporting import MANIFEST
from launcher.devices.models import run_of, sidecar_of
from launcher.ledger import Ledger
from launcher.output import Progress, Say
from launcher.paths import Home


def infer(home: Home, model: str, pictures: Sequence[str], flags: Sequence[str], say: Say) -> dict[str, Any]:
    """The child's answer: ``pictures``, ``runtime``, and what the flags asked for. ModelError for what it refuses."""
    path = resolve(home, model)
    return children.ask(home, "infer", [*flags, "--", str(path), *pictures], say, run_of(path))


def resolve(home: Home, word: str) -> Path:
    """A model file, a folder of them, a checkpoint; or a run: its exported model, else its newest checkpoint."""
    path = Path(word)
    if path.exists() or path.suffix in (".onnx", ".om", ".mindir", ".air", ".ckpt"):
        return path
    with Ledger(home) as ledger:
        folder = home.outputs / ledger.find(word).id
    models = folder / "models"
    if models.is_dir() and any(sidecar_of(file).is_file() for file in models.iterdir()):
        return models
    return newest_checkpoint(folder)


def test_set(word: str, say: Say, progress: Progress) -> str:
    """A folder, or where the known data set of that name lies."""
    from launcher import datasets

    if word in [row.name for row in datasets.known()]:
        return str(datasets.prepared(word) or datasets.prepare(word, say=say, progress=progress))
    return word


def newest_checkpoint(output: Path) -> Path:
    """The newest checkpoint of a run's output at home, as its manifest has it."""
    return output / "checkpoints" / str(newest_entry(output)["file"])


def newest_entry(output: Path) -> dict[str, Any]:
    """The manifest's line of that checkpoint."""
    try:
        entry: dict[str, Any] = json.loads((output / MANIFEST).read_text("utf-8"))["checkpoints"][-1]
        return {name: entry[name] for name in ("file", "sha256", "step", "epoch")}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise ModelError(f"{output} has no checkpoint", f"python -m launcher pull {output.name}") from None
