"""The parts of a run, one at a time, in this process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from entrypoints import checkpoints, contract, devices
from entrypoints.metrics import Metrics
from entrypoints.output import Output
from jobs import JobError
from jobs.lenet5 import JOB
from storage import StorageError

HOUSE = Path(__file__).resolve().parents[2]


def test_help_names_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        contract.parse(JOB, ["--help"], {})
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name in (
        "data_url",
        "train_url",
        "resume",
        "device_target",
        "keep_last",
        "epochs",
        "batch_size",
        "lr",
        "momentum",
    ):
        assert f"--{name}" in out


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (["--resume"], "yes"),
        (["--resume=True"], "yes"),
        (["--resume="], "auto"),
        (["--resume=no"], "no"),
        ([], "auto"),
    ],
)
def test_resume_is_a_flag_and_also_a_value_since_platforms_pass_values(text: list[str], means: str) -> None:
    assert contract.parse(JOB, ["--data_url=x", *text], {}).resume == means


def test_the_place_of_a_process_among_the_others() -> None:
    of = contract.Container.of
    assert of({}) == contract.Container(0, 1, 0, "")
    assert of({"VC_TASK_INDEX": "1", "VC_WORKER_NUM": "2"}) == contract.Container(1, 2, 0, "")
    assert of({"RANK_ID": "9", "RANK_SIZE": "16", "VC_TASK_INDEX": "1", "ASCEND_DEVICE_ID": "1"}).rank == 9
    assert of({"RANK_ID": "", "VC_TASK_INDEX": "oops"}) == contract.Container(0, 1, 0, "")


def test_an_error_of_mindspores_is_told_by_the_first_line_that_says_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = "-" * 52
    error = RuntimeError(
        f"\n{rule}\n- Kernel error:\n{rule}\nRing ReduceScatter wait receiving failed\n\n{rule}\n- C++\n"
    )
    assert contract.explain(error, "rank 1: ") == 1
    assert capsys.readouterr().err == (
        "error: rank 1: RuntimeError: Ring ReduceScatter wait receiving failed\n"
        "hint: LAUNCHER_DEBUG=1 shows where this came from\n"
    )
    assert contract.explain(RuntimeError()) == 1
    assert capsys.readouterr().err.startswith("error: RuntimeError:\n")


def test_lines_of_metrics_that_are_damaged_are_left_out() -> None:
    kept = Metrics()
    kept.take_over(b'{"step": 1}\n\xff\n{"step": "2"}\n{"step": 3}\n{"step": 4}\n{"st', 3)
    assert kept.encode() == b'{"step": 1}\n{"step": 3}\n'


def test_scratch_is_where_the_platform_has_it(tmp_path: Path) -> None:
    assert Path(contract.scratch_folder("job", {"LAUNCHER_CACHE": str(tmp_path)})).parent == tmp_path
    elsewhere = Path(contract.scratch_folder("job", {"LAUNCHER_CACHE": str(tmp_path / "missing")}))
    assert elsewhere.is_dir()
    elsewhere.rmdir()


def test_scratch_of_a_worker_that_was_killed_goes_when_it_is_started_again(tmp_path: Path) -> None:
    def scratch(run: str, rank: str = "0") -> Path:
        environ = {"LAUNCHER_CACHE": str(tmp_path), "MA_VJ_NAME": run, "RANK_ID": rank}
        return Path(contract.scratch_folder("job", environ))

    first, other, second_card = scratch("ma-job-1"), scratch("ma-job-10"), scratch("ma-job-1", "1")
    nameless = [Path(contract.scratch_folder("job", {"LAUNCHER_CACHE": str(tmp_path)})) for _ in range(2)]
    (first / "data").mkdir()
    again = scratch("ma-job-1")
    assert sorted(tmp_path.iterdir()) == sorted([again, other, second_card, *nameless])


def test_scratch_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    code = (
        "import os, sys; from entrypoints.contract import scratch_folder as scratch; print(scratch('job', os.environ))"
    )
    code += "; sys.stdout.flush(); sys.stdin.read()"
    environ = {**os.environ, "LAUNCHER_CACHE": str(tmp_path), "MA_VJ_NAME": ""}
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", code]
    children = [subprocess.Popen(words, cwd=HOUSE, env=environ, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    killed, living = (Path(child.stdout.readline().strip()) for child in children if child.stdout)
    children[0].kill()
    children[0].communicate()
    (killed / "data").mkdir()
    just_made = tmp_path / killed.name.replace(killed.name[-8:], "just_now")
    somebodys = tmp_path / "modelarts_launcher_notes"
    for folder in (just_made, somebodys):
        folder.mkdir()
    for folder in (killed, living, somebodys):
        os.utime(folder, (1, 1))
    again = Path(contract.scratch_folder("job", environ))
    assert sorted(tmp_path.iterdir()) == sorted([again, living, just_made, somebodys])
    children[1].communicate("")


@pytest.mark.parametrize(
    ("mindspore", "numpy", "works"),
    [("2.8.0", "1.26.4", True), ("2.10.0", "1.26.4", True), ("2.10.0", "2.2.6", False), ("2.9.1", "2.0.0", False)],
)
def test_numpy_2_is_refused_where_mindspore_is_built_for_numpy_1(
    monkeypatch: pytest.MonkeyPatch, mindspore: str, numpy: str, works: bool
) -> None:
    monkeypatch.setattr(devices, "_mindspore_version", lambda: mindspore)
    monkeypatch.setattr(np, "__version__", numpy)
    if works:
        assert devices.check_versions() == mindspore
    else:
        with pytest.raises(JobError) as caught:
            devices.check_versions()
        assert numpy in caught.value.message
        assert 'pip install "numpy<2"' in caught.value.hint


def test_a_missing_mindspore_is_told_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(JobError, match="not installed") as caught:
        devices.check_versions()
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "before", "after", "noted"),
    [
        ("CPU", None, "AVX2", False),
        ("auto", None, "AVX2", False),
        ("CPU", "SSE41", "SSE41", False),
        ("CPU", "AVX512_CORE", "AVX512_CORE", True),
        ("Ascend", None, None, False),
    ],
)
def test_the_fast_kernels_are_chosen_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, target: str, before: str | None, after: str | None, noted: bool
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if before:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", before)
    notes: list[str] = []
    devices.set_environment(target, "2.10.0", notes.append)
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == after
    assert bool(notes) is noted
    if before is None:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)


def test_auto_takes_the_best_device_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def set_device(device: str, number: int = 0) -> None:
        tried.append((device, number))
        if device == "Ascend":
            raise RuntimeError("Unsupported device target Ascend.\nmore")

    fake = SimpleNamespace(GRAPH_MODE=0, set_context=lambda mode: None, set_device=set_device)
    monkeypatch.setitem(devices.sys.modules, "mindspore", fake)
    monkeypatch.setattr(devices, "check_versions", lambda: "2.8.0")
    monkeypatch.setattr(devices, "present", lambda: ["Ascend", "GPU", "CPU"])
    notes: list[str] = []
    assert devices.start("auto", 3, notes.append) == "GPU"
    assert tried == [("Ascend", 3), ("GPU", 3)]
    assert notes == ["Ascend is there, but MindSpore 2.8.0 cannot use it: Unsupported device target Ascend."]
    with pytest.raises(JobError, match="Ascend"):
        devices.start("Ascend", 0, notes.append)


@pytest.mark.parametrize("target", ["auto", "Ascend"])
def test_a_busy_device_is_told_and_never_replaced_by_a_cpu(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    def set_device(device: str, number: int = 0) -> None:
        if device == "Ascend":
            raise RuntimeError("Device is occupied, device id: 0\nmore")

    fake = SimpleNamespace(GRAPH_MODE=0, set_context=lambda mode: None, set_device=set_device)
    monkeypatch.setitem(devices.sys.modules, "mindspore", fake)
    monkeypatch.setattr(devices, "check_versions", lambda: "2.8.0")
    monkeypatch.setattr(devices, "present", lambda: ["Ascend", "CPU"])
    with pytest.raises(JobError, match="the device is occupied: another process trains on it") as caught:
        devices.start(target, 0, print)
    assert "npu-smi info" in caught.value.hint


def test_an_older_mindspore_has_no_set_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    fake = SimpleNamespace(GRAPH_MODE=0, set_context=lambda **context: seen.append(context))
    monkeypatch.setitem(devices.sys.modules, "mindspore", fake)
    monkeypatch.setattr(devices, "check_versions", lambda: "2.0.0")
    assert devices.start("Ascend", 2, print) == "Ascend"
    assert seen == [{"device_target": "Ascend", "device_id": 2}, {"mode": 0}]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    yield Output(str(tmp_path / "out"))


def test_the_output_does_things_in_order_and_in_the_background(output: Output, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    output.later(lambda at: at.upload(str(source), "a/file", hashlib.sha256(b"content").hexdigest()))
    output.write("a/other", b"1")
    output.write("a/other", b"2")
    output.remove(["a/file"])
    assert output.flush()
    assert output.read("a/file") is None
    assert output.read("a/other") == b"2"
    assert output.names("a") == ["a/other"]
    assert not source.exists(), "scratch is given back"


def test_nothing_follows_a_failure_and_the_failure_is_told(output: Output, tmp_path: Path) -> None:
    output.later(lambda at: at.upload(str(tmp_path / "missing"), "checkpoints/x.ckpt", "0" * 64))
    with pytest.raises(StorageError, match="missing"):
        output.write("checkpoints/manifest.json", b"{}")  # may come before the failure, but is not done
        output.flush()
    assert not (tmp_path / "out").exists()
    with pytest.raises(StorageError):
        output.write("x", b"")


def test_a_flush_gives_up_in_time(output: Output) -> None:
    gate = threading.Event()
    output.later(lambda at: gate.wait())
    begun = time.monotonic()
    assert not output.flush(0.2)
    assert time.monotonic() - begun < 5
    gate.set()
    assert output.flush()


def test_names_that_mindspore_would_bend_until_they_fit_are_refused(tmp_path: Path) -> None:
    """With `w` missing and `moments.w` there, load_param_into_net would put the moments into the weights."""
    import mindspore

    path = str(tmp_path / "x.ckpt")
    mindspore.save_checkpoint([{"name": "moments.w", "data": mindspore.Tensor(np.ones(3, np.float32))}], path)
    entry = checkpoints.Checkpoint("x.ckpt", 1, "0" * 64, 1, 1, "", {})
    found = checkpoints.Found(entry, path, checkpoints.Manifest("lenet5", {}))
    with pytest.raises(JobError, match="it has no w"):
        checkpoints.load(found, {"w": np.ones(3, np.float32), "moments.w": np.ones(3, np.float32)})


def test_a_checkpoint_of_another_network_is_refused_with_the_difference() -> None:
    entry = checkpoints.Checkpoint("resnet50-1_5.ckpt", 1, "0" * 64, 5, 1, "", {})
    schedule = {"steps_per_epoch": 5, "network": "small", "image_size": 32}
    found = checkpoints.Found(entry, "x", checkpoints.Manifest("resnet50", schedule))
    checkpoints.check_schedule(found, "resnet50", schedule)
    with pytest.raises(JobError, match="trained with network=small, and this run has network=resnet50") as caught:
        checkpoints.check_schedule(found, "resnet50", {**schedule, "network": "resnet50"})
    assert caught.value.hint == "pass --network=small, or leave --resume away"


def test_a_state_survives_the_file_to_the_bit(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    state = {"a": random.rand(3, 4).astype(np.float32), "b": np.array([7], np.int32), "c": np.float32([np.nan, -0.0])}
    path = str(tmp_path / "x.ckpt")
    checkpoints.save(state, path)
    assert os.stat(path).st_mode & 0o777 == 0o644
    entry = checkpoints.Checkpoint("x.ckpt", 1, "0" * 64, 1, 1, "", {})
    loaded = checkpoints.load(checkpoints.Found(entry, path, checkpoints.Manifest("lenet5", {})), state)
    assert {name: array.tobytes() for name, array in loaded.items()} == {n: a.tobytes() for n, a in state.items()}


def test_a_checkpoint_that_cannot_be_saved_is_told_in_two_lines(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(JobError, match="cannot save") as caught:
        checkpoints.save({"a": np.ones(3, np.float32)}, str(tmp_path / "file" / "x.ckpt"))
    assert caught.value.hint
