"""Public habits of copying data in and out, each a script that knows nothing of us, run through the local target."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from launcher.targets import cache

SCRIPTS = Path(__file__).with_name("scripts")
BOTH = ("old", "new")
DATA = {
    "train/0.txt": b"zero",
    "train/1.txt": b"one\n",
    "train/deep/2.txt": b"two",
    "test/0.txt": b"",
    "test/3.txt": b"\xe4\xb8\x89",
    "labels.json": b'{"0.txt": 0, "1.txt": 1}',
}
TOTAL = str(sum(map(len, DATA.values()))).encode()
WEIGHTS = {n: b"weights of epoch %d" % n for n in (1, 2, 3)}
EXPECTED = {
    "cache_folders": {"total.txt": TOTAL},
    "tutorial": {"ckpt/lenet-1.ckpt": b"\1" * 1000, "ckpt/lenet-2.ckpt": b"\2" * 1000},
    "node_adapter": {"names.txt": b"0.txt\n1.txt\ndeep"},
    "retrying_adapter": {"again/0.txt": b"zero", "again/1.txt": b"one\n", "again/deep/2.txt": b"two"},
    "callback": {**{f"all/model_{n}.ckpt": data for n, data in WEIGHTS.items()}, "last/model_3.ckpt": WEIGHTS[3]},
    "json_files": {"labels.json": b'{"0.txt": 1, "1.txt": 2}', "copy.bin": b"zerozero"},
    "listing_loop": {
        "chosen/train_0.txt": b"zero",
        "chosen/train_1.txt": b"one\n",
        "chosen/train_deep_2.txt": b"two",
        "chosen/test_0.txt": b"",
        "chosen/test_3.txt": b"\xe4\xb8\x89",
    },
    "growing_log": {"train.log": b"step 0\nstep 1\nstep 2\nstep 3\nstep 4\nend\nmore\n"},
    "checked_sizes": {"size.txt": TOTAL},
    "resuming": {"model_2.ckpt": b"2", "model_3.ckpt": b"3"},
}
"""Script -> what lies in the bucket when it has run."""


@pytest.fixture
def submit(project, launch):
    """Run a script of the folder as a job; what its output folder in the bucket holds, and the answer."""

    def run(name, *words, data=None, contract="old"):
        for lock in Path("/tmp").glob("copy_sync.lock[0-9]"):  # a container starts without those of an earlier run
            lock.unlink()
        project.job("tried", (SCRIPTS / f"{name}.py").read_text() if "\n" not in name else name)
        for path, content in (DATA if data is None else data).items():
            place = project.root / "data" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        answer = launch("submit", "tried", "--data", "data", "--contract", contract, *words)
        output = project.home / "buckets/local/launcher/runs" / project.last()["id"] / "output"
        found = {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()}
        return answer, found

    return run


def has_cache(folder: Path) -> bool:
    """Whether /cache can be had here for one job alone."""
    (folder / "cache").mkdir()
    return bool(cache.wrapper(folder / "cache", folder / "root"))


@pytest.mark.parametrize("contract", BOTH)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_script_nobody_adapted_runs(name, contract, submit, tmp_path):
    if name in ("cache_folders", "node_adapter") and not has_cache(tmp_path):
        pytest.skip("this machine can have no /cache")
    answer, found = submit(name, contract=contract)
    assert answer.code == 0, answer
    expected = dict(EXPECTED[name])
    if name == "growing_log" and contract == "old":
        expected["train.log.more"] = b"more\n"
    assert found == expected
    assert answer.out.count("the launcher's emulation") == 1


@pytest.mark.parametrize("name", ["cache_folders", "node_adapter"])
def test_cache_is_the_runs_own_and_leaves_no_trace_on_the_machine(name, submit, tmp_path):
    if not has_cache(tmp_path):
        pytest.skip("this machine allows no mount namespaces")
    before = os.path.exists("/cache")
    for _ in range(2):
        answer, found = submit(name)
        assert answer.code == 0 and found == EXPECTED[name], answer
    assert os.path.exists("/cache") == before


@pytest.mark.parametrize("contract", BOTH)
def test_shifted_functions_reach_the_bucket(contract, submit):
    answer, found = submit("shifted", contract=contract)
    assert answer.code == 0, answer
    assert found == {
        "shifted/joined.txt": b"zeroone\n",
        "tree/0.txt": b"zero",
        "tree/deep/2.txt": b"two",
        "plain.txt": b"local files are local",
    }


@pytest.mark.parametrize("contract", BOTH)
def test_a_tar_is_copied_as_one_file_and_unpacked(contract, submit, tmp_path):
    if not has_cache(tmp_path):
        pytest.skip("this machine can have no /cache")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("inner/file")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"inner"))
    answer, found = submit("tar_file", data={"set.tar": packed.getvalue()}, contract=contract)
    assert answer.code == 0, answer
    assert sorted(found) == ["file", "out.tar"] and found["file"] == b"inner"
    with tarfile.open(fileobj=io.BytesIO(found["out.tar"])) as archive:
        assert archive.extractfile("result/file").read() == b"inner"


def test_a_job_may_have_a_storage_and_a_moxing_of_its_own(project, submit):
    own = project.root / "jobs" / "tried"
    own.mkdir(parents=True)
    (own / "storage.py").write_text("NAME = 'mine'\n")
    script = (
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__))\nimport storage, moxing\n"
        "print(storage.NAME, moxing.file.exists('obs://local/launcher'), storage.NAME)\n"
    )
    answer, _ = submit(script)
    assert answer.code == 0 and "mine True mine\n" in answer.out
    (own / "moxing.py").write_text("NAME = 'my moxing'\n")
    answer, _ = submit("import moxing\nprint(moxing.NAME)\n")
    assert answer.code == 0 and answer.out == "my moxing\n"


def test_the_platforms_own_moxing_wins_and_the_unrelated_one_does_not(project, submit, tmp_path):
    for kind, inside in (("platforms", "framework"), ("unrelated", "llama")):
        package = tmp_path / kind / "moxing"
        (package / inside).mkdir(parents=True)
        (package / "__init__.py").write_text(f"KIND = {kind!r}\n")
        (package / inside / "__init__.py").write_text(f"INSIDE = {inside!r}\n")
    script = "import moxing\nprint(getattr(moxing, 'KIND', 'emulated'), moxing.__name__)\n"
    real = f"import sys\nsys.path.append({str(tmp_path / 'platforms')!r})\n" + script
    answer, _ = submit(real + "import moxing.framework\nprint(moxing.framework.INSIDE)\n")
    assert answer.out == "platforms moxing\nframework\n", answer
    answer, _ = submit(f"import sys\nsys.path.append({str(tmp_path / 'unrelated')!r})\n" + script)
    assert "emulated moxing\n" in answer.out and "unrelated" not in answer.out.replace(str(tmp_path), "")


def test_a_lock_of_an_earlier_run_is_told(submit):
    """The adapter of the model zoos leaves /tmp/copy_sync.lock0, and skips the copy where it finds it."""
    script = (
        "import os\nos.mknod('/tmp/copy_sync.lock9')\nos.utime('/tmp/copy_sync.lock9', (1e9, 1e9))\n"
        "import moxing\nos.remove('/tmp/copy_sync.lock9')\n"
    )
    answer, _ = submit(script)
    assert "/tmp/copy_sync.lock9 is older than this run" in answer.out, answer


def test_silence_is_kept(submit):
    answer, _ = submit("import moxing\nprint('done')\n", "--env", "MOX_SILENT_MODE=1")
    assert answer.out == "done\n"


def test_the_emulation_stays_out_of_the_cloud_and_of_the_users_python(project, launch, submit):
    answer, _ = submit("import moxing\nprint(moxing.__file__)\n")
    assert answer.code == 0
    plan = launch("submit", "tried", "--dry-run", "--json").json
    assert "moxing" not in json.dumps(plan["code"]) and "moxing" not in json.dumps(plan["request"])
    code = project.home / "buckets/local/launcher/code"
    assert [path for path in code.rglob("*") if "moxing" in str(path.relative_to(code))] == []
    house = str(Path(__file__).resolve().parents[2])
    look = "import importlib.util as u; import launcher; print(u.find_spec('moxing'))"
    done = subprocess.run(
        [sys.executable, "-c", look], env={**os.environ, "PYTHONPATH": house}, capture_output=True, text=True
    )
    assert done.stdout == "None\n", done


def test_the_houses_own_jobs_send_the_back_end_and_never_the_emulation(launch):
    house = Path(__file__).resolve().parents[2]
    plan = launch("submit", "lenet5", "--dry-run", "--json", cwd=house).json
    sent = [file["path"] for file in plan["code"]["files"]]
    assert "storage/moxing.py" in sent
    assert not [path for path in sent if path.startswith("launcher/") or "site/" in path]


def test_another_accounts_keys_lead_to_its_own_obs_and_are_never_shown(project, submit, tmp_path):
    pytest.importorskip("obs")
    from storage.obs import ObsService, ObsSettings
    from tests.servers.emulated import serving
    from tests.servers.process import ACCESS_KEY, SECRET_KEY

    with serving(tmp_path / "theirs") as server:
        settings = ObsSettings(endpoint=server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        theirs = ObsService(settings)
        theirs.make_bucket("share-course")
        for path, content in DATA.items():
            theirs.bucket("share-course").write(f"dataset/MNIST/{path}", content)
        keys = ["--env", f"THEIR_AK={ACCESS_KEY}", "--env", f"THEIR_SK={SECRET_KEY}"]
        address = server.endpoint.partition("://")[2]
        answer, found = submit("second_account", *keys, "--", f"--server={address}")
        theirs.close()
    assert answer.code == 0, answer
    assert found == {f"copied/{path}": content for path, content in DATA.items()}
    assert SECRET_KEY not in answer.out + answer.err and "is_secure" in answer.out


def test_deleting_a_run_takes_the_empty_folders_that_its_script_made(project, cli):
    (project.root / "make.py").write_text(
        "import argparse, moxing as mox\nparser = argparse.ArgumentParser()\nparser.add_argument('--train_url')\n"
        "url = parser.parse_known_args()[0].train_url\nmox.file.make_dirs(url + '/empty/deep')\n"
    )
    assert cli("submit", "--script", "make.py", "--contract", "old").code == 0
    run = project.last()["id"]
    assert any("deep" in str(path) for path in project.home.rglob("*") if run in str(path))
    assert cli("delete", "--yes", run).code == 0
    assert [path for path in project.home.rglob("*") if run in str(path)] == []
