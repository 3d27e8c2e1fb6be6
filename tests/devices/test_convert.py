"""ATC: the exact command, its codes in words, here and on a host; the .om whole with its sidecar, or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.devices import atc, convert, models
from launcher.devices.errors import ModelError
from launcher.errors import UsageError
from tests.devices.conftest import DOUBLE

SIDECAR = {"format": "onnx", "input": {"name": "images", "shape": [1, 1, 32, 32]}, "sha256": "0" * 64}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The stub ATC on PATH; the log of its calls."""
    monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ATC_LOG", str(tmp_path / "atc.log"))
    return tmp_path / "atc.log"


def words(**changes: Any) -> list[str]:
    command = atc.Command("m.onnx", "out/m", "Ascend310", {**SIDECAR, **changes.pop("sidecar", {})}, **changes)
    return command.words()


def test_the_command_for_onnx() -> None:
    assert " ".join(words()) == (
        "atc --framework=5 --model=m.onnx --output=out/m --soc_version=Ascend310 --input_format=NCHW "
        "--input_shape=images:1,1,32,32 --output_type=FP32 --log=error"
    )


def test_the_command_for_air_has_no_shape_and_for_mindir_it_has() -> None:
    found = " ".join(words(sidecar={"format": "air"}))
    assert found == (
        "atc --framework=1 --model=m.onnx --output=out/m --soc_version=Ascend310 --output_type=FP32 --log=error"
    )
    assert "--framework=1" in words(sidecar={"format": "mindir"})
    assert "--input_shape=images:1,1,32,32" in words(sidecar={"format": "mindir"})


def test_the_command_for_a_batch_of_any_size() -> None:
    port = {"name": "images", "shape": [None, 1, 32, 32]}
    found = words(sidecar={"input": port}, batch_sizes=(1, 4), more=("--log=debug",))
    assert "--input_shape=images:-1,1,32,32" in found and "--dynamic_batch_size=1,4" in found
    assert found[-1] == "--log=debug", "what follows -- comes last and wins"


@pytest.mark.parametrize(
    ("said", "code", "message", "hint"),
    [
        (
            "E10016: Opname [x] specified in --input_shape is not found",
            255,
            "ATC E10016: a name is not found",
            "export",
        ),
        ("noise\n[ERROR] E10501: IR for Op", 1, "not known to this CANN", "set_env.sh"),
        ("atc: error while loading shared libraries: libge.so", 127, "could not be started", "set_env.sh"),
        ("something failed here", 3, "ATC ended with 3: something failed here", "log"),
        ("", 139, "ATC ended with 139", "log"),
    ],
)
def test_what_atc_says_is_explained(said: str, code: int, message: str, hint: str) -> None:
    found = atc.explain(said, code)
    assert message in found[0] and hint in found[1]


def test_every_code_has_a_meaning_and_a_mend() -> None:
    assert all(len(code) == 6 and meaning and mend for code, (meaning, mend) in atc.EXPLANATIONS.items())


