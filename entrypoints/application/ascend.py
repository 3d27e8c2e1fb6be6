"""Models compiled by ATC (.om), by AscendCL through its Python module `acl`, on an Ascend device.

Written against the documented pyACL API. It has never run on a device: the tests run it on a double that enforces the
order and types of the calls and the freeing of all memory (`docs/devices.md`).

    init -> set_device -> create_context -> load_from_file -> create_desc, get_desc
         -> for each input and output: malloc, create_data_buffer, add_dataset_buffer; malloc_host for what is read back
         -> for each batch: memcpy in, execute, memcpy out
    and back: what was made last is freed first, whatever happened in between

`execute` is synchronous, so there is no stream. A function that can fail returns its code, or (value, code); a few
return a value alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, NamedTuple, Tuple

from jobs import JobError

from .sessions import Session, check_port
from .sidecar import Sidecar
from .telling import note

if TYPE_CHECKING:
    import numpy as np

SUCCESS = 0
ALREADY_INITIALISED = 100002
"""acl.init of a process that has called it before."""
HUGE_FIRST = 0
"""aclrtMemMallocPolicy: ACL_MEM_MALLOC_HUGE_FIRST."""
ON_DEVICE = 0
"""aclrtRunMode: ACL_DEVICE, the program itself runs on the device (Atlas 200 DK); 1 is ACL_HOST."""
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
"""aclrtMemcpyKind."""
DTYPES = {0: "float32", 1: "float16"}
"""aclDataType of what a classifier gives."""
NPY_BYTE = 1
BATCH_INPUT = "ascend_mbatch_shape_data"
"""The input that ATC adds to a model with --dynamic_batch_size."""


class Memory(NamedTuple):
    """Memory of the device that is an input or an output."""

    pointer: int
    size: int


class AscendSession(Session):
    """One model on one device."""

    def __init__(self, path: str, sidecar: Sidecar, device_id: int) -> None:
        import acl

        super().__init__(sidecar)
        self._acl: Any = acl
        self._releases: List[Tuple[str, Callable[[], Any]]] = []
        try:
            self._open_device(device_id)
            self._open_model(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._releases:
            name, release = self._releases.pop()
            code = release()
            if code:  # the others are freed all the same
                note(f"warning: {name} failed with {code}")

    def _open_device(self, device_id: int) -> None:
        acl = self._acl
        code = acl.init()
        if code != ALREADY_INITIALISED:
            self._check("acl.init", code)
            self._later("acl.finalize", acl.finalize)
        self._check(f"acl.rt.set_device({device_id})", acl.rt.set_device(device_id))
        self._later("acl.rt.reset_device", acl.rt.reset_device, device_id)
        context = self._value("acl.rt.create_context", acl.rt.create_context(device_id))
        self._later("acl.rt.destroy_context", acl.rt.destroy_context, context)
        self._on_device = self._value("acl.rt.get_run_mode", acl.rt.get_run_mode()) == ON_DEVICE
        name = acl.get_soc_name() if hasattr(acl, "get_soc_name") else "Ascend"
        self.runtime = f"AscendCL on {name}"

    def _open_model(self, path: str) -> None:
        mdl = self._acl.mdl
        self._model = self._value(f"acl.mdl.load_from_file({path})", mdl.load_from_file(path))
        self._later("acl.mdl.unload", mdl.unload, self._model)
        description = mdl.create_desc()
        self._later("acl.mdl.destroy_desc", mdl.destroy_desc, description)
        self._check("acl.mdl.get_desc", mdl.get_desc(description, self._model))

        dims = self._value("acl.mdl.get_input_dims", mdl.get_input_dims(description, 0))["dims"]
        check_port(path, self.sidecar, [None if side < 0 else side for side in dims], None)
        kind = mdl.get_output_data_type(description, 0)
        if kind not in DTYPES:
            raise JobError(f"{path} gives values of AscendCL's type {kind}", "convert it with --output_type=FP32")
        self._dtype = DTYPES[kind]

        sizes = [mdl.get_input_size_by_index(description, index) for index in range(mdl.get_num_inputs(description))]
        self._batch_index = -1
        if self.sidecar.batch_sizes:
            found = mdl.get_input_index_by_name(description, BATCH_INPUT)
            self._batch_index = self._value("acl.mdl.get_input_index_by_name", found)
        self._inputs, self._input = self._dataset(sizes)
        sizes = [mdl.get_output_size_by_index(description, index) for index in range(mdl.get_num_outputs(description))]
        self._outputs, self._output = self._dataset(sizes)
        host = self._value("acl.rt.malloc_host", self._acl.rt.malloc_host(self._output[0].size))
        self._later("acl.rt.free_host", self._acl.rt.free_host, host)
        self._result = Memory(host, self._output[0].size)

    def _dataset(self, sizes: List[int]) -> Tuple[int, List[Memory]]:
        """Memory of these sizes on the device, as a data set of the model's inputs or outputs."""
        acl = self._acl
        dataset = acl.mdl.create_dataset()
        self._later("acl.mdl.destroy_dataset", acl.mdl.destroy_dataset, dataset)
        memories = []
        for size in sizes:
            pointer = self._value("acl.rt.malloc", acl.rt.malloc(size, HUGE_FIRST))
            self._later("acl.rt.free", acl.rt.free, pointer)
            buffer = acl.create_data_buffer(pointer, size)
            self._later("acl.destroy_data_buffer", acl.destroy_data_buffer, buffer)
            self._value("acl.mdl.add_dataset_buffer", acl.mdl.add_dataset_buffer(dataset, buffer))
            memories.append(Memory(pointer, size))
        return dataset, memories

    def _run(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        acl, (memory, *_) = self._acl, self._input
        if images.nbytes > memory.size:
            raise JobError(
                f"the model's input has {memory.size} bytes, and a batch of {len(images)} pictures has {images.nbytes}",
                "convert the model again, for pictures of float32",
            )
        if self._batch_index >= 0:
            chosen = acl.mdl.set_dynamic_batch_size(self._model, self._inputs, self._batch_index, len(images))
            self._check(f"acl.mdl.set_dynamic_batch_size({len(images)})", chosen)
        pointer, kept = self._pointer(images)
        kind = DEVICE_TO_DEVICE if self._on_device else HOST_TO_DEVICE
        self._check("acl.rt.memcpy", acl.rt.memcpy(memory.pointer, memory.size, pointer, images.nbytes, kind))
        del kept
        self._check("acl.mdl.execute", acl.mdl.execute(self._model, self._inputs, self._outputs))

        dtype = np.dtype(self._dtype)
        size = len(images) * len(self.sidecar.classes) * dtype.itemsize
        if size > self._result.size:
            raise JobError(
                f"the model's output has {self._result.size} bytes, and {len(images)} times "
                f"{len(self.sidecar.classes)} classes need {size}",
                "make the model again: python -m launcher export RUN",
            )
        kind = DEVICE_TO_DEVICE if self._on_device else DEVICE_TO_HOST
        copied = acl.rt.memcpy(self._result.pointer, self._result.size, self._output[0].pointer, size, kind)
        self._check("acl.rt.memcpy", copied)
        logits = np.frombuffer(self._bytes(self._result.pointer, size), dtype)
        return logits.reshape(len(images), -1).astype(np.float32)

    def _pointer(self, array: np.ndarray[Any, Any]) -> Tuple[int, Any]:
        """Where an array lies, and what must be kept meanwhile. CANN 5.1 and later take bytes, older ones arrays."""
        if hasattr(self._acl.util, "bytes_to_ptr"):
            data = array.tobytes()
            return self._acl.util.bytes_to_ptr(data), data
        return self._acl.util.numpy_to_ptr(array), array

    def _bytes(self, pointer: int, size: int) -> bytes:
        if hasattr(self._acl.util, "ptr_to_bytes"):
            data: bytes = self._acl.util.ptr_to_bytes(pointer, size)
            return data
        copy: bytes = self._acl.util.ptr_to_numpy(pointer, (size,), NPY_BYTE).tobytes()
        return copy

    def _later(self, name: str, release: Callable[..., Any], *arguments: Any) -> None:
        self._releases.append((name, lambda: release(*arguments)))

    def _value(self, what: str, answer: Tuple[Any, int]) -> Any:
        value, code = answer
        self._check(what, code)
        return value

    def _check(self, what: str, code: int) -> None:
        if code == SUCCESS:
            return
        words = self._acl.get_recent_err_msg() if hasattr(self._acl, "get_recent_err_msg") else ""
        first = next((line.strip() for line in str(words or "").splitlines() if line.strip()), "")
        raise JobError(
            f"AscendCL: {what} failed with {code}{': ' + first if first else ''}",
            "look at the device (npu-smi info), at its log (~/ascend/log), and at the soc the model was made for",
        )


def open_model(path: str, sidecar: Sidecar, code: str, device_id: int) -> Session:
    """As the table of run times wants it."""
    return AscendSession(path, sidecar, device_id)
