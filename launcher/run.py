"""A run: one execution of a job, as a value.

Phases, and who may move a run from one to the next (a phase on the right is final)::

    Creating ──► Pending ──► Running ──► Completed   the job ended with 0
       │            │           │ ├────► Failed      it ended otherwise, or could not be started
       │            │           │ └────► Abnormal    whoever drove it was killed
       └────────────┴───────────┴──────► Terminating ──► Terminated   stopped by a person or the time limit
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec

ACTIVE = ("Creating", "Pending", "Running", "Terminating")
FINAL = ("Completed", "Failed", "Terminated", "Abnormal")


class Run(msgspec.Struct, frozen=True):
    """One execution of a job. Times are RFC 3339 in UTC; what is not known is None."""

    id: str
    job: str
    target: str
    name: str
    phase: str
    created_at: str
    parameters: dict[str, Any]
    output: str
    exit_code: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    metrics: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    message: str = ""
    request: dict[str, Any] = {}
    remote: dict[str, Any] = {}
    """What the target calls the run and where it is: ``id``, ``region``, ``project``, ``tasks``, ``price``."""

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    def to_json(self) -> dict[str, Any]:
        """What every ``--json`` prints for a run."""
        return {
            "id": self.id,
            "job": self.job,
            "target": self.target,
            "name": self.name,
            "phase": self.phase,
            "exit_code": self.exit_code,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "parameters": self.parameters,
            "metrics": self.metrics,
            "result": self.result,
            "output": self.output,
            "message": self.message or None,
        }


def now() -> str:
    """This moment, RFC 3339 in UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
