"""The run times, behind one protocol, and the choice among them by what is there.

format          run time       needs
om              AscendCL       an Ascend device with CANN: its Python module `acl`
onnx            onnxruntime    pip install onnxruntime
mindir, ckpt    MindSpore      pip install mindspore
air             none           ATC makes an .om of it
"""

from __future__ import annotations

import abc
import glob
import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any, List, Optional

from jobs import JobError
from jobs.pictures import Pictures

from .sidecar import SUFFIX, Sidecar

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 256
AT_ONCE_NUMBERS = 4 << 20
"""Pictures a call, where the model takes any number; and fewer of them, if their pixels would be more than so many:
what a network holds in between is a hundred times that."""

RUNTIMES = {
    "om": ("acl", "ascend", "acl comes with CANN: run it on a device that has it, python -m launcher deploy RUN HOST"),
    "onnx": ("onnxruntime", "onnx", f'{sys.executable} -m pip install onnxruntime "numpy<2"'),
    "mindir": ("mindspore", "framework", f'{sys.executable} -m pip install "mindspore==2.8.0" "numpy<2"'),
    "ckpt": ("mindspore", "framework", f'{sys.executable} -m pip install "mindspore==2.8.0" "numpy<2"'),
}  # fmt: skip
"""Format -> the module that runs it, ours around it (with a function `open_model`), what mends its absence. The best
for a device first."""


class Session(abc.ABC):
    """A loaded model. A context manager, which frees what the model holds.

    Guaranteed: `run` gives float32 of shape (n, classes) for float32 of shape (n, channels, height, width), for every
    n; JobError for another shape, and for a model file that cannot be loaded.
    """

    runtime: str
    """The run time and its version."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Logits of any number of pictures."""
        import numpy as np

        wanted = self.sidecar.pictures.shape
        if images.shape[1:] != wanted or images.dtype != np.float32:
            got = f"{images.dtype} of {_text(images.shape[1:])}"
            raise JobError(
                f"the model takes float32 pictures of {_text(wanted)}, and got {got}",
                "prepare them with Pictures.prepare",
            )
        logits = np.empty((len(images), len(self.sidecar.classes)), np.float32)
        start = 0
        while start < len(images):
            size = self._size(len(images) - start)
            part = images[start : start + size]
            if len(part) < size:
                part = np.concatenate([part, np.zeros((size - len(part), *wanted), np.float32)])
            filled = min(size, len(images) - start)
            found = self._run(np.ascontiguousarray(part))
            if found.shape != (len(part), logits.shape[1]):
                raise JobError(
                    f"the model answers {_text(found.shape)} for {len(part)} pictures, and its sidecar names "
                    f"{logits.shape[1]} classes",
                    "make the model again: python -m launcher export RUN",
                )
            logits[start : start + filled] = found[:filled]
            start += filled
        return logits

    @abc.abstractmethod
    def close(self) -> None:
        """Free everything; again is fine."""

    @abc.abstractmethod
    def _run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """One call, of a size that `_size` gave."""

    def _size(self, left: int) -> int:
        """How many pictures the next call takes."""
        if self.sidecar.batch is not None:
            return self.sidecar.batch
        fitting = [size for size in sorted(self.sidecar.batch_sizes) if size >= left]
        if self.sidecar.batch_sizes:
            return fitting[0] if fitting else max(self.sidecar.batch_sizes)
        return min(left, portion(self.sidecar.pictures))


def portion(pictures: Pictures) -> int:
    """How many pictures to have in hand at once."""
    channels, height, width = pictures.shape
    return max(1, min(AT_ONCE, AT_ONCE_NUMBERS // (channels * height * width)))


def open_session(path: str, sidecar: Sidecar, code: str = "", device_id: int = 0) -> Session:
    """Load a model with the run time for it. JobError if that is not here, or the file is not what it should be."""
    if sidecar.format not in RUNTIMES:
        raise JobError(
            f"{path} is for ATC, and no run time takes it", f"python -m launcher convert {path} --soc Ascend310"
        )
    module, ours, mend = RUNTIMES[sidecar.format]
    if not is_there(module):
        raise JobError(f"{os.path.basename(path)} needs {module}, which is not here", mend)
    opened: Session = importlib.import_module(f"{__package__}.{ours}").open_model(path, sidecar, code, device_id)
    return opened


def choose(folder: str) -> str:
    """The model of a folder that can be run here, the best first; JobError if there is none."""
    found: List[str] = []
    for suffix, (module, _, _) in RUNTIMES.items():
        models = sorted(path for path in glob.glob(os.path.join(glob.escape(folder), "*." + suffix))
                        if suffix == "ckpt" or os.path.isfile(path + SUFFIX))  # fmt: skip
        found += models
        if models and is_there(module):
            return models[-1]
    if found:
        raise JobError(f"nothing here can run {found[0]}", RUNTIMES[os.path.splitext(found[0])[1][1:]][2])
    raise JobError(f"there is no model in {folder}", "make one: python -m launcher export RUN --format onnx")


def is_there(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def check_port(what: str, sidecar: Sidecar, shape: List[Optional[int]], outputs: Optional[int]) -> None:
    """JobError unless the loaded model takes, and gives, what its sidecar says. `outputs` None: not known."""
    if len(shape) != 4 or tuple(shape[1:]) != sidecar.pictures.shape or (shape[0] or None) != sidecar.batch:
        raise JobError(
            f"{what} takes an input of {_text(shape)}, and its sidecar says {_text(sidecar.input.shape)}",
            "make the model again: python -m launcher export RUN",
        )
    if outputs is not None and outputs != len(sidecar.classes):
        raise JobError(
            f"{what} tells {outputs} classes apart, and its sidecar names {len(sidecar.classes)}",
            "make the model again: python -m launcher export RUN",
        )


def _text(shape: Any) -> str:
    return "x".join("any" if side is None else str(side) for side in shape)
