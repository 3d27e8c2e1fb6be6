"""The picture shows the samples that the files hold, with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from launcher import datasets
from launcher.datasets import mnist, preview
from launcher.errors import DataError


@pytest.mark.parametrize("count", [1, 2, 7, 20, 60, 400])
def test_a_picture_of_any_count(count: int, kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    drawn = preview.write(datasets.get("mnist"), root, tmp_path / "out" / "x.png", split="train", count=count, seed=1)
    assert len(drawn) == min(count, 60)
    assert len({sample.index for sample in drawn}) == len(drawn), "no sample twice"
    with Image.open(tmp_path / "out" / "x.png") as picture:
        assert picture.format == "PNG"
        assert 150 < picture.width < 2200 and 150 < picture.height < 2200
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.png"]


def test_each_cell_is_its_sample(kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (sample,) = preview.write(datasets.get("mnist"), root, tmp_path / "x.png", split="test", count=1, seed=3)
    start = 16 + sample.index * 784
    assert sample.pixels == kit.tiny.content["test/t10k-images-idx3-ubyte"][start : start + 784]
    assert sample.label == str(kit.tiny.content["test/t10k-labels-idx1-ubyte"][8 + sample.index])
    with Image.open(tmp_path / "x.png") as picture:
        left, top = (picture.width - 112) // 2, 20 + 34
        shown = picture.convert("L").crop((left, top, left + 112, top + 112)).resize((28, 28), Image.Resampling.NEAREST)
        assert shown.tobytes() == sample.pixels


def test_a_seed_gives_the_same_picture_again(kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        preview.write(datasets.get("mnist"), root, tmp_path / name, split="train", count=9, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_picture_that_cannot_be_written(kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        preview.write(datasets.get("mnist"), root, tmp_path / "file" / "x.png", split="train", count=1, seed=0)


def test_samples_of_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train-images-idx3-ubyte").write_bytes(b"x")
    with pytest.raises(DataError, match="is no IDX file"):
        mnist.samples(tmp_path, "train", lambda total: [0])
