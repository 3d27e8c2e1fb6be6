"""Bytes, wherever they live: in a folder, in a folder of buckets, in OBS.

    storage, prefix = locate("obs://bucket/data/mnist")
    download_tree(storage, prefix, "MNIST")             # storage.transfer

Importing this package is cheap: only the standard library, and no back end until `locate` needs one.
"""

from __future__ import annotations

import importlib
import os
from typing import Optional, Tuple

from .base import AnyPath, ObjectInfo, Progress, Storage
from .errors import BackendMissing, StorageError
from .urls import ObsUrl, is_remote, local_path

__all__ = [
    "BUCKETS_VARIABLE",
    "AnyPath",
    "ObjectInfo",
    "ObsUrl",
    "Progress",
    "Storage",
    "StorageError",
    "is_remote",
    "locate",
]

BUCKETS_VARIABLE = "LAUNCHER_BUCKETS"
"""Environment variable: a folder whose folders are the buckets. Set, it takes the place of OBS."""

_REMOTE_BACKENDS = (
    (__name__ + ".moxing", "moxing comes with ModelArts' images"),
    (__name__ + ".obs", "pip install esdk-obs-python"),
)
"""Import path and what to install, in order of preference. Each module has `open_bucket(name: str) -> Storage`, which
raises BackendMissing when the library that it stands on is not there."""


def locate(url: str, buckets: Optional[AnyPath] = None) -> Tuple[Storage, str]:
    """The back end and the key prefix that `url` names; nothing is opened, read or made yet.

    `obs://bucket/key` and `s3://bucket/key`: in the folder `buckets` or `$LAUNCHER_BUCKETS` if there is one (the
    argument wins), else in OBS itself. A local path or `file://` URL: that folder, and the prefix "".

    Raises InvalidUrl or UnsafeKey for a bad URL, BackendMissing when nothing here can reach OBS.
    """
    if not is_remote(url):
        return _folder(os.path.abspath(local_path(url)), ""), ""
    place = ObsUrl.parse(url)
    shelf = os.fspath(buckets) if buckets is not None else os.environ.get(BUCKETS_VARIABLE, "")
    if shelf:
        return _folder(os.path.join(os.path.abspath(shelf), place.bucket), place.bucket), place.key
    return _remote(place), place.key


def _folder(root: str, bucket: str) -> Storage:
    from .filesystem import FileSystemStorage

    return FileSystemStorage(root, bucket)


def _remote(place: ObsUrl) -> Storage:
    for module, _ in _REMOTE_BACKENDS:
        try:
            storage: Storage = importlib.import_module(module).open_bucket(place.bucket)
        except ImportError:
            continue
        return storage
    raise BackendMissing(
        f"{place} lies in OBS, and nothing installed here can reach OBS",
        "; ".join(install for _, install in _REMOTE_BACKENDS) + f"; or set {BUCKETS_VARIABLE} to a folder of buckets",
    )
