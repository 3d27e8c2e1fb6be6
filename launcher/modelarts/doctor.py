"""What can be checked of ModelArts before a byte is uploaded: each thing once, side by side where it helps.

Three steps, each of which needs the one before: is anybody there and who are we; what of the project and the bucket may
we use; what is there to run on. Whatever cannot be looked at for an earlier failure is skipped, and said so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from launcher.checks import Check, Task, failed, has_module, side_by_side
from launcher.errors import LauncherError, PreflightError, ServiceError, UsageError
from launcher.modelarts.bucket import check_bucket, check_data
from launcher.modelarts.explain import AGENCY_PAGE, POOLS_PAGE, QUOTA_PAGE, SHOW, explain
from launcher.modelarts.place import Place, find_place
from launcher.settings import masked_url
from storage.errors import StorageError
from storage.retry import patiently, waiting

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.modelarts.client import Client
    from launcher.settings import Settings

SKEW_SECONDS = 60.0
"""A clock this wrong is worth a word; the service refuses requests 15 minutes off."""
REFUSED_SECONDS = 900.0
SHOWN = 6
"""Flavors and engines that are named."""
NAMES = (
    "settings", "sdk", "keys", "endpoint", "clock", "project", "modelarts", "bucket", "objects", "data", "agency",
    "quota", "flavor and engine", "pool",
)  # fmt: skip
"""Every check, in order."""


def check_modelarts(settings: Settings, job: Job | None, done: Callable[[int], None]) -> list[Check]:
    """All of it; no exception comes out."""
    try:
        place = find_place(settings, needs_bucket=False)
    except LauncherError as error:
        return [failed("settings", error), *_skipped("settings")]
    checks = [Check("settings", "ok", described(place))]
    checks += [Check("settings", "warn", note, SHOW) for note in place.notes]
    first: list[Task] = [
        ("sdk", lambda: check_sdk(place)),
        ("keys", lambda: check_keys(place)),
        ("endpoint", lambda: check_endpoint(place)),
    ]
    checks += side_by_side(first, done)
    if any(check.level == "fail" for check in checks):
        return [*checks, *_skipped("clock")]
    offer = Offer()
    second: list[Task] = [
        ("modelarts", lambda: check_access(place, offer)),
        ("bucket", lambda: check_bucket(place)),
        ("data", lambda: check_data(place, job)),
    ]
    checks += side_by_side(second, done)
    if offer.flavors is None:
        return [*checks, *_skipped("data")]
    known = replace(place, project_id=offer.project)
    last: list[Task] = [
        ("agency", lambda: check_agency(known)),
        ("quota", lambda: check_quota(known)),
        ("flavor and engine", lambda: check_choice(known, offer, job)),
        ("pool", lambda: check_pool(known, job)),
    ]
    return checks + side_by_side(last, done)


def described(place: Place) -> str:
    """Where runs would go, in words."""
    where = f"ModelArts at {place.endpoint}, OBS at {place.obs.url}"
    return where + (f", through the proxy {masked_url(place.proxy)}" if place.proxy else "")


class Offer:
    """What a look at the project has brought, for the checks that follow."""

    project = ""
    flavors: list[dict[str, Any]] | None = None


def check_sdk(place: Place) -> Iterable[Check]:
    """The cloud's packages, which only this target needs."""
    known = (("huaweicloudsdkcore", "huaweicloudsdkcore"), ("obs", "esdk-obs-python"))
    missing = [package for module, package in known if not has_module(module)]
    if missing:
        yield Check("sdk", "fail", f"missing: {', '.join(missing)}", f"python -m pip install {' '.join(missing)}")
    elif place.client == "modelarts-sdk" and not has_module("modelarts"):
        hint = "ModelArts' notebooks have it, no registry does; without it: python -m launcher config init --client sdk"
        yield Check("sdk", "fail", "client: modelarts-sdk needs Huawei's wheel `modelarts`, which is not here", hint)
    else:
        yield Check("sdk", "ok", " and ".join(package for _, package in known) + " are there")


