"""The parts of a training on several devices, without MindSpore: rank tables, and what ranks tell each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints import cluster, scheduler, training
from entrypoints.cluster import Cluster
from entrypoints.contract import Container
from entrypoints.ranktable import rank_table
from jobs import JobError, Shard

TEMPLATE_TWO = {
    "status": "completed",
    "group_count": "1",
    "group_list": [
        {
            "group_name": "job-trainjob",
            "device_count": "4",
            "instance_count": "2",
            "instance_list": [
                {
                    "pod_name": f"ma-job-7-worker-{server - 25}",
                    "server_id": f"192.168.0.{server}",
                    "devices": [{"device_id": str(i), "device_ip": f"192.1.{server}.{i}"} for i in range(2)],
                }
                for server in (26, 25)
            ],
        }
    ],
}


def together(size: int, act: Any) -> list[Any]:
    """What `act(cluster)` gives on each of `size` ranks, which are threads that add up in single precision."""
    barrier, given, lock = threading.Barrier(size), {}, threading.Lock()

    def add(rank: int, numbers: np.ndarray) -> np.ndarray:
        with lock:
            given[rank] = numbers
        barrier.wait(10)
        total = sum((given[other] for other in range(size)), np.zeros_like(numbers))
        assert total.dtype == np.float32
        barrier.wait(10)
        return total

    def run(rank: int) -> Any:
        return act(Cluster(Shard(rank, size), lambda numbers: add(rank, numbers)))

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), st.integers(2, 4))
def test_numbers_arrive_at_all_to_the_bit(numbers: list[float], size: int) -> None:
    told = together(size, lambda ranks: ranks.gather([number + ranks.shard.rank for number in numbers]))
    expected = [[number + rank for number in numbers] for rank in range(size)]
    assert told == [expected] * size


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, np.int64, np.uint8])
def test_a_state_is_the_first_ranks_to_the_bit_whatever_it_is(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PIECE", 1 << 9)  # so that several pieces are needed
    random = np.random.RandomState(3)

    def state(rank: int) -> dict[str, np.ndarray]:
        if rank:
            return {"weight": np.ones((7, 333), dtype), "step": np.ones((), dtype)}
        raw = random.bytes(7 * 333 * np.dtype(dtype).itemsize)
        return {"weight": np.frombuffer(raw, dtype).reshape(7, 333), "step": np.array(3, dtype)}

    states = [state(rank) for rank in range(3)]
    for shared in together(3, lambda ranks: ranks.share(states[ranks.shard.rank])):
        for name, array in states[0].items():
            assert (shared[name].dtype, shared[name].shape) == (array.dtype, array.shape)
            assert shared[name].tobytes() == array.tobytes()


def test_all_stop_if_one_is_asked_to_and_do_the_firsts_steps() -> None:
    asked = {0: (0, 12), 1: (0, 99), 2: (143, 1)}
    assert together(3, lambda ranks: ranks.agree(*asked[ranks.shard.rank])) == [(143, 12)] * 3
    assert Cluster().agree(0, 7) == (0, 7)


def test_hccls_rank_table_is_made_of_the_schedulers(tmp_path: Path) -> None:
    """In a custom image the variable names the folder."""
    (tmp_path / "jobstart_hccl.json").write_text(json.dumps(TEMPLATE_TWO))
    table = json.loads(Path(rank_table(str(tmp_path), 4, str(tmp_path))).read_text())
    assert (table["version"], table["status"], table["server_count"]) == ("1.0", "completed", "2")
    ranks = [device for server in table["server_list"] for device in server["device"]]
    assert [device["rank_id"] for device in ranks] == ["0", "1", "2", "3"]
    assert ranks[3]["device_ip"] == "192.1.26.1"


def test_a_rank_table_that_hccl_takes_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"server_list": [{"device": [{}, {}]}], "status": "completed"}))
    assert rank_table(str(path), 2, str(tmp_path)) == str(path)
    with pytest.raises(JobError, match="has 2 devices, and this process is one of 16"):
        rank_table(str(path), 16, str(tmp_path))


def test_a_rank_table_is_waited_for_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    steps = [
        lambda: path.write_text("{"),
        lambda: path.write_text(json.dumps({**TEMPLATE_TWO, "status": "initializing"})),
        lambda: path.write_text(json.dumps(TEMPLATE_TWO)),
    ]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rank_table, str(path), 4, str(tmp_path))
        for step in steps:
            assert not waiting.done()
            step()
        assert json.loads(Path(waiting.result(10)).read_text())["server_count"] == "2"


@pytest.mark.parametrize("content", ["", "[]", '{"status": "initializing"}'])
def test_a_rank_table_that_is_never_complete_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(JobError, match="not complete"):
        rank_table(str(tmp_path / "table.json"), 4, str(tmp_path), patience=0.0)


def test_a_complete_rank_table_of_another_shape_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"status": "completed"}')
    with pytest.raises(JobError, match="no rank table"):
        rank_table(str(tmp_path / "table.json"), 4, str(tmp_path))


@pytest.mark.parametrize(
    ("environ", "size", "here"),
    [
        ({"MS_SCHED_HOST": "127.0.0.1"}, 4, 4),
        ({"VC_WORKER_NUM": "2"}, 16, 8),
        ({"VC_WORKER_NUM": "oops"}, 16, 1),
    ],
)
def test_ranks_of_one_machine_share_its_processors(environ: dict[str, str], size: int, here: int) -> None:
    assert cluster._ranks_here(Container(0, size, 0, ""), environ) == here


def test_a_place_to_meet_is_found_by_name_and_a_scheduler_that_ends_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ModelArts names hosts, and MindSpore takes addresses only."""
    monkeypatch.setattr(sys, "argv", ["/nowhere/boot.py"])  # Python ends at once: there is no such file
    environ = {"VC_WORKER_HOSTS": "localhost,other", "MS_SCHED_PORT": "1", "PATH": os.environ["PATH"]}
    child = scheduler.use_scheduler(environ, Container(0, 2, 0, ""))
    assert (environ["MS_SCHED_HOST"], environ["MS_ROLE"], environ["MS_NODE_ID"]) == ("127.0.0.1", "MS_WORKER", "0")
    with pytest.raises(JobError, match=r"at 127\.0\.0\.1:1, ended with 2"):
        scheduler.await_scheduler(environ, child)
    with pytest.raises(JobError, match="nothing says where"):
        scheduler.use_scheduler({"VC_WORKER_NUM": "2"}, Container(1, 2, 0, ""))


