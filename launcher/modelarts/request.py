"""A plan as the body of "create training job", and the flavor and engine that job.yaml's words mean here and now.

Pure: what the API offers is passed in. Shapes are those of the API reference for `POST .../training-jobs`; folders end
with `/` and are written `/bucket/key/`, as the console writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from launcher.errors import PreflightError, UsageError, nearest
from launcher.modelarts.place import Place
from launcher.spec import JobSpec, as_text

if TYPE_CHECKING:
    from launcher.plan import Plan

Json = dict[str, Any]

_WORDS = re.compile(r"(ascend|npu|gpu|cpu)\s*[:：]\s*(?:([0-9]+)\s*[*×x]\s*)?(.*)", re.IGNORECASE)
_ENGINE = re.compile(r"([A-Za-z][A-Za-z-]*?)\s*(?:(>=|==|=|~=)\s*([0-9][0-9.]*)|[ _-]([0-9][0-9.]*))?")
_VERSION = re.compile(r"(mindspore|pytorch|tensorflow)[_-]v?([0-9]+(?:\.[0-9]+)*)", re.IGNORECASE)
_CHIPS = re.compile(r"(?:ascend|npu|d|snt|[-_ ()]|[0-9]+ *gb)+")
POOL_FLAVORS = {1: "xlarge", 2: "2xlarge", 4: "4xlarge", 8: "8xlarge", 16: "16xlarge"}
"""Cards -> the end of `modelarts.pool.visual.…`, which is how a dedicated pool's share is named."""


class Choice(NamedTuple):
    """What a run gets, and what is said about it."""

    flavor: str
    flavor_name: str
    engine: Json
    reason: str


def choose(spec: JobSpec, place: Place, flavors: Sequence[Json], engines: Sequence[Json]) -> Choice:
    """PreflightError when the region has nothing that fits, with what it has."""
    pool = spec.resources.pool or place.pool
    flavor = _flavor(spec, place.region, flavors, pool)
    wanted, cards = spec.resources.devices, max(1, _cards(flavor))
    if wanted and wanted != cards and not pool:
        raise PreflightError(
            f"the flavor {describe(flavor)} has {cards} cards a node, and devices says {wanted}", f"--devices {cards}"
        )
    is_ascend = _kind_of(flavor) == "ascend"
    if wanted > 1 and not is_ascend:
        raise PreflightError(
            f"the flavor {describe(flavor)} starts the boot file once a node, and devices says {wanted}", "--devices 0"
        )
    engine = _engine(spec, flavor, engines)
    where = f"pool {pool}" if pool else "public pool"
    together = f", {cards} processes a node" if cards > 1 and is_ascend else ""
    reason = f"{flavor['flavor_id']} ({describe(flavor)}, {where}{together}), {engine['engine_version']}"
    return Choice(flavor["flavor_id"], str(flavor.get("flavor_name") or describe(flavor)), engine, reason)


def describe(flavor: Json) -> str:
    """`Ascend: 1*Ascend 910`, in the words that job.yaml takes."""
    kind, cards = str(flavor.get("flavor_type") or "CPU"), _cards(flavor)
    product = str(_accelerator(flavor).get("product_name") or "")
    chip = _chip(product)
    if _kind_of(flavor) == "ascend" and chip:
        return f"Ascend: {cards}*Ascend {chip.upper()}"
    if product:
        return f"{kind}: {cards}*{product}"
    cores = (flavor.get("flavor_info") or {}).get("cpu", {}).get("core_num", "?")
    return f"{kind}: {cores} cores"


