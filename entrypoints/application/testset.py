"""A model over a job's whole test set: accuracy, every prediction; and test pictures as files."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Tuple

from jobs import JobError
from jobs.models import find

from .classifying import likeliest
from .results import Tile, png, write
from .sessions import Session, portion
from .sidecar import Sidecar


def examine(session: Session, folder: str, code: str, tile_count: int) -> Tuple[Dict[str, Any], List[Tile]]:
    """What the model makes of every test picture, and tiles of some: the mistaken ones first.

    `predictions` has the class numbers in the order of the test set; `mistakes` the numbers of the pictures.
    """
    import numpy as np

    sidecar = session.sidecar
    images, labels = find(sidecar.job, code).test_set(folder)
    predictions = np.empty(len(images), np.int64)
    shares = np.empty(len(images))
    begun = time.perf_counter()
    at_once = portion(sidecar.pictures)
    for start in range(0, len(images), at_once):
        logits = session.run(sidecar.pictures.prepare(images[start : start + at_once]))
        best = [top[0] for top in likeliest(logits, 1)]
        predictions[start : start + at_once] = [index for index, _ in best]
        shares[start : start + at_once] = [share for _, share in best]
    seconds = time.perf_counter() - begun
    wrong = np.flatnonzero(predictions != labels)
    shown = [*wrong[: tile_count - tile_count // 4], *np.flatnonzero(predictions == labels)][:tile_count]
    tiles = [
        Tile(
            images[number],
            f"#{number} is {sidecar.classes[labels[number]]}",
            f"{sidecar.classes[predictions[number]]}  {shares[number]:.1%}",
            bool(predictions[number] == labels[number]),
        )
        for number in shown
    ]
    result = {
        "pictures": len(images),
        "correct": int(len(images) - len(wrong)),
        "accuracy": float((predictions == labels).mean()),
        "seconds": round(seconds, 4),
        "images_per_second": round(len(images) / max(seconds, 1e-9), 1),
        "mistakes": [int(number) for number in wrong],
        "predictions": [int(prediction) for prediction in predictions],
    }
    return result, tiles


def write_samples(sidecar: Sidecar, folder: str, code: str, count: int, target: str) -> List[Dict[str, Any]]:
    """Some test pictures as PNG files, of every class as far as there are; each file with the class that it is of."""
    import numpy as np
    from PIL import Image

    images, labels = find(sidecar.job, code).test_set(folder)
    if not len(images):
        raise JobError(f"{folder} has no test pictures", "pass another folder")
    firsts = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)]
    numbers = list(dict.fromkeys([*firsts, *range(len(images))]))[:count]
    names = {number: f"test-{number:05}.png" for number in numbers}
    write({os.path.join(target, name): png(Image.fromarray(images[number])) for number, name in names.items()})
    return [{"file": name, "class": sidecar.classes[labels[number]]} for number, name in names.items()]
