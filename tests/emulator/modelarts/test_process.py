"""The emulator as a process: started, stopped, killed, started again; and the object stores that it can stand on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.emulator.modelarts import Emulator
from launcher.emulator.modelarts.server import Busy
from tests.conftest import HOUSE, Launch
from tests.emulator.modelarts.conftest import QUICK, Cloud, Make
from tests.emulator.modelarts.test_jobs import files, wait_until

WAITS = """
import os, sys, time
print("started", os.getpid(), flush=True)
while not os.path.exists(sys.argv[1].split("=")[1]): time.sleep(0.01)
print("finished")
"""


def test_jobs_go_on_without_the_emulator(make: Make, tmp_path: Path) -> None:
    """It ends while a job runs and another waits; the next one finds both, and one running job is not two."""
    sign = tmp_path / "sign"
    with Emulator(tmp_path / "state", QUICK) as emulator:
        first = Cloud(emulator)
        runs = first.create(first.body(WAITS, name="runs", parameters=[{"name": "sign", "value": str(sign)}]))
        first.wait_for_log(runs, "started")
        emulator.house.change({"queuing": 600})
        waits = first.create(first.body(name="waits"))
        first.close()
    second = make()
    assert second.emulator.endpoint == first.emulator.endpoint, "the same port"
    assert second.emulator.account == first.emulator.account, "the same keys"
    sign.touch()
    assert second.wait(runs).status.phase == "Completed"
    assert second.log(runs).count("started") == 1
    assert "finished" in second.log(runs)
    assert second.wait(waits).status.phase == "Completed"


def test_a_killed_emulator_leaves_nothing_doubled(launch: Launch, tmp_path: Path) -> None:
    state, sign = tmp_path / "state", tmp_path / "sign"
    words = ("emulator", "--state", str(state), "--background", "--json", "--queuing", "0", "--creating", "0")
    more = ("--log-period", "0.1", "--set", "bucket=my-bucket")
    env = launch(*words, *more, cwd=tmp_path).json
    pid = json.loads((state / "emulator.json").read_text())["pid"]
    body = {"parameters": [{"name": "sign", "value": str(sign)}]}
    with remote(env, state) as cloud:
        job_id = cloud.create(cloud.body(WAITS, **body))
        cloud.wait_for_log(job_id, "started")
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: launch("emulator", "--status", "--state", str(state), cwd=tmp_path).code == 102)
    assert launch(*words, *more, cwd=tmp_path).json == env
    try:
        with remote(env, state) as cloud:
            sign.touch()
            assert cloud.wait(job_id).status.phase == "Completed"
            assert cloud.log(job_id).count("started") == 1
    finally:
        launch("emulator", "--stop", "--state", str(state), cwd=tmp_path)


class remote:  # noqa: N801 - it is used as a function
    """What `Cloud` does, with an emulator in another process, of which only the environment is known."""

    def __init__(self, env: dict[str, str], state: Path) -> None:
        self._env, self._state = env, state

    def __enter__(self) -> Cloud:
        env = self._env

        class Elsewhere:
            endpoint = env["LAUNCHER_MODELARTS_ENDPOINT"]
            folder = self._state

            class account:  # noqa: N801
                access_key = env["HUAWEICLOUD_SDK_AK"]
                secret_key = env["HUAWEICLOUD_SDK_SK"]
                project_id = env["HUAWEICLOUD_SDK_PROJECT_ID"]

            def environment(self) -> dict[str, str]:
                return env

        self._cloud = Cloud(Elsewhere())  # type: ignore[arg-type]
        self._cloud.events = lambda job_id: []  # type: ignore[method-assign]
        return self._cloud

    def __exit__(self, *_: object) -> None:
        self._cloud.close()


def test_the_command_line_starts_tells_and_stops(launch: Launch, tmp_path: Path) -> None:
    state = tmp_path / "state"
    on = ("--state", str(state))
    assert launch("emulator", "--status", *on, cwd=tmp_path).code == 102
    started = launch("emulator", "--background", "--seed", "3", *on, cwd=tmp_path)
    try:
        assert started.code == 0, started.err
        assert "simulation" in started.err
        lines = dict(line.removeprefix("export ").split("=", 1) for line in started.out.splitlines())
        wanted = {"LAUNCHER_MODELARTS_ENDPOINT", "LAUNCHER_IAM_ENDPOINT", "OBS_ENDPOINT", "HUAWEICLOUD_SDK_AK"}
        assert wanted | {"HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID", "LAUNCHER_BUCKET"} <= set(lines)
        again = launch("emulator", "--background", *on, cwd=tmp_path)
        assert (again.code, again.out) == (1, "")
        assert "already runs" in again.err
        assert launch("emulator", *on, cwd=tmp_path).code == 1
        assert launch("emulator", "--status", "--json", *on, cwd=tmp_path).json == lines
        assert lines["HUAWEICLOUD_SDK_SK"] not in (state / "emulator.log").read_text()
        assert state.stat().st_mode & 0o077 == 0
        with pytest.raises(Busy):
            Emulator(state)
    finally:
        stopped = launch("emulator", "--stop", "--json", *on, cwd=tmp_path)
    assert stopped.json == {"stopped": True}
    assert launch("emulator", "--stop", "--json", *on, cwd=tmp_path).json == {"stopped": False}


def test_the_foreground_logs_requests_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launcher", "emulator", "--state", str(tmp_path / "state")]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = dict(process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(9))
    import urllib.request

    urllib.request.urlopen(found["LAUNCHER_MODELARTS_ENDPOINT"] + "/_emulator").close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert "GET /_emulator _about: 200" in err


@pytest.mark.parametrize(
    "words",
    [("--set", "paging=none"), ("--set", "colour=red"), ("--set", "x"), ("--creating", "-1"), ("--faults", "f.json")],
)
def test_wrong_words_are_two_lines(launch: Launch, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "f.json").write_text('[{"fault": "thunder"}]')
    answer = launch("emulator", "--background", *words, cwd=tmp_path)
    assert (answer.code, len(answer.err.strip().splitlines())) == (2, 2), answer.err


@pytest.fixture
def weed() -> Iterator[dict[str, str]]:
    from tests.servers.seaweedfs import seaweedfs

    with seaweedfs() as server:
        yield {
            "endpoint": server.endpoint,
            "OBS_ACCESS_KEY_ID": server.access_key,
            "OBS_SECRET_ACCESS_KEY": server.secret_key,
        }


@pytest.mark.slow
def test_it_stands_on_another_object_store(weed: dict[str, str], tmp_path: Path) -> None:
    """And keeps that store's keys to itself: they are the user's own."""
    with Emulator(tmp_path / "state", QUICK, store=weed["endpoint"], environ=weed) as emulator:
        cloud = Cloud(emulator, **weed)
        script = "import sys; open([a for a in sys.argv if 'train' in a][-1].split('=')[1] + 'out', 'w').write('x')"
        job_id = cloud.create(cloud.body(script))
        assert cloud.wait(job_id).status.phase == "Completed", cloud.log(job_id)
        assert cloud.bucket.stat("jobs/hello/output/out").size == 1
        assert "OBS_SECRET_ACCESS_KEY" not in emulator.environment()
        secret = weed["OBS_SECRET_ACCESS_KEY"].encode()
        assert not [path for path in files(emulator.folder) if secret in path.read_bytes()]
        cloud.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments_double_and_lose_nothing(launch: Launch, tmp_path: Path, seed: int) -> None:
    """Jobs are created, stopped and deleted while the emulator is killed again and again: each runs at most once, and
    ends as it should."""
    chance = random.Random(seed)
    state, tally = tmp_path / "state", tmp_path / "tally"
    tally.touch()
    script = """
