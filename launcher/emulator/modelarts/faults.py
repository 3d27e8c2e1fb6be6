"""The switchboard: what goes wrong, on which route, how often.

    {"fault": "429", "route": "create_training_job", "times": 2, "retry_after": 1}
    {"fault": "reset", "probability": 0.2, "seed": 7}
    {"fault": "done-504", "route": "create_training_job", "after": 1}

`route` is the official SDK's method (`*`, the default: every route). `after` requests that fit pass first; of the
next, each meets the fault with `probability` (1), drawn from `seed`, until it has happened `times` (for ever).
Of several that fit, the first in the list is taken.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

REPLIES = {
    "429": "ModelArts.2799 with Retry-After (`retry_after`)",
    "500": "an internal error of the service",
    "502": "a gateway's HTML page",
    "503": "a gateway's HTML page",
    "504": "a gateway's HTML page",
    "gateway-429": "APIGW.0308, which comes from the gateway and not the service",
    "reset": "the connection is reset before anything is done",
    "done-reset": "what was asked is done, and the connection is reset in place of the reply",
    "done-504": "what was asked is done, and the gateway answers 504",
    "cut": "the reply breaks off after `bytes` (half) of its body; Content-Length had promised all",
    "reset-body": "the same, with a reset in place of the connection's orderly end",
    "html": "200 and an HTML page, as a proxy's login page",
    "done-html": "what was asked is done, and a page of HTML comes back with 200",
    "redirect": "302 to a login page",
    "empty": "200 and no body",
    "no-content": "204",
    "not-json": "200 and JSON that breaks off",
    "slow": "the reply comes after `seconds` (1)",
    "silent": "nothing is done or answered for `seconds` (60), then the connection is closed",
    "error": "any refusal: `status`, `code`, `message`",
    "expired-token": "401 ModelArts.0203, a token that is too old",
    "quota": "400 ModelArts.2815, too many jobs",
    "agency": "403 ModelArts.2785, ModelArts has no agency to act for the user",
    "forbidden": "403 ModelArts.0108, the user may not do that",
    "arrears": "400 ModelArts.2837, the account is frozen",
}
"""Faults that take the place of a reply, or spoil it."""
STATES = {
    "queue-for-ever": "jobs stay Pending",
    "create-failed": "jobs become Abnormal (CreateFailed) in place of Pending",
    "no-agency": "the account has no agency for ModelArts: none is listed, and create is 403 ModelArts.2785",
    "obs-forbidden": "jobs get keys that the object store (if it is ours) refuses, as when the agency lacks OBS rights",
    "node-fault": "jobs get SIGTERM `seconds` (0.5) after they began, as when hardware fails; see job-retry-num",
    "clock-skew": "the service's clock is `seconds` (3600) ahead",
    "aom-missing": "the region has no AOM logs: 404 APIGW.0101",
    "aom-rejects": "AOM logs are refused: 400 ModelArts.2858",
    "aom-inclusive": "one AOM answer begins with `base_line` and not after it, or the other way round",
    "preview-sizes": "current_size and full_size of a preview are wrong, as in the samples of the documents",
    "preview-cut": "a preview holds `bytes` (4096) of the end of the log, as when the log is larger than 5 MB",
    "log-shrunk": "preview, AOM and the object in the bucket hold half of what they held",
    "log-rotated": "the log begins anew; what was in it goes to an object with `.1`, `.2`, … after its name",
    "paging": "`offset` is read the other way (record for page) in one search",
}
"""Faults of the service's state; their `route` is that of the reply they show in, or `engine` for what runs jobs."""
KNOWN = {**REPLIES, **STATES}
_NUMBERS = ("times", "probability", "seed", "after", "retry_after", "seconds", "bytes", "status")


@dataclass
class Fault:
    """One line of the switchboard, and how far it is."""

    fault: str
    route: str = "*"
    times: float = float("inf")
    probability: float = 1.0
    seed: int = 0
    after: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    happened: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def number(self, name: str, default: float) -> float:
        return float(self.details.get(name, default))

    def draw(self) -> bool:
        """Whether the next request meets it."""
        self.seen += 1
        if self.seen <= self.after or self.happened >= self.times or self._random.random() >= self.probability:
            return False
        self.happened += 1
        return True

    def to_json(self) -> dict[str, Any]:
        """As it was set, with what it has done."""
        shown = {"fault": self.fault, "route": self.route, "probability": self.probability, **self.details}
        if self.times != float("inf"):
            shown["times"] = int(self.times)
        return {**shown, "seed": self.seed, "after": self.after, "seen": self.seen, "happened": self.happened}


class Faults:
    """All faults in force; safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.happened: Counter[str] = Counter()
        """How often each has happened since the emulator's start."""

    def set(self, given: Any, routes: set[str] | None = None) -> None:
        """Take the place of all that were set before; ValueError names what cannot be. `routes` are those there are."""
        if not isinstance(given, list):
            raise ValueError("faults are a JSON list of objects")
        faults = [_fault(item, routes) for item in given]
        with self._lock:
            self._faults = faults

    def clear(self) -> None:
        with self._lock:
            self._faults = []

    def draw(self, name: str, route: str = "*") -> Fault | None:
        """The fault of that name, if the next request of `route` meets it."""
        return self.draw_any((name,), route)

    def draw_any(self, names: Any, route: str) -> Fault | None:
        """The first of the faults named that the next request of `route` meets."""
        with self._lock:
            for fault in self._faults:
                if fault.fault in names and fault.route in ("*", route) and fault.draw():
                    self.happened[fault.fault] += 1
                    return fault
        return None

    def find(self, name: str) -> Fault | None:
        """A fault that is a state, without drawing: it holds as long as it is set."""
        with self._lock:
            return next((fault for fault in self._faults if fault.fault == name), None)

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            return {"faults": [fault.to_json() for fault in self._faults], "happened": dict(self.happened)}


def _fault(item: Any, routes: set[str] | None) -> Fault:
    if not isinstance(item, dict) or item.get("fault") not in KNOWN:
        wrong = item.get("fault") if isinstance(item, dict) else item
        raise ValueError(f"there is no fault {wrong!r}; known: {', '.join(KNOWN)}")
    rest = dict(item)
    route = rest.pop("route", "*")
    if routes is not None and route not in ("*", "engine", *routes):
        raise ValueError(f"there is no route {route!r}; known: *, engine, {', '.join(sorted(routes))}")
    for name in _NUMBERS:
        if name in rest and (isinstance(rest[name], bool) or not isinstance(rest[name], (int, float))):
            raise ValueError(f"{name} of {item['fault']} is a number, not {rest[name]!r}")
    if not 200 <= rest.get("status", 500) <= 599:
        raise ValueError(f"status of {item['fault']} is from 200 to 599, not {rest['status']!r}")
    unknown = set(rest) - {"fault", "code", "message", *_NUMBERS}
    if unknown:
        raise ValueError(f"a fault has no {min(unknown)!r}; known: route, code, message, {', '.join(_NUMBERS)}")
    own = {name: rest.pop(name) for name in ("fault", "times", "probability", "seed", "after") if name in rest}
    return Fault(route=route, details=rest, **own)
