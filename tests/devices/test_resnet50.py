"""ResNet-50 goes the way from a checkpoint to a model too, and so does every known data set."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from entrypoints import infer
from entrypoints.application import sidecar
from jobs import JobError
from jobs.models import find
from jobs.resnet50 import data
from launcher import datasets
from launcher.devices import exporting
from launcher.run import Run
from storage.manifest import Entry, Manifest
from tests.devices.conftest import HOUSE
from tests.jobs.photos import write_photos


@pytest.mark.parametrize(
    ("network", "size"), [("small", 32), pytest.param("resnet50", 224, marks=pytest.mark.slow)], ids=lambda each: each
)
def test_onnx_and_mindspore_say_the_same(tmp_path: Path, network: str, size: int) -> None:
    photos = write_photos(tmp_path / "cifar10")
    script = str(Path(__file__).with_name("make_resnet.py"))
    command = [sys.executable, script, network, str(size), str(photos), str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    model = tmp_path / "models" / "resnet50.onnx"
    about = sidecar.read(str(model))
    assert about.check["images"] == about.check["same_predictions"] == 23
    assert 0 < about.check["max_abs_difference"] < 1e-4
    assert about.input.shape == (None, 3, size, size) and about.pictures == data.pictures_of(size)
    infer.run([str(model), "--test-set", str(photos), "--samples", "20", "--outputs", str(tmp_path / "samples")])
    pictures = [str(path) for path in sorted((tmp_path / "samples").iterdir())]
    one_by_one = infer.run([str(model), *pictures])["pictures"]
    together = infer.run([str(model), "--test-set", str(photos)])["test_set"]["predictions"]
    numbers = [int(Path(path).stem.rpartition("-")[2]) for path in pictures]
    assert [each["class"] for each in one_by_one] == [data.CLASSES[together[number]] for number in numbers]
    assert len({each["top"][0]["confidence"] for each in one_by_one}) > 1, "the pictures matter"


def test_a_run_says_which_network_and_which_size() -> None:
    assert find("resnet50").pictures.shape == (3, 224, 224)
    assert find("resnet50", "", {"network": "small", "image_size": 32, "device": "CPU"}).pictures.shape == (3, 32, 32)
    with pytest.raises(JobError, match="network is 'vgg'"):
        find("resnet50", "", {"network": "vgg"})


@pytest.mark.parametrize("name", [row.name for row in datasets.known()])
@pytest.mark.parametrize("target", ["local", "modelarts", "modelarts, old contract"])
def test_the_data_of_a_run_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str
) -> None:
    files = [Entry(file.path, file.size, file.sha256) for file in datasets.get(name).files]

    def data_of(path: str) -> str:
        channel = {"remote": {"obs": {"obs_url": f"/bucket/{path}"}}}
        requests: dict[str, Any] = {
            "local": {"inputs": [{"name": "data_url", "url": f"obs://bucket/{path}"}]},
            "modelarts": {"algorithm": {"inputs": [{"name": "data_url", **channel}]}},
            "modelarts, old contract": {
                "algorithm": {"inputs": [], "parameters": [{"name": "data_url", "value": f"s3://bucket/{path}"}]}
            },
        }
        run = Run("x", "x", target, "x", "Completed", "", {}, "", request=requests[target])
        return exporting.data_of(None, run, "", print, nullcontext)  # type: ignore[arg-type]

    monkeypatch.setattr(datasets, "prepared", lambda wanted: tmp_path / wanted)
    assert data_of(f"launcher/data/{name}/{Manifest(files).content_hash}/") == str(tmp_path / name)
    assert data_of(f"launcher/data/{name}/another/") in {
        f"{scheme}://bucket/launcher/data/{name}/another/" for scheme in ("obs", "s3")
    }
