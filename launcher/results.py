"""What a job says of itself: ``result.json`` and the last line of ``metrics.jsonl`` in its output folder."""

from __future__ import annotations

import json
from typing import Any

from storage.base import Storage
from storage.errors import StorageError

LONGEST = 64 << 20


def results(storage: Storage, prefix: str) -> dict[str, Any]:
    """``metrics`` and ``result`` of the output below the prefix; what is not there, or cannot be read, is left out."""
    found: dict[str, Any] = {}
    for column, name in (("metrics", "metrics.jsonl"), ("result", "result.json")):
        try:
            with storage.read(f"{prefix}/{name}", 0, LONGEST) as stream:
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
