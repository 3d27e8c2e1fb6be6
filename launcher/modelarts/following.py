"""What a person hears while a run is followed, and what ``show`` adds: events, stages, use, cost, cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from launcher.errors import ServiceError
from launcher.modelarts import jobs
from launcher.modelarts.client import Client
from launcher.modelarts.logs import stalled
from launcher.run import Run

Json = dict[str, Any]

EVENTS_EVERY = 15.0
"""Seconds between two looks at the events of a run that waits."""
TAIL_LINES = 300
"""Of a log's end in which a cause is looked for."""
STALLED_AFTER = 600.0
"""Seconds without a new log line after which the metrics are looked at."""


class Follower:
    """One run that is followed. A service that does not answer here is no reason to stop following."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._told: set[tuple[str, str]] = set()
        self._looked = 0.0
        self._warned = False
        self._phase = ""

    def notice(self, run: Run, idle: float) -> list[str]:
        """Queueing with its reason, once each; a run that does nothing, once."""
        job_id = run.remote.get("id")
        if not job_id:
            return []
        said: list[str] = []
        if run.phase != self._phase:
            self._phase, self._looked = run.phase, 0.0
            if run.phase in ("Creating", "Pending"):
                said.append(f"{run.phase}: waiting for ModelArts to start it")
        if run.phase in ("Creating", "Pending") and time.monotonic() - self._looked > EVENTS_EVERY:
            self._looked = time.monotonic()
            for event in _list(lambda: self.client.events(job_id)):
                key = (str(event.get("time")), str(event.get("message")))
                if key not in self._told:
                    self._told.add(key)
                    said.append(f"{run.phase}: {event.get('message')}")
        if run.phase == "Running" and idle > STALLED_AFTER and not self._warned:
            task = (run.remote.get("tasks") or ["worker-0"])[0]
            used = stalled(_list(lambda: self.client.metrics(job_id, task)), int(STALLED_AFTER // 60))
            if used:
                self._warned = True
                minutes = int(idle // 60)
                said.append(
                    f"no log for {minutes} min, and nothing is computed ({used}): it may hang;"
                    f" python -m launcher stop {run.id}"
                )
        return said

    def describe(self, run: Run) -> dict[str, Any]:
        """Events, stages and use as far as ModelArts gives them; cost where a price is known, else None."""
        found: dict[str, Any] = {"machine": run.remote.get("machine"), "job_id": run.remote.get("id")}
        job_id = run.remote.get("id")
        found["cost"] = cost(run, self.client.wire.now())
        if not job_id:
            return {**found, "events": [], "stages": [], "usage": {}, "causes": []}
        events = _list(lambda: self.client.events(job_id))
        found["events"] = [{**event, "time": jobs.utc(event.get("time"))} for event in events]
        records = _list(lambda: self.client.stages(job_id))
        stages = [stage for record in records for stage in record.get("stages") or ()]
        found["stages"] = [
            {**stage, **{k: jobs.utc(stage.get(k)) for k in ("start_time", "end_time")}} for stage in stages
        ]
        task = (run.remote.get("tasks") or ["worker-0"])[0]
        metrics = _list(lambda: self.client.metrics(job_id, task))
        found["usage"] = {str(row.get("metric")): _last(row.get("value")) for row in metrics if isinstance(row, dict)}
        found["causes"] = self.causes(run)
        return found

    def causes(self, run: Run) -> list[dict[str, str]]:
        """By its exit code, its events and the end of every worker's log."""
        from launcher.modelarts.explain import cause_of

        job_id = run.remote.get("id")
        if run.phase not in ("Failed", "Abnormal") or not job_id:
            return []
        events = _list(lambda: self.client.events(job_id))
        tail = "".join(self._tail(job_id, task) for task in run.remote.get("tasks") or ["worker-0"])
        found = cause_of({"status": {"phase": run.phase}}, events, tail, run.exit_code)
        return [{**cause.to_json(), "hint": re.sub(r"\bRUN\b", run.id, cause.hint)} for cause in found]

    def _tail(self, job_id: str, task: str) -> str:
        try:
            data = self.client.preview(job_id, task)
        except ServiceError:
            return ""
        lines = str((data or {}).get("content") or "").splitlines(keepends=True)
        return "".join(lines[-TAIL_LINES:])


def _list(look: Callable[[], list[Json]]) -> list[Json]:
    try:
        return look()
    except ServiceError:
        return []


def cost(run: Run, now: float) -> float | None:
    """What it has cost so far: hours of running, nodes, and the price in job.yaml."""
    from datetime import datetime

    price = run.remote.get("price_per_hour")
    if price is None or not run.started_at:
        return None

    def seconds(text: str) -> float:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

    end = seconds(run.ended_at) if run.ended_at else now
    nodes = int(run.request["spec"]["resource"].get("node_count") or 1)
    return round(float(price) * nodes * max(0.0, end - seconds(run.started_at)) / 3600, 4)


def _last(values: Any) -> float | None:
    known = [value for value in values or () if isinstance(value, (int, float)) and value >= 0]
    return known[-1] if known else None
