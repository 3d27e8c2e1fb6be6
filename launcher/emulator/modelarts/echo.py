"""A training job as the service tells it: what create makes of a body, and the job object of every reply.

Echo rules as in the samples of the OTC API reference: parameters come back with a filled constraint, channels with
their folder in the container, outputs with mode and period, the engine and the flavor with all that is known of them.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from . import checks
from .catalogue import POOL_FLAVORS, Engine, Flavor
from .checks import items, mapping, text
from .errors import invalid
from .objects import Objects
from .state import Job

MOUNT = "/home/ma-user/modelarts"
CONSTRAINT = {
    "type": "String",
    "editable": True,
    "required": False,
    "sensitive": False,
    "valid_type": "None",
    "valid_range": [],
}
RETRIES = "fault-tolerance/job-retry-num"


def job_of(body: Mapping[str, Any], user: str, objects: Objects) -> Job:
    """A new job, Creating; ApiError if the service would refuse it."""
    if text(body, "kind", required=True) != "job":
        raise invalid("kind: the emulator runs kind job only")
    metadata = mapping(body, "metadata", required=True)
    name = checks.name_of(metadata.get("name"))
    workspace = text(metadata, "workspace_id", "0") or "0"
    description = text(metadata, "description")
    if len(description) > 256:
        raise invalid("metadata.description: at most 256 characters")
    annotations = mapping(metadata, "annotations")
    if not all(isinstance(value, str) for value in annotations.values()):
        raise invalid("metadata.annotations: all values are strings")
    algorithm, spec = mapping(body, "algorithm"), mapping(body, "spec")
    engine, image = checks.engine(algorithm)
    parameters = checks.parameters(algorithm)
    checks.environments(algorithm)
    resource, flavor = checks.resource(spec, engine)
    checks.extras(algorithm, spec)
    checks.code(algorithm, objects, preset=engine is not None)
    inputs = checks.channels(algorithm, "inputs", objects)
    outputs = checks.channels(algorithm, "outputs", objects)
    log_path = text(mapping(spec, "log_export_path"), "obs_url")
    if log_path:
        checks.folder(log_path, objects)
    created = int(time.time() * 1000)
    job_id = str(uuid.uuid4())
    retries = annotations.get(RETRIES, "0") or "0"
    if not re.fullmatch(r"[0-9]{1,3}", retries) or int(retries) > 128:
        raise invalid(f"metadata.annotations: {RETRIES}")
    told = {
        "kind": "job",
        "metadata": {
            "id": job_id,
            "name": name,
            "description": description,
            "create_time": created,
            "workspace_id": workspace,
            "ai_project": "default-ai-project",
            "user_name": user,
            "annotations": {"job_template": "Template DL", "key_task": "worker", **annotations},
            "training_experiment_reference": mapping(metadata, "training_experiment_reference"),
            "tags": [],
        },
        "algorithm": _algorithm(algorithm, parameters, inputs, outputs, engine, image),
        "spec": _spec(spec, resource, flavor),
        "endpoints": mapping(body, "endpoints"),
    }
    return Job(
        id=job_id,
        name=name,
        workspace=workspace,
        kind="job",
        user=user,
        algorithm=text(algorithm, "name"),
        runtime=text(spec, "runtime_type", "production"),
        phase="Creating",
        secondary="Creating",
        created=created,
        moved=time.time(),
        body=told,
        restarts=int(retries),
    )


def told(job: Job, short: bool = False) -> dict[str, Any]:
    """The job object of a reply; `short` leaves out what a list item may lack."""
    body = {**job.body, "metadata": {**job.body["metadata"], "update_time": int(job.moved * 1000)}}
    if short:
        body["algorithm"] = {}
        body["spec"] = {"resource": job.body["spec"]["resource"]}
    return {
        "kind": body["kind"],
        "metadata": body["metadata"],
        "status": status(job),
        "algorithm": body["algorithm"],
        "spec": body["spec"],
        "endpoints": body["endpoints"],
    }


def status(job: Job) -> dict[str, Any]:
    """`status`: milliseconds for `duration` and `start_time`, seconds inside `running_records` (SDK)."""
    now = int(time.time() * 1000)
    found: dict[str, Any] = {
        "phase": job.phase,
        "secondary_phase": job.secondary or job.phase,
        "duration": sum((end or now) - start for start, end in job.spans),
        "start_time": job.started,
        "node_count_metrics": [[start, job.nodes] for start, _ in job.spans] or None,
        "tasks": [f"worker-{index}" for index in range(job.nodes)],
    }
    if job.statuses:
        found["task_statuses"] = job.statuses
    if job.spans:
        found["running_records"] = [_record(job, index) for index in range(len(job.spans))]
    return found


def _record(job: Job, index: int) -> dict[str, Any]:
    start, end = job.spans[index]
    found: dict[str, Any] = {
        "start_at": start // 1000,
        "xpu_start_at": start // 1000,
        "start_type": "restarted" if index else "init_or_rescheduled",
    }
    if end:
        found["end_at"] = end // 1000
        found["end_reason"] = job.reasons[index] if index < len(job.reasons) else ""
        found["end_related_task"] = next((s["task"] for s in job.statuses if s.get("exit_code")), "")
    if index + 1 < len(job.spans):
        found["end_recover"] = "job_reschedule"
    return found


def _algorithm(
    algorithm: Mapping[str, Any],
    parameters: list[dict[str, Any]],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    engine: Engine | None,
    image: str,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: algorithm[name]
        for name in ("id", "name", "code_dir", "boot_file", "command", "local_code_dir", "working_dir", "environments")
        if algorithm.get(name)
    }
    found["parameters"] = [
        {
            "name": parameter["name"],
            "description": text(parameter, "description"),
            "i18n_description": None,
            "value": parameter["value"],
            "constraint": {**CONSTRAINT, **mapping(parameter, "constraint")},
        }
        for parameter in parameters
    ]
    found["inputs"] = [_channel(channel, "inputs", index) for index, channel in enumerate(inputs)]
    found["outputs"] = [
        {**_channel(channel, "outputs", index), "mode": "upload_periodically", "period": 30}
        for index, channel in enumerate(outputs)
    ]
    found["engine"] = {**(engine.echo() if engine else {}), **({"image_url": image} if image else {})}
    found["policies"] = mapping(algorithm, "policies")
    return found


def _channel(channel: Mapping[str, Any], which: str, index: int) -> dict[str, Any]:
    """A channel comes back with its folder; one that the client names is echoed, though it decides nothing here."""
    name = channel["name"]
    found = {
        "name": name,
        "description": text(channel, "description"),
        "local_dir": text(channel, "local_dir") or f"{MOUNT}/{which}/{name}_{index}",
        "access_method": text(channel, "access_method", "parameter"),
        "remote": {"obs": {"obs_url": channel["remote"]["obs"]["obs_url"]}},
    }
    if channel.get("prefetch_to_local") is not None:
        found["prefetch_to_local"] = bool(channel["prefetch_to_local"])
    return found


def _spec(spec: Mapping[str, Any], resource: dict[str, Any], flavor: Flavor | None) -> dict[str, Any]:
    wanted = {name: resource[name] for name in ("pool_id", "flavor_id", "node_count") if resource.get(name)}
    told: dict[str, Any] = {"policy": "regular", **wanted}
    if flavor is not None:
        told["flavor_name"] = flavor.name
        detail = {key: value for key, value in flavor.info().items() if key != "max_num"}
        told["flavor_detail"] = {"flavor_type": flavor.kind, "billing": flavor.billing(), "flavor_info": detail}
    else:
        told["pool_info"] = {"pool_id": wanted["pool_id"], "cards": POOL_FLAVORS.get(wanted.get("flavor_id", ""), 0)}
    found: dict[str, Any] = {"resource": told, "log_export_path": mapping(spec, "log_export_path")}
    for name in ("log_export_config", "auto_stop", "schedule_policy", "notification", "retention", "reserved_time"):
        if spec.get(name):
            found[name] = mapping(spec, name)
    for name in ("volumes", "custom_metrics"):
        if spec.get(name):
            found[name] = items(spec, name)
    return {**found, "is_hosted_log": True}
