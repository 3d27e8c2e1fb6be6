"""``sync``: make a target hold what a source holds, send only what differs, and delete only when it is safe.

Two files are the same if size and sha256 are; times do not count. Into a folder of a bucket, the tree is committed by
its manifest (`storage.transfer`), so that a sync with nothing new costs one small read. Nothing is deleted unless asked
for, nor after any failure, nor when the source turns out to be empty.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.objects.engine import Copy, Spot, Stores, copy_all, delete_all, uncommit
from launcher.objects.errors import STORAGE, NotFound, Refused, is_missing_bucket
from launcher.objects.filters import Keep, without
from launcher.objects.names import Local, Remote, nothing_at, parse
from launcher.objects.report import Action, Report
from launcher.objects.trees import (
    Item,
    differing,
    extras,
    listing,
    local_files,
    prepare,
    scan_local,
)
from launcher.output import Progress
from launcher.paths import Home
from storage import errors
from storage.base import Storage
from storage.files import hash_file
from storage.manifest import HashCache, Manifest, is_committed, manifest_key, scan
from storage.packing import index_key, shard_key
from storage.transfer import TransferResult, download_tree, send_tree, upload_tree

TRIES = 3
"""How often a tree whose files change meanwhile is looked at anew."""
INDEX, SHARDS = index_key("x")[2:], shard_key("x", "")[2:]
"""Where a packed tree keeps its files, below its prefix."""

_EVERYTHING = (errors.StorageFull, errors.NoCredentials, errors.Unreachable)
"""What concerns not just one file."""

Same = Callable[[Item, Item], bool]
Aim = Callable[[str], Spot]
"""From a path in the tree to where that file lies."""


@dataclass
class Sync:
    """One synchronisation; `run` does it."""

    source: Remote | Local
    target: Remote | Local
    stores: Stores
    report: Report
    home: Home
    progress: Progress
    delete: bool = False
    allow_empty: bool = False
    full: bool = False
    """Compare every object, whatever a manifest says."""
    keep: Keep | None = None
    cache: HashCache | None = None

    def run(self) -> None:
        """Carry it out, or note in the report what would be done. Failures of single files are in the report."""
        if not self.report.dry_run:
            self.home.create()
        with contextlib.ExitStack() as stack:
            if self.home.root.is_dir():
                self.cache = stack.enter_context(HashCache(self.home.hashes))
            if isinstance(self.source, Local):
                self._from_local(self.source)
            else:
                self._from_remote(self.source)

    def _from_local(self, source: Local) -> None:
        if not os.path.isdir(source.path):
            if os.path.exists(source.path):
                raise UsageError(f"{source.path} is a file", f"{STORAGE} cp {source.path} {self.target}")
            raise NotFound(f"there is no folder {source.path}", f"ls {os.path.dirname(source.path.rstrip('/')) or '.'}")
        if not isinstance(self.target, Remote):
            raise UsageError(f"{source} and {self.target} are both on this machine", f"cp -r {source}/. {self.target}")
        self.keep = without(self.keep, source.path, self.home.root)
        target = self.target
        storage = self.stores[target.bucket]
        next(storage.list(target.prefix), None)  # raises if there is no such bucket
        unheard = Report("sync", "")
        first = next(local_files(source.path, self.keep, unheard), None)
        if first is None:
            for failure in unheard.failures:
                self.report.failures.append(failure)
            self._empty()
            return
        if target.key and not self.full and not self.report.dry_run:
            manifest = self._commit(source.path, storage, target)
        else:
            with self.progress(f"reading {source}", 0) as advance:
                manifest = scan_local(source.path, self.keep, self.cache, self.report, advance)
            self._compare_up(source.path, storage, target, manifest)
        self._delete_remote(target, {entry.path for entry in manifest.entries})

    def _commit(self, root: str, storage: Storage, target: Remote) -> Manifest:
        """Send the tree and commit it; what changes all the time or cannot be read is left to the report."""
        if self.keep is None:
            try:
                return self._send(root, storage, target)
            except errors.StorageError as error:
                if is_missing_bucket(error) or isinstance(error, _EVERYTHING):
                    raise
        for _ in range(TRIES):
            before = list(self.report.failures)
            with self.progress(f"reading {root}", 0) as advance:
                manifest = scan_local(root, self.keep, self.cache, self.report, advance)
            try:
                if not is_committed(storage, target.key, manifest):
                    uncommit(self.stores, [Spot(target.key, target.bucket)])
                with self.progress(f"to {target}", manifest.total_bytes) as advance:
                    self._count(upload_tree(root, storage, target.key, manifest, progress=advance))
                return manifest
            except (errors.SourceChanged, errors.NotFound) as error:
                if is_missing_bucket(error):
                    raise
                self.report.failures[:] = before
        self._compare_up(root, storage, target, manifest)
        return manifest

    def _send(self, root: str, storage: Storage, target: Remote) -> Manifest:
        """The quick way, for a tree in which nothing is odd."""
        name = f"to {target}"
        if committed_at(storage, target.key):
            with self.progress(f"reading {root}", 0) as advance:
                manifest = scan(root, cache=self.cache, progress=advance)
            if not is_committed(storage, target.key, manifest):
                uncommit(self.stores, [Spot(target.key, target.bucket)])
            with self.progress(name, manifest.total_bytes) as advance:
                result = upload_tree(root, storage, target.key, manifest, progress=advance)
        else:
            total = sum(found.status.st_size for found in local_files(root, None, Report("sync", "")))
            uncommit(self.stores, [Spot(target.key, target.bucket)])
            with self.progress(name, total) as advance:
                manifest, result = send_tree(root, storage, target.key, self.cache, progress=advance)
        self._count(result)
        return manifest

    def _count(self, result: TransferResult) -> None:
        self.report.files = result.files + len(self.report.failures)
        self.report.unchanged = result.already_there
        self.report.copied, self.report.copied_bytes = result.sent_files, result.sent_bytes

    def _compare_up(self, root: str, storage: Storage, target: Remote, manifest: Manifest) -> None:
        """File by file against a listing; commits only what came through as it was read."""
        there = self._there(storage, target, manifest)
        wanted = [Item(*entry) for entry in manifest.entries]

        def same(item: Item, other: Item) -> bool:
            return item.sha256 == (other.sha256 or storage.stat(target.prefix + item.path, digest=True).sha256)

        self._carry(wanted, there, same, _local(root), _remote(target))
        if target.key and not self.report.dry_run and not self.report.failures:
            storage.write(manifest_key(target.key), manifest.to_json())

    def _from_remote(self, source: Remote) -> None:
        if isinstance(self.target, Local) and os.path.exists(self.target.path) and not os.path.isdir(self.target.path):
            raise UsageError(f"{self.target} is a file", "name a folder")
        if isinstance(self.target, Remote) and _overlap(source, self.target):
            raise UsageError(f"{source} and {self.target} lie in each other", "name folders that do not")
        storage = self.stores[source.bucket]
        local = isinstance(self.target, Local)
        with self.progress(f"listing {source}", 0, "objects") as seen:
            found = listing(storage, source.bucket, source.key, self.keep, self.report, local, seen)
        if not found.items:
            if not self.report.failures and source.key and not (self.delete and self.allow_empty):
                raise nothing_at(source)
            self._empty()
            return
        if isinstance(self.target, Local):
            self._down(storage, source, self.target.path, found.items, found.packed)
        else:
            self._across(storage, source, self.target, found.items)

    def _down(self, storage: Storage, source: Remote, root: str, items: list[Item], packed: Manifest | None) -> None:
        root = os.path.realpath(root)
        fine = prepare(root, items, self.report, source.bucket)
        if packed is not None and not self.report.dry_run and self.keep is None and len(fine) == len(items):
            with self.progress(f"to {self.target}", packed.total_bytes) as advance:
                self._count(download_tree(storage, source.key, root, progress=advance))
        else:
            there = {item.path: Item(item.path, _size(root, item.path), "") for item in fine}

            known = self.cache.recall(root) if self.cache is not None else lambda *_: ""

            def same(item: Item, other: Item) -> bool:
                sha256 = item.sha256 or storage.stat(source.prefix + item.path, digest=True).sha256
                return self._hash(os.path.join(root, *item.path.split("/")), known) == sha256

            self._carry(fine, there, same, _remote(source), _local(root))
        if os.path.isdir(root):
            self._delete_local(root, {item.path for item in items})

    def _across(self, storage: Storage, source: Remote, target: Remote, items: list[Item]) -> None:
        other_storage = self.stores[target.bucket]
        there = self._there(other_storage, target, None)

        def same(item: Item, other: Item) -> bool:
            here = item.sha256 or storage.stat(source.prefix + item.path, digest=True).sha256
            return here == (other.sha256 or other_storage.stat(target.prefix + item.path, digest=True).sha256)

        self._carry(items, there, same, _remote(source), _remote(target))
        self._delete_remote(target, {item.path for item in items})

    def _there(self, storage: Storage, target: Remote, manifest: Manifest | None) -> dict[str, Item]:
        """What lies at the target; a committed tree's hashes are believed unless all is to be compared."""
        start = len(target.prefix)
        found = {
            info.key[start:]: Item(info.key[start:], info.size, info.sha256) for info in storage.list(target.prefix)
        }
        if manifest is not None and target.key and not self.full and is_committed(storage, target.key, manifest):
            found.update({entry.path: Item(*entry) for entry in manifest.entries})
        return found

    def _carry(self, wanted: list[Item], there: dict[str, Item], same: Same, source: Aim, target: Aim) -> None:
        """Copy those that differ, or note it down when it is a dry run."""
        report = self.report
        buckets = [place.bucket for place in (self.source, self.target) if isinstance(place, Remote)]
        workers = max(self.stores[bucket].workers for bucket in buckets)
        with self.progress("comparing", sum(item.size for item in wanted)) as advance:
            items = differing(wanted, there, same, report, workers, advance)
        copies = [Copy(source(item.path), target(item.path), item.size, item.sha256) for item in items]
        report.files = len(copies) + report.unchanged + len(report.failures)
        if report.dry_run:
            report.actions += [copy.action for copy in copies]
            return
        with self.progress(f"to {self.target}", sum(copy.size for copy in copies)) as advance:
            copy_all(copies, self.stores, report, advance)

    def _empty(self) -> None:
        """What a source without a single file comes to."""
        if not self.delete:
            self.report.warnings.append(f"there is no file to copy in {self.source}")
            return
        if not self.allow_empty or self.report.failures:
            raise Refused(
                f"there is no file to copy in {self.source}, and --delete would empty {self.target}",
                "look at the source; if that is what you want: --delete --allow-empty",
            )
        if isinstance(self.target, Remote):
            if not self.report.dry_run:
                uncommit(self.stores, [Spot(self.target.prefix + "x", self.target.bucket)])
            self._delete_remote(self.target, set())
        elif os.path.isdir(self.target.path):
            self._delete_local(os.path.realpath(self.target.path), set())

    def _delete_remote(self, target: Remote, wanted: set[str]) -> None:
        if not self._may_delete():
            return
        storage, start = self.stores[target.bucket], len(target.prefix)
        paths = [info.key[start:] for info in storage.list(target.prefix) if not info.key.endswith("/")]
        kept = set(wanted)
        if target.prefix + INDEX in {target.prefix + path for path in paths} and wanted and not self.report.actions:
            kept.update(path for path in paths if path.startswith(SHARDS))  # the tree is packed: they hold its files
        extra = [path for path in paths if path not in kept and (self.keep is None or self.keep(path))]
        self._delete([Spot(target.prefix + path, target.bucket) for path in extra])

    def _delete_local(self, root: str, wanted: set[str]) -> None:
        if self._may_delete():
            keep = without(self.keep, root, self.home.root)
            self._delete(list(extras(root, wanted, keep, self.report)))

    def _may_delete(self) -> bool:
        if self.delete and self.report.failures:
            self.report.warnings.append("nothing was deleted, because not everything was copied")
        return self.delete and not self.report.failures

    def _delete(self, spots: list[Spot]) -> None:
        if self.report.dry_run:
            self.report.actions += [Action("delete", str(spot)) for spot in spots]
            return
        delete_all(spots, self.stores, self.report)
        for folder in sorted({os.path.dirname(spot.path) for spot in spots if not spot.bucket}, reverse=True):
            with contextlib.suppress(OSError):
                while isinstance(self.target, Local) and folder != os.path.realpath(self.target.path):
                    os.rmdir(folder)
                    folder = os.path.dirname(folder)

    def _hash(self, path: str, known: Callable[[str, os.stat_result], str]) -> str:
        """The sha256 of a local file, remembered for the next time."""
        status, started = os.stat(path), time.time_ns()
        found = known(path, status)
        if found:
            return found
        found = hash_file(path)
        if self.cache is not None:
            self.cache.put(path, status, found, started)
        return found


def named(source: str, target: str) -> tuple[Remote | Local, Remote | Local]:
    """Read the two words. UsageError for names that a sync cannot take."""
    places = (parse(source), parse(target))
    for place in places:
        if isinstance(place, Remote) and place.pattern:
            raise UsageError(f"{place}: sync takes folders, not patterns", "--exclude '*' --include '*.log'")
    return places


def committed_at(storage: Storage, prefix: str) -> bool:
    """Whether some manifest lies beside that folder."""
    try:
        storage.stat(manifest_key(prefix))
    except errors.NotFound as error:
        if is_missing_bucket(error):
            raise
        return False
    return True


def _overlap(one: Remote, other: Remote) -> bool:
    longer, shorter = sorted((one.prefix, other.prefix), key=len, reverse=True)
    return one.bucket == other.bucket and longer.startswith(shorter)


def _remote(place: Remote) -> Aim:
    return lambda path: Spot(place.prefix + path, place.bucket)


def _local(root: str) -> Aim:
    return lambda path: Spot(os.path.join(root, *path.split("/")))


def _size(root: str, path: str) -> int:
    """Of a file that is none but itself; -1 for anything else."""
    try:
        status = os.lstat(os.path.join(root, *path.split("/")))
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1
