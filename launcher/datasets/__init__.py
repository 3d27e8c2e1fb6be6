"""The known data sets: where they come from, how they are laid out, what their bytes hash to.

::

    get(name) / known()     the table's rows                                   registry.py
    prepare(name, …)        the files, verified, in a folder                   fetching.py, sources.py
    prepared(name)          that folder, if nothing has changed since          places.py
    guess(path)             which data set a folder looks like                 layout.py
    check(name, path)       what is wrong with a folder somebody else filled   layout.py and a checker per data set

Importing this package loads the table and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launcher.output import Progress, Say

from .registry import DataFile, Dataset, Problem, Source, get, known, no_progress, silent

__all__ = [
    "DataFile",
    "Dataset",
    "Problem",
    "Source",
    "check",
    "get",
    "guess",
    "is_official",
    "known",
    "prepare",
    "prepared",
]


def prepare(
    name: str,
    dest: Path | str | None = None,
    *,
    source: str = "",
    force: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Path:
    """Bring data set ``name`` into ``dest`` (default: the cache) and return that folder.

    1. Every file under its final name has the table's SHA-256; it came there by a rename.
    2. Files that are already right are not fetched again, unless ``force``.
    3. Any number of processes may prepare the same folder; one works, the others wait for it.
    4. After a kill at any moment, the next call completes the work and removes what was left over.
    5. In a folder that the caller named, a whole file of other content is not replaced without ``force``.

    ``say`` gets a line per event, ``progress(label, total)`` gives a context manager around a callback that counts
    bytes (``total`` 0: unknown). Raises ``DataError`` when no source could serve, ``UsageError`` for unknown names.
    """
    from . import fetching, places

    dataset = get(name)
    folder = places.default_dest(dataset) if dest is None else Path(dest).expanduser()
    sources = (dataset.source(source),) if source else dataset.sources
    keep_others = dest is not None and not force
    return fetching.bring(
        dataset, folder, sources=sources, force=force, keep_others=keep_others, say=say, progress=progress
    )


def prepared(name: str, dest: Path | str | None = None) -> Path | None:
    """The folder in which ``name`` lies verified and untouched since, or None; costs one stat a file."""
    from . import places

    dataset = get(name)
    folder = places.default_dest(dataset) if dest is None else Path(dest).expanduser()
    return folder if places.read_stamp(dataset, folder) is not None else None


def guess(path: Path | str) -> str:
    """The data set whose files a folder has most of, by their names; the table's first if it has none."""
    from . import layout

    root = Path(path).expanduser()
    return max(known(), key=lambda row: layout.found(layout.arranged(row, root), root)).name


def check(name: str, path: Path | str) -> list[Problem]:
    """All that keeps ``path`` from being read as data set ``name``; reads headers, sizes and labels, hashes nothing."""
    from importlib import import_module

    module, _, function = get(name).checker.partition(":")
    checker: Callable[[Dataset, Path], list[Problem]] = getattr(import_module(module), function)
    return checker(get(name), Path(path).expanduser())


def is_official(name: str, path: Path | str) -> bool:
    """Whether every file of ``name`` under ``path`` has the published SHA-256, in any layout that jobs read."""
    from . import layout, places

    root = Path(path).expanduser()
    files = [file for file in layout.arranged(get(name), root).files if not file.content]
    return all(places.is_right(root / file.path, file) for file in files)
