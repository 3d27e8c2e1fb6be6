"""In a process of its own: a ResNet with fixed weights as resnet50.onnx, and what export says of it.

python make_resnet.py NETWORK IMAGE_SIZE DATA FOLDER
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np


def main(network: str, size: int, data: str, folder: Path) -> None:
    from entrypoints import checkpoints, devices, exporting
    from jobs.models import find

    parameters = {"network": network, "image_size": size, "epochs": 1}
    devices.start("CPU", 0, print)
    model = find("resnet50", "", parameters)
    state = {each.name: weights(each.name, each.shape) for each in model.network().get_parameters()}
    state = {**state, **{f"moments.{name}": 0 * value for name, value in state.items()}}
    path = folder / "output" / "checkpoints" / "resnet50-1_1.ckpt"
    path.parent.mkdir(parents=True)
    checkpoints.save(state, str(path))
    content = path.read_bytes()
    entry = {"file": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "step": 1}
    entry |= {"epoch": 1, "time": "2026-01-01T00:00:00Z", "metrics": {}}
    manifest = {"job": "resnet50", "schedule": {}, "parameters": parameters, "checkpoints": [entry]}
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    scratch = folder / "scratch"
    scratch.mkdir()
    source = exporting.fetch(str(folder / "output"), "", str(scratch))
    images = model.test_set(data)[0]
    made, sidecar = exporting.Export(model, source, "onnx", True, images, str(scratch)).make()
    exporting.publish(made, sidecar, str(folder / "models"), "resnet50.onnx")


def weights(name: str, shape: tuple[int, ...]) -> Any:
    """Such as a trained network has: signals stay of one size from layer to layer, and no statistic is 0 or 1."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("moving_variance"):
        values = random.uniform(0.8, 1.2, shape)
    elif name.endswith("gamma"):
        values = random.uniform(0.8, 1.2, shape) * (0.2 if "bn3" in name else 1)
    elif len(shape) == 1:
        values = random.normal(0, 0.1, shape)
    else:
        values = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
    return values.astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
