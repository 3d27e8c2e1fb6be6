"""What a job says of itself: ``result.json`` and the last line of ``metrics.jsonl`` in its output folder."""

from __future__ import annotations

import json
from typing import Any

from storage.base import Storage
from storage.errors import StorageError
from storage.urls import ObsUrl

LONGEST = 64 << 20


def results(storage: Storage | None, output: str) -> dict[str, Any]:
    """``metrics`` and ``result``; what the job did not write, or what cannot be read, is left out."""
    found: dict[str, Any] = {}
    if storage is None:
        return found
    for column, name in (("metrics", "metrics.jsonl"), ("result", "result.json")):
        try:
            with storage.read(f"{ObsUrl.parse(output).key}/{name}", 0, LONGEST) as stream:
                text = stream.read().strip()
        except (StorageError, OSError):
            continue
        if column == "metrics" and text:
            text = text.splitlines()[-1]
        try:
            value = json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found[column] = value
    return found
