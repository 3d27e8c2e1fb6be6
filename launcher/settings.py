"""What a person prefers: flag > environment > project file > user file > default.

Project file: ``launcher.yaml`` beside ``jobs/``. User file: ``config.yaml`` in ``$XDG_CONFIG_HOME/modelarts-launcher``
(``~/.config/modelarts-launcher``). Environment: ``LAUNCHER_`` and the key in capitals. Keys of an account never stand
in a settings file: a profile says which environment variables hold them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from launcher.errors import UsageError, nearest
from launcher.paths import Home
from launcher.targets import TARGETS

STORAGES = ("local", "obs")
"""Where ``obs://`` URLs may lead."""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another account of OBS; only the user file has profiles."""

    endpoint: Annotated[str, msgspec.Meta(description="Where it is.")] = ""
    region: Annotated[str, msgspec.Meta(description="Its region's id; enough where the endpoint is Huawei's.")] = ""
    keys: Annotated[
        str, msgspec.Meta(description="Prefix of the variables with its keys: X_ACCESS_KEY_ID, X_SECRET_ACCESS_KEY.")
    ] = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every key that a settings file may hold."""

    target: Annotated[str, msgspec.Meta(description="Where runs execute.")] = "local"
    python: Annotated[str, msgspec.Meta(description="The interpreter of local runs; empty: the launcher's own.")] = ""
    storage: Annotated[str, msgspec.Meta(description="Where obs:// URLs lead: local or obs.")] = "local"
    endpoint: Annotated[str, msgspec.Meta(description="Of OBS; also $OBS_ENDPOINT.")] = ""
    region: Annotated[
        str, msgspec.Meta(description="Of OBS; also $OBS_REGION. Makes the endpoint if there is none.")
    ] = ""
    profiles: Annotated[dict[str, Profile], msgspec.Meta(description="Other accounts of OBS, by name.")] = {}


def user_file() -> Path:
    """Where a person's own settings lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "modelarts-launcher" / "config.yaml"


def load_settings(home: Home, **flags: str | None) -> Settings:
    """The settings in force; ``flags`` that are None were not given. SpecError and UsageError name the place."""
    values: dict[str, Any] = {}
    for path, shape in ((user_file(), _UserFile), (home.project / "launcher.yaml", _File)):
        if path.is_file():
            from launcher.yamlfile import load

            given = msgspec.structs.asdict(load(path, shape))
            values.update({key: value for key, value in given.items() if value is not msgspec.UNSET})
    for key, default in _DEFAULTS.items():
        for variable in (*_VARIABLES.get(key, ()), f"LAUNCHER_{key.upper()}"):
            values[key] = os.environ.get(variable) or values.get(key, default)
        flag = flags.get(key)
        if flag is not None:
            values[key] = flag
    settings = Settings(**values)
    if settings.target not in TARGETS:
        raise UsageError(f"there is no target {settings.target!r}", nearest(settings.target, TARGETS))
    if settings.storage not in STORAGES:
        raise UsageError(f"there is no storage {settings.storage!r}", nearest(settings.storage, STORAGES))
    return settings


_VARIABLES = {"endpoint": ("OBS_ENDPOINT",), "region": ("OBS_REGION",)}
"""Other variables that set a key; the launcher's own wins."""
_DEFAULTS = {key: value for key, value in msgspec.structs.asdict(Settings()).items() if key != "profiles"}
_TEXTS: list[Any] = [(key, str | msgspec.UnsetType, msgspec.UNSET) for key in _DEFAULTS]
_PROFILES: list[Any] = [("profiles", dict[str, Profile] | msgspec.UnsetType, msgspec.UNSET)]
_File: Any = msgspec.defstruct("_File", _TEXTS, frozen=True, forbid_unknown_fields=True)
"""What the project's file says: a key that it has counts even where it says the default."""
_UserFile: Any = msgspec.defstruct("_UserFile", [*_TEXTS, *_PROFILES], frozen=True, forbid_unknown_fields=True)
