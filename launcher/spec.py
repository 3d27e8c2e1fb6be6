"""``job.yaml`` as a frozen, typed value: parsed and checked once, at the door, with no I/O of its own.

The JSON Schema in ``docs/job.schema.json`` is made from these classes (``make docs``), so an editor and the launcher
agree on what a job may say. The limits on names come from ModelArts: a job's name has 1-64 letters, digits, ``_``
and ``-``; an environment has at most 100 variables, none of which begins with ``MA_``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec

from launcher.errors import UsageError, nearest
from launcher.yamlfile import MAX_DIGITS, load, place, scalar, unwritable

Scalar = str | int | float | bool | None
"""What a parameter may be; ``null`` means: not passed at all."""

RESERVED = {"data_url", "train_url", "resume", "resume_url", "resume_step"}
"""Arguments of the job contract, which the launcher itself passes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_CARDS = re.compile(r"((?:ascend|npu|gpu)\s*[:：]\s*)(?:([0-9]+)\s*[*×x]\s*)?(.*)", re.IGNORECASE)
_DURATION = re.compile(r"([1-9][0-9]*)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which files go up."""

    include: Annotated[
        list[str],
        msgspec.Meta(description="Files and folders, relative to the project; empty: the folder of the boot file."),
    ] = []

    def __post_init__(self) -> None:
        include = [_inside(path, place("code", "include", index)) for index, path in enumerate(self.include)]
        msgspec.structs.force_setattr(self, "include", include)


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run needs."""

    nodes: Annotated[int, msgspec.Meta(ge=1, le=64, description="How many workers run the boot file.")] = 1
    devices: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=16,
            description="Cards a node, each with a process, which train together; on the local target, processes. "
            "0: as many as the flavor has; one on the local target.",
        ),
    ] = 0
    flavor: Annotated[
        str,
        msgspec.Meta(
            description="The machine on ModelArts, in the console's words or by its id; ignored by the local target."
        ),
    ] = "Ascend: 1*Ascend 910"
    pool: Annotated[
        str, msgspec.Meta(description="A dedicated resource pool's id; empty: the settings' one, else the public pool.")
    ] = ""
    priority: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=3)] | None,
        msgspec.Meta(description="Of the job in its dedicated pool, 1 to 3."),
    ] = None
    preemptible: Annotated[bool, msgspec.Meta(description="Whether jobs of a higher priority may take its place.")] = (
        False
    )
    price_per_hour: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="What a node costs an hour, in your currency: for show's cost."),
    ] = None

    @property
    def wanted_flavor(self) -> str:
        """`flavor`, with as many cards as `devices` says, if it does not say itself that it has more than one."""
        found = _CARDS.fullmatch(self.flavor.strip())
        if not self.devices or not found or found[2] not in (None, "1"):
            return self.flavor
        return f"{found[1]}{self.devices}*{found[3]}"


class Volume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file system that ModelArts mounts."""

    path: Annotated[str, msgspec.Meta(description="Where it is mounted: not /, /cache or /home/ma-user/modelarts.")]
    nfs: Annotated[str, msgspec.Meta(description="SFS Turbo: 192.168.0.82:/")] = ""
    pfs: Annotated[str, msgspec.Meta(description="A parallel file system of OBS: /name/folder")] = ""
    obs: Annotated[str, msgspec.Meta(description="A bucket: /bucket/folder")] = ""
    read_only: Annotated[bool, msgspec.Meta(description="Of nfs only.")] = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.nfs, self.pfs, self.obs))) != 1:
            raise ValueError("volumes: each has one of nfs, pfs and obs")
        if not self.path.startswith("/") or self.path.rstrip("/") in ("", "/cache", "/home/ma-user/modelarts"):
            raise ValueError(f"volumes: nothing can be mounted at {self.path!r}")

    def to_api(self) -> dict[str, Any]:
        """As an item of `spec.volumes`."""
        if self.nfs:
            nfs = {"nfs_server_path": self.nfs, "local_path": self.path, "read_only": self.read_only}
            return {"nfs": nfs}
        kind = "pfs" if self.pfs else "obs"
        return {kind: {f"{kind}_path": self.pfs or self.obs, "local_path": self.path}}


