"""Where runs execute: a table of targets, each imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.paths import Home
    from launcher.targets.base import Target

TARGETS = {
    "local": "launcher.targets.local:LocalTarget",
    "modelarts": "launcher.targets.modelarts:ModelArtsTarget",
}
"""Name -> where its class is."""


def open_target(name: str, home: Home, submits: bool = False, profile: str | None = None) -> Target:
    """The target of that name; ``submits`` says that a run is likely to follow, so what takes long may begin.

    ``profile`` is the account, for targets that have several; None: the one that the settings name.
    """
    driver = None
    if name == "local" and submits:
        from launcher.targets.driver import Driver

        driver = Driver()  # before anything heavy is imported here, so that both processes load at the same time
    module, _, attribute = TARGETS[name].partition(":")
    account = {} if profile is None or name == "local" else {"profile": profile}
    target: Target = getattr(import_module(module), attribute)(home, **account)
    if driver:
        target.driver = driver  # type: ignore[attr-defined]
    return target
