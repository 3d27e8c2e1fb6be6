"""A folder of buckets, as one account: what OBS is to the verbs, on this machine.

A bucket is a folder of the shelf whose name is a bucket's name; hidden folders and others are none. Unlike a
`FileSystemStorage` on its own, a bucket of a shelf is never made by writing to it: only `make_bucket` makes one, as in
OBS.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Iterable, Iterator, List, Optional

from .base import AnyPath, ObjectInfo, Progress
from .errors import Conflict, InvalidUrl, NotFound, StorageError, translated
from .files import RESERVED, is_temporary
from .filesystem import FileSystemStorage, _remove_empty
from .service import Bucket, Leftover, Service
from .urls import check_bucket


class Shelf(Service):
    """The buckets in one folder, which need not be there yet. Anyone who may read the folder may read them all:
    `region` and `public_read` mean nothing here."""

    def __init__(self, folder: AnyPath) -> None:
        self.folder = os.path.abspath(folder)

    def buckets(self) -> List[Bucket]:
        try:
            with translated(f"cannot list {self.folder}"), os.scandir(self.folder) as entries:
                found = [(entry.name, entry.stat()) for entry in entries if _is_bucket(entry)]
        except NotFound:
            return []
        return [Bucket(name, getattr(status, "st_birthtime", status.st_mtime)) for name, status in sorted(found)]

    def make_bucket(self, name: str, region: str = "", public_read: bool = False) -> None:
        path = self._path(name)
        with translated(f"cannot make the bucket {name}"):
            os.makedirs(self.folder, exist_ok=True)
            try:
                os.mkdir(path)
            except FileExistsError:
                raise Conflict(
                    f"there is a bucket {name} already, and it is yours", "use it, or take another name"
                ) from None

    def remove_bucket(self, name: str) -> None:
        path = self._path(name)
        if next(self.bucket(name).list(), None) is not None:
            raise Conflict(f"the bucket {name} is not empty", "remove its objects first")
        if next(self.leftovers(name), None) is not None:
            raise Conflict(f"unfinished writes lie in the bucket {name}", "discard them first, or wait for them to end")
        with translated(f"cannot remove the bucket {name}"):
            if os.path.islink(path):
                os.unlink(path)
                return
            _remove_empty(path)
            if os.path.isdir(path):
                raise Conflict(f"{path} holds what is no object, such as links", "look into the folder, and empty it")

    def bucket(self, name: str) -> ShelfBucket:
        return ShelfBucket(self._path(name), name)

    def presign(self, bucket: str, key: str, seconds: int, method: str = "GET") -> str:
        raise StorageError(
            f"obs://{bucket}/{key} is a file on this machine: there is no URL that others could use",
            "put it into OBS, and sign it there",
        )

    def leftovers(self, bucket: str, prefix: str = "") -> Iterator[Leftover]:
        """Temporary files. When their writing began is not known: `started` is when they were last written to."""
        top = self.bucket(bucket)
        top.require()
        return self._leftovers(top.root, prefix)

    def discard(self, bucket: str, leftover: Leftover) -> None:
        path = os.path.abspath(leftover.id)
        root = self.bucket(bucket).root
        if not is_temporary(os.path.basename(path)) or os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise InvalidUrl(f"{leftover.id} is no leftover of the bucket {bucket}")
        with translated(f"cannot remove {path}"), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, check_bucket(name))

    def _leftovers(self, root: str, prefix: str) -> Iterator[Leftover]:
        for folder, folders, names in os.walk(root):
            folders.sort()
            below = os.path.relpath(folder, root)
            base = "" if below == os.curdir else _decoded(below.split(os.sep)) + "/"
            for name in sorted(filter(is_temporary, names)):
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    continue
                if (base + name).startswith(prefix):
                    yield Leftover(base + name, path, status.st_mtime, status.st_size)


class ShelfBucket(FileSystemStorage):
    """A bucket that must be there: every method raises NotFound where it is not."""

    def __init__(self, root: str, bucket: str) -> None:
        super().__init__(root, bucket)
        self._place = (bucket, os.path.dirname(root))

    def require(self) -> None:
        """NotFound if the bucket is not there."""
        if not os.path.isdir(self.root):
            name, folder = self._place
            raise NotFound(f"there is no bucket {name} in {folder}", "look at its name, or make it")

    def stat(self, key: str, digest: bool = False) -> ObjectInfo:
        self.require()
        return super().stat(key, digest)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.require()
        return super().list(prefix)

    def read(self, key: str, start: int = 0, length: Optional[int] = None) -> BinaryIO:
        self.require()
        return super().read(key, start, length)

    def write(self, key: str, data: bytes) -> ObjectInfo:
        self.require()
        return super().write(key, data)

    def upload(self, path: AnyPath, key: str, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        self.require()
        return super().upload(path, key, sha256, progress)

    def download(self, key: str, path: AnyPath, sha256: str = "", progress: Progress = None) -> ObjectInfo:
        self.require()
        return super().download(key, path, sha256, progress)

    def delete(self, keys: Iterable[str]) -> None:
        self.require()
        super().delete(keys)

    def copy(self, source: str, target: str) -> ObjectInfo:
        self.require()
        return super().copy(source, target)


def _is_bucket(entry: os.DirEntry[str]) -> bool:
    try:
        return check_bucket(entry.name) == entry.name and entry.is_dir()
    except InvalidUrl:
        return False


def _decoded(names: List[str]) -> str:
    """The key of a folder, given the names in which a `FileSystemStorage` keeps it."""
    key = ""
    for name in names:
        long = name.startswith(RESERVED)
        key += name[len(RESERVED) + 1 :] if long else name
        if not name.startswith(RESERVED + "+"):
            key += "/"
    return key[:-1] if key.endswith("/") else key