class Notification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom ModelArts tells."""

    topic: Annotated[str, msgspec.Meta(description="An SMN topic: urn:smn:REGION:PROJECT:NAME")]
    events: Annotated[
        list[
            Literal[
                "JobStarted",
                "JobCompleted",
                "JobFailed",
                "JobTerminated",
                "JobRestarted",
                "JobHanged",
                "JobPreempted",
            ]
        ],
        msgspec.Meta(description="What is told; empty: JobCompleted and JobFailed."),
    ] = []


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One job: what ``jobs/NAME/job.yaml`` describes."""

    name: Annotated[str, msgspec.Meta(description="1-40 letters, digits, - and _; run ids begin with it.")]
    boot_file: Annotated[str, msgspec.Meta(description="The script that is started, relative to the project.")]
    description: Annotated[str, msgspec.Meta(max_length=256, description="One line for people.")] = ""
    code: Code = Code()
    data: Annotated[
        str | None,
        msgspec.Meta(
            description="data_url: a known data set (mnist, cifar10), a folder, or an obs:// URL that is used in place."
        ),
    ] = None
    parameters: Annotated[
        dict[str, Scalar],
        msgspec.Meta(description="Passed as --name=value; --set name=value overrides one. null: not passed."),
    ] = {}
    environment: Annotated[
        dict[str, str], msgspec.Meta(description="Environment variables of the job; never for secrets.")
    ] = {}
    requires: Annotated[
        list[str], msgspec.Meta(description="Python modules that must be importable before a local run starts.")
    ] = []
    resources: Resources = Resources()
    engine: Annotated[
        str, msgspec.Meta(description="ModelArts' image: MindSpore >= 2, PyTorch 1.8, or an engine's id.")
    ] = "MindSpore >= 2"
    volumes: Annotated[list[Volume], msgspec.Meta(max_length=8, description="What ModelArts mounts.")] = []
    retries: Annotated[
        int, msgspec.Meta(ge=0, le=3, description="How often ModelArts starts a failed run again, in the same folders.")
    ] = 0
    tags: Annotated[
        dict[str, str], msgspec.Meta(max_length=20, description="Tags of the job on ModelArts, for its bills.")
    ] = {}
    notification: Annotated[
        Notification | None, msgspec.Meta(description="An SMN topic that ModelArts tells how it goes.")
    ] = None
    contract: Annotated[
        Literal["new", "old"],
        msgspec.Meta(description="new: the platform fills and copies out folders; old: the script is given URLs."),
    ] = "new"
    pack: Annotated[
        Literal["auto", "never"],
        msgspec.Meta(
            description="auto: very many small data files go up as a few shards, if the boot file can unpack them."
        ),
    ] = "auto"
    time_limit: Annotated[str, msgspec.Meta(description="When to stop the run: 90s, 30m, 2h, 1d.")] = "24h"

    def __post_init__(self) -> None:
        """Every message begins with the ``place`` of the key, which ``yamlfile`` turns into its line."""
        for where, text in _texts(self):
            problem = unwritable(text)
            if problem:
                raise ValueError(f"{where}: the text {problem}")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name: {self.name!r} must be 1-40 letters, digits, - and _, beginning with no sign")
        msgspec.structs.force_setattr(self, "boot_file", _inside(self.boot_file, "boot_file"))
        if not self.boot_file.endswith(".py"):
            raise ValueError(f"boot_file: {self.boot_file!r} is no Python file (.py)")
        for key, value in self.parameters.items():
            check_parameter_name(key)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{place('parameters', key)}: {value} is no finite number")
        if len(self.environment) > 100:
            raise ValueError("environment: more than 100 variables, the most that ModelArts takes")
        for key in self.environment:
            check_variable(key)
        for index, module in enumerate(self.requires):
            if not all(part.isidentifier() for part in module.split(".")):
                raise ValueError(f"{place('requires', index)}: {module!r} is no name of a module, as import takes it")
        try:
            seconds(self.time_limit)
        except ValueError as error:
            raise ValueError(f"time_limit: {error}") from None

    @property
    def time_limit_seconds(self) -> int:
        return seconds(self.time_limit)


