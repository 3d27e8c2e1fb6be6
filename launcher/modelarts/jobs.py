"""A job of ModelArts as a run: phases, times, exit codes; and how one is created at most once.

Creating has no idempotency key, so the run's id is the job's name. After an answer that was lost::

    looked up by name   then
    there               it is ours: adopt it
    not there           look again, longer each time, since a request may still be on its way; then create again
    cannot be told      Unsettled: the run stays Creating, and the next command that looks settles it
    name taken (2751)   an earlier try of ours came through: look it up
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import LauncherError, ServiceError, Unsettled
from launcher.modelarts.client import NAME_TAKEN, Client
from launcher.run import ACTIVE, FINAL, Run
from storage.retry import Wait, waiting

Json = dict[str, Any]

SETTLING = (0.0, 1.0, 3.0)
"""Seconds before each look for a job whose creation was not answered."""
CREATE_TRIES = 5
_ID = r"\w[\w.-]{0,127}"
"""What may be a run's id, and so a folder's name and a word of a command."""


def create_once(client: Client, body: Json) -> Json:
    """The job of that name, which is there exactly once afterwards; ServiceError if it was refused."""
    with waiting(urlsplit(client.place.endpoint).netloc) as pending:
        return _created(client, body, pending)


def _created(client: Client, body: Json, pending: Wait) -> Json:
    name = str(body["metadata"]["name"])
    doubt: ServiceError | None = None
    for attempt in range(1, CREATE_TRIES + 1):
        try:
            return client.create(body)
        except ServiceError as error:
            refused = error
        pending.failures, pending.tries, pending.why = attempt, CREATE_TRIES, refused.message
        if refused.status == 429 and doubt is None:  # nothing was done
            time.sleep(max(min(2.0**attempt / 2, 10.0), min(refused.asked, 120.0)))
            continue
        doubt = refused if refused.doubtful else doubt
        if doubt is None and refused.code != NAME_TAKEN:
            raise refused
        job = _look(client, name, refused)
        if job is not None:
            return job
        if not refused.doubtful and refused.status != 429:
            break  # refused outright, though an earlier try may have come through
    if doubt is not None:
        raise Unsettled(
            f"{refused.message}; whether {name} was created is not known yet",
            f"python -m launcher show {name}",
            refused.status,
            refused.code,
            refused.request_id,
        ) from refused
    if refused.code == NAME_TAKEN:
        raise ServiceError(
            f"ModelArts says that {name!r} is taken, and shows no job of that name",
            "a deleted job may hold it still: submit again",
            refused.status,
            refused.code,
            refused.request_id,
        )
    raise refused


def _look(client: Client, name: str, why: ServiceError) -> Json | None:
    for pause in SETTLING:
        time.sleep(pause)
        try:
            job = client.named(name)
        except LauncherError as error:
            raise Unsettled(
                f"{why.message}; whether {name} was created could not be seen either: {error}",
                f"python -m launcher show {name}",
            ) from why
        if job is not None:
            return job
    return None


def phase(job: Json, run: Run) -> str:
    """The run's phase by the job; a phase that is not known, or an older one than a stop, changes nothing."""
    found = str(job["status"]["phase"])
    if found not in ACTIVE + FINAL:
        return run.phase
    if run.phase == "Terminating" and found in ACTIVE:
        return "Terminating"
    return found


def exit_code(job: Json) -> int | None:
    """The first worker's that is not 0; 0 if all are, or if the job completed."""
    statuses = job["status"].get("task_statuses") or []
    codes = [row.get("exit_code") for row in statuses if isinstance(row, dict)]
    known = [code for code in codes if isinstance(code, int)]
    if job["status"]["phase"] == "Completed" and not known:
        return 0
    return next((code for code in known if code != 0), known[0] if known else None)


def message(job: Json) -> str:
    """Why it ended as it did, in ModelArts' words."""
    if job["status"]["phase"] in ("Completed", *ACTIVE):
        return ""
    statuses = job["status"].get("task_statuses") or []
    said = [f"{row.get('task')}: {row['message']}" for row in statuses if isinstance(row, dict) and row.get("message")]
    return "; ".join(said)[:500] or str(job["status"].get("message") or "")[:500]


def started_at(job: Json) -> str | None:
    """When it began to run; ModelArts says 0 before that."""
    return _time(job["status"].get("start_time"))