def check_keys(place: Place) -> Iterable[Check]:
    """Keys that can be had, and where from; whether they are right, the service says."""
    if place.token:
        yield Check("keys", "ok", f"IAM token, {place.keys_from}")
        return
    try:
        keys = patiently(place.credentials.current)
    except StorageError as error:
        yield Check("keys", "fail", f"{place.keys_from}: {error.message}", error.hint)
        return
    left = keys.expires - time.time()
    temporary = f", good for {left / 3600:.1f} h, then fetched again" if keys.expires < float("inf") else ""
    temporary = temporary or (", temporary" if keys.token else "")
    yield Check("keys", "ok", f"from {place.keys_from}{temporary}")


def check_endpoint(place: Place) -> Iterable[Check]:
    """Whether anybody answers, over TLS that can be trusted, and by what clock. The request is not signed."""
    import requests

    from launcher.modelarts.tls import TrustingAdapter

    proxies = {"http": place.proxy, "https": place.proxy} if place.proxy else {}
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", TrustingAdapter(place.ca_file))
        try:
            started = time.time()
            with waiting(urlsplit(place.endpoint).netloc, tries=1):
                answer = session.get(
                    place.endpoint + "/",
                    timeout=(min(10.0, place.timeout), place.timeout),
                    proxies=proxies,
                    allow_redirects=False,
                    stream=True,
                )
        except (requests.RequestException, OSError) as error:
            yield _unreachable(place, error)
            return
        elapsed = time.time() - started
        answer.close()
    if answer.status_code == 407:
        meaning = explain(407, "")
        yield Check("endpoint", "fail", f"{place.endpoint}: {meaning.what}", meaning.hint)
        return
    yield Check("endpoint", "ok", f"{place.endpoint} answers in {elapsed * 1000:.0f} ms")
    yield _clock(answer.headers.get("Date", ""), elapsed)


def _unreachable(place: Place, error: Exception) -> Check:
    """In our words: those of `requests` may hold the proxy's password."""
    import requests

    kinds: list[tuple[type[Exception], str, str]] = [
        (requests.exceptions.ProxyError, "the proxy does not let us through", f"look at proxy and HTTPS_PROXY: {SHOW}"),
        (requests.exceptions.SSLError, "its certificate is not trusted",
         "a private cloud or a proxy has an authority of its own: python -m launcher config init --ca-file FILE"),
        (requests.exceptions.Timeout, "it does not answer in time", f"look at network, proxy and region: {SHOW}"),
    ]  # fmt: skip
    what = "that host is not known" if "resolve" in str(error) else "nobody answers there"
    hint = f"look at the endpoint, the network and HTTPS_PROXY: {SHOW}"
    what, hint = next(((text, mend) for kind, text, mend in kinds if isinstance(error, kind)), (what, hint))
    return Check("endpoint", "fail", f"{place.endpoint}: {what}", hint)


def _clock(date: str, elapsed: float) -> Check:
    try:
        skew = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return Check("clock", "skip", "the service tells no time")
    if abs(skew) <= SKEW_SECONDS + elapsed:
        return Check("clock", "ok", "right, to a few seconds")
    way = "ahead of" if skew > 0 else "behind"
    grave = "; other tools' requests are refused" if abs(skew) > REFUSED_SECONDS else ""
    found = f"this machine's is {abs(skew) / 60:.0f} min {way} the service's{grave}"
    return Check(
        "clock", "warn", found, "sudo timedatectl set-ntp true (the launcher dates its requests by the service)"
    )


def check_access(place: Place, offer: Offer) -> Iterable[Check]:
    """The region's project, and whether we may use ModelArts in it; fills the offer."""
    from launcher.modelarts.client import Client

    client = Client(place)
    try:
        yield from check_project(place, client)
        try:
            offer.project, flavors = client.project, client.flavors()
        except ServiceError as error:
            yield _refused("modelarts", error)
            return
        offer.flavors = flavors
        yield Check("modelarts", "ok", f"reachable and authorised; {len(flavors)} flavors")
    finally:
        client.close()


