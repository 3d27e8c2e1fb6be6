"""MNIST is read strictly, and prepared to the bit as MindSpore's own pipeline would."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import JobError
from jobs.lenet5 import JOB, Parameters, data
from jobs.shared.pictures import order
from tests.jobs.digits import write_idx

TRAIN_IMAGES = "train/train-images-idx3-ubyte"
TRAIN_LABELS = "train/train-labels-idx1-ubyte"


def test_reads_what_was_written(digits: Path) -> None:
    mnist = data.read(str(digits))
    assert mnist.train.images.shape == (330, 28, 28)
    assert mnist.test.labels.shape == (45,)
    assert set(mnist.train.labels) == set(range(10))


def test_prepared_arrays_have_the_shapes_that_the_network_takes(digits: Path) -> None:
    train, test = data.prepare(data.read(str(digits)))
    assert (train.images.shape, train.images.dtype) == ((330, 1, 32, 32), np.float32)
    assert (test.labels.shape, test.labels.dtype) == ((45,), np.int32)


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return change


def put(name: str, magic: int, *shape: int, value: int = 0) -> Callable[[Path], None]:
    return lambda folder: write_idx(folder / name, magic, np.full(shape, value, np.uint8))


def move_away(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")


def put_one_folder_deeper(folder: Path) -> None:
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    (folder.parent / "moved").rename(folder / "MNIST")


def leave_packed(folder: Path) -> None:
    pack_in_place(folder)
    (folder / TRAIN_IMAGES).rename(folder / (TRAIN_IMAGES + ".gz"))


def pack_in_place(folder: Path) -> None:
    path = folder / TRAIN_IMAGES
    path.write_bytes(gzip.compress(path.read_bytes()))


def delete(folder: Path) -> None:
    (folder / TRAIN_LABELS).unlink()


def make_it_a_folder(folder: Path) -> None:
    delete(folder)
    (folder / TRAIN_LABELS).mkdir()


def swap(folder: Path) -> None:
    (folder / TRAIN_LABELS).write_bytes((folder / TRAIN_IMAGES).read_bytes())


def promise_too_much(folder: Path) -> None:
    header = np.array([2051, 2**32 - 1, 2**32 - 1, 2**32 - 1], ">u4")
    (folder / TRAIN_IMAGES).write_bytes(header.tobytes())


def empty(folder: Path) -> None:
    put(TRAIN_IMAGES, 2051, 0, 28, 28)(folder)
    put(TRAIN_LABELS, 2049, 0)(folder)


def shorten(folder: Path) -> None:
    put(TRAIN_IMAGES, 2051, 31, 28, 28)(folder)
    put(TRAIN_LABELS, 2049, 31)(folder)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no such folder": (move_away, "there is no folder"),
    "the parent was given": (put_one_folder_deeper, "has no folder train"),
    "file missing": (delete, "train-labels-idx1-ubyte"),
    "left packed": (leave_packed, "still packed"),
    "packed under the plain name": (pack_in_place, "still packed"),
    "a folder for a file": (make_it_a_folder, "train-labels-idx1-ubyte"),
    "empty file": (cut(TRAIN_IMAGES, 0), "ends within its header"),
    "header cut": (cut(TRAIN_IMAGES, 11), "ends within its header"),
    "pictures truncated": (cut(TRAIN_IMAGES, 5000), "its header promises"),
    "labels truncated": (cut(TRAIN_LABELS, 100), "its header promises"),
    "absurd size": (promise_too_much, "its header promises"),
    "wrong magic": (put(TRAIN_IMAGES, 2052, 330, 28, 28), "begins with 2052"),
    "pictures where labels belong": (swap, "begins with 2051"),
    "fewer labels": (put(TRAIN_LABELS, 2049, 300), "300 labels"),
    "label out of range": (put(TRAIN_LABELS, 2049, 330, value=12), "the label 12"),
    "other size": (put(TRAIN_IMAGES, 2051, 330, 32, 32), "32x32"),
    "no pictures": (empty, "no pictures"),
    "fewer than a batch": (shorten, "fewer than one batch"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_says_what_is_wrong_with_a_folder(digits: Path, how: str) -> None:
    change, words = DAMAGES[how]
    change(digits)
    with pytest.raises(JobError) as caught:
        JOB.read(str(digits), Parameters())
    assert words in caught.value.message
    assert str(digits) in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


@given(st.integers(1, 500), st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_an_epoch_sees_each_picture_once_but_for_the_incomplete_batch(
    n: int, batch: int, seed: int, epoch: int
) -> None:
    rows = order(n, batch, seed, epoch)
    assert rows.shape == (n // batch, batch)
    assert len(set(rows.flat)) == rows.size
    assert not rows.size or (rows.min() >= 0 and rows.max() < n)


def test_epochs_are_shuffled_differently_and_reproducibly() -> None:
    assert (order(60000, 32, 1, 0) != order(60000, 32, 1, 1)).any()
    assert (order(60000, 32, 1, 0) != order(60000, 32, 2, 0)).any()
    assert (order(60000, 32, 1, 2) == order(60000, 32, 1, 2)).all()
    assert order(10, 5, 1, 0).tolist() == FIRST_ORDER


FIRST_ORDER = [[2, 9, 8, 3, 6], [7, 1, 4, 0, 5]]
"""Written down: checkpoints of older versions must meet the same order."""


def test_pictures_are_prepared_to_the_bit_as_mindspore_does(mnist: Path, mindspore: object) -> None:
    """The references' own pipeline, on real pictures of both splits."""
    from mindspore import dataset
    from mindspore.dataset import vision

    prepared = data.prepare(data.read(str(mnist)))
    for split, ours in (("train", prepared.train), ("test", prepared.test)):
        pipeline = dataset.MnistDataset(str(mnist / split), shuffle=False, num_samples=5000)
        operations = [vision.Resize((32, 32)), vision.Rescale(data.RESCALE, data.SHIFT), vision.HWC2CHW()]
        pipeline = pipeline.map(operations, "image").batch(5000)
        images, labels = next(pipeline.create_tuple_iterator(num_epochs=1, output_numpy=True))
        assert images.tobytes() == ours.images[:5000].tobytes()
        assert (labels == ours.labels[:5000]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.95]))
def test_any_picture_is_resized_to_the_bit_as_mindspore_does(seed: int, black: float) -> None:
    from mindspore.dataset import vision

    random = np.random.RandomState(seed)
    picture = (random.randint(0, 256, (28, 28)) * (random.rand(28, 28) >= black)).astype(np.uint8)
    theirs = vision.Resize((32, 32))(picture[:, :, None])
    assert (data.resize(picture[None])[0] == theirs.reshape(32, 32)).all()
