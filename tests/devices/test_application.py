"""The application on pictures: every kind is read, every wrong one named in two lines, results are whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from entrypoints import infer
from entrypoints.application import benchmark, classifying, reading, results, sessions, sidecar
from jobs import JobError
from jobs.lenet5.model import MODEL
from jobs.pictures import Pictures

HOUSE = Path(__file__).resolve().parents[2]


@pytest.fixture
def digit(trained: Any) -> np.ndarray:
    """A test picture of a cleaner ground than the synthetic ones have."""
    image = MODEL.test_set(str(trained.data))[0][3]
    return (image * (image > 60)).astype(np.uint8)


def save(path: Path, image: Any, **options: Any) -> str:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return str(path)


def look(path: str, polarity: str = "auto") -> reading.Picture:
    return reading.read(path, MODEL.pictures, polarity)


def test_a_picture_of_the_native_size_is_taken_as_it_is(digit: np.ndarray, tmp_path: Path) -> None:
    for name, options in {"a.png": {}, "a.bmp": {}, "a.tif": {}, "a.gif": {}, "a.webp": {"lossless": True}}.items():
        read = look(save(tmp_path / name, digit, **options))
        assert np.array_equal(read.pixels, digit) and not read.inverted, name


def test_kinds_of_pixels(digit: np.ndarray, tmp_path: Path) -> None:
    grey = Image.fromarray(digit)
    deep = Image.fromarray(digit.astype(np.uint16) * 257)
    clear = Image.new("RGBA", (28, 28), "white")
    clear.putalpha(grey)
    dark = Image.new("RGBA", (28, 28), "black")
    dark.putalpha(grey)
    palette = ImageOps.invert(grey).convert("P")
    for name, image in {
        "rgb": grey.convert("RGB"),
        "deep": deep,
        "clear": clear,
        "dark": dark,
        "palette": palette,
    }.items():
        read = look(save(tmp_path / f"{name}.png", image))
        assert np.abs(read.pixels.astype(int) - digit).max() <= 1, name
        assert read.inverted == (name in ("dark", "palette")), name


def test_sizes_and_proportions(digit: np.ndarray, tmp_path: Path) -> None:
    big = look(save(tmp_path / "big.png", np.kron(digit, np.ones((10, 10), np.uint8))))
    assert np.array_equal(big.pixels, digit), "ten times as large is averaged down to the same"
    wide = np.full((28, 84), 255, np.uint8)
    wide[:, 28:56] = 255 - digit
    read = look(save(tmp_path / "wide.png", wide))
    assert read.inverted and read.pixels.shape == (28, 28)
    assert read.pixels[:9].max() == 0, "padded with its own ground, above and below"
    assert look(save(tmp_path / "small.png", digit[8:20, 8:20])).pixels.shape == (28, 28)
    assert look(save(tmp_path / "dot.png", np.zeros((1, 1), np.uint8))).pixels.shape == (28, 28)


def test_a_photograph_is_turned_as_its_camera_says(digit: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    path = save(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(digit)), exif=exif)
    assert np.array_equal(look(path).pixels, digit)


def test_colour_stays_for_a_network_of_colour(tmp_path: Path) -> None:
    pictures = Pictures(3, (8, 8), (8, 8), (1.0,) * 3, (0.0,) * 3)
    path = save(tmp_path / "red.png", Image.new("RGB", (40, 20), (250, 1, 2)))
    assert reading.read(path, pictures).pixels.tolist() == [[[250, 1, 2]] * 8] * 8


NO_PICTURES = {
    "text": b"this is no picture\n",
    "empty": b"",
    "cut": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x1c\x00\x00\x00\x1c\x08\x00\x00\x00\x00Wf\x80H",
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_a_picture_that_is_none_is_named_and_nothing_is_written(trained: Any, tmp_path: Path, kind: str) -> None:
    good = save(tmp_path / "a.png", np.zeros((28, 28), np.uint8))
    bad = tmp_path / "bad.png"
    bad.write_bytes(NO_PICTURES[kind])
    with pytest.raises(JobError) as caught:
        infer.run([str(trained.onnx), good, str(bad), "--outputs", str(tmp_path / "outputs"), "--batch", "1"])
    assert str(bad) in caught.value.message and caught.value.hint
    assert not (tmp_path / "outputs").exists()


def test_a_bomb_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = save(tmp_path / "bomb.png", np.zeros((90, 90), np.uint8))
    with pytest.raises(JobError, match="no whole picture"):
        look(path)


def test_the_whole_way(trained: Any, digit: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "LEAST", 16)
    folder = tmp_path / "pictures"
    folder.mkdir()
    save(folder / "1.png", digit)
    save(folder / "1.jpg", digit, quality=95)
    save(folder / "2.bmp", 255 - digit)
    (folder / "notes.txt").write_text("not a picture, and not taken for one")
    outputs, sheet = tmp_path / "outputs", tmp_path / "sheet.png"
    result = infer.run([str(trained.onnx), str(folder), "--outputs", str(outputs), "--sheet", str(sheet), "--bench"])
    assert [Path(picture["file"]).name for picture in result["pictures"]] == ["1.jpg", "1.png", "2.bmp"]
    first = result["pictures"][1]
    assert len(first["top"]) == 5 and first["top"][0]["class"] == first["class"]
    assert sum(rank["confidence"] for rank in first["top"]) <= 1.00001
    assert result["pictures"][2]["inverted"] and result["pictures"][2]["class"] == first["class"]
    texts = {path.name: path.read_text() for path in outputs.iterdir()}
    assert set(texts) == {"1.txt", "1.png.txt", "2.txt"} and set(texts.values()) <= set("0123456789")
    assert texts["2.txt"] == first["class"]
    with Image.open(sheet) as image:
        assert image.size[0] > 300
    speed = result["bench"]["images_per_second"]
    assert all(speed[name] > 0 for name in ("files", "model", "plain_loop"))


def test_large_pictures_are_taken_fewer_at_a_time_and_only_a_sheet_keeps_them(trained: Any, tmp_path: Path) -> None:
    assert sessions.portion(MODEL.pictures) == 256
    assert sessions.portion(Pictures(3, (32, 32), (224, 224), (1.0,) * 3, (0.0,) * 3)) == 27
    path = save(tmp_path / "a.png", np.zeros((28, 28), np.uint8))
    with sessions.open_session(str(trained.onnx), sidecar.read(str(trained.onnx))) as session:
        answers = classifying.classify(session, [path] * 70, batch=16)
    assert [answer.pixels is None for answer in answers] == [False] * 60 + [True] * 10
    assert len(results.tiles(answers, MODEL.classes)) == 60


def test_the_run_times_agree_on_every_test_picture(trained: Any) -> None:
    """ONNX of a batch of one here; MindIR and the checkpoint are MindSpore's, in test_export.py."""
    _, labels = MODEL.test_set(str(trained.data))
    result = infer.run([str(trained.onnx), "--test-set", str(trained.data)])["test_set"]
    assert result["pictures"] == len(labels) == 120
    assert result["accuracy"] == np.mean(np.array(result["predictions"]) == labels)
    assert int((np.array(result["predictions"]) != labels).sum()) == len(result["mistakes"])


