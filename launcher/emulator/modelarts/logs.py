"""The three log routes; the fourth way to a log is its object in the bucket.

All of them show what has been copied out (`log_period`), never the file that the job is writing.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .errors import ApiError
from .house import House
from .http import Reply, Request, Route
from .jobs import JOB, find
from .objects import place_of
from .runner import url_of
from .state import Job

PREVIEW_BYTES = 5 << 20
"""The newest part of a log that a preview holds (SDK)."""


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _Logs(house)
    return [
        Route("GET", JOB + "/tasks/{task_id}/logs/preview", "show_training_job_logs_preview", own.preview),
        Route("GET", JOB + "/tasks/{task_id}/logs/url", "show_training_job_logs_url", own.link),
        Route("GET", JOB + "/logs/{task_id}", "show_training_job_logs_from_aom", own.lines),
    ]


def worker_of(job: Job, task: str) -> int:
    """The number in `worker-1`: 400 ModelArts.2788 for a task that the job has not."""
    name, _, number = task.rpartition("-")
    if name != "worker" or number not in map(str, range(job.nodes)):
        raise ApiError("ModelArts.2788", f"Invalid parameter (task_id: {task}).")
    return int(number)


class _Logs:
    def __init__(self, house: House) -> None:
        self.house = house

    def preview(self, request: Request) -> Reply:
        """The whole log, or its newest 5 MB; sizes are bytes. Before there is any: 204, unless set otherwise."""
        job, worker = self._asked(request)
        log, size = self._shown(job, worker, request)
        if log is None:
            return self._not_ready(job)
        most, fault = PREVIEW_BYTES, self.house.faults.draw("preview-cut", "show_training_job_logs_preview")
        if fault:
            most = max(0, int(fault.number("bytes", 4096)))
        with log:
            log.seek(max(0, size - most))
            part = log.read(min(size, most))
        sizes = {"current_size": len(part), "full_size": size}
        if self.house.faults.draw("preview-sizes", "show_training_job_logs_preview"):
            sizes = {"current_size": 126548, "full_size": 5242880}  # as in the sample of the OTC API reference
        return Reply({"content": part.decode("utf-8", "replace"), **sizes})

    def link(self, request: Request) -> Reply:
        """A presigned URL of the log's object, good for 5 minutes. `Content-Type` is taken and changes nothing."""
        job, worker = self._asked(request)
        folder = url_of(job.body["spec"]["log_export_path"].get("obs_url", ""))
        if not folder:
            raise ApiError("ModelArts.2822", "The log export path is not set.", "Set the log path of the job.")
        url = folder.rstrip("/") + "/" + self.house.runner.log(job.id, worker).name
        if not self.house.objects.is_object(*place_of(url)):
            raise ApiError("ModelArts.2818", "The log file is not generated.", "Try again later.")
        return Reply({"obs_url": self.house.objects.link(url)})

    def lines(self, request: Request) -> Reply:
        """Whole lines from AOM, counted from 1; `asc` goes on from `base_line`, `desc` gives those before it.

        Without `base_line`, `asc` begins at the start and `desc` at the end. Line numbers are texts. Whether
        `base_line` itself is given is not documented: a setting says so, and a fault turns it round once.
        """
        job, worker = self._asked(request)
        route = "show_training_job_logs_from_aom"
        if self.house.faults.draw("aom-missing", route):
            raise ApiError("APIGW.0101", "The API does not exist or has not been published in the environment")
        if self.house.faults.draw("aom-rejects", route):
            raise ApiError("ModelArts.2858", "The operation is not supported.")
        order = request.argument("order", "desc")
        count = request.number("lines", 50, 1, 500)
        base = request.number("base_line", 0 if order == "asc" else 1 << 60)
        if order not in ("asc", "desc"):
            raise ApiError("ModelArts.2764", f"Invalid query parameter (order: {order}).")
        inclusive = self.house.settings.base_line == "inclusive"
        if self.house.faults.draw("aom-inclusive", route):
            inclusive = not inclusive
        asked_for = bool(request.argument("base_line"))
        log, size = self._shown(job, worker, request)
        with log or io.BytesIO() as stream:
            numbered = enumerate(_lines(stream, size, job.final), 1)
            if order == "asc":
                first = max(1, base + (0 if inclusive and asked_for else 1))
                found = list(islice(numbered, first - 1, first - 1 + count))
            else:
                last = max(0, base - (0 if inclusive or not asked_for else 1))
                found = list(deque(islice(numbered, last), maxlen=count))
        start, end = (found[0][0], found[-1][0]) if found else (base if asked_for else 0,) * 2
        content = "".join(line for _, line in found)
        return Reply({"start_line": str(start), "end_line": str(end), "lines": len(found), "content": content})

    def _asked(self, request: Request) -> tuple[Job, int]:
        job = find(self.house, request)
        return job, worker_of(job, request.words["task_id"])

    def _shown(self, job: Job, worker: int, request: Request) -> tuple[BinaryIO | None, int]:
        """The log, to be closed, and how many of its bytes are shown. It may have gigabytes: nobody reads it whole."""
        path: Path = self.house.runner.shown(job.id, worker)
        try:
            log = open(path, "rb")  # noqa: SIM115 - whoever asked closes it
        except OSError:
            return None, 0
        size = os.fstat(log.fileno()).st_size
        return log, size // 2 if self.house.faults.draw("log-shrunk", _name(request)) else size

    def _not_ready(self, job: Job) -> Reply:
        how = self.house.settings.not_ready
        if how == "204":
            raise ApiError("ModelArts.2776", "The log is not ready to be fetched.")
        if how == "400":
            raise ApiError("ModelArts.2818", "The log file is not generated.", "Try again later.")
        return Reply({"content": "", "current_size": 0, "full_size": 0})


def _name(request: Request) -> str:
    return "show_training_job_logs_preview" if "/tasks/" in request.path else "show_training_job_logs_from_aom"


def _lines(log: BinaryIO, size: int, whole: bool) -> Iterator[str]:
    """The lines in the first bytes of a log; the last may lack its end if the log is `whole`."""
    for line in log:
        part = line[:size]
        size -= len(part)
        if part.endswith(b"\n") or (part and whole):
            yield part.decode("utf-8", "replace").removesuffix("\n") + "\n"
        if size <= 0:
            return