def check_project(place: Place, client: Client) -> Iterable[Check]:
    """IAM's project of the region, against the one that is set. A user who may not ask IAM can still train."""
    if not place.project_id:
        yield Check("project", "ok", f"{client.project} (IAM's for {place.region})")
        return
    if not place.iam_endpoint or not place.region:
        yield Check("project", "ok", f"{place.project_id} (not looked up: no IAM endpoint is known)")
        return
    try:
        found = projects(place, client)
    except (ServiceError, StorageError) as error:
        text = f"{place.project_id}, but IAM cannot confirm it: {error.message}"
        yield Check("project", "warn", text, error.hint, getattr(error, "code", ""))
        return
    name = found.get(place.project_id)
    if name is not None and name.partition("_")[0] == place.region:
        yield Check("project", "ok", f"{place.project_id} is {name}")
        return
    of = f"is {name}, not of {place.region}" if name else "is none of this account's"
    there = ", ".join(f"{key} ({name})" for key, name in found.items() if name.partition("_")[0] == place.region)
    text = f"{place.project_id} {of}; {place.region} has {there or 'none'}"
    yield Check("project", "fail", text, explain(403, "ModelArts.0210").hint, "ModelArts.0210")


def projects(place: Place, client: Client) -> dict[str, str]:
    """Id -> name of the region's own project; if that is not the one that is set, of all that the user may use.

    A region's project has its id for a name, further ones (子项目) begin with it: `cn-north-4_team`.
    """
    what = f"look up the project of {place.region}"
    check = _are_rows("projects", "id", "name")
    found: dict[str, str] = {}
    for path, query in (("projects", [("name", place.region)]), ("auth/projects", [])):
        answer = client.wire.ask(what, "GET", f"{place.iam_endpoint}/v3/{path}", query, check=check)
        found.update({str(row["id"]): str(row["name"]) for row in answer.data["projects"]})
        if place.project_id in found:
            break
    return found


def check_agency(place: Place) -> Iterable[Check]:
    """Whether ModelArts may act for the user (``GET /v2/{project}/authorizations``); some clouds do not tell.

    Of the answer only names are shown: it can hold keys.
    """
    try:
        found = _ask(place, "look at ModelArts' authorisations", "authorizations", "auth")
    except ServiceError as error:
        if error.code == "ModelArts.2785":
            yield _refused("agency", error)
            return
        found_text = "cannot be looked at here; if it is missing, a submit ends with ModelArts.2785"
        yield Check("agency", "skip", found_text, AGENCY_PAGE, error.code)
        return
    if not found:
        meaning = explain(403, "ModelArts.2785")
        yield Check("agency", "fail", meaning.what, meaning.hint, "ModelArts.2785")
        return
    agencies = sorted({str(row.get("content")) for row in found if row.get("type") == "agency"})
    yield Check("agency", "ok", f"ModelArts may act by {', '.join(agencies) or 'keys that were given to it'}")


def check_quota(place: Place) -> Iterable[Check]:
    """How many jobs there may be."""
    try:
        rows = _ask(place, "look at the quotas", "training-quotas", "quotas", [("resource", "job-num")])
    except ServiceError as error:
        yield _refused("quota", error, "warn")
        return
    row = next((row for row in rows if row.get("resource") == "job-num"), None)
    quota, used = (row or {}).get("quota"), (row or {}).get("used") or 0
    if not isinstance(quota, int) or not isinstance(used, int) or quota < 0:
        yield Check("quota", "ok", "no limit is told")
    elif used >= quota:
        hint = f"python -m launcher delete RUN, or {QUOTA_PAGE}"
        yield Check("quota", "fail", f"all {quota} jobs are used up", hint, "ModelArts.2815")
    else:
        yield Check("quota", "warn" if used > 0.9 * quota else "ok", f"{used} of {quota} jobs")


