"""Checkpoints and MindIR, by MindSpore itself. At home and in containers only: it needs the job's code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Dict

from jobs import JobError
from jobs.models import Model, find

from .sessions import Session
from .sidecar import Port, Sidecar, digest
from .telling import note

if TYPE_CHECKING:
    import numpy as np


class FrameworkSession(Session):
    """A network, or a graph, in MindSpore."""

    def __init__(self, cell: Any, sidecar: Sidecar) -> None:
        import mindspore

        super().__init__(sidecar)
        self.runtime = f"MindSpore {mindspore.__version__}"
        self._cell = cell
        self._pictures = 0

    def close(self) -> None:
        self._cell = None

    def _size(self, left: int) -> int:
        """Always that of the first call: MindSpore compiles the graph anew for each size."""
        self._pictures = self._pictures or super()._size(left)
        return self._pictures

    def _run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import mindspore

        try:
            logits: np.ndarray[Any, Any] = self._cell(mindspore.Tensor(images)).asnumpy()
        except (RuntimeError, ValueError, TypeError) as error:
            raise JobError(
                f"{self.runtime} cannot run the model on {images.shape}: {error}",
                "make the model again: python -m launcher export RUN",
            ) from error
        return logits


def open_model(path: str, sidecar: Sidecar, code: str, device_id: int) -> Session:
    """As the table of run times wants it."""
    from entrypoints import devices, weights

    devices.start("auto", device_id, note)
    if sidecar.format == "ckpt":
        model = find(sidecar.job, code, manifest_of(path).get("parameters"))
        return FrameworkSession(weights.load(model, path), sidecar)
    return FrameworkSession(load_graph(path), sidecar)


def load_graph(path: str) -> Any:
    """The graph of a MindIR file, ready to be called. JobError if it is none."""
    import mindspore

    try:
        return mindspore.nn.GraphCell(mindspore.load(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise JobError(
            f"{path} is no model that MindSpore {mindspore.__version__} can load",
            "make the model again: python -m launcher export RUN --format mindir",
        ) from error


def manifest_of(path: str) -> Dict[str, Any]:
    """What lies beside a checkpoint, as the training has written it."""
    with open(os.path.join(os.path.dirname(path), "manifest.json"), encoding="utf-8") as file:
        content: Dict[str, Any] = json.load(file)
    return content


def sidecar_of_checkpoint(path: str, code: str = "") -> Sidecar:
    """What the sidecar of a checkpoint would say, from `manifest.json` beside it. JobError unless it verifies."""
    if not os.path.isfile(path):
        raise JobError(f"there is no checkpoint {path}", "python -m launcher pull RUN brings a run's checkpoints home")
    try:
        content = manifest_of(path)
        job, parameters = str(content["job"]), dict(content.get("parameters", {}))
        [entry] = [entry for entry in content["checkpoints"] if entry["file"] == os.path.basename(path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(
            f"{path} is not named in a manifest.json beside it, so nothing says that it is whole",
            "pass a checkpoint as the run has left it: python -m launcher pull RUN",
        ) from error
    size, sha256 = os.path.getsize(path), digest(path)
    if (size, sha256) != (entry["size"], entry["sha256"]):
        raise JobError(f"{path} is damaged: its sha256 is not that of its manifest", "python -m launcher pull RUN")
    checkpoint = {name: entry[name] for name in ("file", "sha256", "step", "epoch")}
    return sidecar_of_network(find(job, code, parameters), size, checkpoint)


def sidecar_of_network(model: Model, size: int, checkpoint: Dict[str, Any]) -> Sidecar:
    """The same for a network that was built from a checkpoint."""
    return Sidecar(
        job=model.name,
        format="ckpt",
        size=size,
        sha256=checkpoint["sha256"],
        input=Port("images", (None, *model.pictures.shape)),
        output=Port("logits", (None, len(model.classes))),
        pictures=model.pictures,
        classes=model.classes,
        checkpoint=checkpoint,
    )
