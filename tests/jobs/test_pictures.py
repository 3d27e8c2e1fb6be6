"""The one way from a picture to the network: the same bits as MindSpore's, and a polarity that is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pictures import DARK_ON_LIGHT, LIGHT_ON_DARK, Pictures, ground, invert, is_inverted, resize, softmax
from tests.jobs.digits import write_digits

sides = st.integers(1, 70)
GREY = Pictures(1, (28, 28), (32, 32), (1.0,), (0.0,), polarity=LIGHT_ON_DARK, fit="pad")
COLOUR = Pictures(3, (8, 8), (4, 6), (1.0, 2.0, 3.0), (0.0, 1.0, 2.0))


@settings(max_examples=40, deadline=None)
@given(
    before=st.tuples(sides, sides),
    after=st.tuples(sides, sides),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_any_resize_is_mindspores_to_the_bit(
    mindspore: object, before: tuple[int, int], after: tuple[int, int], channels: int, seed: int
) -> None:
    from mindspore.dataset import vision

    shape = (*before, 3) if channels == 3 else before
    image = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    theirs = np.asarray(vision.Resize(after)(image)).reshape(*after, *shape[2:])
    planes, expected = (np.moveaxis(each, 2, 0) if channels == 3 else each for each in (image, theirs))
    assert np.array_equal(resize(planes, after), expected)


def test_each_channel_has_its_own_normalisation() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[..., 1] = 10
    prepared = COLOUR.prepare(images)
    assert (prepared.shape, prepared.dtype) == ((2, 3, 4, 6), np.float32)
    assert [float(prepared[0, channel, 0, 0]) for channel in range(3)] == [0.0, 21.0, 2.0]


def test_rescale_and_normalize_are_mindspores_to_the_bit(mindspore: object) -> None:
    from mindspore.dataset import vision

    mean, deviation = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    pictures = Pictures(3, (16, 16), (16, 16), (1 / 255,) * 3, (0.0,) * 3, mean, deviation)
    image = np.arange(768).reshape(16, 16, 3).astype(np.uint8)
    theirs = vision.Normalize(mean, deviation)(vision.Rescale(1 / 255, 0.0)(image)).transpose(2, 0, 1)
    assert np.array_equal(pictures.prepare(image[None])[0], theirs)
    assert Pictures.from_json(pictures.to_json()) == pictures


@pytest.mark.parametrize("shape", [(2, 28), (2, 28, 28, 3), (2, 28, 28, 1)])
def test_what_is_no_grey_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no pictures of 1 channels"):
        GREY.prepare(np.zeros(shape, np.uint8))


def test_a_description_survives_json() -> None:
    assert Pictures.from_json(COLOUR.to_json()) == COLOUR


BAD: list[dict] = [
    {"channels": 2},
    {"size": (0, 4)},
    {"scale": (1.0,)},
    {"polarity": "odd"},
    {"shift": (0.0, float("nan"), 1.0)},
    {"fit": "crop"},
    {"mean": (1.0,)},
    {"mean": (0.0,) * 3, "deviation": (1.0, 0.0, 1.0)},
]


@pytest.mark.parametrize("change", BAD)
def test_a_description_that_describes_nothing_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="describes no pictures"):
        Pictures.from_json({**COLOUR.to_json(), **change})


def test_polarity_is_noticed_on_every_digit(tmp_path: Path) -> None:
    from jobs.lenet5.model import MODEL

    images, _ = MODEL.test_set(str(write_digits(tmp_path)))
    for image in images:
        image = image * (image > 60)  # the synthetic digits have noise for a ground
        assert not is_inverted(GREY, image)
        assert is_inverted(GREY, 255 - image)
        assert np.array_equal(invert(GREY, 255 - image), image)


def test_grey_paper_becomes_black() -> None:
    image = np.full((28, 28), 170, np.uint8)
    image[10:18, 12:16] = 30
    assert is_inverted(GREY, image)
    inverted = invert(GREY, image)
    assert ground(inverted) == 0 and inverted.max() == 255 - 45


def test_a_flag_decides_against_the_eye() -> None:
    dark = np.zeros((28, 28), np.uint8)
    assert is_inverted(GREY, dark, DARK_ON_LIGHT) and not is_inverted(GREY, dark, LIGHT_ON_DARK)
    assert not is_inverted(COLOUR, np.full((8, 8, 3), 255, np.uint8), DARK_ON_LIGHT), "colour photographs have none"


@pytest.mark.parametrize("level", [0, 100, 127, 128, 255])
def test_an_even_picture_is_ground_alone(level: int) -> None:
    assert is_inverted(GREY, np.full((5, 5), level, np.uint8)) == (level > 127)


def test_confidences_sum_up_even_for_great_logits() -> None:
    shares = softmax(np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], np.float32))
    assert np.allclose(shares.sum(axis=1), 1) and shares[0].argmax() == 0 and shares[1, 0] == pytest.approx(1 / 3)
