"""What befalls the machine that the emulator runs on: a full disk, a killed supervisor, an old state, a taken port."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.emulator.modelarts import Emulator, lifecycle
from launcher.emulator.modelarts.state import State
from launcher.errors import LauncherError
from tests.conftest import Launch
from tests.emulator.modelarts.conftest import QUICK, Cloud, Make
from tests.emulator.modelarts.test_jobs import wait_until


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cloud]:
    """An emulator whose state lies on a disk of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        with Emulator(disk / "state", QUICK) as emulator:
            cloud = Cloud(emulator)
            cloud.token()
            yield cloud
            (disk / "fill").unlink(missing_ok=True)
            cloud.end_jobs()
            cloud.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


FILLS = """
import os, sys
while True: os.write(1, b"x" * 1023 + b"\\n")
"""
WAITS = """
import os, sys, time
print("on", flush=True)
while not os.path.exists(sys.argv[1].split("=")[1]): time.sleep(0.01)
"""


def test_a_job_that_fills_the_disk_fails_and_can_be_deleted(small: Cloud) -> None:
    job_id = small.create(small.body(FILLS))
    job = small.wait(job_id)
    assert (job.status.phase, job.status.task_statuses[0].exit_code) == ("Failed", 1)
    small.delete(job_id)
    wait_until(lambda: small.ask("GET", small.url(f"/{job_id}")).status == 400)
    after = small.create(small.body(name="after"))
    assert small.wait(after).status.phase == "Completed"


def test_a_disk_that_is_full_for_a_while_stops_nothing_for_good(small: Cloud, tmp_path: Path) -> None:
    sign, fill = tmp_path / "sign", tmp_path / "disk" / "fill"
    job_id = small.create(small.body(WAITS, parameters=[{"name": "sign", "value": str(sign)}]))
    small.wait_for_log(job_id, "on")
    body = small.body(name="other")
    with open(fill, "wb", 0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    assert small.ask("POST", small.url(), {**body, "endpoints": {"x": "y" * 3_000_000}}).status == 500
    sign.touch()
    fill.unlink()
    assert small.wait(job_id).status.phase == "Completed"
    assert small.wait(small.create(body)).status.phase == "Completed"
    assert small.emulator.state.count() == 2, "what was refused is not there"


def test_the_jobs_go_on_after_an_error_of_the_emulators_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = make(queuing=600)
    waits = cloud.create(cloud.body())
    right, failed = cloud.emulator.state.active, []

    def once() -> object:
        if not failed:
            failed.append(1)
            raise sqlite3.OperationalError("database or disk is full")
        return right()

    monkeypatch.setattr(lifecycle, "REST_SECONDS", 0.01)
    monkeypatch.setattr(cloud.emulator.state, "active", once)
    wait_until(lambda: bool(failed))
    cloud.emulator.house.change({"queuing": 0})
    assert cloud.wait(waits).status.phase == "Completed"


def test_a_killed_supervisor_leaves_no_keys(make: Make, tmp_path: Path) -> None:
    cloud = make()
    job_id = cloud.create(cloud.body(WAITS, parameters=[{"name": "sign", "value": str(tmp_path / "never")}]))
    cloud.wait_for_log(job_id, "on")
    [keys] = (cloud.emulator.folder / "home" / "runs" / job_id).glob("worker-0/credentials")
    assert keys.stat().st_mode & 0o077 == 0
    [supervisor] = [
        int(place.parent.name)
        for place in Path("/proc").glob("[0-9]*/cwd")
        if os.access(place, os.R_OK) and os.path.realpath(place) == str(keys.parent.parent)
    ]
    os.kill(supervisor, signal.SIGKILL)
    assert cloud.wait(job_id).status.secondary_phase == "Lost"
    assert not keys.exists()


def test_nobody_reads_a_large_log_whole(make: Make) -> None:
    """Neither a preview nor lines nor what is kept of it for the device log."""
    cloud = make(log_period=600)
    script = "import os\nfor n in range(64): os.write(1, (b'%02d' % n + b'x' * 1021 + b'\\n') * 1024)"
    job_id = cloud.create(cloud.body(script))
    code = (
        "import resource, sys; from pathlib import Path; from io import BytesIO;"
        "from launcher.emulator.modelarts.logs import _lines;"
        "from launcher.emulator.modelarts.lifecycle import _read_tail;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "path = Path(sys.argv[1]); assert len(_read_tail(path, 10)) == 10;"
        "assert sum(1 for _ in _lines(open(path, 'rb'), 1 << 40, True)) == 65537;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    cloud.wait(job_id)
    log = cloud.emulator.house.runner.shown(job_id, 0)
    grown = subprocess.run([sys.executable, "-c", code, log], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 16 << 10, "KiB, of a log of 64 MiB"
    preview = cloud.ask("GET", cloud.url(f"/{job_id}/tasks/worker-0/logs/preview")).json
    assert preview["current_size"] == len(preview["content"]) == 5 << 20
    assert preview["full_size"] == log.stat().st_size
    lines = cloud.ask("GET", cloud.url(f"/{job_id}/logs/worker-0?order=asc&base_line=65534&lines=500")).json
    assert (lines["start_line"], lines["end_line"], lines["lines"]) == ("65535", "65537", 3)


def test_a_state_of_another_version_is_left_alone(tmp_path: Path) -> None:
    State(tmp_path).close()
    State(tmp_path).close()
    with sqlite3.connect(tmp_path / "modelarts.sqlite") as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(LauncherError, match="another version"):
        State(tmp_path)


def test_why_it_did_not_start_is_said(launch: Launch, tmp_path: Path) -> None:
    """In the background too; and not what an earlier one had said."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "emulator.log").write_text("an earlier one\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        answer = launch("emulator", "--background", "--state", str(state), "--port", port, cwd=tmp_path)
    assert (answer.code, answer.out) == (1, "")
    assert f"port {port}: Address already in use" in answer.err
    assert "an earlier one" not in answer.err


def test_a_killed_emulators_process_id_is_not_signalled(launch: Launch, tmp_path: Path) -> None:
    """It may be another program's by now: a new emulator forgets it before all else."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "emulator.json").write_text(json.dumps({"pid": os.getpid(), "endpoint": "", "environment": {}}))
    emulator = Emulator(state, QUICK)
    try:
        assert launch("emulator", "--stop", "--state", str(state), "--json", cwd=tmp_path).json == {"stopped": False}
    finally:
        emulator.start()
        emulator.close()
