"""The errors of this room, below ``launcher.errors.LauncherError``."""

from __future__ import annotations

from launcher.errors import LauncherError


class ModelError(LauncherError):
    """A model cannot be made, converted or run."""


class HostError(LauncherError):
    """A host cannot be reached, or cannot do what it should."""
