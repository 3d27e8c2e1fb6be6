"""A synthetic CIFAR-10 for tests, by the generator that users have too."""

from __future__ import annotations

from pathlib import Path

from launcher.datasets.synthetic import write


def write_photos(folder: Path, train: int = 90, test: int = 23) -> Path:
    """90 pictures are five batches of 16 and a rest."""
    return write(folder, train, test)
