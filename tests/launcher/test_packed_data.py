"""Data of very many small files: sent as shards if the boot file can unpack them, and seen as what the user has."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage import packing
from storage.filesystem import FileSystemStorage
from storage.packing import MANY, SMALL, find_index

HOUSE = Path(__file__).resolve().parents[2]

OURS = """
import os, sys
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from entrypoints.training import main
from jobs.seeing.seen import SeeingJob

if __name__ == "__main__":
    sys.exit(main(SeeingJob()))
"""
"""A boot file as ours are."""
SEEN = """
import dataclasses, hashlib, json, os
from jobs import Job, JobError

def listing(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as stream:
                found[os.path.relpath(path, folder)] = hashlib.sha256(stream.read()).hexdigest()
    return found

@dataclasses.dataclass(frozen=True)
class Parameters:
    epochs: int = 1
    batch_size: int = 1

class SeeingJob(Job):
    name = "seeing"
    parameters = Parameters

    def read(self, folder, parameters):
        print("SEEN " + json.dumps(listing(folder)), flush=True)
        raise JobError("the data in %s was seen" % folder, "that is all")

    def prepare(self, raw):
        pass

    def trainer(self, data, parameters, device, shard):
        pass
"""
"""Tells what `read` is given, and ends."""
NOBODYS = """
import argparse, json, os, sys
sys.path.insert(0, os.getcwd())
from jobs.seeing.seen import listing
parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
folder = parser.parse_known_args()[0].data_url
if "://" in folder:
    import moxing
    moxing.file.copy_parallel(folder, "copy")
    folder = "copy"
print("SEEN " + json.dumps(listing(folder)))
"""
"""A boot file that reads data_url itself."""

FILES = {
    **{f"class-{index % 7}/{index:04}.bin": b"%d" % index * (index % 300) for index in range(1500)},
    "数据/名 1.txt": "文".encode() * 99,
    "large.bin": b"L" * (SMALL + 1),
    "class-0/large": b"M" * (SMALL * 2),
}
TREE = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}


@pytest.fixture
def seeing(project):
    """A project with a copy of our entry points, a job of ours, and data of very many small files."""
    for name in ("entrypoints", "storage"):
        shutil.copytree(HOUSE / name, project.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "jobs/__init__.py", project.root / "jobs")
    include = ["entrypoints", "storage", "jobs/__init__.py", "jobs/seeing"]
    project.job("seeing", OURS, code={"include": include}, data="data")
    (project.root / "jobs/seeing/seen.py").write_text(SEEN)
    for path, content in FILES.items():
        (project.root / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / "data" / path).write_bytes(content)
    return project


def seen(answer) -> dict[str, str]:
    """The tree that the job told in its log."""
    return json.loads(next(line[5:] for line in answer.out.splitlines() if line.startswith("SEEN ")))


def trees(project) -> list[str]:
    """The committed data trees in the bucket: `plain` or `packed` each."""
    folder = project.home / "buckets/local/launcher/data/data"
    names = sorted(path.name for path in folder.glob("*.manifest.json"))
    return ["packed" if name.endswith("-packed.manifest.json") else "plain" for name in names]


def packed_folder(project) -> Path:
    return next((project.home / "buckets/local/launcher/data/data").glob("*-packed"))


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("contract", ["new", "old"])
def test_a_job_of_ours_sees_the_same_tree_packed_or_not(contract, seeing, cli):
    packed = cli("submit", "seeing", "--contract", contract)
    assert trees(seeing) == ["packed"]
    folder = packed_folder(seeing)
    objects = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert len(objects) == 4 and {".shards/index.json", "large.bin", "class-0/large"} < objects
    assert seen(packed) == TREE
    plain = cli("submit", "seeing", "--contract", contract, "--no-pack")
    assert trees(seeing) == ["packed", "plain"]
    assert seen(plain) == TREE
    assert "unpacking" not in plain.out
    assert ("unpacking 1,503 files" in packed.out) == (contract == "new")
    for answer in (packed, plain):
        error = next(line for line in answer.out.splitlines() if line.startswith("error: "))
        assert "was seen" in error and "seeing-" not in error.split("/runs/")[0], "the scratch folder is not named"
    left = [path for path in seeing.home.rglob("seeing-*") if path.parent.name == "cache"]
    assert left == [], "the unpacked copy goes with the run"


def test_the_plan_says_what_is_packed_and_the_second_submit_sends_nothing(seeing, cli):
    upload = cli("submit", "seeing", "--dry-run", "--json").json["upload"]
    assert upload["packed"] == {"files": 1501, "shards": 1}
    assert upload["files"] > len(FILES), "the files of the tree are counted, and the code's"
    assert "packed: 1,501 small files as 1 shard\n" in cli("submit", "seeing", "--dry-run").out
    assert not (seeing.home / "buckets").exists()
    never = cli("submit", "seeing", "--dry-run", "--json", "--no-pack").json
    assert never["upload"] == {**upload, "packed": None} and not never["data"]["packed"]
    cli("submit", "seeing")
    before = stamps(seeing.home / "buckets/local/launcher/data")
    plan = cli("submit", "seeing", "--dry-run", "--json").json
    assert plan["upload"] == {"files": 0, "bytes": 0, "already_there": upload["files"], "packed": None}
    assert plan["data"]["packed"] and plan["data"]["url"].endswith("-packed/")
    assert seen(cli("submit", "seeing")) == TREE
    assert stamps(seeing.home / "buckets/local/launcher/data") == before


def test_job_yaml_can_say_never(seeing, cli):
    path = seeing.root / "jobs/seeing/job.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pack": "never"}))
    assert cli("submit", "seeing", "--dry-run", "--json").json["upload"]["packed"] is None
    path.write_text(path.read_text().replace("never", "always"))
    assert cli("submit", "seeing", "--dry-run").code == 2


@pytest.mark.parametrize("contract", ["new", "old"])
def test_a_script_that_nobody_adapted_sees_plain_files(contract, seeing, cli):
    (seeing.root / "jobs/seeing/main.py").write_text(NOBODYS)
    answer = cli("submit", "seeing", "--contract", contract)
    assert answer.code == 0, answer
    assert trees(seeing) == ["plain"]
    assert seen(answer) == TREE


def test_a_tree_that_is_there_as_plain_files_is_used(seeing, cli):
    cli("submit", "seeing", "--no-pack")
    plan = cli("submit", "seeing", "--dry-run", "--json").json
    assert plan["upload"]["packed"] is None and plan["upload"]["files"] == 0
    assert seen(cli("submit", "seeing")) == TREE
    assert trees(seeing) == ["plain"]


def test_a_tree_with_one_small_file_less_than_many_is_plain(seeing, cli):
    small = sorted(path for path in (seeing.root / "data").rglob("*.bin") if path.stat().st_size <= SMALL)
    for path in small[: 1501 - MANY]:
        path.unlink()
    assert cli("submit", "seeing", "--dry-run", "--json").json["upload"]["packed"] == {"files": MANY, "shards": 1}
    small[-1].unlink()
    assert cli("submit", "seeing", "--dry-run", "--json").json["upload"]["packed"] is None


KILLED = """
import os, signal, sys
from storage import packing
from storage.filesystem import FileSystemStorage
packing.SHARD = 40_000
upload, write, left = FileSystemStorage.upload, FileSystemStorage.write, [int(sys.argv[1])]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def counted(self, path, key, *more, **named):
    if ".shards/" in key:
        left[0] -= 1
        if left[0] < 0:
            die()
    return upload(self, path, key, *more, **named)

def written(self, key, data):
    if "-packed.manifest.json" in key and sys.argv[2] == "before the manifest":
        die()
    return write(self, key, data)

FileSystemStorage.upload, FileSystemStorage.write = counted, written
from launcher.__main__ import main
main(["submit", "seeing"])
"""


@pytest.mark.parametrize(("shards", "where"), [(0, ""), (3, ""), (99, "before the manifest")])
def test_a_packed_upload_that_is_killed_is_completed_by_the_next(shards, where, seeing, cli, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(shards), where],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done
    assert trees(seeing) == []
    arrived = stamps(packed_folder(seeing)) if shards else {}
    tars = {path: stamp for path, stamp in arrived.items() if path.suffix == ".tar"}
    assert bool(tars) == bool(shards)
    monkeypatch.setattr(packing, "SHARD", 40_000)
    assert seen(cli("submit", "seeing")) == TREE
    assert trees(seeing) == ["packed"]
    assert tars.items() <= stamps(packed_folder(seeing)).items(), "what had arrived was not sent again"
    index = find_index(FileSystemStorage(packed_folder(seeing)), "")
    assert index is not None and len(index.shards) > 4
    assert [run["phase"] for run in cli("runs", "--json").json] == ["Failed", "Abnormal"]


def test_a_damaged_shard_ends_the_run_and_is_sent_anew(seeing, cli):
    cli("submit", "seeing")
    shard = next(packed_folder(seeing).glob(".shards/*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    answer = cli("submit", "seeing")
    assert answer.code == 100 and "sent anew" in answer.err and "SEEN" not in answer.out
    assert trees(seeing) == []
    assert seen(cli("submit", "seeing")) == TREE
    assert shard.read_bytes() == whole


def test_under_the_old_contract_the_job_finds_the_damage_and_says_what_mends_it(seeing, cli):
    cli("submit", "seeing")
    shard = next(packed_folder(seeing).glob(".shards/*.tar"))
    shard.write_bytes(shard.read_bytes()[:-2000] + bytes(2000))
    answer = cli("submit", "seeing", "--contract", "old")
    error, hint = (line for line in answer.out.splitlines() if line.startswith(("error: ", "hint: ")))
    assert "damaged" in error and "SEEN" not in answer.out
    manifest = hint.split()[2]
    assert manifest.startswith("obs://local/launcher/data/data/") and manifest.endswith("-packed.manifest.json")
    assert cli("storage", "rm", manifest).code == 0
    assert seen(cli("submit", "seeing", "--contract", "old")) == TREE


def test_packed_data_used_in_place_needs_a_boot_file_that_unpacks(seeing, cli):
    cli("submit", "seeing")
    url = cli("submit", "seeing", "--dry-run", "--json").json["data"]["url"]
    assert seen(cli("submit", "seeing", "--data", url)) == TREE
    (seeing.root / "jobs/seeing/main.py").write_text(NOBODYS)
    answer = cli("submit", "seeing", "--data", url)
    assert answer.code == 1 and "does not unpack it" in answer.err and f"storage sync {url}" in answer.err


def test_storage_verbs_on_packed_data(seeing, cli, tmp_path):
    """`cat` finds a single file in its shard, `sync` unpacks, `cp` copies the objects as they lie."""
    cli("submit", "seeing")
    url = cli("submit", "seeing", "--dry-run", "--json").json["data"]["url"]
    assert len(cli("storage", "ls", "-r", url, "--json").json) == 4
    assert cli("storage", "cat", url + "class-2/0100.bin").out.encode() == FILES["class-2/0100.bin"]
    assert cli("storage", "cat", url + "class-2/0100.bin", "--start", "3", "--length", "4").out == "1001"
    found = cli("storage", "cat", url + "数据/名 1.txt", "--json").json
    assert found[0]["text"].encode() == FILES["数据/名 1.txt"] and found[0]["size"] == len(FILES["数据/名 1.txt"])
    assert cli("storage", "cat", url + "class-2/none.bin").code == 102
    assert cli("storage", "sync", url, str(tmp_path / "synced")).code == 0
    synced = tmp_path / "synced"
    assert {p.relative_to(synced).as_posix(): p.read_bytes() for p in synced.rglob("*") if p.is_file()} == FILES
    assert cli("storage", "cp", "-r", url, f"{tmp_path}/copied/").code == 0
    assert sum(path.is_file() for path in (tmp_path / "copied").rglob("*")) == 4
    answer = cli("submit", "seeing", "--data", str(tmp_path / "copied"), "--contract", "old")
    assert seen(answer) == TREE, "a job of ours reads such a copy too"