def test_a_port_where_somebody_else_listens_is_no_place_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PORT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = {"MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(listener.getsockname()[1])}
        with pytest.raises(JobError, match="another program listens at 127"):
            scheduler.use_scheduler(environ, Container(0, 2, 0, ""))


@pytest.mark.parametrize("left", [False, True])
def test_a_scheduler_that_ends_too_early_ends_the_rank_that_started_it(left: bool) -> None:
    code = f"""
import subprocess, sys, threading, time
from entrypoints import scheduler
all_left = threading.Event()
if {left}:
    all_left.set()
scheduler.watch(subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"]), all_left)
time.sleep({1 if left else 60})
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50)
    if left:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
        assert "ended with 5" in done.stderr and "--resume" in done.stderr


@pytest.mark.parametrize("role", ["", "MS_WORKER"])
def test_ranks_on_cpus_are_patient_with_each_other_whoever_started_them(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "use_scheduler", lambda environ, _: environ["MS_NODE_TIMEOUT"])
    monkeypatch.setattr(cluster, "_pin", lambda *_: None)
    environ = {"MS_ROLE": role}
    assert cluster.prepare(Container(1, 2, 0, ""), environ) == (None if role else "600")
    assert environ["MS_NODE_TIMEOUT"] == "600"


def test_a_request_to_stop_that_comes_while_ranks_agree_is_not_undone() -> None:
    """At the end of the last epoch; whatever is left to do then looks at it."""
    run = training.Run.__new__(training.Run)
    run._stop = SimpleNamespace(code=0)
    run._parameters = SimpleNamespace(epochs=1)

    def agree(_: int, steps: int) -> tuple[int, int]:
        run._stop.code = 143
        return 0, steps

    run._cluster = SimpleNamespace(agree=agree)
    run._train_epoch = run._publish = lambda at: at
    assert run._train(training.Position()) == 0
    assert run._stop.code == 143


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MA_NUM_GPUS": "8"}, ["note: 7 of this node's 8 cards stand idle: a process trains on one"]),
        ({"MA_NUM_GPUS": "8", "RANK_ID": "3", "RANK_SIZE": "16", "VC_WORKER_NUM": "2"}, []),
        ({"MA_NUM_GPUS": "4", "RANK_SIZE": "4"}, []),
        ({"MA_NUM_GPUS": "1"}, []),
        ({}, []),
    ],
)
def test_cards_that_stand_idle_are_told(environ: dict[str, str], said: list[str]) -> None:
    assert scheduler.notes(Container.of(environ), environ) == said


def test_a_signal_ends_a_process_that_is_in_a_call_which_lets_no_handler_run(tmp_path: Path) -> None:
    """A computation of hashlib lets other threads run, as a collective operation of MindSpore does, and no more."""
    (tmp_path / "scratch").mkdir()
    code = f"""
import hashlib
from entrypoints.stopping import StopRequest
stop = StopRequest()
stop.scratch = {str(tmp_path / "scratch")!r}
stop.defer()
with stop.watched(1.0):
    print("stuck", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "stuck\n"
    process.terminate()
    try:
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert complaint == "ended by SIGTERM, which was not heard in time\n"
    assert not (tmp_path / "scratch").exists()
