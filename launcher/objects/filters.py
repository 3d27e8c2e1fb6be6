"""Which files of a tree take part: ``--exclude``, ``--include`` and ``.gitignore``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Keep = Callable[[str], bool]
"""Whether the file of that path (relative, with slashes) takes part."""


def keeper(rules: Sequence[str], ignores: Path | None = None) -> Keep | None:
    """What decides; None where everything takes part.

    ``rules`` are git's patterns, in order; one that starts with ``!`` brings back what an earlier one has left out.
    ``ignores`` is the folder whose ``.gitignore`` files, at any depth, count as well; rules are stronger.
    """
    if not rules and ignores is None:
        return None
    from pathspec import GitIgnoreSpec, PathSpec

    spec = PathSpec.from_lines("gitignore", rules)
    files: dict[str, Any] = {}

    def ignored(path: str) -> bool:
        """By the ``.gitignore`` that is nearest to the file and has a word to say."""
        folder = path
        while folder and ignores is not None:
            folder = folder.rpartition("/")[0]
            if folder not in files:
                file = ignores / folder / ".gitignore"
                text = file.read_text("utf-8-sig", "replace") if file.is_file() else ""
                files[folder] = GitIgnoreSpec.from_lines(text.splitlines())
            verdict = files[folder].check_file(path[len(folder) + 1 :] if folder else path).include
            if verdict is not None:
                return bool(verdict)
        return ignores is not None and (path == ".git" or path.startswith(".git/"))

    def keep(path: str) -> bool:
        verdict = spec.check_file(path).include
        return not (ignored(path) if verdict is None else verdict)

    return keep


def without(keep: Keep | None, root: str, folder: Path) -> Keep | None:
    """The same, leaving out the launcher's own ``folder`` if it lies in ``root``: it grows as it is copied."""
    top, own = os.path.realpath(root), os.path.realpath(folder)
    if not own.startswith(os.path.join(top, "")) or not os.path.isdir(own):
        return keep
    base = os.path.relpath(own, top).replace(os.sep, "/") + "/"
    return lambda path: not path.startswith(base) and (keep is None or keep(path))
