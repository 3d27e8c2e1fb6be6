"""The whole way in one command; and what the verbs say to people."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from launcher.devices import pipeline, report
from launcher.devices.errors import ModelError
from launcher.paths import Home
from tests.devices.conftest import RUN, newest

SILENT: Any = {"say": lambda text: None, "log": lambda data: None, "progress": None}


def steps(home: Home, **changes: Any) -> pipeline.Pipeline:
    """A pipeline whose steps are called one by one."""
    return pipeline.Pipeline(home, pipeline.Request("lenet5", **changes), **SILENT)


def count(made: list[str], name: str, path: Path) -> Any:
    def make() -> Any:
        made.append(name)
        path.write_text(name)
        return {"name": name}, [path]

    return make


def test_a_step_is_done_once_for_the_same_inputs(home: Home, tmp_path: Path) -> None:
    made: list[str] = []
    path = tmp_path / "made"
    for inputs in ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}):
        facts = steps(home)._step("train", inputs, count(made, "train", path))
        assert facts == {"name": "train"}
    assert len(made) == 2
    path.write_text("changed by somebody")
    steps(home)._step("train", {"a": 2}, count(made, "train", path))
    path.unlink()
    steps(home)._step("train", {"a": 2}, count(made, "train", path))
    steps(home, force=True)._step("train", {"a": 2}, count(made, "train", path))
    assert len(made) == 5, "a file that is not what it was is made again, and so is all with --force"


@pytest.mark.parametrize("content", ["", "[]", '{"train": 1}', '{"train": {"inputs": "x"}}', "{"])
def test_a_state_that_cannot_be_understood_is_none(home: Home, content: str) -> None:
    path = home.root / "pipelines" / "lenet5.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert steps(home)._state == {}


def test_a_step_that_fails_is_not_remembered(home: Home) -> None:
    def fail() -> Any:
        raise ModelError("no", "yes")

    with pytest.raises(ModelError):
        steps(home)._step("train", {}, fail)
    assert steps(home)._state == {}


def test_a_training_that_fails_ends_the_pipeline_as_it_ends_submit(home: Home, trained: Any, launch: Any) -> None:
    words = ["pipeline", "lenet5", "--data", str(trained.data), "--set", "batch_size=100000"]
    answer = launch(*words, "--json", cwd=home.project)
    assert answer.code == 100 and "ended as Failed" in answer.json["error"]["message"], answer


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows() -> None:
    checkpoint, check = {"file": "c", "sha256": "0"}, {"max_abs_difference": 1e-7, "images": 3}
    result = {"accuracy": 1.0, "correct": 3, "pictures": 3, "runtime": "x", "images_per_second": 9.0, "mistakes": []}
    facts: dict[str, Any] = {
        "train": {"run": "r", "parameters": {"n": "<b>"}, "result": {"accuracy": 0.5}, "checkpoint": checkpoint},
        "export": {"file": "m", "size": 1, "sha256": "0", "check": check},
        "verify": {"pictures": 3, "different": 0},
        "infer": result,
    }
    page = report.page("job", report.lines("job", facts), facts, b"png")
    assert "n=&lt;b&gt;" in page and "data:image/png;base64,cG5n" in page and "http" not in page
    assert "verified   3 of 3 predictions as MindSpore's" in report.lines("job", facts)


def test_infer_takes_a_run_and_tells_people(home: Home, cli: Any, tmp_path: Path) -> None:
    picture = np.zeros((28, 28), np.uint8)
    picture[6:22, 13:15] = 255
    Image.fromarray(255 - picture).save("paper.png")
    answer = cli("infer", RUN, "paper.png", "--sheet", "sheet.png")
    assert answer.code == 0, answer
    assert "paper.png" in answer.out and "inverted" in answer.out and "lenet5.onnx by onnxruntime" in answer.err
    assert Path("outputs/paper.txt").read_text() in "0123456789" and Path("sheet.png").is_file()
    told = cli("infer", RUN, "paper.png", "--polarity", "light-on-dark", "--no-outputs", "--json")
    assert told.json["pictures"][0]["inverted"] is False and "outputs" not in told.json


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["infer", RUN], 2, "infer needs pictures"),
        (["infer", RUN, "x.png", "--batch", "0"], 2, "--batch 0"),
        (["infer", "nope", "x.png"], 102, "there is no run 'nope'"),
        (["infer", "nope.onnx", "x.png"], 1, "there is no model nope.onnx"),
        (["infer", "nope.ckpt", "x.png"], 1, "there is no checkpoint nope.ckpt"),
        (["infer", RUN, "x.png"], 1, "there is no picture x.png"),
        (["export", RUN, "--images", "0"], 2, "--images 0"),
        (["export", RUN, "--data", ".", "-o", "jobs"], 2, "jobs is a folder"),
        (["convert", "nope.onnx", "--soc", "Ascend310"], 1, "there is no model nope.onnx"),
        (["deploy", RUN, "two words"], 2, "'two words' is no host"),
        (["deploy", RUN, "h", "-F", "nope"], 2, "no ssh configuration nope"),
        (["pipeline", "nope"], 2, "there is no job 'nope'"),
        (["pipeline", "lenet5", "--set", "nope=1"], 2, "nope"),
        (["pipeline", "lenet5", "--report", "jobs"], 2, "--report jobs is a folder"),
    ],
)
def test_what_cannot_be_is_two_lines(home: Home, cli: Any, words: list[str], code: int, said: str) -> None:
    answer = cli(*words)
    errors = [line for line in answer.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert answer.code == code and len(errors) == 2 and said in errors[0], answer


@pytest.mark.slow
def test_lenet5_on_the_real_mnist(project: Any, launch: Any, mnist: Path) -> None:
    """Three epochs; ONNX and MindIR say the same as MindSpore of all 10,000 test pictures; nothing is done twice."""
    words = ["pipeline", "lenet5", "--json"]
    answer = launch(*words, cwd=project.root, timeout=900)
    assert answer.code == 0, answer
    done = answer.json
    assert set(done["steps"].values()) == {"done"}
    assert done["verify"] == {"pictures": 10_000, "different": 0}
    assert (
        done["infer"]["accuracy"] == pytest.approx(done["train"]["result"]["accuracy"], abs=1e-9)
        and done["infer"]["accuracy"] >= 0.97
    )
    assert done["export"]["check"]["images"] == 1000 and done["export"]["check"]["max_abs_difference"] < 1e-4
    assert "data:image/png" in Path(done["report"]).read_text()

    again = launch(*words, cwd=project.root, timeout=120).json
    assert set(again["steps"].values()) == {"skipped"}
    Path(done["export"]["file"]).unlink()
    third = launch(*words, cwd=project.root, timeout=300).json
    assert third["steps"]["train"] == "skipped" and third["steps"]["export"] == "done"

    mindir = launch("pipeline", "lenet5", "--to", "mindir", "--json", cwd=project.root, timeout=900)
    assert mindir.code == 0 and mindir.json["verify"]["different"] == 0, mindir
    assert mindir.json["steps"]["train"] == "skipped", "one training for all formats"
    dark_on_light(project.root, mnist, Path(third["export"]["file"]), launch)


def dark_on_light(folder: Path, mnist: Path, model: Path, launch: Any) -> None:
    """The trap of the reference application: paper and ink. Nearly all of 200 are right, either way round."""
    from jobs.lenet5.model import MODEL

    images, labels = MODEL.test_set(str(mnist))
    shutil.rmtree(folder / "paper", ignore_errors=True)
    (folder / "paper").mkdir()
    for number in range(200):
        Image.fromarray(255 - images[number]).resize((140, 140), Image.Resampling.BICUBIC).save(
            folder / f"paper/{number:03}.png"
        )
    told = launch("infer", str(model), "paper", "--no-outputs", "--json", cwd=folder).json["pictures"]
    right = sum(int(picture["class"]) == label for picture, label in zip(told, labels, strict=False))
    assert right >= 194 and all(picture["inverted"] for picture in told)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_another_model(home: Home, trained: Any, launch: Any) -> None:
    """The state follows content: the model's sidecar has the sha256 of the checkpoint that it was made of."""
    answer = launch("export", RUN, "--format", "mindir", "--data", str(trained.data), "--json", cwd=home.project)
    assert answer.code == 0, answer
    sidecar = json.loads(Path(answer.json["file"] + ".json").read_text())
    checkpoint = newest(home.outputs / RUN)
    assert sidecar["checkpoint"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
