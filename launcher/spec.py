"""``job.yaml`` as a frozen, typed value: parsed and checked once, at the door, with no I/O of its own.

The JSON Schema in ``docs/job.schema.json`` is made from these classes (``make docs``), so an editor and the launcher
agree on what a job may say. The limits on names come from ModelArts: a job's name has 1-64 letters, digits, ``_``
and ``-``; an environment has at most 100 variables, none of which begins with ``MA_``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from launcher.errors import UsageError, nearest
from launcher.yamlfile import load, scalar

Scalar = str | int | float | bool | None
"""What a parameter may be; ``null`` means: not passed at all."""

RESERVED = {"data_url", "train_url", "resume", "resume_url"}
"""Arguments of the job contract, which the launcher itself passes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"([1-9][0-9]*)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which files go up."""

    include: Annotated[
        list[str],
        msgspec.Meta(description="Files and folders, relative to the project; empty: the folder of the boot file."),
    ] = []

    def __post_init__(self) -> None:
        for path in self.include:
            _inside(path, "code.include")


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run needs."""

    nodes: Annotated[int, msgspec.Meta(ge=1, le=64, description="How many workers run the boot file.")] = 1
    flavor: Annotated[
        str, msgspec.Meta(description="The machine on ModelArts, in the console's words; ignored by the local target.")
    ] = "Ascend: 1*Ascend 910"


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One job: what ``jobs/NAME/job.yaml`` describes."""

    name: Annotated[str, msgspec.Meta(description="1-40 letters, digits, - and _; run ids begin with it.")]
    boot_file: Annotated[str, msgspec.Meta(description="The script that is started, relative to the project.")]
    description: Annotated[str, msgspec.Meta(max_length=256, description="One line for people.")] = ""
    code: Code = Code()
    data: Annotated[
        str | None,
        msgspec.Meta(
            description="data_url: a known data set (mnist), a folder, or an obs:// URL that is used in place."
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
    contract: Annotated[
        Literal["new", "old"],
        msgspec.Meta(description="new: the platform fills and copies out folders; old: the script is given URLs."),
    ] = "new"
    time_limit: Annotated[str, msgspec.Meta(description="When to stop the run: 90s, 30m, 2h, 1d.")] = "24h"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} must be 1-40 letters, digits, - and _, beginning with no sign")
        _inside(self.boot_file, "boot_file")
        if not self.boot_file.endswith(".py"):
            raise ValueError(f"boot_file {self.boot_file!r} is no Python file (.py)")
        for key in self.parameters:
            check_parameter_name(key)
        if len(self.environment) > 100:
            raise ValueError("environment has more than 100 variables, the most that ModelArts takes")
        for key in self.environment:
            check_variable(key)
        seconds(self.time_limit)

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
        raise ValueError(f"parameter {name!r} cannot be passed as --name=value")
    if name in RESERVED:
        raise ValueError(f"parameter {name!r} is the job contract's own; the launcher passes it")


def check_variable(name: str) -> None:
    """ValueError unless ModelArts takes ``name`` as an environment variable of a job."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"environment variable {name!r} must be letters, digits and _")
    if name.startswith("MA_"):
        raise ValueError(f"environment variable {name!r} begins with MA_, which is the platform's")


def override(spec: JobSpec, assignments: list[str]) -> JobSpec:
    """``--set epochs=1`` on a job: the parameter must be one of the job's and keep its type; else UsageError."""
    parameters = dict(spec.parameters)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment} has no value", f"--set {name}=VALUE")
        if name not in parameters:
            raise UsageError(f"job {spec.name!r} has no parameter {name!r}", nearest(name, parameters))
        parameters[name] = _as_type_of(spec.parameters[name], scalar(text), name, text)
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
        raise UsageError(f"--set {name}={text}: {name} is {kind}", f"--set {name}={as_text(default)}")
    return value


def _inside(path: str, key: str) -> None:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise ValueError(f"{key}: {path!r} must be a path inside the project, with / between its parts")
