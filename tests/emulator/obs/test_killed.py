"""A server that is killed at any moment: what was there is there, what was not finished never was."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from obs import CompleteMultipartUploadRequest, CompletePart

from tests.servers.emulated import HOUSE, process, serving
from tests.servers.process import Server

DATA = b"x" * 200_000


def test_uploads_in_parts_survive_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path / "root") as server:
        sdk = Server("ours", server.endpoint).client()
        sdk.createBucket("bucket")
        upload = sdk.initiateMultipartUpload("bucket", "key", metadata={"a": "1"}).body.uploadId
        first = sdk.uploadPart("bucket", "key", 1, upload, object=DATA).body.etag
    with serving(tmp_path / "root") as server:
        sdk = Server("ours", server.endpoint).client()
        assert [part.size for part in sdk.listParts("bucket", "key", upload).body.parts] == [len(DATA)]
        second = sdk.uploadPart("bucket", "key", 2, upload, object="end").body.etag
        parts = CompleteMultipartUploadRequest([CompletePart(1, first), CompletePart(2, second)])
        assert sdk.completeMultipartUpload("bucket", "key", upload, parts).status == 200
        assert dict(sdk.getObjectMetadata("bucket", "key").header)["a"] == "1"
        assert sdk.listMultipartUploads("bucket").body.upload == []
    assert (tmp_path / "root/bucket/key").read_bytes() == DATA + b"end"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK drops broken connections open
def test_a_kill_during_uploads_never_mixes_two_versions(tmp_path: Path) -> None:
    """Each version says in its metadata what its bytes hash to, so any mixture shows."""
    rng = random.Random(7)
    root = tmp_path / "root"
    seen = 0
    for _ in range(12):
        with process(root) as (server, running):
            if server.client().headBucket("bucket").status != 200:
                server.client().createBucket("bucket")
            stop, begun = threading.Event(), threading.Semaphore(0)
            writers = [threading.Thread(target=_write, args=(server, stop, begun, number)) for number in range(3)]
            for writer in writers:
                writer.start()
            for _ in writers:  # on a busy machine the first answers can take a while
                assert begun.acquire(timeout=60)
            time.sleep(rng.uniform(0, 0.5))
            os.kill(running.pid, signal.SIGKILL)
            stop.set()
            for writer in writers:
                writer.join()
        with process(root) as (server, _):
            sdk = server.client()
            for item in sdk.listObjects("bucket").body.contents:
                answer = sdk.getObject("bucket", item.key, loadStreamInMemory=True)
                metadata = dict(answer.header)
                found = hashlib.sha256(answer.body.buffer).hexdigest()
                assert item.etag == answer.body.etag == f'"{hashlib.md5(answer.body.buffer).hexdigest()}"'
                assert metadata["sha256"] == found
                seen += 1
    assert seen > 20
    gc.collect()  # what it dropped, in the test that made it drop it


def _write(server: Server, stop: threading.Event, begun: threading.Semaphore, number: int) -> None:
    sdk = server.client(timeout=5)
    for count in range(10_000):
        if stop.is_set():
            return
        data = os.urandom(1000 * (1 + count % 300))
        with contextlib.suppress(Exception):
            sdk.putContent(
                "bucket", f"key{(number + count) % 4}", data, metadata={"sha256": hashlib.sha256(data).hexdigest()}
            )
        if count == 0:
            begun.release()


def test_the_process_needs_keys_from_its_environment(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OBS_")}
    command = [sys.executable, "-m", "launcher.emulator.obs", "--root", str(tmp_path / "root")]
    done = subprocess.run(command, cwd=HOUSE, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "OBS_ACCESS_KEY_ID" in done.stderr


def test_the_process_ends_with_a_signal(tmp_path: Path) -> None:
    with process(tmp_path / "root") as (server, running):
        assert server.client().createBucket("bucket").status == 200
        running.terminate()
        assert running.wait(timeout=20) == 0


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
sys.path.insert(0, {str(HOUSE)!r})
from pathlib import Path
from tests.servers.process import running
with running([sys.executable, "-c", "import time; time.sleep(600)"], Path({str(tmp_path / "log")!r})) as child:
    print(child.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}/stat").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the server outlives the tests")
