"""Nodes with several devices on the local target: the boot file once for each, one fate for all."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from launcher.spec import Resources, check_variable

from .test_kills import kill, processes


def words_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


SHOW = """
import os
names = "RANK_ID RANK_SIZE DEVICE_ID ASCEND_DEVICE_ID VC_TASK_INDEX MA_NUM_GPUS MS_ROLE MS_NODE_ID"
print(*(os.environ.get(name, "-") for name in names.split()), flush=True)
"""


def test_the_boot_file_is_started_once_a_device(project, cli):
    project.job("tiny", SHOW, resources={"nodes": 2, "devices": 3})
    answer = cli("submit", "tiny")
    assert answer.code == 0
    expected = [f"[worker-{n}] {3 * n + d} 6 {d} {d} {n} 3 - -" for n in range(2) for d in range(3)]
    assert sorted(answer.out.splitlines()) == expected


def test_the_flag_says_it_too(project, cli):
    project.job("tiny", SHOW)
    answer = cli("submit", "tiny", "--devices", "2")
    assert sorted(answer.out.splitlines()) == ["0 2 0 0 0 2 - -", "1 2 1 1 0 2 - -"]
    refused = cli("submit", "tiny", "--devices", "17")
    assert refused.code == 2 and "--devices 17: from 1 to 16" in refused.err


def test_as_msrun_would(project, cli):
    """One process more, the scheduler; it is ended with the ranks."""
    project.job("tiny", SHOW + "\nimport time\nif os.environ['MS_ROLE'] == 'MS_SCHED': time.sleep(600)")
    answer = cli("submit", "tiny", "--devices", "2", "--env", "MA_RUN_METHOD=msrun")
    assert answer.code == 0
    assert sorted(answer.out.splitlines()) == [
        "0 2 0 0 0 2 MS_SCHED 0",
        "0 2 0 0 0 2 MS_WORKER 0",
        "1 2 1 1 0 2 MS_WORKER 1",
    ]


def test_ranks_do_not_print_into_one_anothers_lines(project, cli):
    """Each word is a write of its own, as with print(); the last line has no end, and one is longer than a pipe."""
    script = """
import os
rank = os.environ["RANK_ID"]
for line in range(200):
    print("rank", rank, "has", "printed", "line", line)
print(rank * 200_000)
print("the last word of", rank, end="")
"""
    project.job("tiny", script, resources={"devices": 3})
    lines = cli("submit", "tiny").out.splitlines()
    for rank in range(3):
        mine = [line for line in lines if line.startswith(f"rank {rank} ")]
        assert mine == [f"rank {rank} has printed line {line}" for line in range(200)]
        assert str(rank) * 200_000 in lines and f"the last word of {rank}" in lines


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("how", ["raise SystemExit(7)", "os.kill(os.getpid(), 9)"])
def test_a_rank_that_dies_ends_the_run_and_is_named(project, cli, how, nodes):
    script = f"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("rank", os.environ["RANK_ID"], "is asked to end"), sys.exit(143)))
if os.environ["RANK_ID"] == "3":
    time.sleep(0.5)
    {how}
time.sleep(600)
"""
    project.job("tiny", script, resources={"nodes": nodes, "devices": 4 // nodes})
    began = time.monotonic()
    answer = cli("submit", "tiny")
    assert time.monotonic() - began < 60
    assert answer.code == 100
    code = 7 if "SystemExit" in how else 137
    assert project.last()["exit_code"] == code
    worker, device = (1, 1) if nodes == 2 else (0, 3)
    expected = f"rank 3 (worker-{worker}) ended with {code}, so the others were ended"
    assert project.last()["message"].startswith(expected)
    assert f"proc-rank-3-device-{device} (pid: " in answer.out
    asked = sorted(line.rpartition("rank ")[2] for line in answer.out.splitlines() if "asked" in line)
    assert asked == ["0 is asked to end", "1 is asked to end", "2 is asked to end"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ranks_whose_keepers_were_killed_end_before_their_run_is_over(project, cli):
    project.job("tiny", "import time\nprint('ready')\ntime.sleep(600)", resources={"devices": 2})
    run = cli("submit", "tiny", "--detach").out.strip()
    deadline = time.monotonic() + 30
    while cli("logs", run).out.count("ready") < 2:
        assert time.monotonic() < deadline
    ranks = [pid for pid in processes(str(project.home), "main.py") if "ranks.py" not in words_of(pid)]
    assert len(ranks) == 2
    kill([pid for pid in processes(str(project.home)) if pid not in ranks])
    assert cli("wait", run).code == 100
    assert project.last()["phase"] == "Abnormal"
    assert not processes(str(project.home), "main.py"), "they would train on, and perhaps beside the next ones"


def test_a_stop_reaches_every_rank(project, cli):
    script = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saving", flush=True), sys.exit(143)))
print("ready", flush=True)
time.sleep(600)
"""
    project.job("tiny", script, resources={"devices": 3})
    run = cli("submit", "tiny", "--detach").out.strip()
    deadline = time.monotonic() + 30
    while cli("logs", run).out.count("ready") < 3:
        assert time.monotonic() < deadline
    assert cli("stop", run).code == 0
    assert (project.last()["phase"], project.last()["exit_code"]) == ("Terminated", 143)
    assert cli("logs", run).out.count("saving") == 3


@pytest.mark.parametrize(
    ("flavor", "devices", "wanted"),
    [
        ("Ascend: 1*Ascend 910", 0, "Ascend: 1*Ascend 910"),
        ("Ascend: 1*Ascend 910", 8, "Ascend: 8*Ascend 910"),
        ("Ascend: Ascend 910", 8, "Ascend: 8*Ascend 910"),
        ("GPU: 4*V100", 4, "GPU: 4*V100"),
        ("modelarts.kat1.8xlarge", 8, "modelarts.kat1.8xlarge"),
        ("Ascend: 4*Ascend 910", 8, "Ascend: 4*Ascend 910"),
    ],
)
def test_the_flavor_has_as_many_cards_as_devices_are_wanted(flavor, devices, wanted):
    assert Resources(flavor=flavor, devices=devices).wanted_flavor == wanted


def test_the_boot_mode_is_the_one_variable_of_the_platforms_that_a_job_may_set():
    check_variable("MA_RUN_METHOD")
    with pytest.raises(ValueError, match="MA_VJ_NAME"):
        check_variable("MA_VJ_NAME")