def body(plan: Plan, place: Place, choice: Choice, access: dict[str, str]) -> Json:
    """Exactly what is sent. `access` says how a script that nobody adapted is told a channel: parameter or env.

    The output folder of a job that may be started again is filled from the bucket first, so that it finds its own
    checkpoints there, in whatever container.
    """
    spec = plan.job.spec
    outputs = {"train_url": plan.output_url}
    inputs = {name: url for name, url in (("data_url", plan.data.url if plan.data else ""),) if url}
    if plan.options.resume:
        inputs["resume_url"] = plan.options.resume
    parameters = [{"name": name, "value": as_text(value)} for name, value in plan.parameters.items()]
    parameters += list(_pairs(plan.options.arguments))
    old = spec.contract == "old"
    if old and not choice.engine.get("v1_compatible"):  # a new engine would fill folders: the URLs go as they are
        parameters += [{"name": n, "value": "s3://" + u.split("://", 1)[1]} for n, u in {**inputs, **outputs}.items()]
        inputs, outputs = {}, {}
    _refuse_doubles(parameters)
    filled = {"prefetch_to_local": True} if spec.retries or _resumes(parameters) else {}
    return {
        "kind": "job",
        "metadata": {
            "name": plan.run,
            "workspace_id": place.workspace or "0",
            "description": spec.description,
            "annotations": _annotations(spec),
        },
        "algorithm": {
            "code_dir": console(plan.code_url),
            "boot_file": console(plan.code_url) + spec.boot_file,
            "engine": {name: choice.engine[name] for name in ("engine_id", "engine_name", "engine_version")},
            "parameters": parameters,
            "inputs": [_channel(name, url, access) for name, url in inputs.items()],
            "outputs": [{**_channel(name, url, access), **filled} for name, url in outputs.items()],
            "environments": {**spec.environment, "LAUNCHER_RUN_ID": plan.run},
            "policies": {},
        },
        "spec": _spec(plan, place, choice),
    }


def again(old: Json, before: str, run: str, parameters: dict[str, Any]) -> Json:
    """The body of another run of the same code and data: its name, its own folders, its parameters."""
    new: Json = json.loads(json.dumps(old).replace(f"/runs/{before}/", f"/runs/{run}/"))
    new["metadata"]["name"] = run
    values = {name: as_text(value) for name, value in parameters.items() if value is not None}
    kept = [row for row in new["algorithm"]["parameters"] if row["name"] not in parameters]
    new["algorithm"]["parameters"] = [{"name": n, "value": v} for n, v in values.items()] + kept
    new["algorithm"].setdefault("environments", {})["LAUNCHER_RUN_ID"] = run
    return new


def console(url: str) -> str:
    """`obs://bucket/key/` as `/bucket/key/`."""
    return "/" + url.split("://", 1)[1]


