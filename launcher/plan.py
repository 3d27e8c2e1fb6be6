"""Plan: exactly what will be uploaded and sent. A dry run prints this very object; ``submit`` carries it out."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from launcher.errors import DataError, SecretFound, UsageError, nearest
from launcher.jobs import Job
from launcher.output import Progress
from launcher.paths import Home
from launcher.secrets import find_secret_in_value
from launcher.snapshot import Snapshot, take
from launcher.spec import Scalar, as_text
from launcher.targets.base import Target
from launcher.unpacking import unpacks
from storage.base import Storage
from storage.errors import NotFound
from storage.manifest import Entry, Manifest, committed
from storage.packing import counts, index_key
from storage.urls import ObsUrl, is_remote

Url = Callable[..., str]
"""``Target.url``."""


class Options(msgspec.Struct, frozen=True):
    """What the command line adds to the job."""

    data: str | None = None
    arguments: tuple[str, ...] = ()
    """Passed to the boot file as they are, after the parameters."""
    resume: str | None = None
    """The output URL of the run to go on from."""
    name: str | None = None
    python: str = ""
    allow_secrets: frozenset[str] = frozenset()


class Data(msgspec.Struct, frozen=True):
    """The tree behind ``data_url``."""

    name: str
    url: str
    dataset: str | None = None
    """The known data set whose layout it has."""
    path: Path | None = None
    """Where it lies on this machine; None: used in place, or not brought here yet."""
    manifest: Manifest | None = None
    packed: dict[str, int] | None = None
    """Small ``files`` that lie in the bucket as so many ``shards``; None: each file is an object."""

    @property
    def missing(self) -> bool:
        """A known data set that ``data prepare`` has yet to bring."""
        return self.path is None and self.manifest is not None

    def to_json(self) -> dict[str, Any]:
        manifest = self.manifest
        return {
            "name": self.name,
            "url": self.url,
            "path": str(self.path) if self.path else None,
            "prepared": not self.missing,
            "packed": self.packed is not None,
            "hash": manifest.content_hash if manifest else None,
            "files": len(manifest.entries) if manifest else None,
            "bytes": manifest.total_bytes if manifest else None,
        }


class Plan(msgspec.Struct, frozen=True):
    """What a submit will do."""

    run: str
    name: str
    job: Job
    target: str
    options: Options
    snapshot: Snapshot
    code_url: str
    data: Data | None
    output_url: str
    log_url: str
    upload: dict[str, Any]
    """``files`` and ``bytes`` that will be sent; ``already_there``: files that will not; ``packed``: how many of the
    files that will be sent go as how many shards, or None."""
    request: dict[str, Any] = {}

    @property
    def parameters(self) -> dict[str, Scalar]:
        return {name: value for name, value in self.job.spec.parameters.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        snapshot = self.snapshot
        return {
            "run": self.run,
            "job": self.job.spec.name,
            "target": self.target,
            "code": {
                "hash": snapshot.manifest.content_hash,
                "url": self.code_url,
                "files": [file.to_json() for file in snapshot.files],
                "excluded": [file.to_json() for file in snapshot.excluded],
            },
            "data": self.data.to_json() if self.data else None,
            "request": self.request,
            "upload": self.upload,
            "notes": snapshot.notes,
        }


def make_plan(job: Job, options: Options, target: Target, home: Home, progress: Progress) -> Plan:
    """Look, decide, and write nothing. Raises what is wrong with the request before anything is spent."""
    named = _refuse_secrets(job, options)
    url = target.url
    data = _data(job, options, home, progress, url)
    snapshot = take(job, options.allow_secrets - named, data.path if data else None)
    storage = target.storage()
    data = _as_shards(data, job, snapshot, target)
    run = new_run_id(job.spec.name)
    plan = Plan(
        run=run,
        name=options.name or run,
        job=job,
        target=target.name,
        options=options,
        snapshot=snapshot,
        code_url=url("code", snapshot.manifest.content_hash),
        data=data,
        output_url=url("runs", run, "output"),
        log_url=url("runs", run, "log"),
        upload=_upload(storage, snapshot.manifest, data, url),
    )
    return msgspec.structs.replace(plan, request=target.request(plan))


def new_run_id(job: str) -> str:
    """``lenet5-20261121-041512-k3f9a``: the job, the time in UTC, and 25 random bits; also the name on ModelArts."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return f"{job}-{stamp}-{''.join(letters[byte % 32] for byte in os.urandom(5))}"


def key_of(folder_url: str) -> str:
    """The prefix of a folder URL inside its bucket, without the last ``/``."""
    return folder_url.split("/", 3)[3].rstrip("/")


def is_committed(storage: Storage, tree_url: str, manifest: Manifest) -> bool:
    """Whether the whole tree lies there already: its manifest is written last."""
    return committed(storage, key_of(tree_url)) == manifest.to_json()


