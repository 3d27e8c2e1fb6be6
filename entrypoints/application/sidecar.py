"""The sidecar of a model file: MODEL.json beside it, written last. It says all that a user of the file must know."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Dict, Optional, Tuple

from jobs import JobError
from jobs.pictures import Pictures

VERSION = 1
SUFFIX = ".json"
CHUNK = 1 << 20
FORMATS = ("onnx", "mindir", "air", "om", "ckpt")

Shape = Tuple[Optional[int], ...]
"""None: any number, the batch's."""


@dataclass(frozen=True)
class Port:
    """An input or the output of a model."""

    name: str
    shape: Shape
    dtype: str = "float32"

    @classmethod
    def from_json(cls, content: Dict[str, Any]) -> Port:
        shape = tuple(None if side is None else int(side) for side in content["shape"])
        return cls(str(content["name"]), shape, str(content["dtype"]))


@dataclass(frozen=True)
class Sidecar:
    """What a model file is."""

    job: str
    format: str
    size: int
    sha256: str
    """Of the model file."""
    input: Port
    output: Port
    pictures: Pictures
    """How a picture becomes the input: sizes and normalisation."""
    classes: Tuple[str, ...]
    checkpoint: Dict[str, Any]
    """Where it comes from: file, sha256, step, epoch."""
    check: Optional[Dict[str, Any]] = None
    """How it was compared with MindSpore: images, max_abs_difference, runtime. None: it runs on a device only."""
    batch_sizes: Tuple[int, ...] = ()
    """The batches that a model of a dynamic batch was compiled for; empty: any."""
    made: Optional[Dict[str, Any]] = None
    """By what: versions, the soc, the command."""

    @property
    def batch(self) -> Optional[int]:
        """How many pictures the model takes at once; None: any number."""
        return self.input.shape[0]

    def encode(self) -> bytes:
        return (json.dumps({"version": VERSION, **asdict(self)}, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Sidecar:
        """ValueError, KeyError or TypeError for what is no sidecar."""
        content = json.loads(data.decode())
        if content["version"] != VERSION or content["format"] not in FORMATS:
            raise ValueError("it is of another version")
        sidecar = cls(
            job=str(content["job"]),
            format=content["format"],
            size=int(content["size"]),
            sha256=str(content["sha256"]),
            input=Port.from_json(content["input"]),
            output=Port.from_json(content["output"]),
            pictures=Pictures.from_json(content["pictures"]),
            classes=tuple(str(name) for name in content["classes"]),
            checkpoint=dict(content["checkpoint"]),
            check=content.get("check"),
            batch_sizes=tuple(int(size) for size in content.get("batch_sizes", ())),
            made=content.get("made"),
        )
        if sidecar.input.shape[1:] != sidecar.pictures.shape or len(sidecar.output.shape) != 2 or not sidecar.classes:
            raise ValueError(f"its pictures are {sidecar.pictures.shape}, and its input is {sidecar.input.shape}")
        return sidecar


def read(path: str) -> Sidecar:
    """The sidecar of the model file `path`. JobError if either is not there, or if they do not belong together."""
    name = os.path.basename(path)
    again = "make the model again: python -m launcher export RUN"
    if not os.path.isfile(path):
        raise JobError(f"there is no model {path}", "pass a file that export or convert has made")
    try:
        with open(path + SUFFIX, "rb") as file:
            sidecar = Sidecar.decode(file.read())
    except FileNotFoundError as error:
        raise JobError(f"{path} has no {name}{SUFFIX} beside it, which says what it takes", again) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JobError(f"{path}{SUFFIX} is no sidecar of a model ({type(error).__name__}: {error})", again) from error
    size, sha256 = os.path.getsize(path), digest(path)
    if (size, sha256) != (sidecar.size, sidecar.sha256):
        raise JobError(f"{path} is damaged or another model: its sha256 is {sha256[:12]}…, its sidecar's is "
                       f"{sidecar.sha256[:12]}…", again)  # fmt: skip
    return sidecar


def digest(path: str) -> str:
    """The sha256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()
