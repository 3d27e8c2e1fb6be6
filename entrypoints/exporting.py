"""From a checkpoint to a model file: verified before, compared with MindSpore after, and there whole or not at all.

checkpoint, by its manifest -> network -> file in scratch -> the same answers? -> file, then sidecar, to the output
"""

from __future__ import annotations

import json
import os
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Tuple

from jobs import JobError
from jobs.models import Model
from storage import locate
from storage.errors import Corrupt, NotFound
from storage.files import hash_file

from . import checkpoints, weights
from .application.framework import FrameworkSession, load_graph, sidecar_of_network
from .application.sessions import Session, portion
from .application.sidecar import SUFFIX, Port, Sidecar
from .output import Output

if TYPE_CHECKING:
    import numpy as np

    from .checkpoints import Checkpoint

FORMATS = ("onnx", "mindir", "air")
TOLERANCE = 1e-4
"""The greatest difference between two logits that is put down to rounding."""
AIR_BATCH = 1
DYNAMIC_SIZES = (1, 2, 4, 8)

Note = Callable[[str], None]


class Source(NamedTuple):
    """A checkpoint that has been verified and is here."""

    job: str
    parameters: Dict[str, Any]
    """Those of the run, as far as its manifest has them."""
    checkpoint: Checkpoint
    path: str


def fetch(url: str, name: str, scratch: str) -> Source:
    """Bring a run's newest checkpoint, or the one called `name`, to scratch. JobError unless it is there and whole.

    The newest or none: an older one in its place would be another model than the one that was asked for.
    """
    output = Output(url)
    manifest = checkpoints.read_manifest(output)
    if manifest is None or not manifest.checkpoints:
        raise JobError(f"{url} has no checkpoints", "pass the output of a run that has published one: --resume_url=...")
    chosen = [checkpoint for checkpoint in manifest.checkpoints if name in ("", checkpoint.file)]
    if not chosen:
        there = ", ".join(checkpoint.file for checkpoint in manifest.checkpoints)
        raise JobError(f"{url} has no checkpoint {name}", f"pass one of {there}")
    checkpoint = chosen[-1]
    path = os.path.join(scratch, checkpoint.file)
    try:
        size = output.download(f"{checkpoints.FOLDER}/{checkpoint.file}", path, checkpoint.sha256)
    except (NotFound, Corrupt) as error:
        others = [other.file for other in manifest.checkpoints if other != checkpoint]
        hint = "bring it home anew: python -m launcher pull RUN"
        raise JobError(
            f"checkpoint {checkpoint.file} is damaged: {error}",
            hint + (f"; or pass --checkpoint={others[-1]}" if others else ""),
        ) from error
    if size != checkpoint.size:
        raise JobError(f"checkpoint {checkpoint.file} has {size} bytes, not {checkpoint.size}", "pull the run again")
    return Source(manifest.job, _parameters(output), checkpoint, path)


def _parameters(output: Output) -> Dict[str, Any]:
    parameters = json.loads((output.read(checkpoints.MANIFEST) or b"{}").decode()).get("parameters")
    return parameters if isinstance(parameters, dict) else {}


