"""metrics.jsonl: a line of JSON for each epoch that was trained to its end."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

METRICS = "metrics.jsonl"


class Metrics:
    """The lines, oldest first."""

    def __init__(self) -> None:
        self._records: List[Dict[str, Any]] = []

    def take_over(self, data: bytes, step: int) -> None:
        """Begin with those of an earlier run, up to a step."""
        records = map(_record, data.decode("utf-8", "replace").splitlines())
        self._records = [record for record in records if record and record["step"] <= step]

    def add(self, record: Dict[str, Any]) -> None:
        self._records.append(record)

    def encode(self) -> bytes:
        return b"".join(as_line(record) for record in self._records)


def as_line(value: object) -> bytes:
    """ValueError for a number that JSON has not."""
    return (json.dumps(value, allow_nan=False) + "\n").encode()


def _record(line: str) -> Optional[Dict[str, Any]]:
    """A line as it was; None for one that is not whole."""
    try:
        record = json.loads(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