@pytest.mark.parametrize(
    ("soc", "output", "sizes", "said"),
    [
        ("310", None, "", "no soc version"),
        ("Ascend310; rm -rf /", None, "", "no soc version"),
        ("Ascend310", "m.bin", "", "end with .om"),
        ("Ascend310", None, "1,2", "takes 1 picture at once"),
    ],
)
def test_requests_that_cannot_be(trained: Any, soc: str, output: str | None, sizes: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert.plan(trained.onnx, soc, Path(output) if output else None, sizes)
    assert said in caught.value.message and caught.value.hint


def test_a_folder_in_the_place_of_the_om_is_told_before_atc_runs(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "x.om").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        convert.plan(trained.onnx, "Ascend310", tmp_path / "x.om", "")


def test_a_damaged_model_is_not_converted(trained: Any) -> None:
    trained.onnx.write_bytes(b"short")
    with pytest.raises(ModelError, match="is damaged"):
        convert.plan(trained.onnx, "Ascend310", None, "")


def test_without_atc_the_command_is_printed_exactly(trained: Any, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = cli("convert", str(trained.onnx), "--soc", "Ascend310", "-n")
    assert answer.code == 0 and answer.out.startswith("atc --framework=5 ")
    monkeypatch.setattr(atc, "find", lambda environ: ("", ""))
    failed = cli("convert", str(trained.onnx), "--soc", "Ascend310")
    assert failed.code == 1 and failed.out == answer.out, "the same command, and an error"
    assert failed.err.count("\n") == 2 and "--on HOST" in failed.err
    assert not trained.onnx.with_suffix(".om").exists()


def test_here(trained: Any, stub: Path, cli: Any) -> None:
    answer = cli(
        "convert", str(trained.onnx), "--soc", "Ascend310", "--json", "--", "--precision_mode=allow_fp32_to_fp16"
    )
    assert answer.code == 0, answer
    om = trained.onnx.with_suffix(".om")
    about = models.read(om)
    assert (about["format"], about["made"]["soc"]) == ("om", "Ascend310")
    assert about["made"]["from_sha256"] == models.read(trained.onnx)["sha256"]
    assert about["checkpoint"] == models.read(trained.onnx)["checkpoint"] and about["check"] is None
    assert json.loads(stub.read_text())[-1] == "--precision_mode=allow_fp32_to_fp16"
    assert sorted(p.name for p in trained.models.iterdir() if "om" in p.name) == ["lenet5.om", "lenet5.om.json"]


def test_a_refusal_of_atc_leaves_an_older_model_alone(trained: Any, stub: Path, cli: Any) -> None:
    om = trained.onnx.with_suffix(".om")
    assert cli("convert", str(trained.onnx), "--soc", "Ascend310").code == 0
    before = om.read_bytes()
    answer = cli("convert", str(trained.onnx), "--soc", "Ascend999")
    assert answer.code == 1 and "ATC E10001" in answer.err and "Ascend999" in answer.err
    assert om.read_bytes() == before and models.read(om)


def test_cann_in_its_usual_place_is_found_by_its_script(trained: Any, tmp_path: Path) -> None:
    """No atc on PATH, but a set_env.sh that puts it there, with its variables, for the one command."""
    toolkit = tmp_path / "Ascend" / "ascend-toolkit"
    toolkit.mkdir(parents=True)
    (toolkit / "set_env.sh").write_text(f"export PATH={DOUBLE / 'bin'}:$PATH ASCEND_OPP_PATH=/opp\necho noise\n")
    environ = {**os.environ, "ASCEND_TOOLKIT_HOME": str(toolkit), "PATH": "/usr/bin:/bin"}
    assert atc.find(environ) == ("", str(toolkit / "set_env.sh"))
    words = atc.shell_words(["sh", "-c", "command -v atc; echo $ASCEND_OPP_PATH"], str(toolkit / "set_env.sh"))
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{DOUBLE / 'bin' / 'atc'}\n/opp\n"


def test_on_a_host(trained: Any, board: Any, cli: Any) -> None:
    board.environment["ATC_LOG"] = str(board.folder / "atc.log")
    board.start()
    words = ["convert", str(trained.onnx), "--soc", "Ascend310P3", "--on", "board", *board.flags(), "--json"]
    answer = cli(*words)
    assert answer.code == 0, answer
    assert models.read(trained.onnx.with_suffix(".om"))["made"]["soc"] == "Ascend310P3"
    calls = (board.folder / "atc.log").read_text().splitlines()
    there = Path(next(word for word in json.loads(calls[0]) if word.startswith("--model="))[8:])
    assert there.parts[:2] == ("/", "tmp") and not Path(*there.parts[:3]).exists(), "nothing stays on the host"
    words[3] = "Ascend999"
    answer = cli(*words[:-1])
    assert answer.code == 1 and "ATC E10001" in answer.err
    assert answer.out.startswith("atc --framework=5"), "the command is printed, to be tried by hand"


def test_a_host_without_cann(trained: Any, board: Any, cli: Any) -> None:
    board.environment["PATH"] = "/usr/bin:/bin"
    board.start()
    answer = cli("convert", str(trained.onnx), "--soc", "Ascend310", "--on", "board", *board.flags())
    assert answer.code == 1 and "board has no atc" in answer.err
    assert not trained.onnx.with_suffix(".om").exists()