def ended_at(job: Json, seen: float) -> str | None:
    """When it ended, as far as that is told: the last record's end (in seconds, unlike all else), or the start and the
    running time (which leaves waits between restarts out), whichever is later; else `seen`."""
    if job["status"]["phase"] not in FINAL:
        return None
    records = job["status"].get("running_records") or []
    last = records[-1].get("end_at") if records and isinstance(records[-1], dict) else None
    start, duration = job["status"].get("start_time"), job["status"].get("duration")
    return _time(max((last or 0) * 1000, (start or 0) + duration if start and duration else 0)) or _time(seen * 1000)


def workers(job: Json) -> list[str]:
    """`worker-0`, …: one log each."""
    tasks = [str(task) for task in job["status"].get("tasks") or ()]
    count = int(job.get("spec", {}).get("resource", {}).get("node_count") or 1)
    return tasks or [f"worker-{index}" for index in range(count)]


def output(job: Json) -> str:
    """The URL behind `train_url`, else the first output's; with a job of the old contract, the parameter's."""
    rows = job.get("algorithm", {}).get("outputs") or []
    rows = sorted(rows, key=lambda row: row.get("name") != "train_url")
    for row in rows:
        url = ((row.get("remote") or {}).get("obs") or {}).get("obs_url")
        if url:
            return folder(url)
    for row in job.get("algorithm", {}).get("parameters") or []:
        if row.get("name") == "train_url" and "://" in str(row.get("value")):
            return folder(str(row["value"]))
    return ""


def log_folder(request: Json) -> str:
    """Where ModelArts copies the logs to; empty if nowhere."""
    url = ((request.get("spec") or {}).get("log_export_path") or {}).get("obs_url") or ""
    return folder(url) if url else ""


def folder(url: str) -> str:
    """`/bucket/key`, `s3://bucket/key/` or `obs://bucket/key` as `obs://bucket/key/`."""
    rest = url.split("://", 1)[1] if "://" in url else url.lstrip("/")
    return f"obs://{rest.rstrip('/')}/"


def as_run(job: Json, target: str, remote: Json) -> Run:
    """A job that this machine did not start; what it was asked for is in the job itself."""
    metadata = job["metadata"]
    name = str(metadata.get("name") or "")
    name = name if re.fullmatch(_ID, name) else str(metadata["id"])
    parameters = {row["name"]: row.get("value") for row in job.get("algorithm", {}).get("parameters") or ()}
    asked: Json = {key: job[key] for key in ("kind", "metadata", "algorithm", "spec") if key in job}
    final = job["status"]["phase"] in FINAL
    return Run(
        id=name,
        job=_job_of(name),
        target=target,
        name=name,
        phase=job["status"]["phase"] if job["status"]["phase"] in ACTIVE + FINAL else "Pending",
        created_at=_time(metadata.get("create_time")) or "1970-01-01T00:00:00.000Z",
        parameters={key: value for key, value in parameters.items() if key not in ("data_url", "train_url")},
        output=output(job),
        exit_code=exit_code(job) if final else None,
        started_at=started_at(job),
        ended_at=ended_at(job, time.time()),
        message=message(job),
        request=asked,
        remote=remote,
    )


def _job_of(name: str) -> str:
    """`lenet5` of `lenet5-20261121-041512-k3f9a`; a name of another kind is its own."""
    return name.rsplit("-", 3)[0] if is_run_id(name) else name


def is_run_id(name: str) -> bool:
    """Whether a job's name is shaped as the launcher's are."""
    parts = name.rsplit("-", 3)
    return len(parts) == 4 and [len(part) for part in parts[1:]] == [8, 6, 5] and (parts[1] + parts[2]).isdigit()


def utc(time_told: Any) -> str | None:
    """A time of the API, milliseconds or RFC 3339 with any offset, as the launcher writes times."""
    if isinstance(time_told, str) and not time_told.isdigit():
        try:
            moment = datetime.fromisoformat(time_told.replace("Z", "+00:00"))
        except ValueError:
            return None
        return _time(moment.timestamp() * 1000)
    return _time(int(time_told) if isinstance(time_told, str) else time_told)


def _time(milliseconds: Any) -> str | None:
    if not isinstance(milliseconds, (int, float)) or milliseconds <= 0:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