import sys, time
with open(sys.argv[1].split("=")[1], "a") as tally: tally.write(sys.argv[2].split("=")[1] + chr(10))
time.sleep(0.3)
"""
    words = ("emulator", "--state", str(state), "--background", "--json", "--queuing", "0.1", "--creating", "0.05")
    more = ("--log-period", "0.1", "--output-period", "0.2", "--set", "bucket=my-bucket")
    wanted: dict[str, str] = {}
    with remote(launch(*words, *more, cwd=tmp_path).json, state) as cloud:
        for turn in range(5):
            for number in range(2):
                name = f"job-{turn}-{number}"
                parameters = [{"name": "tally", "value": str(tally)}, {"name": "name", "value": name}]
                job_id = cloud.create(cloud.body(script, name=name, parameters=parameters))
                wanted[job_id] = name
                if chance.random() < 0.2:
                    cloud.stop(job_id)
            time.sleep(chance.random() * 0.8)
            os.kill(json.loads((state / "emulator.json").read_text())["pid"], signal.SIGKILL)
            wait_until(lambda: launch("emulator", "--status", "--state", str(state), cwd=tmp_path).code == 102)
            assert launch(*words, *more, cwd=tmp_path).code == 0
        ended = {job_id: cloud.wait(job_id).status.phase for job_id in wanted}
        launch("emulator", "--stop", "--state", str(state), cwd=tmp_path)
    began = tally.read_text().split()
    assert len(began) == len(set(began)), began
    assert set(ended.values()) <= {"Completed", "Terminated"}, ended
    for job_id, phase in ended.items():
        assert phase == "Terminated" or wanted[job_id] in began
