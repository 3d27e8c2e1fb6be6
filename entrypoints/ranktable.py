"""The rank table: which devices of which servers take part in a training on Ascends. ModelArts' usual boot mode."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Dict, List

from jobs import JobError

TABLE_SECONDS = 600.0
"""How long the platform may take to complete it."""

TABLE = "jobstart_hccl.json"


def rank_table(path: str, size: int, scratch: str, patience: float = TABLE_SECONDS) -> str:
    """The file that HCCL takes, made of the platform's if need be, once that is complete; JobError if it never is, or
    if it has not `size` devices.

    Custom images are given the folder of the file, and the scheduler's own form ("template two"), which names groups of
    instances where HCCL wants servers and ranks.
    """
    if os.path.isdir(path):
        path = os.path.join(path, TABLE)
    deadline = time.monotonic() + patience
    while True:
        table = _read_table(path)
        if table.get("status") == "completed":
            break
        if time.monotonic() > deadline:
            raise JobError(
                f"the rank table {path} is not complete after {patience:.0f} s (status {table.get('status')!r})",
                "other nodes of the run may not have started: look at its events, and submit it again",
            )
        time.sleep(0.5)
    made = os.path.join(scratch, "rank_table.json")
    if "server_list" in table:
        made, found = path, table
    else:
        found = _for_hccl(table, path)
    devices = sum(len(server.get("device", ())) for server in found["server_list"])
    if devices != size:
        raise JobError(
            f"the rank table has {devices} devices, and this process is one of {size}",
            "set RANK_ID and RANK_SIZE for each process, or MA_RUN_METHOD: msrun in the environment of job.yaml",
        )
    if made == path:
        return path
    with open(made, "w") as file:
        json.dump(found, file)
    return made


def _for_hccl(table: Dict[str, Any], path: str) -> Dict[str, Any]:
    servers: Dict[str, List[Dict[str, str]]] = {}
    try:
        instances = [instance for group in table["group_list"] for instance in group["instance_list"]]
        instances.sort(key=lambda instance: _last_number(str(instance.get("pod_name", ""))))  # worker-0 has rank 0
        for instance in instances:
            servers.setdefault(instance["server_id"], []).extend(instance["devices"])
        rank, found = 0, []
        for server, devices in servers.items():
            numbered = []
            for device in devices:
                place = {"device_id": device["device_id"], "device_ip": device["device_ip"], "rank_id": str(rank)}
                numbered.append(place)
                rank += 1
            found.append({"server_id": server, "device": numbered})
    except (KeyError, TypeError) as error:
        raise JobError(f"{path} is no rank table: {error!r} is missing", "train with MA_RUN_METHOD: msrun") from error
    return {"version": "1.0", "server_count": str(len(found)), "server_list": found, "status": "completed"}


def _last_number(name: str) -> int:
    found = re.search(r"(\d+)\D*$", name)
    return int(found.group(1)) if found else 0


def _read_table(path: str) -> Dict[str, Any]:
    """Empty while it is not there, or only half of it."""
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
