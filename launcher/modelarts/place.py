"""Where runs on ModelArts go, and as whom: settings and the environment, made into one `Place`.

Keys, in this order; one identity for ModelArts and OBS alike:

1. the profile in force names its variables: ``WORK_ACCESS_KEY_ID``, ``WORK_SECRET_ACCESS_KEY`` and
   ``WORK_SECURITY_TOKEN``, or ``WORK_IAM_TOKEN``;
2. if said, ``credentials: ecs`` (the metadata of an Elastic Cloud Server) or ``sts`` (temporary keys for an IAM token);
3. ``LAUNCHER_IAM_TOKEN``: sent to ModelArts as it is; OBS gets the keys of the environment, else temporary ones for it;
4. ``OBS_ACCESS_KEY_ID``/``OBS_SECRET_ACCESS_KEY``, then ``HUAWEICLOUD_SDK_AK``/``HUAWEICLOUD_SDK_SK``;
5. ``[basic]`` of ``~/.huaweicloud/credentials``, or of the file that ``HUAWEICLOUD_SDK_CREDENTIALS_FILE`` names.

Nothing is asked over the network here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from launcher.errors import UsageError
from launcher.modelarts.regions import endpoint_of
from launcher.settings import Settings, is_huaweis, masked_url, refuse_distrusted
from storage.errors import StorageError
from storage.obs import ObsSettings
from storage.obs.credentials import Credentials

INIT = "python -m launcher config init"


@dataclass(frozen=True)
class Place:
    """One project of one account in one region, and the bucket that code, data and output go to.

    Endpoints have a scheme and no slash at their end. They are Huawei's own for the region unless a person (a private
    cloud, the emulator) says otherwise.
    """

    region: str
    endpoint: str
    """Of ModelArts' API: `https://modelarts.cn-north-4.myhuaweicloud.com`."""
    iam_endpoint: str
    """Empty where a private cloud's is not known; then `project_id` is."""
    obs: ObsSettings
    """The same account's way to OBS."""
    credentials: Credentials
    """`current()` gives keys that are good for a while; the same object signs ModelArts' and OBS' requests."""
    bucket: str
    root: str = "launcher"
    """The prefix under which everything of ours lies in the bucket."""
    project_id: str = ""
    """32 hexadecimal digits; empty: IAM is asked for the region's project, once."""
    token: str = field(default="", repr=False)
    """A project-scoped IAM token (`X-Auth-Token`), in place of signed requests; empty: requests are signed."""
    workspace: str = "0"
    pool: str = ""
    """A dedicated resource pool's id; empty: the public pool."""
    client: str = "sdk"
    """`sdk` (huaweicloudsdkmodelarts) or `modelarts-sdk` (Huawei's wheel of notebooks) to submit with."""
    ca_file: str = ""
    proxy: str = field(default="", repr=False)
    """What the settings say, else what HTTPS_PROXY and NO_PROXY say for the endpoint; may hold a password."""
    timeout: float = 30.0
    """Seconds for a connection, and for each read."""
    keys_from: str = ""
    """Where the keys are from, in words: `$OBS_ACCESS_KEY_ID`."""
    notes: tuple[str, ...] = ()
    """What is worth a warning: two different keys, an open file, no TLS."""


class Keys(NamedTuple):
    """Where keys come from, without the keys."""

    origin: str
    """In words; empty: there are none."""
    given: dict[str, Any]
    """What `ObsSettings` is told; holds secrets for a profile and for a token."""
    token: str = ""
    notes: tuple[str, ...] = ()