def damage_model(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-100])


def remove_sidecar(model: Path) -> None:
    Path(f"{model}.json").unlink()


def break_sidecar(model: Path) -> None:
    Path(f"{model}.json").write_text('{"version": 1')


def edit(model: Path, **changes: Any) -> None:
    path = Path(f"{model}.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_onnx_at_all(model: Path) -> None:
    model.write_bytes(b"no model\n")
    edit(model, size=9, sha256=hashlib.sha256(b"no model\n").hexdigest())


def other_shape(model: Path) -> None:
    content = json.loads(Path(f"{model}.json").read_text())
    content["input"]["shape"][2:] = [28, 28]
    content["pictures"]["size"] = [28, 28]
    edit(model, **content)


def fewer_classes(model: Path) -> None:
    edit(model, classes=["a", "b"])


DAMAGES = {
    damage_model: "is damaged or another model",
    remove_sidecar: "has no lenet5.onnx.json beside it",
    break_sidecar: "is no sidecar of a model",
    no_onnx_at_all: "no model that onnxruntime",
    other_shape: "takes an input of 1x1x32x32, and its sidecar says 1x1x28x28",
    fewer_classes: "tells 10 classes apart, and its sidecar names 2",
    Path.unlink: "there is no model",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_model_that_is_not_what_it_should_be(trained: Any, tmp_path: Path, damage: Any) -> None:
    picture = save(tmp_path / "a.png", np.zeros((28, 28), np.uint8))
    damage(trained.onnx)
    with pytest.raises(JobError) as caught:
        infer.run([str(trained.onnx), picture, "--outputs", str(tmp_path / "outputs")])
    assert DAMAGES[damage] in caught.value.message and caught.value.hint
    assert not (tmp_path / "outputs").exists()


def test_pictures_of_a_wrong_shape_are_refused_by_every_session(trained: Any) -> None:
    about = sidecar.read(str(trained.onnx))
    with sessions.open_session(str(trained.onnx), about) as session:
        with pytest.raises(JobError, match="takes float32 pictures of 1x32x32, and got float32 of 1x28x28"):
            session.run(np.zeros((2, 1, 28, 28), np.float32))
        assert session.run(np.zeros((3, 1, 32, 32), np.float32)).shape == (3, 10)
        assert session.run(np.zeros((0, 1, 32, 32), np.float32)).shape == (0, 10)


def test_a_run_time_that_is_missing_is_named_with_its_command(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "is_there", lambda module: False)
    with pytest.raises(JobError) as caught:
        infer.run([str(trained.onnx), "--test-set", str(trained.data)])
    assert "onnxruntime" in caught.value.message and "pip install onnxruntime" in caught.value.hint


def test_of_a_folder_the_best_model_that_runs_here_is_taken(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sessions.choose(str(trained.models)).endswith("lenet5.onnx")
    monkeypatch.setattr(sessions, "is_there", lambda module: module == "mindspore")
    assert sessions.choose(str(trained.models)).endswith("lenet5.mindir")
    monkeypatch.setattr(sessions, "is_there", lambda module: False)
    with pytest.raises(JobError, match="nothing here can run"):
        sessions.choose(str(trained.models))


def test_by_hand_errors_are_two_lines_and_json_is_one_value(trained: Any, tmp_path: Path) -> None:
    words = [sys.executable, str(HOUSE / "entrypoints" / "infer.py"), str(trained.onnx), "nothing.png"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 2)
    assert done.stderr.startswith("error: there is no picture nothing.png\nhint: ")
    done = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["error"]["message"] == "there is no picture nothing.png"


def test_what_travels_to_a_device_loads_nothing_but_numpy_and_the_standard_library(tmp_path: Path) -> None:
    from launcher.devices.deploy import APPLICATION

    files = [
        *APPLICATION,
        *(f"entrypoints/application/{p.name}" for p in (HOUSE / "entrypoints/application").glob("*.py")),
    ]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((HOUSE / name).read_bytes())
    code = (
        "import sys; sys.path.insert(0, '.'); import entrypoints.infer;"
        "print(sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {"entrypoints", "jobs", "numpy"} <= set(eval(done.stdout))
    assert not {"storage", "PIL", "onnxruntime", "mindspore", "launcher"} & set(eval(done.stdout))
