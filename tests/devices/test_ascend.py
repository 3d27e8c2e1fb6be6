"""AscendCL on a double that enforces the order and types of the calls, and that all is freed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from entrypoints import infer
from entrypoints.application import sidecar
from entrypoints.application.ascend import open_model
from entrypoints.application.onnx import OnnxSession
from jobs import JobError
from jobs.lenet5.model import MODEL

DOUBLE = Path(__file__).resolve().parent / "double" / "python" / "acl.py"


@pytest.fixture(params=["host", "device", "old CANN"])
def acl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The double, as a program on a host, on the device itself, and of a CANN before 5.1 sees it."""
    monkeypatch.setenv("ACL_DOUBLE_RUN_MODE", "0" if request.param == "device" else "1")
    monkeypatch.setenv("ACL_DOUBLE_OLD", "1" if request.param == "old CANN" else "")
    return load(monkeypatch)


def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("acl", DOUBLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "acl", module)
    return module


@pytest.fixture
def compiled(trained: Any) -> Path:
    return compile_(trained.onnx)


def compile_(onnx: Path, batch_sizes: tuple[int, ...] = (), **changes: Any) -> Path:
    """What the stub ATC makes of an ONNX model, with its sidecar."""
    om = onnx.with_suffix(".om")
    about = json.dumps({"soc": "Ascend310", "batch_sizes": batch_sizes}).encode()
    om.write_bytes(b"OM of the stub atc\n" + about + b"\n" + onnx.read_bytes())
    content = json.loads(Path(f"{onnx}.json").read_text())
    digest = sidecar.digest(str(om))
    content |= {
        "format": "om",
        "size": om.stat().st_size,
        "sha256": digest,
        "batch_sizes": list(batch_sizes),
        **changes,
    }
    Path(f"{om}.json").write_text(json.dumps(content))
    return om


def test_the_same_answers_as_onnxruntime_and_all_is_freed(acl: Any, compiled: Path, trained: Any) -> None:
    answers = [infer.run([str(model), "--test-set", str(trained.data)]) for model in (compiled, trained.onnx)]
    assert answers[0]["runtime"] == "AscendCL on Ascend310 (double)"
    assert answers[0]["test_set"]["predictions"] == answers[1]["test_set"]["predictions"]
    assert acl.calls[-1] == "finalize", "the double asserts there that nothing is left"
    assert acl.calls.count("mdl.execute") == 120 and acl.calls.count("rt.malloc") == 2, "memory is made once"


def test_everything_is_freed_in_reverse(acl: Any, compiled: Path) -> None:
    with open_model(str(compiled), sidecar.read(str(compiled)), "", 0):
        pass
    frees = acl.calls[acl.calls.index("rt.free_host") :]
    assert frees == ["rt.free_host", "destroy_data_buffer", "rt.free", "mdl.destroy_dataset", "destroy_data_buffer",
                     "rt.free", "mdl.destroy_dataset", "mdl.destroy_desc", "mdl.unload", "rt.destroy_context",
                     "rt.reset_device", "finalize"]  # fmt: skip


STEPS = ["init", "rt.set_device", "rt.create_context", "mdl.load_from_file", "rt.malloc", "rt.memcpy", "mdl.execute"]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_is_two_lines_and_leaks_nothing(
    compiled: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("ACL_DOUBLE_FAILS", step)
    acl = load(monkeypatch)
    with pytest.raises(JobError) as caught:
        infer.run([str(compiled), "--test-set", str(trained.data)])
    assert f"acl.{step}" in caught.value.message and "507899" in caught.value.message
    assert "EZ9999" in caught.value.message and "npu-smi" in caught.value.hint
    assert not acl._alive and (step == "init" or acl.calls[-1] == "finalize")


def test_a_model_of_several_batches(monkeypatch: pytest.MonkeyPatch, trained: Any, tmp_path: Path) -> None:
    acl = load(monkeypatch)
    dynamic = tmp_path / "dynamic.onnx"
    make_dynamic(trained.onnx, dynamic)
    compiled = compile_(dynamic, (1, 2, 4, 8))
    images = MODEL.pictures.prepare(MODEL.test_set(str(trained.data))[0][:13])
    with open_model(str(compiled), sidecar.read(str(compiled)), "", 0) as session:
        found = session.run(images)
    assert acl.calls.count("mdl.execute") == 2, "8 and then 5 as 8"
    with OnnxSession(str(trained.onnx), sidecar.read(str(trained.onnx))) as plain:
        assert np.allclose(found, plain.run(images), atol=1e-5)


def make_dynamic(fixed: Path, target: Path) -> None:
    """The same ONNX model for a batch of any size: the first `dim_value: 1` of its input and of its output becomes a
    nameless `dim_param`, which is as long in protobuf."""
    content = fixed.read_bytes()
    for port in (b"images", b"logits"):
        at = content.index(b"\x0a\x02\x08\x01", content.rindex(port))
        content = content[:at] + b"\x0a\x02\x12\x00" + content[at + 4 :]
    target.write_bytes(content)
    about = json.loads(Path(f"{fixed}.json").read_text())
    about["input"]["shape"][0] = about["output"]["shape"][0] = None
    Path(f"{target}.json").write_text(json.dumps(about))


def test_a_compiled_model_of_another_shape(acl: Any, trained: Any) -> None:
    content = json.loads(Path(f"{trained.onnx}.json").read_text())
    content["input"]["shape"][2:] = [28, 28]
    content["pictures"]["size"] = [28, 28]
    compiled = compile_(trained.onnx, input=content["input"], pictures=content["pictures"])
    with pytest.raises(JobError, match="takes an input of 1x1x32x32, and its sidecar says 1x1x28x28"):
        infer.run([str(compiled), "--test-set", str(trained.data)])
    assert acl.calls[-1] == "finalize"


def test_what_is_no_compiled_model(acl: Any, trained: Any) -> None:
    compiled = compile_(trained.onnx)
    compiled.write_bytes(b"no model")
    about = json.loads(Path(f"{compiled}.json").read_text())
    about |= {"size": 8, "sha256": sidecar.digest(str(compiled))}
    Path(f"{compiled}.json").write_text(json.dumps(about))
    with pytest.raises(JobError, match="load_from_file"):
        infer.run([str(compiled), "--test-set", str(trained.data)])


def test_without_acl_a_compiled_model_says_where_it_runs(compiled: Path, trained: Any) -> None:
    with pytest.raises(JobError) as caught:
        infer.run([str(compiled), "--test-set", str(trained.data)])
    assert "needs acl, which is not here" in caught.value.message and "deploy" in caught.value.hint
