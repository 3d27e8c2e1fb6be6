"""Keys, and where they come from. Temporary ones are fetched again before they expire, and when OBS says so."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from ..errors import NoCredentials
from .settings import ObsSettings

METADATA = "http://169.254.169.254"
"""Where an Elastic Cloud Server asks about itself (ECS user guide, "Obtaining metadata")."""

_EARLY = 600.0
"""Seconds before their end at which temporary keys are replaced."""
_SECONDS_OF_STS = 3600


@dataclass(frozen=True)
class Keys:
    """An access key; `access` is empty for nobody (public buckets)."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: float = float("inf")
    """POSIX seconds."""


class Credentials:
    """The keys of one account, safe from many threads. NoCredentials, never nobody by accident, when there are none."""

    def __init__(self, settings: ObsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: Optional[Keys] = None

    def current(self) -> Keys:
        """Keys that are good for a while."""
        keys = self._keys
        if keys is None or keys.expires - time.time() < _EARLY:
            with self._lock:
                if self._keys is keys:
                    self._keys = self._find()
                keys = self._keys
                assert keys is not None
        return keys

    def renew(self, refused: Keys) -> bool:
        """Look again, after `refused` were said to be expired; whether there are others now."""
        with self._lock:
            if self._keys is refused or self._keys is None:
                self._keys = self._find()
            return self._keys != refused

    def _find(self) -> Keys:
        settings = self._settings
        if settings.access_key or settings.secret_key:
            if not (settings.access_key and settings.secret_key):
                raise NoCredentials("an access key and a secret key go together", "give both")
            return Keys(settings.access_key, settings.secret_key, settings.token)
        sources = {"auto": _configured, "ecs": _from_metadata, "sts": _from_sts, "anonymous": _nobody}
        if settings.credentials not in sources:
            raise NoCredentials(f"there is no source of keys {settings.credentials!r}", "one of " + ", ".join(sources))
        keys = sources[settings.credentials](settings)
        if keys is None:
            raise NoCredentials(
                "no OBS keys are configured",
                "set OBS_ACCESS_KEY_ID and OBS_SECRET_ACCESS_KEY; or OBS_CREDENTIALS=ecs on a server in the cloud,"
                " anonymous for a public bucket",
            )
        return keys


def _nobody(settings: ObsSettings) -> Keys:
    return Keys("", "")


def _configured(settings: ObsSettings) -> Optional[Keys]:
    """The environment (as the OBS SDK and the cloud's other SDKs name it), then the profile file of those SDKs."""
    for access, secret, token in (
        ("OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY", "OBS_SECURITY_TOKEN"),
        ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
    ):
        if os.environ.get(access) and os.environ.get(secret):
            return Keys(os.environ[access].strip(), os.environ[secret].strip(), os.environ.get(token, "").strip())
    return _from_profile()


def _from_profile() -> Optional[Keys]:
    import configparser

    path = os.environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or os.path.expanduser("~/.huaweicloud/credentials")
    profile = configparser.ConfigParser(interpolation=None)
    try:
        profile.read(path, encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise NoCredentials(f"cannot read the keys in {path}: {type(error).__name__}", "mend or remove it") from None
    if not profile.has_section("basic"):
        return None
    basic = profile["basic"]
    if not (basic.get("ak") and basic.get("sk")):
        return None
    return Keys(basic["ak"], basic["sk"], basic.get("security_token", ""))


def _from_metadata(settings: ObsSettings) -> Keys:
    base = os.environ.get("OBS_METADATA", METADATA)
    headers: Dict[str, str] = {}
    with contextlib.suppress(OSError):  # servers without it answer the plain question
        ttl = {"X-Metadata-Token-Ttl-Seconds": "21600"}
        headers["X-Metadata-Token"] = _ask("PUT", base + "/meta-data/latest/api/token", ttl).strip()
    try:
        return _temporary(json.loads(_ask("GET", base + "/openstack/latest/securitykey", headers)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoCredentials(
            f"this machine's metadata gives no keys ({error})", "give the server an agency that may use OBS"
        ) from error


def _from_sts(settings: ObsSettings) -> Keys:
    """IAM's "Obtaining a temporary access key by a token"."""
    token = settings.iam_token or os.environ.get("OBS_IAM_TOKEN", "")
    endpoint = settings.iam_endpoint or os.environ.get("OBS_IAM_ENDPOINT", "")
    endpoint = endpoint or f"https://iam.{settings.region}.myhuaweicloud.com"
    if not token or "//iam.." in endpoint:
        raise NoCredentials("temporary keys need an IAM token and a region", "set OBS_IAM_TOKEN and OBS_REGION")
    question = {"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": _SECONDS_OF_STS}}}}
    headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
    try:
        answer = _ask("POST", endpoint + "/v3.0/OS-CREDENTIAL/securitytokens", headers, json.dumps(question).encode())
        return _temporary(json.loads(answer))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoCredentials(f"{endpoint} gives no temporary keys ({error})", "get a new IAM token") from error


def _temporary(answer: Dict[str, Any]) -> Keys:
    from datetime import datetime, timezone

    given = answer["credential"]
    ends = datetime.strptime(given["expires_at"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return Keys(given["access"], given["secret"], given["securitytoken"], ends.timestamp())


def _ask(method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None) -> str:
    import urllib.request

    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({})) if url.startswith(METADATA) else None
    with (opener.open if opener else urllib.request.urlopen)(request, timeout=5) as answer:
        text: str = answer.read(1 << 20).decode("utf-8")
    return text
