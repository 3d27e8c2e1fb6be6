"""How many pictures a second, against the loop that one writes with onnxruntime in five lines. No camera."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Dict, Sequence

from . import reading
from .classifying import classify
from .sessions import Session

ROUNDS = 5
LEAST = 512
"""Pictures a round; fewer are gone through again and again."""


def measure(session: Session, path: str, paths: Sequence[str], polarity: str, batch: int) -> Dict[str, Any]:
    """Pictures a second, medians over ROUNDS rounds in which all ways take turns.

    `files`: from picture files to the five likeliest classes; `model`: the model alone, in this application's batches;
    `plain_loop`: the model alone, one `InferenceSession.run` a picture, None without onnxruntime or for another format.
    """
    import numpy as np

    pictures = session.sidecar.pictures
    names = [paths[number % len(paths)] for number in range(max(LEAST, len(paths)))]
    read = [reading.read(name, pictures, polarity) for name in paths]
    once = pictures.prepare(np.stack([picture.pixels for picture in read]))
    images = np.ascontiguousarray(once[[number % len(paths) for number in range(len(names))]])
    ways: Dict[str, Callable[[], Any]] = {
        "files": lambda: classify(session, names, polarity, batch),
        "model": lambda: session.run(images),
    }
    if session.sidecar.format == "onnx":
        ways["plain_loop"] = _plain_loop(path, images)
    seconds: Dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    speed = {name: round(len(names) / statistics.median(taken), 1) for name, taken in seconds.items()}
    plain = speed.get("plain_loop")
    return {
        "pictures": len(names),
        "rounds": ROUNDS,
        "images_per_second": {"files": speed["files"], "model": speed["model"], "plain_loop": plain},
        "against_plain_loop": round(speed["model"] / plain, 2) if plain else None,
    }


def _plain_loop(path: str, images: Any) -> Callable[[], Any]:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    size = session.get_inputs()[0].shape[0]
    size = size if isinstance(size, int) else 1

    def loop() -> Any:
        ends = range(0, len(images) - size + 1, size)
        return np.concatenate([session.run(None, {name: images[start : start + size]})[0] for start in ends])

    return loop
