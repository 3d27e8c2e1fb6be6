"""Model files and their sidecars, as the launcher knows them: names, sizes and hashes, no run time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from launcher.devices.errors import ModelError
from storage.files import hash_file, replacing

SUFFIX = ".json"


class _Port(msgspec.Struct):
    name: str
    shape: tuple[int | None, int, int, int]


class _Needed(msgspec.Struct):
    """What the launcher itself looks at in a sidecar."""

    size: int
    sha256: str
    format: str
    input: _Port
    checkpoint: dict[str, Any]
    made: dict[str, Any] | None = None


def run_of(path: Path) -> str:
    """The run in whose output at home the file or folder lies; empty if it lies elsewhere."""
    parts = path.absolute().parts
    kinds = ("models", "checkpoints")
    places = (at for at in range(2, len(parts)) if parts[at] in kinds and parts[at - 2] == "outputs")
    return next((parts[at - 1] for at in places), "")


def named(hint: str, run: str) -> str:
    """The hint with the run that is meant, where it says RUN."""
    return re.sub(r"\bRUN\b", run, hint) if run else hint


def made_again(path: Path) -> str:
    """The hint for a model that is none."""
    return named("make it again: python -m launcher export RUN", run_of(path))


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a model file lies."""
    return path.with_name(path.name + SUFFIX)


def read(path: Path) -> dict[str, Any]:
    """The sidecar of a model that is here, whole, and its own; ModelError otherwise."""
    again = made_again(path)
    if not path.is_file():
        raise ModelError(f"there is no model {path}", again.partition(": ")[2])
    try:
        data = sidecar_of(path).read_bytes()
        needed = msgspec.json.decode(data, type=_Needed)
        content: dict[str, Any] = json.loads(data)
    except FileNotFoundError:
        raise ModelError(f"{path} has no {sidecar_of(path).name} beside it, which says what it takes", again) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{sidecar_of(path)} is no sidecar of a model ({reason})", again) from None
    if path.stat().st_size != needed.size or hash_file(path) != needed.sha256:
        raise ModelError(f"{path} is damaged, or another model than its sidecar describes", again)
    return content


def publish(made: Path, target: Path, sidecar: dict[str, Any]) -> dict[str, Any]:
    """Move a finished file into place, then write the sidecar that makes it a model; the sidecar."""
    sidecar = {**sidecar, "size": made.stat().st_size, "sha256": hash_file(made)}
    with replacing(str(target)) as stream, open(made, "rb") as source:
        while chunk := source.read(1 << 20):
            stream.write(chunk)
    with replacing(str(sidecar_of(target))) as stream:
        stream.write((json.dumps(sidecar, indent=1) + "\n").encode())
    return sidecar
