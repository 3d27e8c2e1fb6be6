"""The one exception that stays inside this package."""

from __future__ import annotations


class SourceFailed(Exception):
    """A source could not serve; ``str()`` is a short reason, and the next source is tried. Never leaves the package."""
