"""The calls of ModelArts' API that the launcher makes; each gives the JSON as it came, checked for what must be there.

Routes and odd statuses: a job that is not there is 400 with `ModelArts.2775`; "nothing yet" of a log or of metrics is
204, or 400 with 2818; stop and delete are asynchronous (202); `total` and `count` of a listing mean nothing that could
be relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from launcher.errors import ServiceError
from launcher.modelarts.place import Place
from launcher.modelarts.wire import Answer, Wire

Json = dict[str, Any]

NO_JOB = "ModelArts.2775"
NAME_TAKEN = "ModelArts.2751"
HAS_ENDED = "ModelArts.2796"
NOTHING_YET = ("ModelArts.2818", "ModelArts.2776", "ModelArts.2777")
NO_FILTERS = ("ModelArts.2764", "ModelArts.2789", "ModelArts.2807", "ModelArts.2808", "ModelArts.2809")
PAGE = 50
"""The most jobs that a page may have."""


class Client:
    """One project's jobs."""

    def __init__(self, place: Place, say: Callable[[str], None] = lambda text: None) -> None:
        self.place = place
        self.wire = Wire(place, say)
        self._project = place.project_id

    def close(self) -> None:
        self.wire.close()

    @property
    def project(self) -> str:
        """The project's id; asked of IAM once if the settings have none (`GET /v3/projects?name=<region>`)."""
        if not self._project:
            place = self.place
            answer = self.wire.ask(
                f"find the project of {place.region}",
                "GET",
                f"{place.iam_endpoint}/v3/projects",
                [("name", place.region)],
                check=_has_list("projects"),
            )
            found = [row["id"] for row in answer.data["projects"] if isinstance(row, dict) and row.get("id")]
            if len(found) != 1:
                what = "no project" if not found else f"{len(found)} projects"
                raise ServiceError(f"IAM knows {what} of the region {place.region!r}", "set project_id in the settings")
            self._project = str(found[0])
        return self._project

    def create(self, body: Json) -> Json:
        """Sent once: whoever calls must look before sending it again."""
        name = body["metadata"]["name"]
        return self._job(f"create the job {name}", "POST", "/training-jobs", body, safe=False)

    def job(self, job_id: str) -> Json:
        return self._job(f"look at the job {job_id}", "GET", _path(job_id))

    def stop(self, job_id: str) -> None:
        """Ask it to end; that it has ended already is fine."""
        try:
            self._ask(f"stop the job {job_id}", "POST", _path(job_id, "actions"), {"action_type": "terminate"})
        except ServiceError as error:
            if error.code != HAS_ENDED and error.status != 409:
                raise

    def delete(self, job_id: str) -> None:
        """Ask for its removal; that it is gone already is fine."""
        try:
            self._ask(f"delete the job {job_id}", "DELETE", _path(job_id))
        except ServiceError as error:
            if error.code != NO_JOB:
                raise

    def is_gone(self, job_id: str) -> bool:
        try:
            self.job(job_id)
        except ServiceError as error:
            if error.code == NO_JOB:
                return True
            raise
        return False

    def jobs(self, name: str = "") -> Iterator[Json]:
        """Every job of the workspace, newest first, each once; with `name`, those whose name is like it.

        `offset` counts pages by the documentation and records by other clients. Pages are asked for by 1, 2, 3, which
        loses nothing either way; if the second repeats the first but for a job or two, it counts records, and from
        there on so do we.
        """
        seen: set[str] = set()
        offset, step = 0, 1
        while True:
            page, size = self._page(offset, name)
            new = [job for job in page if job["metadata"]["id"] not in seen]
            seen.update(job["metadata"]["id"] for job in new)
            yield from new
            if len(page) < size:
                return
            if offset == 1 and len(page) - len(new) > 0.8 * size:
                step = size
            offset += step

    def named(self, name: str) -> Json | None:
        """The job of exactly that name; of several, the oldest."""
        try:
            found = [job for job in self.jobs(name) if job["metadata"].get("name") == name]
        except ServiceError as error:
            if error.code not in NO_FILTERS:
                raise
            found = [job for job in self.jobs() if job["metadata"].get("name") == name]
        found.sort(key=lambda job: job["metadata"].get("create_time") or 0)
        return found[0] if found else None

    def _page(self, offset: int, name: str) -> tuple[list[Json], int]:
        body: Json = {
            "offset": offset,
            "limit": PAGE,
            "sort_by": "create_time",
            "order": "desc",
            "workspace_id": self.place.workspace,
        }
        if name:
            body["filters"] = [{"key": "name", "operator": "like", "value": [name]}]

        def check(answer: Answer) -> None:
            _has_list("items")(answer)
            for item in answer.data["items"]:
                _is_job(item)

        data = self._ask("list the jobs", "POST", "/training-job-searches", body, check=check).data
        limit = data.get("limit")
        size = limit if isinstance(limit, int) and 0 < limit < PAGE else PAGE
        return list(data["items"]), size

    def preview(self, job_id: str, task: str) -> Json | None:
        """`content`, `current_size`, `full_size` of the log's newest part, at most 5 MB; None while there is none."""
        data = self._soon(f"read the log of {job_id}", _path(job_id, "tasks", task, "logs/preview"))
        if data is not None and "content" not in data and "context" in data:  # so it was called before March 2022
            data = {**data, "content": data["context"]}
        return data

    def lines(self, job_id: str, task: str, base_line: str, count: int = 500) -> Json | None:
        """`start_line`, `end_line`, `lines`, `content` of what AOM has after (or from) `base_line` on."""
        query = [("lines", str(count)), ("order", "asc")] + ([("base_line", base_line)] if base_line else [])
        return self._soon(f"read the log of {job_id}", _path(job_id, "logs", task), query)

    def metrics(self, job_id: str, task: str) -> list[Json]:
        """`metric` and `value`, one number a minute, -1 for none; empty while there are none."""
        data = self._soon(f"read the metrics of {job_id}", _path(job_id, "metrics", task))
        return list((data or {}).get("metrics") or ())

    def events(self, job_id: str, limit: int = 50) -> list[Json]:
        """The newest, oldest first: `time`, `level`, `message`, `source`."""
        query = [("limit", str(limit)), ("offset", "0"), ("order", "desc")]
        path = _path(job_id, "events")
        answer = self._ask(f"read the events of {job_id}", "GET", path, query=query, check=_has_list("events"))
        return list(reversed(answer.data["events"]))

    def stages(self, job_id: str) -> list[Json]:
        data = self._soon(f"read the stages of {job_id}", _path(job_id, "stages"))
        return list((data or {}).get("running_records") or ())

    def flavors(self) -> list[Json]:
        answer = self._ask("list the flavors", "GET", "/training-job-flavors", check=_has_list("flavors"))
        return list(answer.data["flavors"])

    def engines(self) -> list[Json]:
        answer = self._ask("list the engines", "GET", "/training-job-engines", check=_has_list("items"))
        return list(answer.data["items"])

    def add_tags(self, job_id: str, tags: dict[str, str]) -> None:
        body = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        self._ask(f"tag the job {job_id}", "POST", f"/modelarts-training-job/{quote(job_id, '')}/tags/create", body)

    def _soon(self, what: str, path: str, query: list[tuple[str, str]] | None = None) -> Json | None:
        """An object that may not be there yet: None for 204 and for the codes that say so."""

        def check(answer: Answer) -> None:
            if answer.status != 204 and not isinstance(answer.data, dict):
                raise ValueError

        try:
            answer = self._ask(what, "GET", path, query=query or [], check=check)
        except ServiceError as error:
            if error.code in NOTHING_YET:
                return None
            raise
        return answer.data if answer.status != 204 else None

    def _job(self, what: str, method: str, path: str, body: Any = None, safe: bool = True) -> Json:
        job: Json = self._ask(what, method, path, body, safe=safe, check=lambda answer: _is_job(answer.data)).data
        return job

    def _ask(
        self,
        what: str,
        method: str,
        path: str,
        body: Any = None,
        query: list[tuple[str, str]] | None = None,
        safe: bool = True,
        check: Callable[[Answer], None] = lambda answer: None,
    ) -> Answer:
        url = f"{self.place.endpoint}/v2/{quote(self.project, '')}{path}"
        return self.wire.ask(what, method, url, query or (), body, safe, check)


def _path(job_id: str, *parts: str) -> str:
    return "/".join(["/training-jobs", quote(job_id, ""), *parts])


def _is_job(data: Any) -> None:
    """ValueError or LookupError unless it is a job object with an id and a phase."""
    if not (data["metadata"]["id"] and isinstance(data["metadata"]["id"], str) and isinstance(data["status"], dict)):
        raise ValueError("no job")
    if not isinstance(data["status"]["phase"], str):
        raise ValueError("no phase")


def _has_list(name: str) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        if not isinstance(answer.data[name], list):
            raise ValueError(f"no {name}")

    return check
