"""CIFAR-10 is read strictly, and prepared to the bit as MindSpore's own pipeline would."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import JobError, Shard
from jobs.pictures import resize
from jobs.resnet50 import JOB, Parameters, data
from jobs.resnet50.train import Batches
from jobs.shared.pictures import order

BATCH = Parameters(batch_size=16)
FIRST, THIRD = "train/data_batch_1.bin", "train/data_batch_3.bin"
TEST = "eval/test_batch.bin"


def test_reads_what_was_written(photos: Path) -> None:
    cifar = data.read(str(photos))
    assert (cifar.train.images.shape, cifar.train.images.dtype) == ((90, 3, 32, 32), np.uint8)
    assert (cifar.test.labels.shape, cifar.test.labels.dtype) == ((23,), np.int32)
    row = (photos / FIRST).read_bytes()[3073:6146]
    assert cifar.train.labels[1] == row[0]
    assert cifar.train.images[1].tobytes() == row[1:]


def eval_is_called_test(folder: Path) -> None:
    (folder / "eval").rename(folder / "test")


def all_in_one(folder: Path) -> None:
    for file in [*folder.glob("train/*"), *folder.glob("eval/*")]:
        file.rename(folder / file.name)


def as_in_the_archive(folder: Path) -> None:
    all_in_one(folder)
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir()
    for file in [*folder.glob("*.bin"), folder / "batches.meta.txt"]:
        file.rename(inner / file.name)


@pytest.mark.parametrize("arrange", [eval_is_called_test, all_in_one, as_in_the_archive])
def test_other_layouts_are_the_same_data(photos: Path, arrange: Callable[[Path], None]) -> None:
    before = JOB.read(str(photos), BATCH)
    arrange(photos)
    after = JOB.read(str(photos), BATCH)
    assert after.train.images.tobytes() == before.train.images.tobytes()
    assert (after.test.labels == before.test.labels).all()
    assert after.classes == before.classes


def test_synthetic_pictures_are_called_so(photos: Path) -> None:
    assert "synthetic" in JOB.data_lines(JOB.read(str(photos), BATCH))[0]
    (photos / "batches.meta.txt").write_text("\n".join(data.CLASSES))
    assert JOB.data_lines(JOB.read(str(photos), BATCH)) == []
    (photos / "batches.meta.txt").unlink()
    assert JOB.read(str(photos), BATCH).classes == data.CLASSES


Change = Callable[[Path], object]


def delete(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def relabel(name: str, label: int, every: int) -> Change:
    def change(folder: Path) -> None:
        rows = np.fromfile(folder / name, np.uint8).reshape(-1, 3073)
        rows[::every, 0] = label
        rows.tofile(folder / name)

    return change


def copy(one: str, other: str) -> Change:
    return lambda folder: (folder / other).write_bytes((folder / one).read_bytes())


def without_class_3(folder: Path) -> None:
    for file in folder.glob("train/*"):
        rows = np.fromfile(file, np.uint8).reshape(-1, 3073)
        rows[rows[:, 0] == 3, 0] = 4
        rows.tofile(file)


def one_deeper(folder: Path) -> None:
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    (folder.parent / "moved").rename(folder / "inner")


def only(name: str) -> Change:
    def change(folder: Path) -> None:
        folder.rename(folder.parent / "moved")
        folder.mkdir()
        (folder / name).write_bytes(b"x")

    return change


DAMAGES: dict[str, tuple[Change, str]] = {
    "no such folder": (lambda folder: folder.rename(folder.parent / "away"), "there is no folder"),
    "the parent was given": (one_deeper, "has no data_batch_1.bin"),
    "empty": (only("readme"), "has no data_batch_1.bin"),
    "left packed": (only("cifar-10-binary.tar.gz"), "still packed"),
    "pickles for Python": (only("data_batch_1"), "pickles for Python"),
    "a training file is missing": (delete(THIRD), "data_batch_3.bin"),
    "the test file is missing": (delete(TEST), "test_batch.bin"),
    "a file is empty": (cut(THIRD, 0), "is empty"),
    "a file is cut short": (cut(FIRST, 3073 * 4 + 100), "no multiple of the 3073"),
    "a label out of range": (relabel(THIRD, 77, 5), "the label 77 at picture 0"),
    "a file is there twice": (copy(FIRST, THIRD), "begins with the same picture as"),
    "the test file among the training files": (copy(TEST, FIRST), "begins with the same picture as"),
    "a class is missing": (without_class_3, "no picture of class 3 (synthetic-3)"),
    "fewer than a batch": (
        lambda folder: [cut(f"train/{n}", 3073)(folder) for n in data.TRAIN_FILES],
        "fewer than one",
    ),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_says_what_is_wrong_with_a_folder(photos: Path, how: str) -> None:
    change, words = DAMAGES[how]
    change(photos)
    with pytest.raises(JobError) as caught:
        JOB.read(str(photos), BATCH)
    assert words in caught.value.message
    assert str(photos) in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_official_files_under_each_others_names_are_noticed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firsts = {zlib.crc32((photos / name).read_bytes()[:3073]): Path(name).name for name in (FIRST, TEST)}
    monkeypatch.setattr(data, "FIRST_PICTURES", firsts)
    data.read(str(photos))
    (photos / FIRST).rename(photos / "beside")
    (photos / TEST).rename(photos / FIRST)
    (photos / "beside").rename(photos / TEST)
    with pytest.raises(JobError, match=r"data_batch_1\.bin holds the pictures of test_batch\.bin"):
        data.read(str(photos))


@pytest.mark.parametrize("size", [16, 32, 48, 224])
def test_pictures_are_prepared_to_the_bit_as_mindspore_does(photos: Path, size: int) -> None:
    from mindspore import dataset
    from mindspore.dataset import vision

    images = data.read(str(photos)).train.images[:20]
    source = {"image": [image.transpose(1, 2, 0).copy() for image in images]}
    normalise = vision.Normalize(list(data.MEAN), list(data.DEVIATION))
    operations = [vision.Resize((size, size)), vision.Rescale(1 / 255, 0.0), normalise, vision.HWC2CHW()]
    pipeline = dataset.NumpySlicesDataset(source, shuffle=False).map(operations, "image").batch(20)
    (theirs,) = next(pipeline.create_tuple_iterator(num_epochs=1, output_numpy=True))
    ours = data.prepare(images, size)
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.tobytes() == theirs.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 300), st.sampled_from([0.0, 0.9]))
def test_any_picture_is_resized_to_any_size_to_the_bit_as_mindspore_does(seed: int, size: int, black: float) -> None:
    from mindspore.dataset import vision

    numbers = np.random.RandomState(seed)
    picture = (numbers.randint(0, 256, (3, 32, 32)) * (numbers.rand(3, 32, 32) >= black)).astype(np.uint8)
    theirs = vision.Resize((size, size))(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    assert (resize(picture[None], (size, size))[0] == theirs.transpose(2, 0, 1)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_a_crop_and_a_flip_are_mindspores(seed: int, top: int, left: int, flip: bool) -> None:
    from mindspore.dataset import vision

    picture = np.random.RandomState(seed).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    theirs = vision.Crop((top, left), (32, 32))(vision.Pad(4)(picture))
    theirs = vision.HorizontalFlip()(theirs) if flip else theirs
    draws = data.Draws(np.array([top]), np.array([left]), np.array([flip]))
    assert (data.augment(picture.transpose(2, 0, 1)[None], draws)[0] == theirs.transpose(2, 0, 1)).all()


def test_half_of_the_pictures_are_flipped_and_all_crops_are_as_likely() -> None:
    draws = data.draw(50000, 1, 0)
    assert abs(draws.flip.mean() - 0.5) < 0.01
    for corner in (draws.top, draws.left):
        counts = np.bincount(corner)
        assert len(counts) == 9
        assert abs(counts - 50000 / 9).max() < 300


def test_draws_are_a_function_of_seed_and_epoch() -> None:
    one, same, later, other = (data.draw(500, *each) for each in ((1, 3), (1, 3), (1, 4), (2, 3)))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert all((a != b).any() for a, b in zip(one, later, strict=True))
    assert all((a != b).any() for a, b in zip(one, other, strict=True))
    first = data.draw(4, 1, 0)
    assert [each.tolist() for each in first] == WRITTEN_DOWN, "checkpoints of older versions must meet the same crops"


WRITTEN_DOWN = [[5, 5, 5, 6], [7, 2, 5, 8], [False, False, True, False]]


def test_a_batch_is_the_same_in_whatever_order_it_is_asked_for(photos: Path) -> None:
    parameters = Parameters(batch_size=16, image_size=32)
    split = data.read(str(photos)).train
    places = [(epoch, step) for epoch in range(4) for step in range(5)]
    in_order = Batches(split, parameters, threads=2)
    expected = {place: in_order.get(*place) for place in places}
    random.Random(1).shuffle(places)
    mixed = Batches(split, parameters, threads=1)
    for place in places:
        images, labels = mixed.get(*place)
        assert images.tobytes() == expected[place][0].tobytes()
        assert (labels == expected[place][1]).all()
    follow = Batches(split, parameters, threads=1).from_here(1, 3)
    assert next(follow)[0].tobytes() == expected[1, 3][0].tobytes()
    next(follow)
    assert next(follow)[0].tobytes() == expected[2, 0][0].tobytes()


def test_the_devices_of_a_run_share_the_batches_of_one_that_is_as_large(photos: Path) -> None:
    split = data.read(str(photos)).train
    whole = Batches(split, Parameters(batch_size=32, image_size=32), 1)
    parts = [Batches(split, Parameters(batch_size=16, image_size=32), 1, Shard(rank, 2)) for rank in range(2)]
    assert [part.steps for part in parts] == [whole.steps] * 2
    for step in range(whole.steps):
        together = np.concatenate([part.get(1, step)[0] for part in parts])
        assert together.tobytes() == whole.get(1, step)[0].tobytes()


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 8), st.integers(0, 50))
def test_shards_of_an_epoch_have_no_picture_in_common(samples: int, batch: int, size: int, epoch: int) -> None:
    shards = [order(samples, batch, 7, epoch, Shard(rank, size)) for rank in range(size)]
    assert {shard.shape for shard in shards} == {(samples // (batch * size), batch)}
    seen = np.concatenate([shard.ravel() for shard in shards])
    assert len(set(seen)) == len(seen)