def check_choice(place: Place, offer: Offer, job: Job | None) -> Iterable[Check]:
    """The flavor and the engine that job.yaml's words mean here; without a job, those of a usual one."""
    from launcher.modelarts.client import Client
    from launcher.modelarts.request import choose
    from launcher.spec import JobSpec

    flavors = offer.flavors or []
    client = Client(place)
    try:
        engines = client.engines()
    except ServiceError as error:
        yield _refused("flavor and engine", error)
        return
    finally:
        client.close()
    spec = job.spec if job else JobSpec(name="any", boot_file="main.py")
    there = [
        _listed("flavors", [row.get("flavor_id") for row in flavors]),
        _listed("engines", [row.get("engine_version") for row in engines if _is_mindspore(row)]),
    ]
    try:
        chosen = choose(spec, place, flavors, engines)
    except (PreflightError, UsageError) as error:
        level = "fail" if job else "warn"
        found = f"{error.message} ({'; '.join(there)})"
        yield Check("flavor and engine", level, found, error.hint or "resources: in job.yaml")
        return
    yield Check("flavor and engine", "ok", chosen.reason)
    if job:  # who asks for a job may be about to choose others
        yield from (Check("there are", "ok", found) for found in there)


def check_pool(place: Place, job: Job | None) -> Iterable[Check]:
    """A dedicated pool, if one is wanted: there, running, for training."""
    pool = (job.spec.resources.pool if job else "") or place.pool
    if not pool:
        yield Check("pool", "ok", "the public one")
        return
    try:
        rows = _ask(place, "list the pools", "pools", "items")
    except ServiceError as error:
        yield _refused("pool", error, "warn")
        return
    row = next((row for row in rows if (row.get("metadata") or {}).get("name") == pool), None)
    if row is None:
        known = _listed("pools", [(row.get("metadata") or {}).get("name") for row in rows])
        yield Check("pool", "fail", f"there is no pool {pool!r} ({known})", POOLS_PAGE, "ModelArts.2890")
        return
    status = row.get("status") or {}
    scopes = [scope.get("scopeType") for scope in status.get("scope") or () if isinstance(scope, dict)]
    if status.get("phase") not in (None, "Running"):
        yield Check(
            "pool", "fail", f"{pool} is {status['phase']}", explain(400, "ModelArts.2887").hint, "ModelArts.2887"
        )
    elif scopes and "Train" not in scopes:
        meaning = explain(400, "ModelArts.2886")
        yield Check("pool", "fail", f"{pool} is for {', '.join(map(str, scopes))}", meaning.hint, "ModelArts.2886")
    else:
        yield Check("pool", "ok", f"{pool} is running")


def _ask(
    place: Place, what: str, path: str, name: str, query: list[tuple[str, str]] | None = None
) -> list[dict[str, Any]]:
    """A list of objects of the project that the client has no call for."""
    from launcher.modelarts.client import Client

    client = Client(place)
    try:
        url = f"{place.endpoint}/v2/{place.project_id}/{path}"
        return list(client.wire.ask(what, "GET", url, query or [], check=_are_rows(name)).data[name])
    finally:
        client.close()


def _are_rows(name: str, *keys: str) -> Callable[[Any], None]:
    """What `Wire.ask` calls: ValueError or KeyError unless the answer has a list of objects of that name."""

    def check(answer: Any) -> None:
        for row in answer.data[name]:
            if not isinstance(row, dict) or not all(row[key] for key in keys):
                raise ValueError(name)

    return check


def _refused(name: str, error: ServiceError, level: str = "fail") -> Check:
    """The service's no, explained."""
    if not error.code:  # no answer, or none of ModelArts': the error says by itself what to do
        return failed(name, error, level)
    meaning = explain(error.status, error.code)
    if error.code == "APIGW.0301":  # its hint would send people here; the clock and the project have been looked at
        meaning = meaning._replace(hint=explain(401, "").hint)
    return Check(name, level, " ".join(f"{error.message}: {meaning.what}".split()), meaning.hint, error.code)


def _is_mindspore(engine: dict[str, Any]) -> bool:
    return "mindspore" in str(engine.get("engine_version", "")).lower()


def _listed(kind: str, names: Iterable[Any]) -> str:
    known = sorted({str(name) for name in names if name})
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"{kind}: {', '.join(known[:SHOWN]) or 'none'}{more}"


def _skipped(after: str) -> list[Check]:
    """What comes after a check, or after the first of its step, unseen."""
    start = NAMES.index(after) + 1
    return [Check(name, "skip", "not looked at, for what failed above") for name in NAMES[start:]]
