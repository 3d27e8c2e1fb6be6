"""Files and folders alike on this machine, in a folder of buckets, and in OBS, which only has keys.

A folder of OBS is a prefix of some key, or an object named `folder/`. In a local bucket it is a folder on the disk: an
empty one is there for all processes, until the last object in it is deleted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat as modes
import time
from typing import Any, Dict, List, NamedTuple, Tuple

from .._house import storage
from ._accounts import open_storage
from ._errors import missing, told
from ._urls import Url

_PAGE = 1000
"""Names that one deletion takes (OBS API reference)."""


class Item(NamedTuple):
    """What lies in a folder; `name` is relative to it, with slashes."""

    name: str
    is_directory: bool
    length: int = 0
    mtime_nsec: int = 0


class Tree:
    """Where a URL leads. A `key` is what `Url.key` is. Errors are those of `_errors`."""

    def is_file(self, key: str) -> bool:
        raise NotImplementedError

    def is_folder(self, key: str) -> bool:
        raise NotImplementedError

    def look(self, key: str) -> Item:
        """Of a file; FileNotFoundError if there is none."""
        raise NotImplementedError

    def children(self, key: str) -> List[Item]:
        """What lies directly in a folder, in order; nothing if there is no folder."""
        raise NotImplementedError

    def below(self, key: str) -> List[Item]:
        """Everything in a folder, at any depth, each folder before what is in it."""
        found: List[Item] = []
        pending = [""]
        while pending:
            folder = pending.pop()
            inside = self.children(self.join(key, folder) if folder else key)
            named = [item._replace(name=f"{folder}/{item.name}" if folder else item.name) for item in inside]
            found.extend(named)
            pending.extend(item.name for item in reversed(named) if item.is_directory)
        return found

    def make(self, key: str) -> None:
        """Make a folder and those above it."""
        raise NotImplementedError

    def remove_file(self, key: str) -> None:
        raise NotImplementedError

    def remove_folder(self, key: str) -> None:
        """With all that is in it."""
        raise NotImplementedError

    @staticmethod
    def join(key: str, name: str) -> str:
        return f"{key}/{name}" if key else name


class Disk(Tree):
    """This machine."""

    def is_file(self, key: str) -> bool:
        return os.path.isfile(key)

    def is_folder(self, key: str) -> bool:
        return os.path.isdir(key)

    def look(self, key: str) -> Item:
        try:
            status = os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(key) from None
        return Item(os.path.basename(key), modes.S_ISDIR(status.st_mode), status.st_size, status.st_mtime_ns)

    def children(self, key: str) -> List[Item]:
        if not os.path.isdir(key):
            return []
        found = []
        for name in sorted(os.listdir(key)):
            path = os.path.join(key, name)
            found.append(Item(name, False) if os.path.islink(path) and _leads_up(path) else self.look(path))
        return found

    def make(self, key: str) -> None:
        os.makedirs(key, exist_ok=True)

    def remove_file(self, key: str) -> None:
        os.remove(key)

    def remove_folder(self, key: str) -> None:
        shutil.rmtree(key)

    @staticmethod
    def join(key: str, name: str) -> str:
        return os.path.join(key, name)


class Bucket(Tree):
    """A bucket of any back end."""

    def __init__(self, store: Any, name: str) -> None:
        self.store = store
        self.name = name

    def is_file(self, key: str) -> bool:
        if not key:
            return False
        try:
            self.look(key)
        except FileNotFoundError:
            return False
        return True

    def is_folder(self, key: str) -> bool:
        if not key:
            return True
        with told():
            return next(iter(self.store.list(key + "/")), None) is not None

    def look(self, key: str) -> Item:
        with told():
            info = self.store.stat(key)
        return Item(key.rpartition("/")[2], False, info.size, int(info.mtime * 1e9))

    def children(self, key: str) -> List[Item]:
        found: Dict[Tuple[str, bool], Item] = {}
        for item in self.below(key):
            head, slash, _ = item.name.partition("/")
            found.setdefault((head, item.is_directory or bool(slash)), item if not slash else Item(head, True))
        return sorted(found.values())

    def below(self, key: str) -> List[Item]:
        base = key + "/" if key else ""
        folders = set()
        found = []
        with told():
            for info in self.store.list(base):
                name = info.key[len(base) :]
                parts = name.split("/")
                for depth in range(1, len(parts)):
                    folder = "/".join(parts[:depth])
                    if folder and folder not in folders:
                        folders.add(folder)
                        found.append(Item(folder, True))
                if name and not name.endswith("/"):
                    found.append(Item(name, False, info.size, int(info.mtime * 1e9)))
        return found

    def make(self, key: str) -> None:
        """An empty object of the name `key/`, as OBS' console makes one."""
        if key:
            with told():
                self.store.put(key + "/", b"", hashlib.sha256().hexdigest(), time.time_ns())

    def remove_file(self, key: str) -> None:
        with told():
            self.store.delete([key])

    def remove_folder(self, key: str) -> None:
        with told():
            keys = [info.key for info in self.store.list(key + "/")]
            self.store.delete(name for name in keys if not name.endswith("/"))
            markers = [name for name in keys if name.endswith("/")]
            for start in range(0, len(markers), _PAGE):
                self.store._delete(markers[start : start + _PAGE])  # `delete` takes no names that end in a slash


class Shelf(Bucket):
    """A bucket that is a folder on this machine, in which folders are folders."""

    def is_folder(self, key: str) -> bool:
        if not key:
            return True
        with told():
            return os.path.isdir(self.store._path(key))

    def children(self, key: str) -> List[Item]:
        filesystem = storage("filesystem")
        found = []
        with told():
            base = key + "/" if key else ""
            for name, path in filesystem._children(self.store._path(key) if key else self.store.root, base):
                status = os.lstat(path)
                if name.endswith("/"):
                    found.append(Item(name[len(base) : -1], True, 0, status.st_mtime_ns))
                else:
                    found.append(Item(name[len(base) :], False, status.st_size, status.st_mtime_ns))
        return sorted(found)

    def below(self, key: str) -> List[Item]:
        return Tree.below(self, key)

    def make(self, key: str) -> None:
        if key:
            with told(), storage("errors").translated(f"cannot make the folder {key} in obs://{self.name}"):
                os.makedirs(self.store._path(key), exist_ok=True)

    def remove_folder(self, key: str) -> None:
        with told():
            self.store.delete([info.key for info in self.store.list(key + "/")])
            path = self.store._path(key)
            storage("filesystem")._remove_empty(path)
            self.store._prune(os.path.dirname(path))


def tree_of(url: Url) -> Any:
    """The tree that a URL is in; Any, because only a bucket has a `store`."""
    if not url.bucket:
        return Disk()
    with told():
        store = open_storage(url.bucket)
    kind = Shelf if isinstance(store, storage("filesystem").FileSystemStorage) else Bucket
    return kind(store, url.bucket)


def _leads_up(path: str) -> bool:
    """Whether a link leads to a folder that it is in, or to nothing."""
    real = os.path.realpath(path)
    above = os.path.realpath(os.path.dirname(path))
    return not os.path.exists(path) or os.path.join(above, "").startswith(os.path.join(real, ""))
