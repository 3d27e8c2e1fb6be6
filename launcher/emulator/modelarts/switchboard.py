"""Routes of the emulator's own, below `/_emulator`: faults, settings, many finished jobs. They ask for no signature:
other users of the machine may reach them, so they show no job and choose no program."""

from __future__ import annotations

import dataclasses
import time
import uuid
from typing import Any

from .catalogue import ENGINES, FLAVORS
from .errors import invalid
from .faults import KNOWN
from .house import House
from .http import Reply, Request, Route
from .state import Job, State


def routes(house: House, names: set[str]) -> list[Route]:
    """See the module; `names` are the routes that faults can be aimed at."""
    own = _Switchboard(house, names)
    return [
        Route("GET", "/_emulator", "_about", own.about, open=True),
        Route("GET", "/_emulator/faults", "_faults", own.faults, open=True),
        Route("PUT", "/_emulator/faults", "_set_faults", own.set_faults, open=True),
        Route("DELETE", "/_emulator/faults", "_clear_faults", own.clear_faults, open=True),
        Route("GET", "/_emulator/settings", "_settings", own.settings, open=True),
        Route("PUT", "/_emulator/settings", "_change_settings", own.change_settings, open=True),
        Route("PUT", "/_emulator/seed", "_seed", own.seed, open=True),
    ]


class _Switchboard:
    def __init__(self, house: House, names: set[str]) -> None:
        self.house, self.names = house, names

    def about(self, request: Request) -> Reply:
        """That this is no cloud, and what can be set."""
        said = "a simulation of Huawei Cloud ModelArts on this machine; nothing here costs money or leaves it"
        return Reply({"simulation": said, "routes": sorted(self.names), "faults": KNOWN})

    def faults(self, request: Request) -> Reply:
        return Reply(self.house.faults.to_json())

    def set_faults(self, request: Request) -> Reply:
        try:
            self.house.faults.set(request.json(), self.names)
        except ValueError as error:
            raise invalid(str(error)) from None
        return self.faults(request)

    def clear_faults(self, request: Request) -> Reply:
        self.house.faults.clear()
        return self.faults(request)

    def settings(self, request: Request) -> Reply:
        return Reply(dataclasses.asdict(self.house.settings))

    def change_settings(self, request: Request) -> Reply:
        """All but the interpreter of jobs: on a machine of many users, others reach the loopback too."""
        values = request.object()
        if "python" in values:
            raise invalid("python is chosen by whoever starts the emulator: --python")
        try:
            self.house.change(values)
        except ValueError as error:
            raise invalid(str(error)) from None
        return self.settings(request)

    def seed(self, request: Request) -> Reply:
        """`{"jobs": 10000}`: as many finished jobs, one a minute up to now, that never ran."""
        count = request.object().get("jobs")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1_000_000:
            raise invalid("jobs: a number from 1 to 1000000")
        return Reply({"jobs": count, "names": seed(self.house.state, count)}, 201)


def seed(state: State, count: int) -> str:
    """Write so many finished jobs down; their names."""
    prefix = f"seed-{uuid.uuid4().hex[:6]}"
    with state.together():
        for index in range(count):
            state.add(_finished(f"{prefix}-{index:06}", time.time() - 60 * (count - index)))
    return f"{prefix}-000000 to {prefix}-{count - 1:06}"


def _finished(name: str, began: float) -> Job:
    job_id, created = str(uuid.uuid4()), int(began * 1000)
    phase = "Failed" if created % 7 == 0 else "Completed"
    flavor, engine = FLAVORS[0], ENGINES[1]
    body: dict[str, Any] = {
        "kind": "job",
        "metadata": {
            "id": job_id,
            "name": name,
            "description": "a job that never ran",
            "create_time": created,
            "workspace_id": "0",
            "ai_project": "default-ai-project",
            "user_name": "trainer",
            "annotations": {"job_template": "Template DL", "key_task": "worker"},
            "training_experiment_reference": {},
            "tags": [],
        },
        "algorithm": {"parameters": [], "inputs": [], "outputs": [], "engine": engine.echo(), "policies": {}},
        "spec": {
            "resource": {"policy": "regular", "flavor_id": flavor.id, "node_count": 1, "flavor_name": flavor.name},
            "log_export_path": {},
            "is_hosted_log": True,
        },
        "endpoints": {},
    }
    return Job(
        id=job_id,
        name=name,
        workspace="0",
        kind="job",
        user="trainer",
        algorithm="",
        runtime="production",
        phase=phase,
        created=created,
        body=body,
        secondary=phase,
        started=created + 1000,
        ended=created + 31000,
        moved=began + 31,
        attempt=1,
        spans=[[created + 1000, created + 31000]],
        statuses=[{"task": "worker-0", "exit_code": int(phase == "Failed"), "message": ""}],
    )
