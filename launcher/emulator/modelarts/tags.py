"""Tags, which are not part of a job's body: routes of their own add, remove, show and search them."""

from __future__ import annotations

import re
from typing import Any

from .checks import items, text
from .errors import ApiError, invalid, not_found
from .house import House
from .http import Reply, Request, Route

TAGS = "/v2/{project_id}/modelarts-training-job"
KEY = re.compile(r"[\w .:=+\-@]{1,128}")
VALUE = re.compile(r"[\w .:=+\-@/]{0,255}")
MOST = 20
"""Tags of one job (TMS' user guide)."""


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _Tags(house)
    return [
        Route("POST", TAGS + "/{training_job_id}/tags/create", "create_train_job_tags", own.create),
        Route("DELETE", TAGS + "/{training_job_id}/tags/delete", "delete_train_job_tags", own.delete),
        Route("GET", TAGS + "/{training_job_id}/tags", "show_train_job_tags", own.show),
        Route("GET", TAGS + "/tags", "list_training_job_tags", own.all),
        Route("POST", TAGS + "/resource-instances/filter", "list_training_jobs_by_tags", own.filter),
        Route("POST", TAGS + "/resource-instances/count", "count_training_jobs_by_tags", own.count),
    ]


class _Tags:
    def __init__(self, house: House) -> None:
        self.house, self.state = house, house.state

    def create(self, request: Request) -> Reply:
        """204; a key that is there gets the new value."""
        job_id = self._job(request)
        wanted = []
        for tag in items(request.object(), "tags"):
            key, value = text(tag, "key", required=True), text(tag, "value")
            if not KEY.fullmatch(key) or key != key.strip() or key.startswith("_sys_") or not VALUE.fullmatch(value):
                raise invalid(f"tags: {key[:128]}")
            wanted.append((key, value))
        with self.state.together():
            there = {key for _, key, _ in self.state.tags(job_id)}
            if len(there.union(key for key, _ in wanted)) > MOST:
                raise ApiError("ModelArts.2816", f"The number of tags exceeds the upper limit {MOST}.")
            for key, value in wanted:
                self.state.tag(job_id, key, value)
        return Reply(None, 204)

    def delete(self, request: Request) -> Reply:
        job_id = self._job(request)
        for tag in items(request.object(), "tags"):
            self.state.untag(job_id, text(tag, "key", required=True))
        return Reply(None, 204)

    def show(self, request: Request) -> Reply:
        found = [{"key": key, "value": value} for _, key, value in self.state.tags(self._job(request))]
        return Reply({"tags": found})

    def all(self, request: Request) -> Reply:
        """Every key with all its values."""
        values: dict[str, list[str]] = {}
        for _, key, value in self.state.tags():
            if value not in values.setdefault(key, []):
                values[key].append(value)
        offset, limit = request.number("offset", 0), request.number("limit", 200, 1, 500)
        found = [{"key": key, "values": each} for key, each in values.items()]
        return Reply({"tags": found[offset : offset + limit], "total_count": len(found)})

    def filter(self, request: Request) -> Reply:
        found = self._matching(request)
        offset, limit = request.number("offset", 0), request.number("limit", 200, 1, 1000)
        return Reply({"resources": found[offset : offset + limit], "total_count": len(found)})

    def count(self, request: Request) -> Reply:
        return Reply({"total_count": len(self._matching(request))})

    def _matching(self, request: Request) -> list[dict[str, Any]]:
        """Jobs that have one of the values of each key; `matches` compares the resource's name."""
        body = request.object(required=False)
        tags: dict[str, dict[str, str]] = {}
        for job_id, key, value in self.state.tags():
            tags.setdefault(job_id, {})[key] = value
        names = [text(match, "value") for match in items(body, "matches") if text(match, "key") == "resource_name"]
        found = []
        for job_id, own in tags.items():
            job = self.state.get(job_id)
            if job is None or not all(name in job.name for name in names):
                continue
            if all(_fits(own, tag) for tag in items(body, "tags")):
                listed = [{"key": key, "value": value} for key, value in own.items()]
                found.append({"resource_id": job_id, "resource_name": job.name, "resource_detail": "", "tags": listed})
        return found

    def _job(self, request: Request) -> str:
        job_id = request.words["training_job_id"]
        if self.state.get(job_id) is None:
            raise not_found(job_id)
        return job_id


def _fits(own: dict[str, str], tag: dict[str, Any]) -> bool:
    key, values = text(tag, "key"), tag.get("values") or []
    if not isinstance(values, list):
        raise ApiError("ModelArts.2825", "The type of parameter values is not correct: a list is expected.")
    return key in own and (not values or own[key] in values)