def find_place(settings: Settings, needs_bucket: bool = True) -> Place:
    """What the settings name. UsageError for what is missing or cannot be, with the command that mends it."""
    refuse_distrusted(settings)
    keys = find_keys(settings)
    if not keys.origin:
        hint = f"export HUAWEICLOUD_SDK_AK=... HUAWEICLOUD_SDK_SK=..., or: {INIT}"
        raise UsageError(f"no keys for Huawei Cloud are configured{_half_pair()}", hint)
    file = read_credentials_file() if keys.origin == credentials_file() else {}
    endpoint, iam_endpoint, obs_endpoint = endpoints(settings, file.get("iam_endpoint", ""))
    project_id = settings.project_id or file.get("project_id", "")
    if not project_id and not iam_endpoint:
        raise UsageError("neither the project's id nor IAM's endpoint is known", f"{INIT} --project-id ID")
    bucket = _bucket(settings.bucket)
    if needs_bucket and not bucket:
        raise UsageError("no bucket is named for code, data and output", f"{INIT} --bucket NAME")
    for key, value in (("project_id", project_id), ("workspace", settings.workspace), ("pool", settings.pool)):
        if value and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            raise UsageError(f"{key} {value!r} ({settings.origins[key]}) has signs that no id has", f"{INIT} --help")
    if settings.ca_file and not os.path.isfile(settings.ca_file):
        where = settings.origins.get("ca_file", "ca_file")
        message = f"there is no file {settings.ca_file!r} of certificates ({where})"
        raise UsageError(message, "python -m launcher config show --origin")
    obs = ObsSettings.from_environment(
        endpoint=obs_endpoint,
        region=settings.region,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        iam_endpoint=iam_endpoint,
        **{"credentials": settings.credentials, **keys.given},
    )
    obs = replace(obs, region=settings.region)  # not one that another account's variables name
    plain = [url for url in (endpoint, obs_endpoint, iam_endpoint) if url.startswith("http://") and not _is_near(url)]
    notes = [f"{url} has no TLS: who is on the way can read tokens and data" for url in plain]
    return Place(
        region=settings.region,
        endpoint=endpoint,
        iam_endpoint=iam_endpoint,
        obs=obs,
        credentials=Credentials(obs),
        bucket=bucket,
        root=_root(settings.root),
        project_id=project_id,
        token=keys.token,
        workspace=settings.workspace or "0",
        pool=settings.pool,
        client=settings.client,
        ca_file=settings.ca_file,
        proxy=settings.proxy or _proxy_for(endpoint),
        keys_from=keys.origin,
        notes=(*keys.notes, *notes),
    )


def find_keys(settings: Settings) -> Keys:
    """The source of keys in force; see the module's docstring. UsageError where the named one is not complete."""
    account = settings.account
    if account and account.keys:
        return _of_profile(settings.profile, account.keys)
    token = os.environ.get("LAUNCHER_IAM_TOKEN", "")
    if settings.credentials == "ecs":
        return Keys("this server's metadata (ecs)", {})
    if settings.credentials == "sts":
        token = token or os.environ.get("OBS_IAM_TOKEN", "")
        if not token:
            raise UsageError("credentials: sts needs an IAM token", "export LAUNCHER_IAM_TOKEN=...")
        return Keys("temporary keys for the IAM token (sts)", {"iam_token": token})
    if settings.credentials == "anonymous":
        return Keys("", {})
    pairs = [pair for pair in PAIRS if all(os.environ.get(name) for name in pair)]
    if token:
        given = {} if pairs else {"iam_token": token, "credentials": "sts"}
        return Keys("$LAUNCHER_IAM_TOKEN" + (f", for OBS ${pairs[0][0]}" if pairs else ""), given, token)
    if pairs:
        return Keys(f"${pairs[0][0]}", {}, notes=_differences())
    file = read_credentials_file()
    if file.get("ak") and file.get("sk"):
        return Keys(credentials_file(), {}, notes=_openness())
    return Keys("", {})


