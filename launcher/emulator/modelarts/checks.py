"""What the service checks before it makes a job; each refusal has the code of the OTC API reference's table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .catalogue import ENGINES, FLAVORS, POOL, POOL_FLAVORS, Engine, Flavor
from .errors import ApiError, bad_path, invalid
from .objects import Objects, place_of

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHANNEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A channel's name, which is a folder's too."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_CODE_FILES, MAX_CODE_DEPTH, MAX_CODE_BYTES = 1000, 32, 5 << 30
"""OTC user manual, "Preparing code"."""
MAX_POOL_NODES = 16
"""What the dedicated pool has."""
FORBIDDEN_MOUNTS = ("/", "/cache", "/home/ma-user/modelarts")


def name_of(text: Any) -> str:
    """A job's name."""
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise invalid("metadata.name: 1 to 64 letters, digits, underscores and hyphens")
    return text


def mapping(parent: Mapping[str, Any], name: str, required: bool = False) -> dict[str, Any]:
    """An object inside an object; a missing one is empty."""
    found = parent.get(name)
    if found is None and not required:
        return {}
    if not isinstance(found, dict):
        raise invalid(f"{name} is required" if found is None else f"{name} must be an object")
    return found


def items(parent: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects inside an object; a missing one is empty."""
    found = parent.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise invalid(f"{name} must be a list of objects")
    return found


def text(parent: Mapping[str, Any], name: str, default: str = "", required: bool = False) -> str:
    """A string inside an object: 2788 where a required one is missing, 2825 where it is of another type."""
    found = parent.get(name)
    if found is None:
        if required:
            raise invalid(f"{name} is required")
        return default
    if not isinstance(found, str):
        raise ApiError("ModelArts.2825", f"The type of parameter {name} is not correct: a string is expected.")
    if "\0" in found:  # no process could be told it
        raise invalid(f"{name}: it has a NUL character")
    return found


def number(parent: Mapping[str, Any], name: str, default: int, least: int, most: int = 1 << 31) -> int:
    """A whole number inside an object: 2825 for another type, 2788 out of bounds."""
    found = parent.get(name, default)
    if found is None:
        return default
    if isinstance(found, bool) or not isinstance(found, int):
        raise ApiError("ModelArts.2825", f"The type of parameter {name} is not correct: an integer is expected.")
    if not least <= found <= most:
        raise invalid(f"{name} must be from {least} to {most}")
    return found


def parameters(algorithm: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`algorithm.parameters`; names only once."""
    found: list[dict[str, Any]] = []
    for parameter in items(algorithm, "parameters"):
        name = text(parameter, "name", required=True)
        if any(name == other["name"] for other in found):
            raise ApiError("ModelArts.2767", f"The parameter key {name} is repeated.")
        found.append({**parameter, "name": name, "value": text(parameter, "value")})
    return found


def environments(algorithm: Mapping[str, Any]) -> dict[str, str]:
    """`algorithm.environments`: up to 100 pairs, key up to 8192 and value up to 4096 characters (SDK)."""
    found = mapping(algorithm, "environments")
    if len(found) > 100:
        raise ApiError("ModelArts.2816", "The number of environments exceeds the upper limit 100.")
    for key, value in found.items():
        if not isinstance(value, str):
            raise ApiError("ModelArts.2825", f"The type of parameter {key} is not correct: a string is expected.")
        if not VARIABLE.fullmatch(key) or len(key) > 8192 or len(value) > 4096 or "\0" in value:
            raise invalid(f"environments: {key[:100]}")
    return found


def engine(algorithm: Mapping[str, Any]) -> tuple[Engine | None, str]:
    """The preset engine that is meant, or None and an image's URL."""
    if (text(algorithm, "id") or text(algorithm, "subscription_id")) and not text(algorithm, "code_dir"):
        raise ApiError("ModelArts.2755", "The algorithm is not found.")  # the emulator keeps none
    wanted = mapping(algorithm, "engine")
    image = text(wanted, "image_url")
    wanted_id = text(wanted, "engine_id") or text(wanted, "engine_version")
    if image and not wanted_id:
        if not text(algorithm, "command"):
            raise ApiError("ModelArts.2806", "A custom image needs both command and image_url.")
        return None, image
    name = text(wanted, "engine_name")
    for known in ENGINES:
        if known.id == wanted_id and name in ("", known.name):
            if known.discontinued:
                raise ApiError("ModelArts.2832", f"The engine version {known.id} has been discontinued.")
            return known, image
    raise ApiError("ModelArts.2780", f"Engine (ID: {wanted_id or name}) not found.")


def resource(spec: Mapping[str, Any], chosen: Engine | None) -> tuple[dict[str, Any], Flavor | None]:
    """`spec.resource` and the public pool's flavor, None in a dedicated pool."""
    wanted = mapping(spec, "resource", required=True)
    nodes = number(wanted, "node_count", 1, 1)
    pool, flavor_id = text(wanted, "pool_id"), text(wanted, "flavor_id")
    if pool:
        if pool != POOL:
            raise ApiError("ModelArts.2890", f"Pool {pool} does not exist.")
        if flavor_id not in ("", *POOL_FLAVORS):
            raise ApiError("ModelArts.2781", f"Flavor (ID: {flavor_id}) not found.")
        if nodes > MAX_POOL_NODES:
            raise ApiError("ModelArts.2793", f"node_count {nodes} exceeds the pool's maximum {MAX_POOL_NODES}.")
        return {**wanted, "node_count": nodes}, None
    flavor = next((flavor for flavor in FLAVORS if flavor.id == flavor_id.removesuffix(".public")), None)
    flavor = flavor or next((flavor for flavor in FLAVORS if flavor.id == flavor_id), None)
    if flavor is None:
        raise ApiError("ModelArts.2781", f"Flavor (ID: {flavor_id}) not found.")
    if nodes > flavor.most:
        raise ApiError("ModelArts.2793", f"node_count {nodes} exceeds the flavor's maximum {flavor.most}.")
    if chosen is not None and flavor.kind not in chosen.flavors:
        raise ApiError("ModelArts.2840", f"The engine {chosen.id} is not supported by the flavor {flavor.id}.")
    return {**wanted, "flavor_id": flavor_id, "node_count": nodes}, flavor


def code(algorithm: Mapping[str, Any], objects: Objects, preset: bool) -> None:
    """`code_dir` and `boot_file`, which must be there; a custom image may do without."""
    folder, boot = text(algorithm, "code_dir"), text(algorithm, "boot_file")
    if not folder and not boot and not preset:
        return
    if not folder or (preset and not boot):
        raise invalid("code_dir and boot_file are given together")
    if not folder.endswith("/"):
        raise ApiError("ModelArts.2802", f"Invalid code_dir: {folder} must end with a slash.")
    found = objects.tree(folder)
    if not found:
        raise ApiError("ModelArts.2757", f"The code directory {folder} does not exist.", "Check the code directory.")
    inside = [key for key, _ in found]
    if len(inside) > MAX_CODE_FILES:
        raise ApiError("ModelArts.2759", f"The number of code files exceeds {MAX_CODE_FILES}.")
    prefix = place_of(folder)[1]
    if max(key[len(prefix) :].count("/") for key in inside) >= MAX_CODE_DEPTH:
        raise ApiError("ModelArts.2760", f"The code directory is deeper than {MAX_CODE_DEPTH}.")
    if sum(size for _, size in found) > MAX_CODE_BYTES:
        raise ApiError("ModelArts.2761", "The size of the code exceeds 5 GB.")
    if not boot:
        return
    bucket, key = place_of(boot)
    if bucket != place_of(folder)[0] or not key.startswith(prefix):
        raise ApiError("ModelArts.2792", f"The boot file {boot} is not in the code directory {folder}.")
    if key not in inside:
        raise ApiError("ModelArts.2758", f"The boot file {boot} does not exist.", "Check the boot file.")


def channels(algorithm: Mapping[str, Any], which: str, objects: Objects) -> list[dict[str, Any]]:
    """`inputs` or `outputs`: names only once, and places that are there (an input) or could be (an output)."""
    found: list[dict[str, Any]] = []
    for channel in items(algorithm, which):
        name = text(channel, "name", required=True)
        if not CHANNEL.fullmatch(name):
            raise ApiError("ModelArts.2753", f"{which}: names have 1 to 64 letters, digits, underscores and hyphens.")
        if any(name == other["name"] for other in found):
            raise ApiError("ModelArts.2753", f"{which}: the name {name} is repeated.")
        if text(channel, "access_method", "parameter") not in ("parameter", "env"):
            raise ApiError("ModelArts.2753", f"{which}: access_method of {name} is parameter or env.")
        remote = mapping(channel, "remote")
        if "dataset" in remote and "obs" not in remote:
            raise ApiError("ModelArts.2783", "The dataset is not found.")
        url = text(mapping(remote, "obs"), "obs_url")
        if not url:
            raise ApiError("ModelArts.2753", f"{which}: remote.obs.obs_url of {name} is missing.")
        folder(url, objects, must_hold=which == "inputs", is_file_fine=which == "inputs")
        found.append(channel)
    return found


def folder(url: str, objects: Objects, must_hold: bool = False, is_file_fine: bool = False) -> None:
    """A place in the object store: its bucket is there, and with `must_hold` something in it."""
    bucket, key = place_of(url)
    if not url.endswith("/") and not (is_file_fine and objects.is_object(bucket, key)):
        raise bad_path(url, "the path of a folder must end with a slash")
    if not objects.has(bucket, key if must_hold else "", any_will_do=not must_hold):
        raise bad_path(url, "the path does not exist")


def extras(algorithm: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """All that can be wrong besides: auto_stop, priorities, volumes, folders in the container."""
    if spec.get("auto_stop") is not None:
        stop = mapping(spec, "auto_stop")
        if text(stop, "time_unit", required=True) != "HOURS":
            raise invalid("auto_stop.time_unit must be HOURS")
        number(stop, "duration", 0, 1)
    priority = mapping(spec, "schedule_policy")
    if "priority" in priority:
        number(priority, "priority", 1, 0, 3)
    volumes = items(spec, "volumes")
    if len(volumes) > 8:
        raise ApiError("ModelArts.2816", "The number of volumes exceeds the upper limit 8.")
    for volume in volumes:
        kinds = [kind for kind in ("nfs", "pfs", "obs") if isinstance(volume.get(kind), dict)]
        if len(kinds) != 1:
            raise invalid("volumes: each has one of nfs, pfs, obs")
        path = text(volume[kinds[0]], "local_path", required=True)
        if not path.startswith("/") or (path.rstrip("/") or "/") in FORBIDDEN_MOUNTS:
            raise invalid(f"volumes: local_path {path}")
    local = text(algorithm, "local_code_dir")
    refused = ("/home/ma-user/modelarts", "/home/ma-user/modelarts-dev", "/home/ma-user/infer")
    if local and (not local.startswith("/home/") or local.rstrip("/") in ("/home/ma-user", *refused)):
        raise ApiError(
            "ModelArts.2857", f"local_code_dir {local} is invalid: it must be a folder of its own below /home."
        )
