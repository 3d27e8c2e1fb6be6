"""ONNX models, by onnxruntime on the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional

from jobs import JobError

from .sessions import Session, check_port
from .sidecar import Sidecar

if TYPE_CHECKING:
    import numpy as np


class OnnxSession(Session):
    """One model in onnxruntime."""

    def __init__(self, path: str, sidecar: Sidecar, threads: int = 0) -> None:
        import onnxruntime

        super().__init__(sidecar)
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common class
            raise JobError(
                f"{path} is no model that {self.runtime} can load: {error}",
                "make the model again: python -m launcher export RUN --format onnx",
            ) from error
        [entry], [exit_] = self._session.get_inputs(), self._session.get_outputs()
        self._input = entry.name
        if entry.type != "tensor(float)":
            raise JobError(
                f"{path} takes {entry.type}, and its sidecar says {sidecar.input.dtype}",
                "make the model again: python -m launcher export RUN",
            )
        check_port(path, sidecar, sides(entry.shape), sides(exit_.shape)[-1])

    def close(self) -> None:
        self._session = None

    def _run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        logits: np.ndarray[Any, Any] = self._session.run(None, {self._input: images})[0]
        return logits


def open_model(path: str, sidecar: Sidecar, code: str, device_id: int) -> Session:
    """As the table of run times wants it."""
    return OnnxSession(path, sidecar)


def sides(shape: List[Any]) -> List[Optional[int]]:
    """A shape of onnxruntime's, where an open side is a name or None."""
    return [side if isinstance(side, int) else None for side in shape]
