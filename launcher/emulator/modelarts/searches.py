"""`list_training_jobs`: a search with filters, in pages.

`offset` counts pages (OTC API reference, Terraform's provider) or, with the setting `paging: record` or the fault
`paging`, records (as macli uses it). `total` is all jobs, `count` those of this page, as in the sample of the
reference, where they differ; neither says whether there is more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from .checks import items, text
from .echo import told
from .errors import ApiError
from .house import House
from .http import Reply, Request, Route

COLUMNS = {
    "name": "name", "create_time": "created", "phase": "phase", "algorithm_name": "algorithm", "kind": "kind",
    "user_id": "user", "user_name": "user", "runtime_type": "runtime",
}  # fmt: skip
"""Filter keys that the OTC API reference (and Terraform's provider, user_name) has, and where they are kept."""
SORTS = {"create_time": "created", "name": "name", "job_name": "name", "phase": "phase", "status": "phase",
         "start_time": "started", "user_name": "user"}  # fmt: skip
MOST_FILTERS, MOST_VALUES = 20, 500
WINDOW_MS = 31 * 24 * 3600 * 1000
"""A search by tags or hosts must be limited to as long a time of creation (SDK)."""


def routes(house: House) -> list[Route]:
    """See the module."""
    return [Route("POST", "/v2/{project_id}/training-job-searches", "list_training_jobs", _Searches(house).search)]


class _Searches:
    def __init__(self, house: House) -> None:
        self.house = house

    def search(self, request: Request) -> Reply:
        body = request.object(required=False)
        offset = _number(body, "offset", 0, 0, 1 << 31)
        limit = _number(body, "limit", 10, 1, 50)
        sort, order = text(body, "sort_by", "create_time") or "create_time", text(body, "order", "desc") or "desc"
        if sort not in SORTS or order not in ("asc", "desc"):
            raise ApiError("ModelArts.2790", f"Unsupported sort item ({sort} {order}).")
        workspace = text(body, "workspace_id")
        where, values = _conditions(body)
        if workspace:
            where.append("workspace=?")
            values.append(workspace)
        by_record = self.house.settings.paging == "record"
        if self.house.faults.draw("paging", "list_training_jobs"):
            by_record = not by_record
        skipped = offset if by_record else offset * limit
        ordered = f"{SORTS[sort]} {order}, number {order}"
        found = self.house.state.search(" AND ".join(where) or "1", values, ordered, limit, skipped)
        short = self.house.settings.list_detail == "short"
        return Reply(
            {
                "total": self.house.state.count(),
                "count": len(found),
                "limit": limit,
                "offset": offset,
                "sort_by": sort,
                "order": order,
                "group_by": text(body, "group_by"),
                "workspace_id": workspace or "0",
                "ai_project": "default-ai-project",
                "items": [told(job, short) for job in found],
            }
        )


def _conditions(body: dict[str, Any]) -> tuple[list[str], list[Any]]:
    """SQL conditions and values of `filters` and `tags`; empty texts mean no restriction, as in the sample."""
    where: list[str] = []
    values: list[Any] = []
    windowed = False
    if len(items(body, "filters")) > MOST_FILTERS:
        raise ApiError("ModelArts.2816", f"The number of filters exceeds the upper limit {MOST_FILTERS}.")
    for item in items(body, "filters"):
        key, operator = text(item, "key"), text(item, "operator")
        wanted = item.get("value", [])
        if key not in COLUMNS:
            raise ApiError("ModelArts.2807", f"Unsupported search key {key}.")
        if operator not in ("between", "like", "in", "not"):
            raise ApiError("ModelArts.2808", f"Unsupported search operator {operator}.")
        given = [value for value in _texts(wanted, f"The search value of {key}") if value]
        if not given:
            continue
        windowed = windowed or (key == "create_time" and operator == "between" and _is_short(given))
        condition, more = _condition(COLUMNS[key], operator, given)
        where.append(condition)
        values += more
    tags = items(body, "tags")
    if len(tags) > 10:
        raise ApiError("ModelArts.2816", "The number of tags exceeds the upper limit 10.")
    if (tags or body.get("host_ips")) and not windowed:
        raise ApiError("ModelArts.2764", "A search by tags or host_ips needs create_time between, at most 31 days.")
    for tag in tags:
        among = _texts(tag.get("values") or [], "The values of a tag")
        marks = f" AND value IN ({','.join('?' * len(among))})" if among else ""
        where.append(f"id IN (SELECT job FROM tags WHERE key=?{marks})")
        values += [text(tag, "key"), *among]
    return where, values


def _condition(column: str, operator: str, given: Sequence[str]) -> tuple[str, list[Any]]:
    if operator == "like":
        any_of = f"SELECT 1 FROM json_each(?) WHERE instr(lower(jobs.{column}), lower(json_each.value))"
        return f"EXISTS ({any_of})", [json.dumps(given)]
    if operator == "between":
        if len(given) != 2 or not all(_is_time(value) for value in given):
            raise ApiError("ModelArts.2809", "between takes two numbers.")
        return f"{column} BETWEEN ? AND ?", [int(value) for value in given]
    marks = ",".join("?" * len(given))
    return f"{column} {'NOT ' if operator == 'not' else ''}IN ({marks})", list(given)


def _is_short(given: Sequence[str]) -> bool:
    return len(given) == 2 and all(map(_is_time, given)) and int(given[1]) - int(given[0]) <= WINDOW_MS


def _is_time(value: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", value) is not None


def _texts(found: Any, what: str) -> list[str]:
    """A list of so many texts, for which numbers may stand."""
    if not isinstance(found, list) or not all(isinstance(value, (str, int)) for value in found):
        raise ApiError("ModelArts.2809", f"{what} is a list of strings.")
    if len(found) > MOST_VALUES:
        raise ApiError("ModelArts.2816", f"{what} has more than {MOST_VALUES} strings.")
    return [str(value) for value in found]


def _number(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    found = body.get(name, default)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise ApiError("ModelArts.2764", f"Invalid query parameter ({name}: {found}).")
    return found
