"""A table of broken layouts, each with the exact problems expected; where the mend is a command, it is run."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher import datasets

TRI, TRL = "train/train-images-idx3-ubyte", "train/train-labels-idx1-ubyte"
TEI, TEL = "test/t10k-images-idx3-ubyte", "test/t10k-labels-idx1-ubyte"
ALL = (TRI, TRL, TEI, TEL)

Break = Callable[[Path], object]


def move(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


def put(place: str, content: bytes) -> Break:
    return lambda root: (root / place).write_bytes(content)


def edit(place: str, change: Callable[[bytes], bytes]) -> Break:
    return lambda root: (root / place).write_bytes(change((root / place).read_bytes()))


def swap(one: str, other: str) -> Break:
    def swapped(root: Path) -> None:
        move(root, one, "beside")
        move(root, other, one)
        move(root, "beside", other)

    return swapped


def flat(root: Path) -> None:
    for place in ALL:
        move(root, place, Path(place).name)
    (root / "train").rmdir()
    (root / "test").rmdir()


def nest(*names: str) -> Break:
    def nested(root: Path) -> None:
        inner = root.joinpath(*names)
        inner.mkdir(parents=True)
        shutil.move(root / "train", inner)
        shutil.move(root / "test", inner)

    return nested


def rename(old: str, new: str) -> Break:
    return lambda root: move(root, old, new)


def pack(place: str, suffix: str = ".gz") -> Break:
    def packed(root: Path) -> None:
        (root / (place + suffix)).write_bytes(gzip.compress((root / place).read_bytes()))
        (root / place).unlink()

    return packed


def zip_all(name: str) -> Break:
    def zipped(root: Path) -> None:
        with zipfile.ZipFile(root / name, "w") as archive:
            for place in ALL:
                archive.write(root / place, place)
        shutil.rmtree(root / "train")
        shutil.rmtree(root / "test")

    return zipped


def zip_one(root: Path) -> None:
    with zipfile.ZipFile(root / (TRI + ".zip"), "w") as archive:
        archive.write(root / TRI, Path(TRI).name)
    (root / TRI).unlink()


def tar_all(root: Path) -> None:
    with tarfile.open(root / "mnist.tar.gz", "w:gz") as archive:
        archive.add(root / "train", "train")
        archive.add(root / "test", "test")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")


def folder_of_its_name(root: Path) -> None:
    move(root, TRI, "beside")
    (root / TRI).mkdir()
    move(root, "beside", f"{TRI}/train-images.idx3-ubyte")


def both(*breaks: Break) -> Break:
    return lambda root: [one(root) for one in breaks]


def idx(magic: int, *sizes: int, body: int) -> bytes:
    return struct.pack(f">{1 + len(sizes)}i", magic, *sizes) + bytes(body)


SHORT = "is cut short: 47,000 bytes, and its header promises 47,056 (60 images)"

RUN = True  # the mends are commands: run them all, and check again

BROKEN: dict[str, tuple[Break, list[str], bool]] = {
    "file missing": (lambda r: (r / TRL).unlink(), [f"{TRL}: the file is missing"], False),
    "folder missing": (lambda r: shutil.rmtree(r / "test"), ["test/: the folder is missing"], False),
    "both folders missing": (
        both(lambda r: shutil.rmtree(r / "train"), lambda r: shutil.rmtree(r / "test"), put("readme", b"x")),
        ["train/: the folder is missing", "test/: the folder is missing"],
        False,
    ),
    "folder empty": (
        both(lambda r: (r / TEI).unlink(), lambda r: (r / TEL).unlink()),
        [f"{TEI}: the file is missing", f"{TEL}: the file is missing"],
        False,
    ),
    "all empty": (
        both(lambda r: shutil.rmtree(r / "train"), lambda r: shutil.rmtree(r / "test")),
        [".: the folder is empty"],
        False,
    ),
    "a file where a folder belongs": (
        both(lambda r: shutil.rmtree(r / "test"), put("test", b"")),
        ["test: is a file where a folder belongs"],
        False,
    ),
    "left gzipped": (pack(TRI), [f"{TRI}.gz: is still packed (.gz)"], RUN),
    "all left gzipped": (both(*map(pack, ALL)), [f"{p}.gz: is still packed (.gz)" for p in ALL], RUN),
    "gzip bytes, plain name": (edit(TEI, gzip.compress), [f"{TEI}: is still gzipped, under the plain name"], RUN),
    "one file zipped": (zip_one, [f"{TRI}.zip: is still packed (.zip)"], RUN),
    "zip bytes, plain name": (
        put(TEL, b"PK\x03\x04rest"),
        [f"{TEL}: is a zip archive, under the plain name"],
        False,
    ),
    "zip left packed": (zip_all("MNIST.zip"), ["MNIST.zip: is an archive that was left packed"], RUN),
    "zip of another name": (zip_all("download.zip"), ["download.zip: is an archive that was left packed"], RUN),
    "tar left packed": (tar_all, ["mnist.tar.gz: is an archive that was left packed"], RUN),
    "wrong magic": (
        edit(TRI, lambda b: b"\x00\x00\x0d\x03" + b[4:]),
        [f"{TRI}: is no IDX file of images (magic 3331, not 2051)"],
        False,
    ),
    "text": (put(TRL, b"5 0 4 1 9"), [f"{TRL}: is no IDX file of labels (magic 891301920, not 2049)"], False),
    "little-endian": (
        edit(TRI, lambda b: b"".join(b[i : i + 4][::-1] for i in range(0, 16, 4)) + b[16:]),
        [f"{TRI}: has its header's bytes in the wrong order (little-endian)"],
        False,
    ),
    "images and labels swapped": (
        swap(TRI, TRL),
        [
            f"{TRI}: holds labels, not images (magic 2049, not 2051)",
            f"{TRL}: holds images, not labels (magic 2051, not 2049)",
        ],
        False,
    ),
    "labels in place of images": (
        lambda r: shutil.copy(r / TEL, r / TEI),
        [f"{TEI}: holds labels, not images (magic 2049, not 2051)"],
        False,
    ),
    "cut short": (edit(TRI, lambda b: b[:47000]), [f"{TRI}: {SHORT}"], False),
    "one byte short": (
        edit(TEL, lambda b: b[:-1]),
        [f"{TEL}: is cut short: 27 bytes, and its header promises 28 (20 labels)"],
        False,
    ),
    "one byte too many": (
        edit(TEL, lambda b: b + b"\0"),
        [f"{TEL}: is too long: 29 bytes, and its header promises 28 (20 labels)"],
        False,
    ),
    "a class is missing": (
        edit(TRL, lambda b: b[:8] + b[8:].replace(b"\x04", b"\x05")),
        [f"{TRL}: has no image of class 4"],
        False,
    ),
    "cut in the header": (edit(TRI, lambda b: b[:10]), [f"{TRI}: is cut short: 10 bytes, less than its header"], False),
    "cut in the magic": (edit(TRL, lambda b: b[:3]), [f"{TRL}: is cut short: 3 bytes, less than its header"], False),
    "empty file": (put(TEI, b""), [f"{TEI}: is empty"], False),
    "a web page": (
        put(TEI, b"\xef\xbb\xbf\n<!DOCTYPE html><p>Not found"),
        [f"{TEI}: is a web page, saved in place of the file"],
        False,
    ),
    "a Git LFS pointer": (
        put(TRI, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        [f"{TRI}: is a Git LFS pointer, not the file itself"],
        False,
    ),
    "counts differ": (put(TEL, idx(2049, 19, body=19)), ["test/: has 20 images but 19 labels"], False),
    "no images": (put(TEI, idx(2051, 0, 28, 28, body=0)), [f"{TEI}: holds 0 images"], False),
    "other image size": (
        put(TEI, idx(2051, 20, 32, 32, body=20 * 1024)),
        [f"{TEI}: has images of 32 x 32, not 28 x 28"],
        False,
    ),
    "label out of range": (
        edit(TRL, lambda b: b[:12] + b"\x0a" + b[13:]),
        [f"{TRL}: has label 10 at index 4; labels are 0 to 9"],
        False,
    ),
    "folders swapped": (
        swap("train", "test"),
        [
            "test/train-images-idx3-ubyte: lies in test/, not in train/",
            "test/train-labels-idx1-ubyte: lies in test/, not in train/",
            "train/t10k-images-idx3-ubyte: lies in train/, not in test/",
            "train/t10k-labels-idx1-ubyte: lies in train/, not in test/",
        ],
        RUN,
    ),
    "train and test content swapped": (
        both(
            put(TRI, idx(2051, 10_000, 28, 28, body=7_840_000)),
            put(TRL, idx(2049, 10_000, body=10_000)),
            put(TEI, idx(2051, 60_000, 28, 28, body=47_040_000)),
            put(TEL, idx(2049, 60_000, body=60_000)),
        ),
        [
            "train/: holds the 10,000 images of test: train and test are swapped",
            "test/: holds the 60,000 images of train: train and test are swapped",
        ],
        False,
    ),
    "flat": (
        flat,
        [f"{Path(p).name}: lies in the top folder, not in {Path(p).parent}/" for p in ALL],
        RUN,
    ),
    "flat and gzipped": (
        both(*map(pack, ALL), *[rename(f"{p}.gz", Path(p).name + ".gz") for p in ALL]),
        [
            line
            for p in ALL
            for line in (
                f"{Path(p).name}.gz: is still packed (.gz)",
                f"{Path(p).name}.gz: lies in the top folder, not in {Path(p).parent}/",
            )
        ],
        RUN,
    ),
    "dot for dash": (
        rename(TRI, "train/train-images.idx3-ubyte"),
        ["train/train-images.idx3-ubyte: should be named train-images-idx3-ubyte"],
        RUN,
    ),
    "Windows adds .txt": (
        rename(TRL, f"{TRL}.txt"),
        [f"{TRL}.txt: should be named train-labels-idx1-ubyte"],
        RUN,
    ),
    "second download": (
        rename(TEI, f"{TEI} (1)"),
        [f"{TEI} (1): should be named t10k-images-idx3-ubyte"],
        RUN,
    ),
    "underscores and capitals": (
        rename(TEL, "test/T10K_Labels_IDX1_ubyte"),
        ["test/T10K_Labels_IDX1_ubyte: should be named t10k-labels-idx1-ubyte"],
        RUN,
    ),
    "test- for t10k-": (
        rename(TEI, "test/test-images-idx3-ubyte"),
        ["test/test-images-idx3-ubyte: should be named t10k-images-idx3-ubyte"],
        RUN,
    ),
    "unfinished download": (
        rename(TRI, f"{TRI}.gz.crdownload"),
        [f"{TRI}.gz.crdownload: is a download that never finished"],
        False,
    ),
    "capital folder": (
        rename("train", "Training"),
        [
            "Training/train-images-idx3-ubyte: lies in Training/, not in train/",
            "Training/train-labels-idx1-ubyte: lies in Training/, not in train/",
        ],
        RUN,
    ),
    "torchvision's raw folder": (
        both(flat, *[rename(Path(p).name, f"raw/{Path(p).name}") for p in ALL]),
        [f"raw/{Path(p).name}: lies in raw/, not in {Path(p).parent}/" for p in ALL],
        RUN,
    ),
    "a folder of the file's name": (
        folder_of_its_name,
        [f"{TRI}: is a folder; the file is inside it (train-images.idx3-ubyte)"],
        RUN,
    ),
    "an empty folder of the file's name": (
        both(lambda r: (r / TRI).unlink(), lambda r: (r / TRI).mkdir()),
        [f"{TRI}: is a folder where a file belongs"],
        False,
    ),
    "a link to nothing": (
        both(lambda r: (r / TRI).unlink(), lambda r: (r / TRI).symlink_to("/nowhere")),
        [f"{TRI}: is a link to nothing (/nowhere)"],
        False,
    ),
    "a pipe": (both(lambda r: (r / TRI).unlink(), lambda r: os.mkfifo(r / TRI)), [f"{TRI}: is no plain file"], False),
    "one folder too deep": (nest("MNIST"), ["MNIST/: the data set lies deeper: in MNIST/"], False),
    "two folders too deep, and damaged": (
        both(edit(TRI, lambda b: b[:47000]), nest("a", "MNIST")),
        ["a/MNIST/: the data set lies deeper: in a/MNIST/", f"a/MNIST/{TRI}: {SHORT}"],
        False,
    ),
    "four things at once": (
        both(
            put(TRI, b""),
            pack(TEL),
            edit(TRL, lambda b: b[:-1] + b"\xff"),
            rename(TEI, "test/t10k-images.idx3-ubyte"),
        ),
        [
            "test/t10k-images.idx3-ubyte: should be named t10k-images-idx3-ubyte",
            f"{TEL}.gz: is still packed (.gz)",
            f"{TRI}: is empty",
            f"{TRL}: has label 255 at index 59; labels are 0 to 9",
        ],
        False,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_layout(case: str, kit: Any, tmp_path: Path) -> None:
    spoil, expected, mends = BROKEN[case]
    root = kit.tiny.write(tmp_path / "my data")
    spoil(root)
    problems = datasets.check("mnist", root)
    assert [str(problem) for problem in problems] == expected
    assert all(problem.mend and "\n" not in problem.mend for problem in problems)
    if mends:
        for problem in problems:
            subprocess.run(problem.mend, shell=True, check=True, capture_output=True)
        assert datasets.check("mnist", root) == []
