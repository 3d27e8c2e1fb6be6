"""What a person prefers: flag > environment > project file > user file > default.

Project file: ``launcher.yaml`` beside ``jobs/``. User file: ``config.yaml`` in ``$XDG_CONFIG_HOME/modelarts-launcher``
(``~/.config/modelarts-launcher``). Environment: ``LAUNCHER_`` and the key in capitals.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from launcher.errors import UsageError, nearest
from launcher.paths import Home
from launcher.targets import TARGETS


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every key that a settings file may hold."""

    target: Annotated[str, msgspec.Meta(description="Where runs execute.")] = "local"
    python: Annotated[str, msgspec.Meta(description="The interpreter of local runs; empty: the launcher's own.")] = ""


def user_file() -> Path:
    """Where a person's own settings lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "modelarts-launcher" / "config.yaml"


def load_settings(home: Home, **flags: str | None) -> Settings:
    """The settings in force; ``flags`` that are None were not given. SpecError and UsageError name the place."""
    values: dict[str, str] = {}
    for path in (user_file(), home.project / "launcher.yaml"):
        if path.is_file():
            from launcher.yamlfile import load

            given = msgspec.structs.asdict(load(path, _File))
            values.update({key: value for key, value in given.items() if value is not msgspec.UNSET})
    for key in _DEFAULTS:
        if os.environ.get(f"LAUNCHER_{key.upper()}"):
            values[key] = os.environ[f"LAUNCHER_{key.upper()}"]
        flag = flags.get(key)
        if flag is not None:
            values[key] = flag
    settings = Settings(**values)
    if settings.target not in TARGETS:
        raise UsageError(f"there is no target {settings.target!r}", nearest(settings.target, TARGETS))
    return settings


_DEFAULTS = msgspec.structs.asdict(Settings())
_File: Any = msgspec.defstruct(
    "_File",
    [(key, str | msgspec.UnsetType, msgspec.UNSET) for key in _DEFAULTS],
    frozen=True,
    forbid_unknown_fields=True,
)
"""What one file says: a key that it has counts even where it says the default."""