def _spec(plan: Plan, place: Place, choice: Choice) -> Json:
    spec = plan.job.spec
    resource: Json = {"flavor_id": choice.flavor, "node_count": spec.resources.nodes}
    pool = spec.resources.pool or place.pool
    if pool:
        resource["pool_id"] = pool
    found: Json = {
        "resource": resource,
        "log_export_path": {"obs_url": console(plan.log_url)},
        "auto_stop": {"time_unit": "HOURS", "duration": max(1, -(-spec.time_limit_seconds // 3600))},
    }
    if spec.volumes:
        found["volumes"] = [volume.to_api() for volume in spec.volumes]
    if spec.resources.priority is not None:
        found["schedule_policy"] = {"priority": spec.resources.priority, "preemptible": spec.resources.preemptible}
    if spec.notification:
        found["notification"] = {
            "topic_urn": spec.notification.topic,
            "events": spec.notification.events or ["JobCompleted", "JobFailed"],
        }
    return found


def _annotations(spec: JobSpec) -> dict[str, str]:
    found = {"job_template": "Template DL"}
    if spec.retries:
        found["fault-tolerance/job-retry-num"] = str(spec.retries)
        found["fault-tolerance/job-unconditional-retry"] = "true"
    return found


def _channel(name: str, url: str, access: dict[str, str]) -> Json:
    method = access.get(name, "parameter")
    return {"name": name, "access_method": method, "remote": {"obs": {"obs_url": console(url)}}}


def _resumes(parameters: Sequence[Json]) -> bool:
    """Whether the job is told to go on from what its own output holds."""
    return any(row["name"] == "resume" and row["value"].lower() in ("1", "true", "yes", "on") for row in parameters)


def _pairs(arguments: Sequence[str]) -> Iterator[Json]:
    """What stood after `--`, as the name and value that ModelArts can pass."""
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word[2:].partition("=")
        if not word.startswith("--") or not name:
            raise UsageError(f"ModelArts cannot pass the argument {word!r}", "it passes --name=value, nothing else")
        if not equals:
            if not words or words[0].startswith("--"):
                raise UsageError(f"ModelArts cannot pass {word} without a value", f"{word}=VALUE")
            value = words.pop(0)
        yield {"name": name, "value": value}


def _refuse_doubles(parameters: Sequence[Json]) -> None:
    """ModelArts refuses a repeated name (2767) only after everything was uploaded."""
    names = [row["name"] for row in parameters]
    double = next((name for name in names if names.count(name) > 1), "")
    if double:
        raise UsageError(f"the parameter {double!r} is given twice", f"--set {double}=VALUE, or after --, not both")


def _flavor(spec: JobSpec, region: str, flavors: Sequence[Json], pool: str) -> Json:
    wanted, nodes = spec.resources.wanted_flavor.strip(), spec.resources.nodes
    names = ("flavor_id",) if pool else ("flavor_id", "flavor_name")  # a pool's share has an id of another kind
    exact = [f for f in flavors if wanted in [f.get(name) for name in names]]
    found = _WORDS.match(wanted)
    if pool and not exact:
        cards = int(found[2] or 1) if found else 0
        if wanted.startswith("modelarts.pool."):
            return {"flavor_id": wanted, "flavor_type": "Ascend"}
        if cards not in POOL_FLAVORS:
            raise PreflightError(f"a dedicated pool gives 1, 2, 4, 8 or 16 cards, not {wanted!r}", "resources.flavor:")
        kind = _kind(found[1] if found else "Ascend").capitalize()
        return {"flavor_id": f"modelarts.pool.visual.{POOL_FLAVORS[cards]}", "flavor_type": kind, "words": wanted}
    fitting = exact or [f for f in flavors if found and _is_meant(f, found[1], int(found[2] or 1), found[3])]
    if not fitting:
        there = sorted({describe(flavor) for flavor in flavors})
        raise PreflightError(
            f"{region or 'the region'} has no flavor {wanted!r}", nearest(wanted, there) if there else "it has none"
        )
    wide = [f for f in fitting if nodes == 1 or (f.get("flavor_info") or {}).get("max_num", nodes) >= nodes]
    if not wide:
        most = max((f.get("flavor_info") or {}).get("max_num", 1) for f in fitting)
        raise PreflightError(f"the flavor {wanted!r} takes at most {most} nodes, not {nodes}", f"--nodes {most}")
    return min(wide, key=lambda f: ((f.get("billing") or {}).get("unit_num") or 0, f["flavor_id"]))


def _kind(word: str) -> str:
    """`ascend`, `gpu` or `cpu`; people call the first one npu, too."""
    return "ascend" if word.lower() == "npu" else word.lower()


def _kind_of(flavor: Json) -> str:
    return str(flavor.get("flavor_type") or "").lower()


def _is_meant(flavor: Json, kind: str, cards: int, product: str) -> bool:
    kind = _kind(kind)
    if _kind_of(flavor) != kind:
        return False
    if kind == "cpu":
        cores = re.search(r"([0-9]+)\s*(?:核|v?cpu|cores)", product, re.IGNORECASE)
        return not cores or (flavor.get("flavor_info") or {}).get("cpu", {}).get("core_num") == int(cores[1])
    there = str(_accelerator(flavor).get("product_name") or "")
    if kind == "ascend":
        return _cards(flavor) == cards and _chip(there) == _chip(product)
    return _cards(flavor) == cards and _plain(product.partition("(")[0]) in _plain(there)


def _accelerator(flavor: Json) -> Json:
    info = flavor.get("flavor_info") or {}
    return info.get("npu") or info.get("gpu") or {}


def _cards(flavor: Json) -> int:
    text = str(_accelerator(flavor).get("unit_num") or 0)
    return int(text) if text.isdigit() else 0


def _chip(product: str) -> str:
    """`910` for `Ascend 910(32GB)`, `ascend-snt9`, `Ascend 910A`; `910b` for `Snt9b`: Huawei masks names in places."""
    text = _CHIPS.sub("", product.lower().partition("|")[0])
    text = re.sub(r"^9(?=[a-z]|$)", "910", re.sub(r"^3(?=[a-z]|$)", "310", text))
    return text[:-1] if text.endswith("a") else text


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _engine(spec: JobSpec, flavor: Json, engines: Sequence[Json]) -> Json:
    """By id, or the newest that fits the words; one that was built for the flavor's chip before one for any."""
    wanted = spec.engine.strip()
    for engine in engines:
        if wanted in (engine.get("engine_id"), engine.get("engine_version")):
            return _whole(engine)
    found = _ENGINE.fullmatch(wanted)
    if not found:
        raise PreflightError(f"engine {wanted!r} is no engine's id and no wish", "engine: MindSpore >= 2")
    name, sign, version = found[1].lower(), found[2] or "=", _numbers(found[3] or found[4] or "")
    known = [(engine, match) for engine in engines if (match := _VERSION.match(str(engine.get("engine_version", ""))))]
    fitting = [
        (engine, _numbers(match[2]))
        for engine, match in known
        if match[1].lower() == name and _is_in(_numbers(match[2]), sign, version) and _runs_on(engine, flavor)
    ]
    if spec.contract == "new" or any(not engine.get("v1_compatible") for engine, _ in fitting):
        fitting = [(engine, number) for engine, number in fitting if not engine.get("v1_compatible")]
    if not fitting:
        there = [str(e.get("engine_version")) for e, match in known if match[1].lower() == name and _runs_on(e, flavor)]
        hint = "it has: " + ", ".join(sorted(there)) if there else "MindSpore's: engine: MindSpore >= 2"
        raise PreflightError(f"there is no engine {wanted!r} for {describe(flavor)}", hint)
    best = max(fitting, key=lambda row: (row[1], str(row[0].get("engine_version"))))
    return _whole(best[0])


def _whole(engine: Json) -> Json:
    version = engine.get("engine_version") or engine.get("engine_id")
    return {**engine, "engine_id": engine.get("engine_id") or version, "engine_version": version,
            "engine_name": engine.get("engine_name") or "Ascend-Powered-Engine"}  # fmt: skip


def _runs_on(engine: Json, flavor: Json) -> bool:
    """By the flavor's own list where it has one, and by the chip that the engine's version ends with (`-snt9b`)."""
    try:
        supported = json.loads(flavor.get("support_engines") or "null")
    except (ValueError, TypeError):
        supported = None
    names = {engine.get("engine_id"), engine.get("engine_version"), engine.get("engine_name")}
    listed = isinstance(supported, list) and supported and all(isinstance(item, str) for item in supported)
    if listed and not names & set(supported):
        return False
    version = str(engine.get("engine_version", "")).lower()
    is_ascend = "cann" in version or "ascend" in str(engine.get("engine_name", "")).lower()
    if _kind_of(flavor) != "ascend":
        return "cann" not in version
    built_for = re.search(r"-(snt[0-9][a-z]*)$", version)
    chip = _chip(str(_accelerator(flavor).get("product_name") or flavor.get("words", "").rpartition("*")[2]))
    return is_ascend and (_chip(built_for[1]) if built_for else "910") == (chip or "910")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _is_in(number: tuple[int, ...], sign: str, wanted: tuple[int, ...]) -> bool:
    if sign == ">=":
        return number >= wanted
    return number[: len(wanted)] == wanted