def read(path: Path) -> JobSpec:
    """The job in a ``job.yaml``; SpecError names line and key."""
    return load(path, JobSpec)


def seconds(text: str) -> int:
    """``90s``, ``30m``, ``2h``, ``1d`` in seconds; ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if not found or len(text) > 9:
        raise ValueError(f"{text!r} is no duration such as 90s, 30m, 2h or 1d")
    return int(found.group(1)) * _SECONDS[found.group(2)]


def check_parameter_name(name: str) -> None:
    """ValueError unless ``name`` can be passed as ``--name=value`` and is not the contract's own."""
    if not _PARAMETER.fullmatch(name):
        raise ValueError(f"{place('parameters', name)}: {name!r} cannot be passed as --name=value")
    if name in RESERVED:
        raise ValueError(f"{place('parameters', name)}: {name!r} is the job contract's own; the launcher passes it")


def check_variable(name: str) -> None:
    """ValueError unless ModelArts takes ``name`` as an environment variable of a job."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{place('environment', name)}: the name of a variable must be letters, digits and _")
    if name.startswith("MA_") and name != "MA_RUN_METHOD":  # which the platform leaves to the user
        raise ValueError(f"{place('environment', name)}: {name!r} begins with MA_, which is the platform's")


def override(spec: JobSpec, assignments: list[str]) -> JobSpec:
    """``--set epochs=1`` on a job: the parameter must be one of the job's and keep its type; else UsageError."""
    parameters = dict(spec.parameters)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        problem = unwritable(assignment)
        if problem:
            raise UsageError(f"--set {assignment!r}: the text {problem}", "--set NAME=VALUE, in UTF-8")
        if not equals:
            raise UsageError(f"--set {assignment} has no value", f"--set {name}=VALUE")
        if name not in parameters:
            raise UsageError(f"job {spec.name!r} has no parameter {name!r}", nearest(name, parameters))
        if not isinstance(spec.parameters[name], str) and _WHOLE.fullmatch(text) and len(text) > MAX_DIGITS:
            raise UsageError(
                f"--set {name}={text[:20]}…: too long a number", f"a whole number has at most {MAX_DIGITS} digits"
            )
        parameters[name] = _as_type_of(spec.parameters[name], scalar(text), name, text)
        value = parameters[name]
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--set {assignment}: {value} is no finite number", f"--set {name}=NUMBER")
    return msgspec.structs.replace(spec, parameters=parameters)


def as_text(value: Scalar) -> str:
    """A parameter as it stands on the command line: booleans in lower case, numbers as Python writes them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_type_of(default: Scalar, value: Scalar, name: str, text: str) -> Scalar:
    if isinstance(default, str):
        return None if value is None and text else text
    if default is None or (value is None and text):
        return value
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, float):
        fits = isinstance(value, (int, float))
    else:
        fits = isinstance(value, int)
    if not fits:
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise UsageError(f"--set {name}={shown}: {name} is {kind}", f"--set {name}={as_text(default)}")
    return value


def _inside(path: str, where: str) -> str:
    """``path`` in its one spelling (``./a//b/`` is ``a/b``); ValueError if it leaves the project."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise ValueError(f"{where}: {path!r} must be a path inside the project, with / between its parts")
    return str(pure)


def _texts(value: Any, *path: str | int) -> Iterator[tuple[str, str]]:
    """Every text in a job, and the names of its parameters and variables, each with its place."""
    if isinstance(value, str):
        yield place(*path), value
    elif isinstance(value, msgspec.Struct):
        yield from _texts(msgspec.structs.asdict(value), *path)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield place(*path, key), key
            yield from _texts(each, *path, key)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, *path, index)
