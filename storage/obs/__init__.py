"""Huawei OBS through esdk-obs-python, with patience and verification of our own.

    ObsService(ObsSettings.from_environment()).bucket("name")

    settings, credentials   who asks whom
    wire                    the bulk of the bytes: a few requests on kept connections
    exchange, connecting    one request and its answer; a connection, by a proxy and TLS if need be
    signature, dates        what every request is signed with
    sdk, answers            everything else: the official SDK
    channel                 both, with retries (`storage.retry`) and one account's limits
    errors                  what OBS answers, as `storage.errors`
    bucket                  the storage protocol; stream, download, small, multipart, lanes and checkpoint
                            are its parts
    service                 the buckets of an account

Importing this costs nothing but the standard library; the SDK is imported by the first request that needs it.
"""

from __future__ import annotations

import threading
from typing import Dict

from ..errors import BackendMissing
from .bucket import ObsStorage
from .service import ObsService
from .settings import ObsSettings

__all__ = ["ObsService", "ObsSettings", "ObsStorage", "open_bucket"]

_services: Dict[ObsSettings, ObsService] = {}
_lock = threading.Lock()


def open_bucket(name: str) -> ObsStorage:
    """A bucket of the account that the environment configures; BackendMissing without the SDK."""
    try:
        import importlib.util

        found = importlib.util.find_spec("obs")
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise BackendMissing("the OBS SDK is not installed", "pip install esdk-obs-python")
    settings = ObsSettings.from_environment()
    with _lock:
        service = _services.get(settings)
        if service is None:
            service = _services[settings] = ObsService(settings)
    return service.bucket(name)
