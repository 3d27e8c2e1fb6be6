"""What happened to a job: events, stages, tasks, metrics, the plan of ranks."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from .errors import ApiError
from .house import House
from .http import Reply, Request, Route
from .jobs import JOB, find
from .logs import worker_of
from .state import Job

CHINA = timezone(timedelta(hours=8))
METRICS = ("cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage")
STAGES = {
    "scheduling": ("The training job is being scheduled.", "训练作业调度中"),
    "preparing": ("The training environment is being prepared.", "训练环境准备中"),
    "running": ("The training job is running.", "训练作业运行中"),
    "end": ("The training job has ended.", "训练作业已结束"),
}


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _History(house)
    return [
        Route("GET", JOB + "/events", "list_training_job_events", own.events),
        Route("GET", JOB + "/stages", "list_training_job_stages", own.stages),
        Route("GET", JOB + "/tasks", "list_training_job_tasks", own.tasks),
        Route("GET", JOB + "/metrics/{task_id}", "show_training_job_metrics", own.metrics),
        Route("GET", JOB + "/route_plan", "show_training_job_route_plan", own.plan),
        Route("GET", "/v2/{project_id}/training-event-categories", "list_event_categories", own.categories),
    ]


class _History:
    def __init__(self, house: House) -> None:
        self.house, self.state = house, house.state

    def events(self, request: Request) -> Reply:
        """Newest first. `offset` counts records (HWDOC:ListTrainingJobEvents) or pages (SDK), as it is set."""
        job = find(self.house, request)
        offset, limit = request.number("offset", 0), request.number("limit", 50, 1, 100)
        order, level = request.argument("order", "desc"), request.argument("level")
        start, end = request.number("start_time", 0), request.number("end_time", 0)
        pattern, source = request.argument("pattern"), request.argument("source")
        if bool(start) != bool(end) or order not in ("asc", "desc") or len(pattern) > 256:
            raise ApiError("ModelArts.50004000", "Bad request: start_time and end_time, order, pattern.")
        found = [
            event
            for event in self.state.events(job.id)
            if (not level or event["level"] == level)
            and (not source or event["source"] == source)
            and (not start or start <= event["at"] <= end)
            and pattern.lower() in event["message"].lower()
        ]
        if order == "desc":
            found.reverse()
        begin = offset * (limit if self.house.settings.events_paging == "page" else 1)
        shown = [
            {
                "time": _china(event["at"]),
                "level": event["level"],
                "message": event["message"],
                "source": event["source"],
            }
            for event in found[begin : begin + limit]
        ]
        body = {"total": len(found), "limit": limit, "offset": offset, "order": order}
        return Reply({**body, "start_time": start, "end_time": end, "events": shown})

    def stages(self, request: Request) -> Reply:
        """One record for each start; only the first was scheduled and prepared from the beginning."""
        job = find(self.house, request)
        records = [
            {"record_order": index + 1, "stages": _stages(job, index)} for index in range(max(1, len(job.spans)))
        ]
        return Reply({"total_count": len(records), "running_records": records})

    def tasks(self, request: Request) -> Reply:
        """A bare list: where each instance of each start ran."""
        job = find(self.house, request)
        wanted = request.argument("schedule_count")
        counts = range(max(1, job.attempt))
        found = [
            {"task": f"worker-{index}", "ip": "127.0.0.1", "host_ip": "127.0.0.1", "schedule_count": count}
            for count in counts
            for index in range(job.nodes)
            if wanted in ("", str(count))
        ]
        return Reply(found if job.attempt else [])

    def metrics(self, request: Request) -> Reply:
        """One value a minute; what the machine does not have is -1. Here the processor stands in for the NPU."""
        job = find(self.house, request)
        worker = worker_of(job, request.words["task_id"])
        samples = self.state.samples(job.id, f"worker-{worker}")
        if not samples:
            raise ApiError("ModelArts.2777", "The metrics are not ready to be fetched.")
        cpu, memory = [sample[0] for sample in samples], [sample[1] for sample in samples]
        nothing = [-1.0] * len(samples)
        kind = job.body["spec"]["resource"].get("flavor_detail", {}).get("flavor_type", "Ascend")
        values = dict.fromkeys(METRICS, nothing)
        values.update(cpuUsage=cpu, memUsage=memory)
        if kind in ("GPU", "Ascend"):
            name = "gpu" if kind == "GPU" else "npu"
            values.update({f"{name}Util": cpu, f"{name}MemUsage": memory})
        return Reply({"metrics": [{"metric": name, "value": value} for name, value in values.items()]})

    def plan(self, request: Request) -> Reply:
        job = find(self.house, request)
        mapping = ",".join(str(index) for index in range(job.nodes))
        return Reply({"job_id": job.id, "status": "disabled", "rank_mapping": mapping})

    def categories(self, request: Request) -> Reply:
        """The key has a hyphen (SDK)."""
        names = {"K8S": "Kubernetes events", "Job": "events of the job", "Task": "events of an instance"}
        found = [{"name": name, "description": text, "level": "Info"} for name, text in names.items()]
        return Reply({"event-categories": found})


def _stages(job: Job, index: int) -> list[dict[str, Any]]:
    """The four stages, as far as the job has come; times are milliseconds."""
    start, end = job.spans[index] if index < len(job.spans) else (0, 0)
    before = job.spans[index - 1][1] if index else job.created
    over = end or (job.ended if job.final else 0)
    times = {"scheduling": (before, start or over), "preparing": (start, start), "running": (start, end)}
    if over:
        times["end"] = (over, over)
    found = []
    for order, (name, (began, ended)) in enumerate(times.items(), 1):
        if not began:
            continue
        english, chinese = STAGES[name]
        found.append(
            {
                "job_id": job.id,
                "name": name,
                "en_message": english,
                "zh_message": chinese,
                "start_time": began,
                "end_time": ended,
                "stage_order": order,
                "sub_stages": [{"name": name, "en_message": english, "zh_message": chinese, "create_time": began}],
            }
        )
    return found


def _china(at: int) -> str:
    """`2022-11-26T16:03:41+08:00`."""
    return datetime.fromtimestamp(at / 1000, CHINA).isoformat(timespec="seconds")
