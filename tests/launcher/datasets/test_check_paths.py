"""Sound folders, paths that are no folders, and bytes that nobody foresaw."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher import datasets
from launcher.errors import UsageError

TRI, TRL = "train/train-images-idx3-ubyte", "train/train-labels-idx1-ubyte"
TEI, TEL = "test/t10k-images-idx3-ubyte", "test/t10k-labels-idx1-ubyte"
ALL = (TRI, TRL, TEI, TEL)


def test_a_sound_folder_has_no_problems(kit: Any, tmp_path: Path) -> None:
    assert datasets.check("mnist", kit.tiny.write(tmp_path / "data")) == []
    assert not datasets.is_official("mnist", tmp_path / "data"), "well-formed, and not MNIST"


@pytest.mark.parametrize("extra", ["train/train-images-idx3-ubyte.gz", ".DS_Store", "__MACOSX/train/._x", "notes.txt"])
def test_extra_files_are_no_problem(extra: str, kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (root / extra).parent.mkdir(parents=True, exist_ok=True)
    (root / extra).write_bytes(b"\x1f\x8b")
    assert datasets.check("mnist", root) == []


def test_links_to_good_files_are_good(kit: Any, tmp_path: Path) -> None:
    kit.tiny.write(tmp_path / "real")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "real" / "train")
    (tmp_path / "data" / "test").symlink_to("../real/test")
    assert datasets.check("mnist", tmp_path / "data") == []


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "there is no folder "),
        (lambda path: path.symlink_to("/nowhere"), "is a link to nothing (/nowhere)"),
        (lambda path: path.write_bytes(b"x"), "is a file, and a data set is a folder"),
    ],
)
def test_a_path_that_is_no_folder(make: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    make(tmp_path / "data")
    (problem,) = datasets.check("mnist", tmp_path / "data")
    assert problem.file == "." and problem.problem.startswith(expected)


def test_the_archive_itself_as_path(tmp_path: Path) -> None:
    (tmp_path / "MNIST.zip").write_bytes(b"PK")
    (problem,) = datasets.check("mnist", tmp_path / "MNIST.zip")
    assert (problem.problem, problem.mend) == (
        "is an archive that was left packed",
        f"unzip {tmp_path}/MNIST.zip -d {tmp_path}",
    )


@pytest.mark.parametrize("folder", ["train", "test"])
def test_one_of_the_folders_inside_as_path(folder: str, kit: Any, tmp_path: Path) -> None:
    kit.tiny.write(tmp_path / "data")
    (problem,) = datasets.check("mnist", tmp_path / "data" / folder)
    assert problem.problem == f"is the {folder} folder of a data set"
    assert problem.mend == f"name the folder above: {tmp_path / 'data'}"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (root / TRI).chmod(0)
    (problem,) = datasets.check("mnist", root)
    assert problem.problem == "cannot be read: Permission denied"


def test_a_huge_wrong_folder_does_not_take_long(tmp_path: Path) -> None:
    for number in range(60):
        folder = tmp_path / "data" / f"d{number}"
        folder.mkdir(parents=True)
        for inner in range(100):
            (folder / f"f{inner}").touch()
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    started = time.monotonic()
    assert len(datasets.check("mnist", tmp_path / "data")) == 2
    assert time.monotonic() - started < 5


def test_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no data set 'mnits'") as caught:
        datasets.check("mnits", "/")
    assert caught.value.hint == "did you mean 'mnist'?"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.binary(max_size=40), place=st.sampled_from(ALL))
def test_any_bytes_are_judged_and_never_raise(head: bytes, place: str, kit: Any, tmp_path: Path) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (root / place).write_bytes(head)
    problems = datasets.check("mnist", root)
    assert problems and all(p.file in (place, f"{Path(place).parent}/") for p in problems)