PAIRS = (("OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY"), ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"))
"""Variables of keys; the first pair wins, for OBS and ModelArts alike; half of one is refused (`storage.obs`)."""


def endpoints(settings: Settings, iam_endpoint: str = "") -> tuple[str, str, str]:
    """ModelArts', IAM's and OBS'. One cloud's keys are not shown to another cloud: beside a ModelArts that is not
    Huawei's own, the other two are never made from the region."""
    given = (settings.modelarts_endpoint, settings.iam_endpoint or iam_endpoint, settings.endpoint)
    modelarts, iam, obs = (plain_endpoint(url, settings) for url in given)
    if not modelarts:
        if not settings.region:
            raise UsageError("no region is named", f"{INIT} --region cn-north-4")
        modelarts = endpoint_of("modelarts", settings.region)
    if is_huaweis(modelarts, "modelarts") and settings.region:
        return modelarts, iam or endpoint_of("iam", settings.region), obs or endpoint_of("obs", settings.region)
    if not obs:
        raise UsageError(f"ModelArts is at {modelarts}, but where is its OBS?", f"{INIT} --endpoint URL")
    return modelarts, iam, obs


def plain_endpoint(url: str, settings: Settings) -> str:
    """With a scheme, without a slash at its end; UsageError for what is no endpoint."""
    if not url:
        return ""
    found = re.fullmatch(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?", url)
    if not found:
        raise UsageError(f"{masked_url(url)!r} is not an endpoint", "write it as https://modelarts.example.com")
    return f"{found[1] or 'https'}://{found[2]}{found[3] or ''}"


def credentials_file() -> str:
    """The cloud SDKs' own file (huaweicloudsdkcore, auth/provider.py)."""
    return os.environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or os.path.expanduser("~/.huaweicloud/credentials")


def read_credentials_file() -> dict[str, str]:
    """Its section ``[basic]``; empty where there is none. UsageError where it cannot be read."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(credentials_file(), encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError) as error:  # its text may hold a line of the file
        message = f"cannot read the keys in {credentials_file()}: {type(error).__name__}"
        raise UsageError(message, f"{INIT} --store-keys writes it anew") from None
    return dict(parser["basic"]) if parser.has_section("basic") else {}


def _of_profile(name: str, prefix: str) -> Keys:
    found = {
        part: os.environ.get(f"{prefix}_{variable}", "").strip()
        for part, variable in (
            ("access_key", "ACCESS_KEY_ID"),
            ("secret_key", "SECRET_ACCESS_KEY"),
            ("token", "SECURITY_TOKEN"),
        )
    }
    token = os.environ.get(f"{prefix}_IAM_TOKEN", "").strip()
    if token and not found["access_key"]:
        return Keys(f"${prefix}_IAM_TOKEN", {"iam_token": token, "credentials": "sts"}, token)
    missing = [
        f"{prefix}_{variable}"
        for part, variable in (("access_key", "ACCESS_KEY_ID"), ("secret_key", "SECRET_ACCESS_KEY"))
        if not found[part]
    ]
    if missing:
        raise UsageError(f"the profile {name!r} needs {' and '.join(missing)}", f"export {missing[0]}=...")
    return Keys(f"${prefix}_ACCESS_KEY_ID", found, token)


def _half_pair() -> str:
    """What explains why a key that is there does not count."""
    for first, second in PAIRS:
        for there, missing in ((first, second), (second, first)):
            if os.environ.get(there) and not os.environ.get(missing):
                return f" (${there} is set, ${missing} is not)"
    return ""


def _differences() -> tuple[str, ...]:
    (obs, _), (cloud, _) = PAIRS
    ours, theirs = os.environ.get(obs), os.environ.get(cloud)
    if (
        ours
        and theirs
        and ours.strip() != theirs.strip()
        and all(os.environ.get(name) for pair in PAIRS for name in pair)
    ):
        return (f"${obs} and ${cloud} are two different keys: ${obs} is used, for ModelArts too; unset the other one",)
    return ()


def _openness() -> tuple[str, ...]:
    try:
        mode = os.stat(credentials_file()).st_mode
    except OSError:
        return ()
    return (f"others can read {credentials_file()}: chmod 600 {credentials_file()}",) if mode & 0o077 else ()


def _bucket(name: str) -> str:
    name = re.sub(r"^(obs|s3)://", "", name).strip("/")
    if name:
        from storage.urls import check_bucket

        try:
            check_bucket(name)
        except StorageError as error:
            raise UsageError(error.message, error.hint or f"{INIT} --bucket NAME") from None
    return name


def _root(root: str) -> str:
    from storage.urls import check_key

    try:
        return check_key(root.strip("/") or "launcher")
    except StorageError as error:
        raise UsageError(f"root: {error.message}", error.hint or f"{INIT} --help") from None


def _is_near(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _proxy_for(endpoint: str) -> str:
    """What the environment says of proxies for that host; none for this machine itself."""
    if _is_near(endpoint):
        return ""
    import urllib.request

    url = urlsplit(endpoint)
    if urllib.request.proxy_bypass(url.hostname or ""):
        return ""
    return urllib.request.getproxies().get(url.scheme, "")
