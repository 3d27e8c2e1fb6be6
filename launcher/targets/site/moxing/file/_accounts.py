"""Which account serves a bucket: the local target's folder of buckets, OBS as the environment says, or `set_auth`."""

from __future__ import annotations

import json
import os
import re
import threading
from typing import Any, Dict, Optional, Set

from .._house import note, silent, storage

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|\[?::1\]?")
_given: Dict[str, Any] = {}
_service: Any = None
_lock = threading.Lock()


def set_auth(
    ak: Optional[str] = None,
    sk: Optional[str] = None,
    server: Optional[str] = None,
    port: Optional[int] = None,
    is_secure: Optional[bool] = None,
    ssl_verify: Optional[bool] = None,
    long_conn_mode: Optional[bool] = None,
    path_style: Optional[bool] = None,
    retry: Optional[int] = None,
    retry_wait: Optional[float] = None,
    client_timeout: Optional[float] = None,
    list_max_keys: Optional[int] = None,
) -> None:
    """From now on, reach OBS with these keys at this endpoint; what is None stays as it was.

    The run's own buckets, whose URLs the launcher passed to the job, stay where they are: no account has them. TLS
    stays on and verified whatever `is_secure` and `ssl_verify` say, except to this machine itself or if `server` starts
    with http://. The tuning arguments change nothing.
    """
    global _service
    words = {"ak": ak, "sk": sk, "server": server, "port": port, "is_secure": is_secure, "path_style": path_style}
    _given.update({name: value for name, value in words.items() if value is not None})
    if (is_secure is False or ssl_verify is False) and not silent():
        note("set_auth: is_secure and ssl_verify are not followed outside this machine; TLS stays verified")
    with _lock:
        _service = None


def open_storage(bucket: str) -> Any:
    """The `storage.Storage` of a bucket."""
    shelf = os.environ.get(storage().BUCKETS_VARIABLE, "")
    if any(_given.get(name) for name in ("ak", "sk", "server")) and not (shelf and bucket in _own_buckets()):
        return _account().bucket(bucket)
    if shelf:
        return storage("filesystem").FileSystemStorage(os.path.join(os.path.abspath(shelf), bucket), bucket)
    return storage("obs").open_bucket(bucket)


def _settings() -> Dict[str, Any]:
    settings: Dict[str, Any] = {"access_key": _given.get("ak"), "secret_key": _given.get("sk")}
    server = str(_given.get("server") or "")
    if server:
        scheme, separator, place = server.partition("://")
        if not separator:
            scheme, place = "https", server
        host, colon, port = place.rstrip("/").partition(":")
        if _LOOPBACK.fullmatch(host) and _given.get("is_secure") is False:
            scheme = "http"
        port = port if colon else str(_given.get("port") or "")
        settings["endpoint"] = f"{scheme}://{host}" + (f":{port}" if port else "")
    if "path_style" in _given:
        settings["addressing"] = "path" if _given["path_style"] else "host"
    return settings


def _own_buckets() -> Set[str]:
    """The buckets of the run's inputs and outputs, as the local target tells them."""
    found: Set[str] = set()
    for variable, name in (("MA_INPUTS", "inputs"), ("MA_OUTPUTS", "outputs")):
        try:
            channels = json.loads(os.environ.get(variable, "") or "{}").get(name, [])
            urls = [channel["remote"]["obs"]["obs_url"] for channel in channels]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        found.update(url.partition("://")[2].partition("/")[0] for url in urls)
    return found


def _account() -> Any:
    """The account that `set_auth` named; one for all threads, so that connections are kept."""
    global _service
    with _lock:
        if _service is None:
            import importlib.util

            if importlib.util.find_spec("obs") is None:
                raise storage("errors").BackendMissing(
                    "set_auth names an account of OBS, and this interpreter has no OBS SDK: pip install esdk-obs-python"
                )
            obs = storage("obs")
            _service = obs.ObsService(obs.ObsSettings.from_environment(**_settings()))
        return _service
