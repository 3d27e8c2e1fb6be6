"""What can be chosen about an emulator, with what the real service is known to do as the default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

CHOICES = {
    "paging": ("page", "record"),
    "base_line": ("exclusive", "inclusive"),
    "not_ready": ("204", "400", "empty"),
    "list_detail": ("full", "short"),
    "restart_log": ("append", "fresh"),
    "closing_line": ("yes", "no"),
    "device_logs": ("yes", "no"),
    "events_paging": ("record", "page"),
    "retry": ("any", "platform"),
    "names": ("free", "taken"),
}

NEVER_ZERO = ("output_period", "log_period", "hour")
FOR_EVER = 1e9


@dataclass(frozen=True)
class Settings:
    """Times are seconds. Where the facts are in conflict or unknown, a setting (or a fault) plays the other reading."""

    creating: float = 0.2
    """How long a job is Creating."""
    queuing: float = 0.3
    """How long it is Pending before its resources are there."""
    deleting: float = 0.1
    """How long a deleted job can still be seen; DELETE answers 202 before anything is gone."""
    output_period: float = 30.0
    """How often outputs are copied to the object store (OTC API reference: `period` 30)."""
    log_period: float = 5.0
    """How often the log is copied out, whole; 5 s in a log sample of the v2 platform, 30 s in the v1 script."""
    late_log: float = 0.0
    """How long after the final phase the last of the log is copied out. Unknown of the real service."""
    closing_line: str = "yes"
    """Whether the log ends with the platform's line on the return code (OTC user manual); `no`: as in images that do
    not write it."""
    device_logs: str = "yes"
    """Whether an Ascend job leaves device logs beside its log."""
    events_paging: str = "record"
    """What `offset` of the events counts: `record` (HWDOC:ListTrainingJobEvents) or `page` (SDK)."""
    hour: float = 3600.0
    """What `auto_stop` and metrics take for an hour: a test has no patience for real ones."""
    paging: str = "page"
    """What `offset` of a search counts: `page` (OTC API reference, Terraform) or `record` (as macli uses it)."""
    base_line: str = "exclusive"
    """Whether an AOM answer begins after `base_line` (`exclusive`) or with it (`inclusive`). Not documented."""
    not_ready: str = "204"
    """A preview before there is a log: `204` (2776), `400` (2818), or `empty` (200 and no content)."""
    list_detail: str = "full"
    """Items of a search: `full`, or `short`, without algorithm and with less of spec (macli asks again for that)."""
    restart_log: str = "append"
    """A restarted job's log: `append`, or `fresh`, a new file that is shorter. Unknown of the real service."""
    retry: str = "any"
    """What `job-retry-num` restarts: `any` failure, or only what looks like the `platform`'s (signals, lost nodes)
    unless `job-unconditional-retry` is set. Sources differ."""
    names: str = "free"
    """Whether the name of a deleted job is `free` again, or `taken` for ever. Unknown of the real service."""
    rate: float = 0.0
    """Requests a second that one key may make, with bursts of twice as many; 0: as many as it likes. Real limits
    are not known."""
    python: str = ""
    """The interpreter of jobs; empty: the emulator's own."""
    region: str = "cn-north-4"
    """The region's id, which is the project's name too."""
    bucket: str = "modelarts-emulator"
    """A bucket that is made at the start."""

    def changed(self, values: dict[str, Any]) -> Settings:
        """These settings with others in their place; ValueError names one that cannot be."""
        known = {field.name: field for field in dataclasses.fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"there is no setting {name!r}; known: {', '.join(known)}")
            kind = float if known[name].type == "float" else str
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if kind is float and not (is_number and 0 <= value < FOR_EVER):
                raise ValueError(f"{name} is a number of seconds, not {value!r}")
            if name in NEVER_ZERO and not value > 0:
                raise ValueError(f"{name} is more than 0 seconds, not {value!r}")
            if kind is str and not isinstance(value, str):
                raise ValueError(f"{name} is a text, not {value!r}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}, not {value!r}")
        return dataclasses.replace(self, **values)
