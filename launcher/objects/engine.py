"""Many copies and removals at once, each on its own: one that fails is noted and the others go on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from launcher.objects.errors import Refused, is_missing_bucket
from launcher.objects.names import url
from launcher.objects.report import Action, Report
from storage.base import Storage
from storage.errors import NotFound, StorageError, StorageFull
from storage.manifest import manifest_key
from storage.parallel import Cancelled, Crew
from storage.service import Service

IN_A_ROW = 25
"""So many failures with nothing done in between, and it is not the files that are at fault."""
BATCH = 1000
"""Keys of one delete request."""
_OURS = b'{"version": '


class Spot(NamedTuple):
    """Where one file lies: a key of a bucket, or a local path."""

    path: str
    bucket: str = ""

    def __str__(self) -> str:
        return url(self.bucket, self.path) if self.bucket else self.path


class Copy(NamedTuple):
    """One file to copy; at most one end is local."""

    source: Spot
    target: Spot
    size: int
    sha256: str = ""
    """What the bytes must be; empty: whatever is there."""

    @property
    def action(self) -> Action:
        kind = "upload" if not self.source.bucket else "copy" if self.target.bucket else "download"
        return Action(kind, str(self.target), str(self.source), self.size)


class Stores:
    """The buckets of a service, each opened once."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._open: dict[str, Storage] = {}

    def __getitem__(self, bucket: str) -> Storage:
        if bucket not in self._open:
            self._open[bucket] = self.service.bucket(bucket)
        return self._open[bucket]


class _Guard:
    """Ends what can only go on failing."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._in_a_row = 0

    def well(self) -> None:
        self._in_a_row = 0

    def failed(self, name: str, error: StorageError | OSError, bucket: str) -> None:
        self._report.fail(name, error, bucket)
        self._in_a_row += 1
        if isinstance(error, StorageError) and (isinstance(error, StorageFull) or is_missing_bucket(error)):
            raise error
        if self._in_a_row >= IN_A_ROW:
            raise Refused(f"{IN_A_ROW} failures in a row; the last: {error}", "mend that, then the same command again")


def copy_all(copies: Sequence[Copy], stores: Stores, report: Report, progress: Callable[[int], None]) -> None:
    """Carry out the copies in parallel. KeyboardInterrupt stops the workers and is raised; what fails is in the report.

    Objects that a manifest vouches for are taken out of it first: the manifest is removed, as the tree is another one.
    """
    uncommit(stores, (copy.target for copy in copies if copy.target.bucket))
    names = {bucket for copy in copies for bucket in (copy.source.bucket, copy.target.bucket) if bucket}
    crew = Crew(max([stores[name].workers for name in names], default=1), progress)
    guard = _Guard(report)

    def carry(copy: Copy) -> None:
        try:
            size = copy_one(copy, stores, crew.advance)
        except Cancelled:
            raise
        except (StorageError, OSError) as error:
            spot = copy.source if isinstance(error, NotFound) and not is_missing_bucket(error) else copy.target
            guard.failed(str(copy.source), error, spot.bucket or copy.source.bucket)
            return
        guard.well()
        report.sent(size)

    try:
        crew.run(carry, copies)
    except (StorageError, Refused) as error:
        _gave_up(report, error)


def copy_one(copy: Copy, stores: Stores, advance: Callable[[int], None]) -> int:
    """Copy one file; its size. Raises StorageErrors."""
    source, target = copy.source, copy.target
    if not source.bucket:
        return stores[target.bucket].upload(source.path, target.path, copy.sha256, advance).size
    if not target.bucket:
        return stores[source.bucket].download(source.path, target.path, copy.sha256, advance).size
    if source.bucket == target.bucket:
        info = stores[source.bucket].copy(source.path, target.path)
        advance(info.size)
        return info.size
    with tempfile.TemporaryDirectory(prefix="launcher-") as folder:
        between = os.path.join(folder, "object")
        stores[source.bucket].download(source.path, between, copy.sha256, advance)
        return stores[target.bucket].upload(between, target.path, copy.sha256).size


def delete_all(spots: Iterable[Spot], stores: Stores, report: Report) -> None:
    """Remove objects and local files; failures are in the report."""
    guard = _Guard(report)
    pending = iter(spots)
    try:
        while batch := list(islice(pending, BATCH)):
            for bucket in sorted({spot.bucket for spot in batch}):
                _delete([spot for spot in batch if spot.bucket == bucket], stores, report, guard)
    except (StorageError, Refused) as error:
        _gave_up(report, error)


def uncommit(stores: Stores, targets: Iterable[Spot]) -> list[str]:
    """Remove the manifests of the trees that these objects lie in; their URLs."""
    folders = {(spot.bucket, spot.path.rpartition("/")[0]) for spot in targets}
    trees: set[tuple[str, str]] = set()
    for bucket, folder in folders:
        while folder and (bucket, folder) not in trees:
            trees.add((bucket, folder))
            folder = folder.rpartition("/")[0]
    removed = []
    for bucket, folder in sorted(trees):
        if is_tree(stores[bucket], folder):
            stores[bucket].delete([manifest_key(folder)])
            removed.append(url(bucket, manifest_key(folder)))
    return removed


def is_tree(storage: Storage, prefix: str) -> bool:
    """Whether a manifest of ours lies beside that folder; a file of the user's that is named like one is none."""
    try:
        with storage.read(manifest_key(prefix), 0, 64) as stream:
            return stream.read(64).startswith(_OURS)
    except StorageError as error:
        if is_missing_bucket(error):
            raise
        return False


def _delete(spots: Sequence[Spot], stores: Stores, report: Report, guard: _Guard) -> None:
    bucket = spots[0].bucket
    if bucket:
        try:
            stores[bucket].delete([spot.path for spot in spots])
        except StorageError as error:
            if len(spots) == 1:
                guard.failed(str(spots[0]), error, bucket)
                return
            for spot in spots:  # which one it is
                _delete([spot], stores, report, guard)
            return
        guard.well()
        report.deleted += len(spots)
        return
    for spot in spots:
        try:
            os.unlink(spot.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            guard.failed(spot.path, error, "")
            continue
        guard.well()
        report.deleted += 1


def _gave_up(report: Report, error: StorageError | Refused) -> None:
    if not any(failure.message == error.message for failure in report.failures):
        report.fail("the rest", error)
    left = report.files - report.copied - report.unchanged - len(report.failures)
    if left > 0:
        report.warnings.append(f"stopped early: {left} files were not tried")
