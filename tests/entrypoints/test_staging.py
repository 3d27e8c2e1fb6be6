"""Data that comes as shards, from a folder that the platform has filled and through moxing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from entrypoints import staging
from jobs import JobError
from storage.filesystem import FileSystemStorage
from storage.manifest import scan
from storage.moxing import MoxingStorage
from storage.packing import MANY, SMALL
from storage.transfer import download_tree, upload_tree
from tests.moxing.emulation import emulated_moxing

FILES = {
    "large": b"L" * (SMALL + 1),
    "deep/large": b"M" * (SMALL * 3),
    "empty": b"",
    **{f"{index % 5}/{index:04}": b"%d" % index * 9 for index in range(MANY)},
}


def contents(root: str | Path) -> dict[str, bytes]:
    found = (path for path in Path(root).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def bucket(tmp_path: Path) -> FileSystemStorage:
    """A bucket with the packed tree `data/set`."""
    for path, content in FILES.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_bytes(content)
    storage = FileSystemStorage(tmp_path / "buckets/bucket")
    upload_tree(tmp_path / "tree", storage, "data/set", scan(tmp_path / "tree"), pack=True)
    return storage


@pytest.fixture
def copied(bucket: FileSystemStorage, tmp_path: Path) -> Path:
    """The folder that the platform makes of it: objects as they are, and no manifest."""
    download_tree(bucket, "data/set", tmp_path / "inputs", unpacked=False)
    assert len(contents(tmp_path / "inputs")) == 4
    return tmp_path / "inputs"


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    (tmp_path / "scratch").mkdir()
    return str(tmp_path / "scratch")


def test_a_folder_of_shards_becomes_the_tree(copied: Path, scratch: str) -> None:
    said: list[str] = []
    before = contents(copied)
    folder = staging.bring(f"{copied}/", scratch, said.append)
    assert contents(folder) == FILES
    assert os.path.dirname(folder) == scratch
    assert said == [f"unpacking {len(FILES):,} files, the small ones from 1 shard"]
    assert contents(copied) == before
    assert os.path.samefile(copied / "large", Path(folder, "large")), "what is large is not copied"


def test_large_files_are_copied_where_they_cannot_be_linked(
    copied: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    folder = staging.bring(str(copied), scratch, print)
    assert contents(folder) == FILES
    assert not os.path.samefile(copied / "large", Path(folder, "large"))


def test_a_plain_folder_is_read_where_it_is(tmp_path: Path, bucket: Any, scratch: str) -> None:
    assert staging.bring(str(tmp_path / "tree"), scratch, print) == str(tmp_path / "tree")
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("how", ["local buckets", "moxing"])
def test_a_packed_url_is_unpacked_on_its_way(
    how: str, bucket: FileSystemStorage, tmp_path: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_BUCKETS", str(tmp_path / "buckets"))
    monkeypatch.setenv("MOX_SILENT_MODE", "1")
    if how == "moxing":
        found = MoxingStorage(emulated_moxing().file, "bucket")
        monkeypatch.setattr(staging, "locate", lambda url: (found, url.split("/", 3)[3].rstrip("/")))
    said: list[str] = []
    folder = staging.bring("s3://bucket/data/set/", scratch, said.append)
    assert contents(folder) == FILES
    assert said == ["copying s3://bucket/data/set/"]
    assert os.listdir(scratch) == ["data"], "no shard was kept"


def test_progress_is_told_when_it_takes_long(
    copied: Path, tmp_path: Path, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PATIENCE", 0.0)
    said: list[str] = []
    staging.bring(str(copied), scratch, said.append)
    total = sum(map(len, FILES.values())) / 1e6
    assert said[1].startswith("unpacked ") and f" MB of {total:.1f} MB, after 0 s" in said[1]
    assert said[-1].startswith(f"unpacked all {total:.1f} MB in ")
    assert len(said) == 3, "and not for every file"


@pytest.mark.parametrize("what", ["shard", "large", "cut", "index", "gone"])
def test_damage_is_told_and_nothing_is_read(what: str, copied: Path, scratch: str) -> None:
    shard = next(copied.glob(".shards/*.tar"))
    target = {"large": copied / "deep/large", "index": copied / ".shards/index.json"}.get(what, shard)
    content = target.read_bytes()
    if what == "gone":
        target.unlink()
    else:
        target.write_bytes(content[:515] if what == "cut" else content[:515] + b"?" + content[516:])
    with pytest.raises(JobError) as told:
        staging.bring(str(copied), scratch, print)
    assert str(copied) in told.value.message and "manifest.json" in told.value.hint
    named = {"index": "the index of the shards", "large": "large", "gone": shard.name}.get(what, shard.name)
    assert named in told.value.message


def test_a_damaged_shard_ends_a_run_in_two_lines(counting: Any, copied: Path, tmp_path: Path) -> None:
    shard = next(copied.glob(".shards/*.tar"))
    shard.write_bytes(b"x" * 5000 + shard.read_bytes()[5000:])
    done = counting.run(f"--data_url={copied}", f"--train_url={tmp_path}/out")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: the data at ") and shard.name in error and hint.startswith("hint: delete ")
    assert list(counting.cwd.iterdir()) == [], "nothing is left behind"


def test_a_packed_run_and_errors_of_the_job_name_data_url(counting: Any, copied: Path, tmp_path: Path) -> None:
    done = counting.run(f"--data_url={copied}", f"--train_url={tmp_path}/out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("unpacking 1,003 files")
    assert list(counting.cwd.iterdir()) == []
