"""Keys, and where they come from. Temporary ones are fetched again before they expire, and when OBS says so."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from ..errors import NoCredentials, StorageError
from ..retry import TRIES, UNKNOWN_TRIES, Transient
from .settings import ObsSettings

METADATA = "http://169.254.169.254"
"""Where an Elastic Cloud Server asks about itself (ECS user guide, "Obtaining metadata")."""

_EARLY = 600.0
"""Seconds before their end at which temporary keys are replaced."""
_PAUSE = 30.0
"""Seconds between two looks for others, while the present ones are still good."""
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
    """The keys of one account, safe from many threads. NoCredentials, never nobody by accident, when there are none;
    Transient, with a NoCredentials in it, when whoever gives them out does not answer."""

    def __init__(self, settings: ObsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: Optional[Keys] = None
        self._next_look = 0.0
        """On the monotonic clock: keys that are not over yet are not looked for before."""
        self._failures = 0
        self._failure: Optional[StorageError] = None
        """The last look's, if nobody answered it."""

    def current(self) -> Keys:
        """Keys that are good for a while, or at least still good if no others are to be had."""
        keys = self._keys
        if keys is not None and not self._is_due(keys):
            return keys
        failures = self._failures
        with self._lock:
            if self._keys is keys and (keys is None or self._is_due(keys)):
                self._next_look = time.monotonic() + _PAUSE
                try:
                    self._look(failures)
                except (NoCredentials, Transient):
                    if keys is None or keys.expires <= time.time():
                        raise
            found = self._keys
            assert found is not None
            return found

    def renew(self, refused: Keys) -> bool:
        """Look again, after `refused` were said to be expired; whether there are others now."""
        failures = self._failures
        with self._lock:
            if self._keys is refused or self._keys is None:
                self._look(failures)
            return self._keys != refused

    def _is_due(self, keys: Keys) -> bool:
        """Whether others are to be looked for. While one thread does so, the others use what they have."""
        left = keys.expires - time.time()
        return left < _EARLY and (left <= 0 or time.monotonic() >= self._next_look)

    def _look(self, failures: int) -> None:
        """`failures` is how many there were when this thread got in line: what came of a look meanwhile is its answer
        as well, or each of many threads would wait as long as all those before it."""
        if failures != self._failures and self._failure is not None:
            raise Transient(self._failure, tries=_tries(self._keys))
        self._failure = None
        try:
            self._keys = self._find()
        except Transient as error:
            self._failures += 1
            self._failure = error.final
            error.tries = _tries(self._keys)
            raise

    def _find(self) -> Keys:
        settings = self._settings
        access, secret = settings.access_key.strip(), settings.secret_key.strip()
        if settings.access_key or settings.secret_key:
            if not (access and secret):
                raise NoCredentials("an access key and a secret key go together", "give both")
            return _whole(Keys(access, secret, settings.token.strip()))
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
        return _whole(keys)


def _whole(keys: Keys) -> Keys:
    """The same keys, if they can stand in a request: more than was meant may have been copied with them."""
    for name, value in (("access key", keys.access), ("secret key", keys.secret), ("security token", keys.token)):
        if not (value.isprintable() and (value.isascii() or value is keys.secret)):
            raise NoCredentials(
                f"the {name} has a sign that none has: a line's end or a foreign letter", "copy it again"
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
        found = Keys(_variable(access), _variable(secret), _variable(token))
        if found.access and found.secret:
            return found
        if found.access or found.secret:  # what comes next may be another account's
            there, missing = (access, secret) if found.access else (secret, access)
            raise NoCredentials(f"${there} is set and ${missing} is not", f"set both, or unset {there}")
    return _from_profile()


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


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
    found = Keys(basic.get("ak", "").strip(), basic.get("sk", "").strip(), basic.get("security_token", "").strip())
    if bool(found.access) != bool(found.secret):
        raise NoCredentials(f"{path} has one of ak and sk, and not the other", "write both into it, or remove it")
    return found if found.access else None


def _from_metadata(settings: ObsSettings) -> Keys:
    base = os.environ.get("OBS_METADATA", METADATA)
    headers: Dict[str, str] = {}
    is_lost = False
    try:
        ttl = {"X-Metadata-Token-Ttl-Seconds": "21600"}
        headers["X-Metadata-Token"] = _ask("PUT", base + "/meta-data/latest/api/token", ttl).strip()
    except OSError as error:  # servers without it answer the plain question
        is_lost = _may_pass(error)
    try:
        return _temporary(json.loads(_ask("GET", base + "/openstack/latest/securitykey", headers)))
    except _ODD as error:
        final = NoCredentials(
            f"this machine's metadata gives no keys ({error})", "give the server an agency that may use OBS"
        )
        raise (Transient(final) if is_lost or _may_pass(error) else final) from error


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
    except _ODD as error:
        final = NoCredentials(f"{endpoint} gives no temporary keys ({error})", "get a new IAM token")
        raise (Transient(final) if _may_pass(error) else final) from error


def _temporary(answer: Dict[str, Any]) -> Keys:
    from datetime import datetime, timezone

    given = answer["credential"]
    access, secret, token = (given[name].strip() for name in ("access", "secret", "securitytoken"))
    if not (access and secret and token):
        raise ValueError("they are empty")
    ends = datetime.strptime(given["expires_at"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return Keys(access, secret, token, ends.timestamp())


_ODD = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What an answer with no keys in it, or none at all, raises."""


def _may_pass(error: BaseException) -> bool:
    """Whether it says something of the moment, and nothing of the keys."""
    status = getattr(error, "code", None)  # of urllib's HTTPError
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    return isinstance(error, OSError) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def _tries(keys: Optional[Keys]) -> int:
    """Fewer if nobody has ever answered: this may be no server in the cloud."""
    return TRIES if keys is not None else UNKNOWN_TRIES


def _ask(method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None) -> str:
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({})) if url.startswith(METADATA) else None
    try:
        with (opener.open if opener else urllib.request.urlopen)(request, timeout=5) as answer:
            text: str = answer.read(1 << 20).decode("utf-8")
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except http.client.HTTPException as error:
        raise ConnectionError(f"the answer was not whole ({type(error).__name__})") from error
    return text
