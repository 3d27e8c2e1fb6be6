"""What users and their files do to `infer`, `export` and `convert`: odd names, odd pixels, full disks, Ctrl-C."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from entrypoints import infer
from entrypoints.application import reading, results
from jobs import JobError
from jobs.lenet5.model import MODEL
from jobs.pictures import Pictures, ground, invert
from launcher.devices import children, models
from launcher.devices.errors import ModelError
from tests.devices.conftest import HOUSE, RUN

BLACK = np.zeros((28, 28), np.uint8)


def save(path: Path, pixels: Any = BLACK, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix not in (".tif",) else None, **options)
    return str(path)


def test_names_as_people_give_them(trained: Any, tmp_path: Path) -> None:
    names = ["a b.png", "-x.png", "--json.png", "数字.png", "字" * 83 + ".png", "new\nline.png"]
    for name in names:
        save(tmp_path / "pictures" / name)
    result = infer.run([str(trained.onnx), str(tmp_path / "pictures"), "--outputs", str(tmp_path / "outputs")])
    assert len(result["pictures"]) == len(names)
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {f"{name[:-4]}.txt" for name in names}


def test_a_model_and_a_picture_that_look_like_flags(home: Any, trained: Any, cli: Any) -> None:
    for name in ("-m.onnx", "-m.onnx.json"):
        (home.project / name).write_bytes((trained.models / name.replace("-m", "lenet5")).read_bytes())
    save(home.project / "--json")
    answer = cli("infer", "./-m.onnx", "./--json", "--outputs", "else/where")
    assert answer.code == 0 and "text files: else/where" in answer.err, answer
    assert (home.project / "else/where/--json.txt").is_file()


def test_a_name_cannot_write_to_the_terminal(home: Any, cli: Any) -> None:
    save(home.project / "red\x1b[31m\nline.png")
    answer = cli("infer", RUN, "red\x1b[31m\nline.png", "--no-outputs")
    assert answer.code == 0 and "red\\x1b[31m\\nline.png" in answer.out and "\x1b" not in answer.out, answer


def test_a_folder_with_the_name_of_a_picture_is_none(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "folder.png").mkdir(parents=True)
    with pytest.raises(JobError, match="there is no picture in"):
        infer.run([str(trained.onnx), str(tmp_path / "pictures")])
    save(tmp_path / "pictures" / "a.png")
    assert len(infer.run([str(trained.onnx), str(tmp_path / "pictures")])["pictures"]) == 1


@pytest.mark.parametrize(("white", "kind"), [(255, np.int32), (4095, np.uint16), (65535, np.uint16), (65535, np.int32)])
def test_grey_of_any_depth(white: int, kind: Any, tmp_path: Path) -> None:
    pixels = np.zeros((28, 28), kind)
    pixels[6:22, 12:16] = white
    read = reading.read(save(tmp_path / "deep.tif", pixels), MODEL.pictures)
    assert (read.pixels == np.where(pixels, 255, 0)).all()


def test_a_very_long_picture_needs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_PIXELS", 90_000)
    line = np.zeros((4, 30_000), np.uint8)
    line[:, 10_000:20_000] = 255
    sides: list[int] = []
    real = np.empty
    monkeypatch.setattr(np, "empty", lambda shape, *kind: sides.append(np.prod(shape)) or real(shape, *kind))
    small = reading.fitted(line, MODEL.pictures)
    assert small.shape == (28, 28) and 0 < max(sides) <= 110_000, sides
    assert not small[:, :9].any() and small[:, 10:18].any()


def test_inverting_by_table_is_the_arithmetic_that_it_stands_for() -> None:
    pictures = Pictures(1, (28, 28), (28, 28), (1.0,), (0.0,), polarity="light-on-dark")
    random = np.random.RandomState(1)
    for shape in ((9, 7), (5, 6, 3), (1, 1)):
        image = random.randint(0, 256, shape).astype(np.uint8)
        lit = np.minimum(np.rint(image * (255.0 / np.maximum(ground(image), 1.0))), 255.0)
        assert np.array_equal(invert(pictures, image), (255 - lit).astype(np.uint8))


def test_results_are_all_there_or_none(trained: Any, tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png")
    (tmp_path / "file").write_text("mine")
    outputs = tmp_path / "outputs"
    for more in (["--sheet", str(tmp_path)], ["--sheet", str(tmp_path / "file" / "sheet.png")]):
        with pytest.raises(OSError):
            infer.run([str(trained.onnx), picture, "--outputs", str(outputs), *more])
        assert not any(outputs.iterdir()), "no text file without the sheet"
    assert not list(tmp_path.glob("**/*.part")) and (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_changes_no_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.txt").write_text("older")

    def full(path: str, mode: str) -> Any:
        if "-1." in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open(path, mode)

    monkeypatch.setattr(results, "open", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        results.write({str(tmp_path / "1.txt"): b"new", str(tmp_path / "2.txt"): b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["1.txt"] and (tmp_path / "1.txt").read_text() == "older"


WRONG: dict[str, Any] = {
    "format": ["onnx"],
    "input": {"name": "images", "shape": [1, 1, 32]},
    "checkpoint": 3,
    "made": "yesterday",
    "size": "large",
}


@pytest.mark.parametrize("key", WRONG)
def test_a_sidecar_of_other_types_is_none(trained: Any, key: str) -> None:
    path = Path(f"{trained.onnx}.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: WRONG[key]}))
    with pytest.raises(ModelError, match="no sidecar of a model"):
        models.read(trained.onnx)


def test_a_sidecar_without_end_is_none(trained: Any) -> None:
    Path(f"{trained.onnx}.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="no sidecar of a model"):
        models.read(trained.onnx)
    with pytest.raises(JobError, match="no sidecar of a model"):
        infer.run([str(trained.onnx), "x.png"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["a", "b"]}, "answers 1x10 for 1 pictures, and its sidecar names 2"),
        ({"input": [28, 28], "pictures": [28, 28]}, "cannot run the model on (1, 1, 28, 28)"),
        ({"bytes": b"no model"}, "is no model that MindSpore"),
    ],
)
def test_a_mindir_that_is_not_what_its_sidecar_says(
    home: Any, trained: Any, change: dict[str, Any], said: str, launch: Any
) -> None:
    model = trained.models / "lenet5.mindir"
    content = json.loads(Path(f"{model}.json").read_text())
    model.write_bytes(change.get("bytes", model.read_bytes()))
    content.update(size=model.stat().st_size, sha256=hashlib.sha256(model.read_bytes()).hexdigest())
    content["classes"] = change.get("classes", content["classes"])
    content["input"]["shape"][2:] = change.get("input", [32, 32])
    content["pictures"]["size"] = change.get("pictures", [32, 32])
    Path(f"{model}.json").write_text(json.dumps(content))
    answer = launch("infer", str(model), save(home.project / "a.png"), cwd=home.project)
    assert answer.code == 1 and answer.err.count("\n") == 2 and said in answer.err, answer


CHILD = """
import os, sys, time
sys.path.insert(0, {house!r})
from entrypoints.application import telling

