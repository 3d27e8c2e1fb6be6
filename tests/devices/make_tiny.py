"""In a process of its own: a second network, of colour pictures, from a project's own jobs/; what export says of it.

python make_tiny.py FOLDER LENET_CHECKPOINT
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

MODEL = """
from typing import Any
import numpy as np
from jobs.models import Model
from jobs.pictures import Pictures

class Tiny(Model):
    name = "tiny"
    pictures = Pictures(3, (12, 10), (20, 20), (0.02, 0.03, 0.04), (-1.0, -1.5, -2.0))
    classes = ("cat", "dog", "eel")

    def of(self, parameters: Any) -> Any:
        tiny, size = Tiny(), int(parameters.get("size", 20))
        tiny.pictures = Pictures(3, (12, 10), (size, size), self.pictures.scale, self.pictures.shift)
        return tiny

    def network(self) -> Any:
        from .network import Net
        return Net()

    def test_set(self, folder: str) -> Any:
        random = np.random.RandomState(3)
        return random.randint(0, 256, (40, 12, 10, 3)).astype(np.uint8), random.randint(0, 3, 40)

MODEL = Tiny()
"""
NETWORK = """
from mindspore import nn

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, pad_mode="same", has_bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.head = nn.Dense(4 * 16 * 16, 3)

    def construct(self, images):
        return self.head(self.flatten(self.relu(self.norm(self.conv(images)))))
"""

PARAMETERS = {"size": 16}
"""Of the run, in its manifest: not the job's default."""


def main(folder: Path, lenet: str) -> None:
    from entrypoints import checkpoints, devices, exporting, weights
    from jobs import JobError
    from jobs.models import find

    job = folder / "jobs" / "tiny"
    job.mkdir(parents=True)
    for name, text in {"__init__": "", "model": MODEL, "network": NETWORK}.items():
        (job / f"{name}.py").write_text(text)
    devices.start("CPU", 0, print)
    model = find("tiny", str(folder), PARAMETERS)
    network = model.network()
    state = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    state = {**state, **{f"moments.{name}": 0 * value for name, value in state.items()}}
    scratch = folder / "scratch"
    scratch.mkdir()
    path = folder / "output" / "checkpoints" / "tiny-1_1.ckpt"
    path.parent.mkdir(parents=True)
    checkpoints.save(state, str(path))
    content = path.read_bytes()
    entry = {"file": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "step": 1}
    entry |= {"epoch": 1, "time": "2026-01-01T00:00:00Z", "metrics": {}}
    schedule = {"steps_per_epoch": 1}
    manifest = {"job": "tiny", "schedule": schedule, "parameters": PARAMETERS, "checkpoints": [entry]}
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    images = model.test_set("")[0]

    def export(form: str, dynamic: bool) -> Any:
        place = scratch / f"{form}-{exporting.TOLERANCE}"
        place.mkdir()
        source = exporting.fetch(str(folder / "output"), "", str(place))
        assert source.parameters == PARAMETERS
        path, sidecar = exporting.Export(model, source, form, dynamic, images, str(place)).make()
        exporting.publish(path, sidecar, str(folder / "models"), f"tiny.{form}")
        return json.loads(sidecar.encode())

    def refused(deed: Any) -> list[str]:
        try:
            deed()
        except JobError as error:
            return [error.message, error.hint]
        raise AssertionError("it was not refused")

    told: dict[str, Any] = {"onnx": export("onnx", True)}
    told["other network"] = refused(lambda: weights.load(model, lenet))
    of_another = {name: value for name, value in state.items() if not name.startswith("head")}
    checkpoints.save({**of_another, "extra.weight": state["conv.weight"]}, str(scratch / "odd.ckpt"))
    told["changed network"] = refused(lambda: weights.load(model, str(scratch / "odd.ckpt")))
    (scratch / "torn.ckpt").write_bytes(b"torn")
    told["torn"] = refused(lambda: weights.load(model, str(scratch / "torn.ckpt")))
    exporting.TOLERANCE = -1.0
    told["too far"] = refused(lambda: export("mindir", False))
    print("@" + json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