def _refuse_secrets(job: Job, options: Options) -> set[str]:
    """SecretFound for a key among the values that would stand in the request; the names of all these values."""
    words = options.arguments
    follows = [(name.lstrip("-"), value) for name, value in itertools.pairwise(words) if name.startswith("-")]
    joined = [word.lstrip("-").partition("=")[::2] for word in words if "=" in word]
    parameters = [(name, as_text(value)) for name, value in job.spec.parameters.items()]
    values = [*job.spec.environment.items(), *parameters, *follows, *joined]
    for name, value in values:
        found = find_secret_in_value(name, value)
        if found and name not in options.allow_secrets:
            hint = f"have the job read it from a place of its own; if it is no secret: --allow-secret {name}"
            raise SecretFound(f"{found}; what a run is given is stored and shown", hint)
    return {name for name, _ in values}


def _data(job: Job, options: Options, home: Home, progress: Progress, url: Url) -> Data | None:
    named = job.spec.data
    given = options.data if options.data is not None else named
    if not given:
        return None
    if is_remote(given):
        return Data(given.rstrip("/").rsplit("/", 1)[-1], given if given.endswith("/") else given + "/")
    from launcher import datasets

    known = [row.name for row in datasets.known()]
    dataset = next((name for name in (given, named) if name in known), None)
    if given in known:
        files = [Entry(file.path, file.size, file.sha256) for file in datasets.get(given).files]
        official = Manifest(files)
        return Data(given, url("data", given, official.content_hash), given, datasets.prepared(given), official)
    base = Path.cwd() if options.data is not None else job.project
    path = base / Path(given).expanduser()
    if not path.is_dir():
        kind = "a file, not a folder" if path.exists() else "no folder and no known data set"
        raise UsageError(f"data {given!r} is {kind}", nearest(given, known))
    if dataset:
        problems = datasets.check(dataset, path)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            check = f"python -m launcher data check {given}"
            check += "" if dataset == "mnist" else f" --dataset {dataset}"
            raise DataError(f"{given}: {problems[0]}{more}", check)
    return _folder(path, home, dataset, progress, url)


def _folder(path: Path, home: Home, dataset: str | None, progress: Progress, url: Url) -> Data:
    from storage.manifest import HashCache, scan

    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(HashCache(home.hashes)) if home.root.is_dir() else None
        advance = stack.enter_context(progress(f"reading {path.name}", 0))
        manifest = scan(path, cache=cache, progress=advance)
    if not manifest.entries:
        raise DataError(f"the data folder {path} is empty", f"ls -la {path}")
    name = dataset or re.sub(r"[^A-Za-z0-9_.-]+", "-", path.resolve().name).strip("-.") or "data"
    return Data(name, url("data", name, manifest.content_hash), dataset, path, manifest)


def _as_shards(data: Data | None, job: Job, snapshot: Snapshot, target: Target) -> Data | None:
    """The data as it will lie in the bucket: as shards, at a prefix of its own, if it is worth it and the boot file can
    unpack them. A tree that is there as plain files is not sent again. DataError for packed data, used in place, that
    the boot file cannot read."""
    if data is None or data.dataset:
        return data
    storage = target.storage()
    if data.manifest is None:
        if _is_packed(target, data.url) and not unpacks(job.spec.boot_file, snapshot):
            raise DataError(
                f"{data.url} is packed, and {job.spec.boot_file} does not unpack it",
                f"python -m launcher storage sync {data.url} FOLDER, and submit with --data FOLDER",
            )
        return data
    packed = counts(data.manifest) if job.spec.pack == "auto" else None
    if not packed or not unpacks(job.spec.boot_file, snapshot) or is_committed(storage, data.url, data.manifest):
        return data
    place = target.url("data", data.name, f"{data.manifest.content_hash}-packed")
    return msgspec.structs.replace(data, url=place, packed=packed)


def _is_packed(target: Target, folder_url: str) -> bool:
    """Whether a folder of our bucket holds shards; submits put them nowhere else."""
    place = ObsUrl.parse(folder_url)
    if place.bucket == target.bucket:
        with contextlib.suppress(NotFound):
            target.storage().stat(index_key(place.key))
            return True
    return False


def _upload(storage: Storage, code: Manifest, data: Data | None, url: Url) -> dict[str, Any]:
    upload: dict[str, Any] = {"files": 0, "bytes": 0, "already_there": 0, "packed": None}
    trees: list[tuple[str, Manifest, dict[str, int] | None]] = [(url("code", code.content_hash), code, None)]
    if data and data.manifest:
        trees.append((data.url, data.manifest, data.packed))
    for tree_url, manifest, packed in trees:
        if is_committed(storage, tree_url, manifest):
            upload["already_there"] += len(manifest.entries)
        else:
            upload["files"] += len(manifest.entries)
            upload["bytes"] += manifest.total_bytes
            upload["packed"] = packed or upload["packed"]
    return upload
