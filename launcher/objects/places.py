"""Where ``obs://`` URLs lead: the folder of local buckets, or an account of OBS. Never guessed from keys at hand."""

from __future__ import annotations

import os
from typing import NamedTuple

from launcher.errors import UsageError
from launcher.paths import Home
from launcher.settings import Settings, is_huaweis, load_settings, user_file
from storage import BUCKETS_VARIABLE
from storage.service import Service


class Place(NamedTuple):
    """Opened, and how it is shown."""

    service: Service
    name: str
    """``local`` or ``obs``."""
    label: str
    """In words: ``local buckets in .launcher/buckets``."""


def open_place(
    home: Home,
    storage: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> Place:
    """What flags, environment and settings files name. UsageError for names that are not known."""
    if profile and storage is None:
        storage = "obs"
    settings = load_settings(home, storage=storage, endpoint=endpoint, region=region, profile=profile)
    if settings.storage == "local":
        if profile:
            raise UsageError(f"the profile {profile!r} is an account of OBS", "leave out --storage local")
        return _local(home)
    return _obs(settings)


def _local(home: Home) -> Place:
    from storage.shelf import Shelf

    folder = os.environ.get(BUCKETS_VARIABLE) or str(home.buckets)
    shown = os.path.relpath(folder)
    shown = folder if shown.startswith(os.pardir) else shown
    return Place(Shelf(folder), "local", f"local buckets in {shown}")


def _obs(settings: Settings) -> Place:
    from dataclasses import replace

    from launcher.modelarts.place import find_keys
    from storage.obs import ObsService, ObsSettings

    if settings.profile and not (settings.endpoint or settings.region):
        where = f"give it one in {user_file()}"
        raise UsageError(f"the profile {settings.profile!r} has neither endpoint nor region", where)
    keys = find_keys(settings)
    endpoint = settings.endpoint or (f"https://obs.{settings.region}.myhuaweicloud.com" if settings.region else "")
    if "iam_token" in keys.given and not settings.iam_endpoint and not is_huaweis(endpoint, "obs"):
        raise UsageError(f"temporary keys for {endpoint} need an IAM endpoint", "export LAUNCHER_IAM_ENDPOINT=URL")
    account = ObsSettings.from_environment(
        endpoint=endpoint,
        region=settings.region,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
        iam_endpoint=settings.iam_endpoint,
        **{"credentials": settings.credentials, **keys.given},
    )
    account = replace(account, region=settings.region)  # not one that another account's variables name
    label = f"OBS at {account.url}" + (f" (profile {settings.profile})" if settings.profile else "")
    return Place(ObsService(account), "obs", label)
