"""Export: a verified checkpoint in, a compared model out, nothing in between."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from entrypoints import export as boot
from entrypoints import exporting, infer
from entrypoints.application import sidecar
from jobs import JobError
from jobs.models import find
from tests.devices.conftest import RUN, newest

HOUSE = Path(__file__).resolve().parents[2]


def test_a_run_becomes_a_model_that_says_the_same(home: Any, trained: Any, launch: Any) -> None:
    words = ["export", RUN, "--dynamic-batch", "--data", str(trained.data), "-o", "out/any.onnx", "--json"]
    answer = launch(*words, cwd=home.project)
    assert answer.code == 0, answer
    made = answer.json
    path = home.project / "out" / "any.onnx"
    assert made["check"]["images"] == 120 and made["check"]["same_predictions"] == 120
    assert made["check"]["max_abs_difference"] < 1e-4
    assert sorted(file.name for file in path.parent.iterdir()) == ["any.onnx", "any.onnx.json"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 and stat.S_IMODE(path.parent.stat().st_mode) & 0o055
    about = sidecar.read(str(path))
    assert about.input == sidecar.Port("images", (None, 1, 32, 32)) and about.classes == tuple("0123456789")
    assert about.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoint = newest(home.outputs / RUN)
    assert about.checkpoint["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    found = [infer.run([str(model), "--test-set", str(trained.data)])["test_set"] for model in (path, trained.onnx)]
    assert found[0]["predictions"] == found[1]["predictions"]


@pytest.mark.slow
def test_mindir_and_the_checkpoint_say_the_same(trained: Any, launch: Any, home: Any) -> None:
    """By MindSpore itself, each in a process of its own."""
    data = str(trained.data)
    expected = infer.run([str(trained.onnx), "--test-set", data])["test_set"]["predictions"]
    for model in (trained.models / "lenet5.mindir", newest(trained.output)):
        answer = launch("infer", str(model), "--test-set", data, "--json", cwd=home.project)
        assert answer.code == 0, answer
        assert answer.json["test_set"]["predictions"] == expected
        assert answer.json["runtime"].startswith("MindSpore")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, trained_once: Any) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tiny")
    lenet = newest(trained_once.output)
    command = [sys.executable, str(Path(__file__).with_name("make_tiny.py")), str(folder), str(lenet)]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(next(line for line in done.stdout.splitlines() if line.startswith("@"))[1:])


def test_another_network_of_colour_pictures_goes_the_same_way(tiny: Any, tmp_path: Path) -> None:
    folder, told = tiny
    assert told["onnx"]["check"]["max_abs_difference"] < 1e-4
    Image.new("RGB", (200, 100), (200, 30, 10)).save(tmp_path / "red.jpg")
    result = infer.run([str(folder / "models" / "tiny.onnx"), str(tmp_path / "red.jpg"), "--outputs", str(tmp_path)])
    [picture] = result["pictures"]
    assert {rank["class"] for rank in picture["top"]} == {"cat", "dog", "eel"} and not picture["inverted"]
    assert (tmp_path / "red.txt").read_text() == picture["class"]
    model = find("tiny", str(folder))
    logits = np.array(
        infer.run([str(folder / "models/tiny.onnx"), "--test-set", ".", "--code", str(folder)])["test_set"][
            "predictions"
        ]
    )
    assert len(logits) == len(model.test_set("")[0])


def test_what_is_not_this_networks_is_refused(tiny: Any) -> None:
    _, told = tiny
    message, hint = told["other network"]
    assert "is of another network than tiny's: it has no" in message and "and " in message and hint
    assert told["changed network"][0].endswith(
        "it has no head.weight; it has no head.bias; it has extra.weight, which this network has not"
    )
    assert "cannot read the checkpoint torn.ckpt" in told["torn"][0]


def test_a_model_that_differs_too_much_leaves_nothing_behind(tiny: Any) -> None:
    folder, told = tiny
    assert "differs from MindSpore by" in told["too far"][0] and "nothing was written" in told["too far"][1]
    assert sorted(file.name for file in (folder / "models").iterdir()) == ["tiny.onnx", "tiny.onnx.json"]


def damage(output: Path) -> None:
    path = newest(output)
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])


def lose(output: Path) -> None:
    newest(output).unlink()


def forget(output: Path) -> None:
    (output / "checkpoints" / "manifest.json").unlink()


DAMAGES = {damage: "is damaged", lose: "is damaged", forget: "has no checkpoints"}


@pytest.mark.parametrize("how", DAMAGES, ids=lambda how: how.__name__)
def test_a_checkpoint_that_does_not_verify_is_not_exported(trained: Any, tmp_path: Path, how: Any) -> None:
    how(trained.output)
    target = tmp_path / "models"
    words = [f"--resume_url={trained.output}", f"--data_url={trained.data}", f"--train_url={target}"]
    with pytest.raises(JobError) as caught:
        boot.run(words)
    assert DAMAGES[how] in caught.value.message and caught.value.hint
    assert not target.exists()


def test_an_older_checkpoint_must_be_asked_for(trained: Any, tmp_path: Path) -> None:
    manifest = trained.output / "checkpoints" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["checkpoints"].append({**content["checkpoints"][0], "file": "lenet5-5_5.ckpt", "step": 100})
    manifest.write_text(json.dumps(content))
    with pytest.raises(JobError) as caught:
        exporting.fetch(str(trained.output), "", str(tmp_path))
    assert "--checkpoint=lenet5-4_20.ckpt" in caught.value.hint
    assert exporting.fetch(str(trained.output), "lenet5-4_20.ckpt", str(tmp_path)).checkpoint.step == 80
    with pytest.raises(JobError, match="has no checkpoint nope"):
        exporting.fetch(str(trained.output), "nope", str(tmp_path))


def test_air_is_refused_with_the_command_that_makes_it(home: Any, cli: Any) -> None:
    answer = cli("export", RUN, "--format", "air")
    assert answer.code == 1 and answer.err.count("\n") == 2
    assert f"submit export --resume {RUN} --set format=air --target modelarts" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format=om"], "format is 'om'"),
        (["--images=0"], "images is 0"),
        (["--file=a/b.onnx"], "no plain name"),
        (["--resume_url="], "--resume_url is missing"),
        (["--model=../x"], "no name of a job"),
        (["--model=nope"], "there is no jobs/nope/model.py"),
    ],
)
def test_arguments_that_cannot_be(trained: Any, tmp_path: Path, words: list[str], said: str) -> None:
    good = [f"--resume_url={trained.output}", f"--data_url={trained.data}", f"--train_url={tmp_path / 'models'}"]
    with pytest.raises(JobError) as caught:
        boot.run([*good, *words])
    assert said in caught.value.message and caught.value.hint
    assert not (tmp_path / "models").exists()


def test_a_run_without_checkpoints_and_data_that_is_not_there(home: Any, cli: Any) -> None:
    answer = cli("export", RUN, "--data", "nowhere")
    assert answer.code == 2 and "no data 'nowhere'" in answer.err
    for path in (home.outputs / RUN / "checkpoints").iterdir():
        path.unlink()
    answer = cli("export", RUN)
    assert answer.code == 1 and "has published no checkpoint" in answer.err and answer.err.count("\n") == 2


@pytest.mark.slow
def test_export_is_a_job_too(home: Any, trained: Any, launch: Any) -> None:
    """As on ModelArts: the run's output comes in as resume_url, the model goes out by train_url."""
    bucket = home.buckets / "local" / "launcher" / "runs" / RUN / "output"
    for path in (home.outputs / RUN).rglob("checkpoints/*"):
        (bucket / "checkpoints").mkdir(parents=True, exist_ok=True)
        (bucket / "checkpoints" / path.name).write_bytes(path.read_bytes())
    for contract in ("new", "old"):
        words = ["submit", "export", "--resume", RUN, "--set", "format=mindir", "--data", str(trained.data)]
        answer = launch(*words, "--contract", contract, "--json", cwd=home.project, timeout=300)
        assert answer.code == 0, answer
        made = home.outputs / answer.json["id"] / "lenet5.mindir"
        assert sidecar.read(str(made)).check["same_predictions"] == 120
