"""Where ``obs://`` URLs lead: the folder of local buckets, or an account of OBS. Never guessed from keys at hand."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from launcher.errors import UsageError, nearest
from launcher.paths import Home
from launcher.settings import Profile, Settings, load_settings, user_file
from storage import BUCKETS_VARIABLE
from storage.service import Service

_HUAWEI = re.compile(r"(https?://)?obs\.[a-z0-9-]+\.(myhuaweicloud\.(?:com|eu))/?")


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
    settings = load_settings(home, storage=storage, endpoint=endpoint, region=region)
    if settings.storage == "local":
        if profile:
            raise UsageError(f"the profile {profile!r} is an account of OBS", "leave out --storage local")
        return _local(home)
    return _obs(settings, endpoint or "", region or "", profile)


def _local(home: Home) -> Place:
    from storage.shelf import Shelf

    folder = os.environ.get(BUCKETS_VARIABLE) or str(home.buckets)
    shown = os.path.relpath(folder)
    shown = folder if shown.startswith(os.pardir) else shown
    return Place(Shelf(folder), "local", f"local buckets in {shown}")


def _obs(settings: Settings, endpoint: str, region: str, profile: str | None) -> Place:
    from storage.obs import ObsService, ObsSettings

    keys: dict[str, Any] = {}
    if profile:
        row = _profile(settings, profile)
        keys = _keys(profile, row.keys) if row.keys else {}
        known = (row.endpoint or _huawei(row.region), row.region)
        endpoint, region = endpoint or (_moved(known[0], region) if region else known[0]), region or known[1]
    else:
        endpoint, region = (
            endpoint or (_moved(settings.endpoint, region) if region else settings.endpoint),
            settings.region,
        )
    account = ObsSettings.from_environment(endpoint=endpoint, region=region, **keys)
    return Place(ObsService(account), "obs", f"OBS at {account.url}" + (f" (profile {profile})" if profile else ""))


def _profile(settings: Settings, name: str) -> Profile:
    row = settings.profiles.get(name)
    if row is None:
        hint = nearest(name, settings.profiles) or f"name it under profiles: in {user_file()}"
        raise UsageError(f"there is no profile {name!r}", hint)
    if not row.endpoint and not row.region:
        raise UsageError(f"the profile {name!r} has neither endpoint nor region", f"give it one in {user_file()}")
    return row


def _keys(profile: str, prefix: str) -> dict[str, str]:
    """The account's keys, from the variables that the profile names."""
    wanted = {"access_key": f"{prefix}_ACCESS_KEY_ID", "secret_key": f"{prefix}_SECRET_ACCESS_KEY"}
    missing = [variable for variable in wanted.values() if not os.environ.get(variable)]
    if missing:
        raise UsageError(f"the profile {profile!r} needs {' and '.join(missing)}", f"export {missing[0]}=...")
    found = {name: os.environ[variable] for name, variable in wanted.items()}
    return {**found, "token": os.environ.get(f"{prefix}_SECURITY_TOKEN", "")}


def _moved(endpoint: str, region: str) -> str:
    """Huawei's endpoint of another region; an endpoint of someone else's stays."""
    if not endpoint:
        return _huawei(region)
    found = _HUAWEI.fullmatch(endpoint)
    return f"{found[1] or 'https://'}obs.{region}.{found[2]}" if found else endpoint


def _huawei(region: str) -> str:
    return f"https://obs.{region}.myhuaweicloud.com" if region else ""