def run(argv):
    try:
        open("begun", "w").close()
        time.sleep(60)
    finally:
        time.sleep(0.5)  # tidying up takes its time
        open("tidied", "w").close()

sys.exit(telling.told(run, print, sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_twice_lets_a_boot_file_tidy_up_once(number: int, tmp_path: Path) -> None:
    words = [sys.executable, "-c", CHILD.format(house=str(HOUSE))]
    child = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )
    wait_for(tmp_path / "begun")
    child.send_signal(number)
    time.sleep(0.2)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130 and (tmp_path / "tidied").exists()
    assert out == "" and err.startswith("error: interrupted\nhint: ") and err.count("\n") == 2


def heed() -> None:
    """Ctrl-C arrives, also where these tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def boot(home: Any, text: str) -> None:
    (home.project / "entrypoints").mkdir()
    (home.project / "entrypoints" / "slow.py").write_text(text)


IMPORTING = "import time; open('begun', 'w').close(); time.sleep(60)"


@pytest.mark.parametrize("text", [CHILD.format(house=str(HOUSE)), IMPORTING], ids=["at work", "importing"])
def test_ctrl_c_ends_the_child_which_tidies_up(home: Any, text: str) -> None:
    boot(home, text)
    ask = (
        "import sys; from pathlib import Path; from launcher.paths import Home; from launcher.devices import children;"
        "children.ask(Home(Path.cwd()), 'slow', [], lambda text: print(text, file=sys.stderr))"
    )
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    parent = subprocess.Popen(
        [sys.executable, "-c", ask],
        cwd=home.project,
        env=env,
        start_new_session=True,
        preexec_fn=heed,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(home.project / "begun")
    os.killpg(parent.pid, signal.SIGINT)
    _, err = parent.communicate(timeout=30)
    assert (home.project / "tidied").exists() == (text != IMPORTING) and "KeyboardInterrupt" in err.splitlines()[-1]
    assert "slow.py" not in err, "the child's own traceback is nobody's concern"


def test_a_killed_child_is_told(home: Any) -> None:
    boot(home, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ModelError) as caught:
        children.ask(home, "slow", [], lambda text: None)
    assert caught.value.message == "slow.py was killed by signal 9" and "memory" in caught.value.hint


def test_a_hint_names_the_run_that_is_meant(home: Any, trained: Any, cli: Any) -> None:
    for checkpoint in (home.outputs / RUN / "checkpoints").glob("*.ckpt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"?")
    for words in (["export", RUN, "--data", str(trained.data)], ["infer", str(checkpoint), "x.png"]):
        answer = cli(*words)
        assert answer.code == 1 and f"python -m launcher pull {RUN}" in answer.err, answer
    model = home.outputs / RUN / "models" / "lenet5.onnx"
    model.write_bytes(b"damaged")
    for words in (["infer", RUN, "x.png"], ["convert", str(model), "--soc", "Ascend310", "-n"]):
        answer = cli(*words)
        assert answer.code == 1 and f"python -m launcher export {RUN}" in answer.err, answer


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
