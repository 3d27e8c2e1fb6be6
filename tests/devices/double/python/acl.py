"""A double of CANN's Python module `acl`: no device, but strict.

It takes the documented calls in their documented order and types only, gives device memory that no host function can
touch, and at `finalize` there must be nothing left that was made: AssertionError says what. A model is a file of the
stub ATC; `execute` runs the ONNX model in it. ACL_DOUBLE_JOURNAL names a file that gets a line a call.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import os
import types
from typing import Any

import numpy as np

MAGIC = b"OM of the stub atc\n"
FAILING = os.environ.get("ACL_DOUBLE_FAILS", "")
"""A call that fails with 507899, as a broken device does."""
RUN_MODE = int(os.environ.get("ACL_DOUBLE_RUN_MODE", "1"))

_numbers = itertools.count(0x1000, 0x1000)
_alive: dict[int, tuple[str, Any]] = {}
_state: dict[str, Any] = {"initialised": False, "device": None, "context": None}
calls: list[str] = []


def _call(name: str, *values: Any, kinds: tuple[type, ...] = (), device: bool = True) -> bool:
    """Note a call, check its types and that a device is set; whether it is to fail."""
    calls.append(name)
    journal = os.environ.get("ACL_DOUBLE_JOURNAL")
    if journal:
        with open(journal, "a") as file:
            file.write(name + "\n")
    assert _state["initialised"] or name == "init", f"{name} before init"
    assert not device or _state["context"] is not None, f"{name} without a context"
    for value, kind in zip(values, kinds, strict=True):
        if type(value) is not kind:
            raise TypeError(f"acl.{name} takes {kind.__name__}, not {type(value).__name__}")
    return name == FAILING


def _make(kind: str, value: Any) -> int:
    number = next(_numbers)
    _alive[number] = (kind, value)
    return number


def _get(number: Any, kind: str) -> Any:
    assert type(number) is int and number in _alive, f"{number} is nothing that is alive"
    found, value = _alive[number]
    assert found == kind, f"{number} is a {found}, not a {kind}"
    return value


def _free(number: int, kind: str) -> None:
    _get(number, kind)
    for other, (what, value) in _alive.items():
        if kind == "device memory" and what == "data buffer":
            assert value["pointer"] != number, f"memory is freed before its data buffer {other}"
        if kind == "data buffer" and what == "data set":
            value["buffers"] = [buffer for buffer in value["buffers"] if buffer != number]
    del _alive[number]


def init(config: str = "") -> int:
    if _call("init", config, kinds=(str,), device=False):
        return 507899
    assert not _state["initialised"], "init twice"
    _state["initialised"] = True
    return 0


def finalize() -> int:
    _call("finalize", device=False)
    left = [f"{kind} {number:#x}" for number, (kind, _) in _alive.items()]
    assert not left, f"never freed: {', '.join(left)}"
    assert _state["device"] is None, "the device was not reset"
    _state["initialised"] = False
    return 0


def get_soc_name() -> str:
    return "Ascend310 (double)"


def get_recent_err_msg() -> str:
    return "EZ9999: the double was told to fail"


def create_data_buffer(pointer: int, size: int) -> int:
    _call("create_data_buffer", pointer, size, kinds=(int, int))
    assert len(_get(pointer, "device memory")) >= size, "a data buffer larger than its memory"
    return _make("data buffer", {"pointer": pointer, "size": size})


def destroy_data_buffer(buffer: int) -> int:
    _call("destroy_data_buffer", buffer, kinds=(int,))
    _free(buffer, "data buffer")
    return 0


# acl.rt


def _set_device(number: int) -> int:
    if _call("rt.set_device", number, kinds=(int,), device=False):
        return 507899
    assert _state["device"] is None, "set_device twice"
    _state["device"] = number
    return 0


def _reset_device(number: int) -> int:
    _call("rt.reset_device", number, kinds=(int,), device=False)
    assert _state["device"] == number, "another device is reset"
    assert _state["context"] is None, "the device is reset before its context is destroyed"
    _state["device"] = None
    return 0


def _create_context(number: int) -> tuple[int, int]:
    if _call("rt.create_context", number, kinds=(int,), device=False):
        return 0, 507899
    assert _state["device"] == number, "a context on a device that is not set"
    _state["context"] = _make("context", number)
    return _state["context"], 0


def _destroy_context(context: int) -> int:
    _call("rt.destroy_context", context, kinds=(int,))
    _free(context, "context")
    _state["context"] = None
    return 0


def _get_run_mode() -> tuple[int, int]:
    _call("rt.get_run_mode")
    return RUN_MODE, 0


def _malloc(size: int, policy: int) -> tuple[int, int]:
    if _call("rt.malloc", size, policy, kinds=(int, int)):
        return 0, 507899
    assert size > 0 and policy in (0, 1, 2)
    return _make("device memory", bytearray(size)), 0


def _free_device(pointer: int) -> int:
    _call("rt.free", pointer, kinds=(int,))
    _free(pointer, "device memory")
    return 0


_host: dict[int, Any] = {}


def _malloc_host(size: int) -> tuple[int, int]:
    _call("rt.malloc_host", size, kinds=(int,))
    memory = ctypes.create_string_buffer(size)
    address = ctypes.addressof(memory)
    _host[address] = memory
    _alive[address] = ("host memory", memory)
    return address, 0


def _free_host(pointer: int) -> int:
    _call("rt.free_host", pointer, kinds=(int,))
    _free(pointer, "host memory")
    del _host[pointer]
    return 0


def _memcpy(target: int, room: int, source: int, size: int, kind: int) -> int:
    if _call("rt.memcpy", target, room, source, size, kind, kinds=(int,) * 5):
        return 507899
    assert 0 < size <= room, "more bytes than there is room for"
    on_device = lambda pointer: _alive.get(pointer, ("", None))[0] == "device memory"  # noqa: E731
    if RUN_MODE == 0:
        assert kind == 3, "on the device itself, everything is DEVICE_TO_DEVICE"
    else:
        assert kind == {(True, False): 1, (False, True): 2}[on_device(target), on_device(source)], f"not of kind {kind}"
    data = bytes(_get(source, "device memory")[:size]) if on_device(source) else ctypes.string_at(source, size)
    if on_device(target):
        memory = _get(target, "device memory")
        assert len(memory) >= room, "more room than was allocated"
        memory[:size] = data
    else:
        assert len(_host[target]) >= room, "more room than was allocated"
        ctypes.memmove(target, data, size)
    return 0


rt = types.SimpleNamespace(
    set_device=_set_device, reset_device=_reset_device, create_context=_create_context,
    destroy_context=_destroy_context, get_run_mode=_get_run_mode, malloc=_malloc, free=_free_device,
    malloc_host=_malloc_host, free_host=_free_host, memcpy=_memcpy,
)  # fmt: skip


# acl.mdl


def _load_from_file(path: str) -> tuple[int, int]:
    if _call("mdl.load_from_file", path, kinds=(str,)):
        return 0, 507899
    import onnxruntime

    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(MAGIC):
        return 0, 545002  # a code, no exception
    stream = io.BytesIO(content[len(MAGIC) :])
    about = json.loads(stream.readline())
    about["session"] = onnxruntime.InferenceSession(stream.read(), providers=["CPUExecutionProvider"])
    return _make("model", about), 0


def _unload(model: int) -> int:
    _call("mdl.unload", model, kinds=(int,))
    _free(model, "model")
    return 0


def _create_desc() -> int:
    _call("mdl.create_desc")
    return _make("description", {})


def _get_desc(description: int, model: int) -> int:
    _call("mdl.get_desc", description, model, kinds=(int, int))
    _get(description, "description")["model"] = _get(model, "model")
    return 0


def _destroy_desc(description: int) -> int:
    _call("mdl.destroy_desc", description, kinds=(int,))
    _free(description, "description")
    return 0


def _about(description: int) -> Any:
    found = _get(description, "description")
    assert "model" in found, "get_desc was not called"
    return found["model"]


def _shape(about: Any, output: bool = False) -> list[int]:
    session = about["session"]
    shape = (session.get_outputs() if output else session.get_inputs())[0].shape
    return [side if isinstance(side, int) else -1 for side in shape]


def _most(about: Any) -> int:
    return max(about["batch_sizes"], default=1)


def _get_num_inputs(description: int) -> int:
    _call("mdl.get_num_inputs", description, kinds=(int,))
    return 2 if _about(description)["batch_sizes"] else 1


def _get_num_outputs(description: int) -> int:
    _call("mdl.get_num_outputs", description, kinds=(int,))
    _about(description)
    return 1


def _get_input_size_by_index(description: int, index: int) -> int:
    _call("mdl.get_input_size_by_index", description, index, kinds=(int, int))
    about = _about(description)
    return 4 if index else 4 * _most(about) * int(np.prod(_shape(about)[1:]))


def _get_output_size_by_index(description: int, index: int) -> int:
    _call("mdl.get_output_size_by_index", description, index, kinds=(int, int))
    about = _about(description)
    return 4 * _most(about) * int(np.prod(_shape(about, output=True)[1:]))


def _get_input_dims(description: int, index: int) -> tuple[dict[str, Any], int]:
    _call("mdl.get_input_dims", description, index, kinds=(int, int))
    dims = _shape(_about(description))
    return {"name": "images", "dimCount": len(dims), "dims": dims}, 0


def _get_output_data_type(description: int, index: int) -> int:
    _call("mdl.get_output_data_type", description, index, kinds=(int, int))
    _about(description)
    return 0


def _get_input_index_by_name(description: int, name: str) -> tuple[int, int]:
    _call("mdl.get_input_index_by_name", description, name, kinds=(int, str))
    assert name == "ascend_mbatch_shape_data"
    return (1, 0) if _about(description)["batch_sizes"] else (0, 100000)


def _create_dataset() -> int:
    _call("mdl.create_dataset")
    return _make("data set", {"buffers": [], "batch": None})


def _add_dataset_buffer(dataset: int, buffer: int) -> tuple[int, int]:
    _call("mdl.add_dataset_buffer", dataset, buffer, kinds=(int, int))
    _get(buffer, "data buffer")
    _get(dataset, "data set")["buffers"].append(buffer)
    return dataset, 0


def _destroy_dataset(dataset: int) -> int:
    _call("mdl.destroy_dataset", dataset, kinds=(int,))
    _free(dataset, "data set")
    return 0


def _set_dynamic_batch_size(model: int, dataset: int, index: int, batch: int) -> int:
    _call("mdl.set_dynamic_batch_size", model, dataset, index, batch, kinds=(int,) * 4)
    assert index == 1 and batch in _get(model, "model")["batch_sizes"], f"the model has no batch of {batch}"
    _get(dataset, "data set")["batch"] = batch
    return 0


def _execute(model: int, inputs: int, outputs: int) -> int:
    if _call("mdl.execute", model, inputs, outputs, kinds=(int,) * 3):
        return 507899
    about, entry, result = _get(model, "model"), _get(inputs, "data set"), _get(outputs, "data set")
    batch = entry["batch"] if about["batch_sizes"] else 1
    assert batch, "set_dynamic_batch_size was not called"
    assert len(entry["buffers"]) == (2 if about["batch_sizes"] else 1) and len(result["buffers"]) == 1
    buffers = [_get(found["buffers"][0], "data buffer") for found in (entry, result)]
    source, target = (_get(buffer["pointer"], "device memory") for buffer in buffers)
    shape = (batch, *_shape(about)[1:])
    images = np.frombuffer(bytes(source[: 4 * int(np.prod(shape))]), np.float32).reshape(shape)
    session = about["session"]
    logits = session.run(None, {session.get_inputs()[0].name: images})[0].astype(np.float32).tobytes()
    target[: len(logits)] = logits
    return 0


mdl = types.SimpleNamespace(
    load_from_file=_load_from_file, unload=_unload, create_desc=_create_desc, get_desc=_get_desc,
    destroy_desc=_destroy_desc, get_num_inputs=_get_num_inputs, get_num_outputs=_get_num_outputs,
    get_input_size_by_index=_get_input_size_by_index, get_output_size_by_index=_get_output_size_by_index,
    get_input_dims=_get_input_dims, get_output_data_type=_get_output_data_type,
    get_input_index_by_name=_get_input_index_by_name, create_dataset=_create_dataset,
    add_dataset_buffer=_add_dataset_buffer, destroy_dataset=_destroy_dataset,
    set_dynamic_batch_size=_set_dynamic_batch_size, execute=_execute,
)  # fmt: skip


# acl.util


def _bytes_to_ptr(data: bytes) -> int:
    _call("util.bytes_to_ptr", data, kinds=(bytes,))
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _ptr_to_bytes(pointer: int, size: int) -> bytes:
    _call("util.ptr_to_bytes", pointer, size, kinds=(int, int))
    assert pointer in _host, "device memory cannot be read by the host"
    return ctypes.string_at(pointer, size)


def _numpy_to_ptr(array: np.ndarray) -> int:
    _call("util.numpy_to_ptr")
    assert isinstance(array, np.ndarray) and array.flags["C_CONTIGUOUS"]
    return int(array.ctypes.data)


def _ptr_to_numpy(pointer: int, shape: tuple[int, ...], kind: int) -> np.ndarray:
    _call("util.ptr_to_numpy", pointer, shape, kind, kinds=(int, tuple, int))
    assert kind == 1, "NPY_BYTE"
    return np.frombuffer(ctypes.string_at(pointer, int(np.prod(shape))), np.int8)


util = types.SimpleNamespace(numpy_to_ptr=_numpy_to_ptr, ptr_to_numpy=_ptr_to_numpy)
if not os.environ.get("ACL_DOUBLE_OLD"):
    util.bytes_to_ptr, util.ptr_to_bytes = _bytes_to_ptr, _ptr_to_bytes