class Export(NamedTuple):
    """What is to be made."""

    model: Model
    source: Source
    format: str
    dynamic: bool
    images: np.ndarray[Any, Any]
    """Test pictures as their files have them, for the comparison."""
    scratch: str

    def make(self) -> Tuple[str, Sidecar]:
        """The file, in scratch, and its sidecar; compared already. MindSpore must have been started."""
        import mindspore

        network = weights.load(self.model, self.source.path)
        size = self.source.checkpoint.size
        with FrameworkSession(network, sidecar_of_network(self.model, size, self._checkpoint())) as session:
            expected = self._answers(session)
        folder = os.path.join(self.scratch, "made")
        os.mkdir(folder)
        path = os.path.join(folder, f"{self.model.name}.{self.format}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                names = _write(network, self.model, self.format, self.dynamic, path)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise JobError(
                f"MindSpore {mindspore.__version__} cannot export {self.model.name} as {self.format}: {reason}",
                "pass another --format, or leave --dynamic_batch away",
            ) from error
        os.chmod(folder, 0o755)
        os.chmod(path, 0o644)
        sidecar = self._sidecar(path, names, mindspore.__version__)
        return path, replace(sidecar, check=self._check(path, sidecar, expected))

    def _sidecar(self, path: str, names: Tuple[str, str], version: str) -> Sidecar:
        batch = None if self.dynamic else 1
        return Sidecar(
            job=self.model.name,
            format=self.format,
            size=os.path.getsize(path),
            sha256=hash_file(path),
            input=Port(names[0], (batch, *self.model.pictures.shape)),
            output=Port(names[1], (batch, len(self.model.classes))),
            pictures=self.model.pictures,
            classes=tuple(self.model.classes),
            checkpoint=self._checkpoint(),
            made={"mindspore": version, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        )

    def _checkpoint(self) -> Dict[str, Any]:
        return {name: getattr(self.source.checkpoint, name) for name in ("file", "sha256", "step", "epoch")}

    def _answers(self, session: Session) -> np.ndarray[Any, Any]:
        """The logits of the test pictures."""
        import numpy as np

        at_once = portion(self.model.pictures)
        parts = [self.images[start : start + at_once] for start in range(0, len(self.images), at_once)]
        return np.concatenate([session.run(self.model.pictures.prepare(part)) for part in parts])

    def _check(self, path: str, sidecar: Sidecar, expected: np.ndarray[Any, Any]) -> Any:
        """How far the file's answers are from the network's; JobError if too far. None: nothing here can run it."""
        if self.format == "air":
            return None
        import numpy as np

        with _session(path, sidecar) as session:
            found = self._answers(session)
            runtime = session.runtime
        difference = float(np.abs(found.astype(np.float64) - expected).max())
        if not difference <= TOLERANCE:
            raise JobError(
                f"the exported model differs from MindSpore by {difference:.3g} on {len(expected)} test pictures, "
                f"more than {TOLERANCE}",
                "nothing was written; export with another format or another version of MindSpore",
            )
        same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
        return {"images": len(expected), "max_abs_difference": difference, "same_predictions": same, "runtime": runtime}


def publish(path: str, sidecar: Sidecar, url: str, name: str) -> None:
    """The file, then the sidecar that makes it a model; what fails in between leaves a file that nobody takes."""
    storage, prefix = locate(url)
    key = f"{prefix.rstrip('/')}/{name}".lstrip("/")
    storage.upload(path, key, sidecar.sha256)
    storage.write(key + SUFFIX, sidecar.encode())


def summary(sidecar: Sidecar, place: str) -> Dict[str, Any]:
    """What a user is told."""
    content: Dict[str, Any] = json.loads(sidecar.encode())
    return {"file": place, **{key: content[key] for key in content if key != "version"}}


def _write(network: Any, model: Model, format: str, dynamic: bool, path: str) -> Tuple[str, str]:  # noqa: A002
    """Export with MindSpore; the names of input and output in the file."""
    import mindspore as ms
    import numpy as np

    entry = (
        ms.Tensor(shape=[None, *model.pictures.shape], dtype=ms.float32)
        if dynamic
        else ms.Tensor(np.zeros((AIR_BATCH, *model.pictures.shape), np.float32))
    )
    if format != "onnx":
        ms.export(network, entry, file_name=path, file_format=format.upper())
        return "images", "logits"
    # A process may export to ONNX once only: a second time MindSpore 2.10 fails with "i: 3 out of range".
    if hasattr(ms, "onnx"):
        names = ("images", "logits")
        ms.onnx.export(network, entry, file_name=path, input_names=[names[0]], output_names=[names[1]])
        return names
    if dynamic:
        raise ValueError("a batch of any size needs MindSpore 2.7 or later")
    ms.export(network, entry, file_name=path, file_format="ONNX")
    return _names_in(path)


def _names_in(path: str) -> Tuple[str, str]:
    """The names that an older MindSpore has chosen."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.get_inputs()[0].name, session.get_outputs()[0].name


def _session(path: str, sidecar: Sidecar) -> Session:
    if sidecar.format == "onnx":
        from .application.onnx import OnnxSession

        return OnnxSession(path, sidecar)
    return FrameworkSession(load_graph(path), sidecar)
