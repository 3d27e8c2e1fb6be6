"""Every fault of the switchboard, at any step of submit, follow, stop and pull, in seeded random combinations.

What holds whatever happens: no job is doubled, no log line is lost or doubled, every run ends in the right phase with
the right exit code once somebody has looked often enough, and nothing hangs.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from typing import Any

import pytest

import launcher.modelarts.keeper
import launcher.targets.modelarts as target_module
from launcher.emulator.modelarts.faults import KNOWN, REPLIES

from .conftest import Rig, only_spoken, spoken

COMBINATIONS = int(os.environ.get("COMBINATIONS", "500"))

ROUTES = (
    "*",
    "create_training_job",
    "show_training_job_details",
    "list_training_jobs",
    "show_training_job_logs_from_aom",
    "show_training_job_logs_preview",
    "stop_training_job",
    "list_training_job_events",
    "show_training_job_flavors",
)
REFUSALS = ("no-agency", "error", "expired-token", "quota", "agency", "forbidden", "arrears")
"""What is not asked again: the command ends with an error, and the next one goes on."""
BROKEN = {"node-fault", "obs-forbidden"}
"""What ends the job's processes, or never lets them start."""
LOG_ROUTES = ("show_training_job_logs_from_aom", "show_training_job_logs_preview", "engine")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs of a second in place of half a minute."""
    monkeypatch.setattr(launcher.modelarts.keeper, "APPEARS_SECONDS", 2.0)
    real = target_module.find_place
    monkeypatch.setattr(target_module, "find_place", lambda settings: dataclasses.replace(real(settings), timeout=1.0))


def drawn(dice: random.Random) -> list[dict[str, Any]]:
    """One to four faults; those in the place of replies happen less often altogether than a call is tried."""
    faults: list[dict[str, Any]] = []
    left = 5
    for name in dice.sample(sorted(KNOWN), dice.randint(1, 4)):
        fault: dict[str, Any] = {"fault": name, "after": dice.choice((0, 0, 0, 1, 2, 5))}
        if name in REPLIES:
            fault["route"] = dice.choice(ROUTES)
            fault["times"] = dice.randint(1, max(1, left - 1)) if name not in REFUSALS else 1
            left -= fault["times"]
            fault.update({"retry_after": 0} if name == "429" else {})
            fault.update({"seconds": dice.choice((0.2, 1.5))} if name == "slow" else {})
            fault.update({"seconds": 2} if name == "silent" else {})
            fault.update({"status": 400, "code": "ModelArts.2788", "message": "no"} if name == "error" else {})
            if left < 1:
                faults.append(fault)
                break
        elif name in ("log-shrunk", "log-rotated"):
            fault["route"] = dice.choice(LOG_ROUTES) if name == "log-shrunk" else "engine"
            fault["times"] = dice.randint(1, 3)
        elif name in ("create-failed", "node-fault", "queue-for-ever", "obs-forbidden"):
            fault.update(route="engine", times=dice.randint(1, 4), after=0)
        elif name == "preview-cut":
            fault["bytes"] = dice.choice((150, 300))
        elif name not in ("clock-skew", "aom-missing"):
            fault["times"] = dice.randint(1, 4)
        faults.append(fault)
    return faults


def check(seed: int, rig: Rig, cli: Any, project: Any) -> None:
    """One combination, from submit to pull."""
    dice = random.Random(seed)
    faults = drawn(dice)
    code, lines, nodes = dice.choice((0, 0, 7)), dice.randint(0, 12), dice.choice((1, 1, 1, 2))
    rig.change(
        paging=dice.choice(("page", "record")),
        base_line=dice.choice(("inclusive", "exclusive")),
        not_ready=dice.choice(("204", "400", "empty")),
        list_detail=dice.choice(("full", "short")),
        late_log=dice.choice((0.0, 0.0, 0.3)) if nodes == 1 else 0.0,
        queuing=dice.choice((0.0, 0.1)),
    )
    queues = any(fault["fault"] == "queue-for-ever" for fault in faults)
    stops = not queues and dice.random() < 0.2
    rig.faults(*faults)
    began = time.monotonic()
    words = ["--set", f"lines={lines}", "--set", f"code={code}", "--set", f"pause={dice.choice((0.0, 0.03, 0.1))}"]
    first = cli(
        "submit", "tiny", "--target", "modelarts", "--nodes", str(nodes), *words, *(["-d"] if stops or queues else [])
    )
    about = f"seed {seed}: {faults}\n{first}"
    with rig.ledger() as ledger:
        runs = ledger.runs()
    if not runs:
        assert first.code == 1 and not rig.jobs, about
        return
    [run] = runs
    if stops:
        cli("stop", run.id)
    if queues and first.code == 0:
        assert cli("wait", run.id, "--timeout", "0.5").code in (1, 101), about
        rig.faults(*(fault for fault in faults if fault["fault"] != "queue-for-ever"))
    answer = first
    for _ in range(8):  # as a person would, who sees an error and asks again
        answer = cli("wait", run.id, "--timeout", "20")
        if answer.code not in (1, 101):
            break
    assert answer.code in (0, 100, 103), f"{about}\n{answer}"
    assert time.monotonic() - began < 90, about
    with rig.ledger() as ledger:
        run = ledger.get(run.id)
    made = rig.jobs
    assert made in ([], [run.id]), f"doubled, {about}"
    names = {fault["fault"] for fault in faults}
    if not made:
        assert run.phase in ("Failed", "Abnormal") and first.code == 1, about
        assert names & set(REFUSALS), about
        return
    [job] = rig.emulator.state.search("1", [], "number", 10, 0)
    assert (run.phase, answer.code) == (job.phase, {"Completed": 0, "Terminated": 103}.get(job.phase, 100)), about
    if job.phase in ("Completed", "Failed") and not stops:
        codes = {status["exit_code"] for status in job.statuses}
        assert run.exit_code in codes and (run.exit_code == code or names & BROKEN), (run, about)
    _check_log(run.id, nodes, lines, job, first, names, stops, cli, about)
    if run.phase == "Completed":
        for _ in range(6):
            pulled = cli("pull", run.id, str(project.root / "out"))
            if pulled.code == 0:
                break
        assert (project.root / "out" / "model.bin").read_bytes() == bytes(range(256)) * 100, about
        assert run.result == {"accuracy": 0.5}, about


def _check_log(
    run: str, nodes: int, lines: int, job: Any, first: Any, names: set[str], stops: bool, cli: Any, about: str
) -> None:
    whole = job.phase == "Completed" or (job.phase == "Failed" and not names & BROKEN and not stops and nodes == 1)
    for _ in range(6):
        again = cli("logs", run)
        if again.code == 0:
            break
    assert again.code == 0, f"{about}\n{again}"
    detached = stops or "queue-for-ever" in names
    for text, ended in ((first.out, first.code != 1 and not detached), (again.out, "log-rotated" not in names)):
        for worker in range(nodes):
            mark = f"[worker-{worker}] " if nodes > 1 else ""
            mine = [line[len(mark) :] for line in text.splitlines() if line.startswith(mark)]
            shown, expected = only_spoken("\n".join(mine)), spoken(lines, worker)
            if whole and ended:
                assert shown == expected, f"{about}\n{text}\n{again}"
            else:
                assert len(set(shown)) == len(shown) and [x for x in expected if x in shown] == shown, about


@pytest.mark.parametrize("seed", range(10))
def test_ten_combinations(modelarts: Rig, cli, project, seed: int) -> None:
    check(seed, modelarts, cli, project)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(10, 10 + COMBINATIONS))
def test_five_hundred_combinations(modelarts: Rig, cli, project, seed: int) -> None:
    check(seed, modelarts, cli, project)
