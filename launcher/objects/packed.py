"""Single files of packed trees, which are no objects of their own: found by the index of the shards."""

from __future__ import annotations

from launcher.objects.names import stat
from storage import errors
from storage.base import Storage
from storage.packing import index_key, read_packed


def read_file(storage: Storage, key: str) -> bytes | None:
    """The bytes of a small file, verified, if ``key`` names one that lies in a shard; a request for each folder above
    it finds that out. None if it names nothing."""
    folder = key
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if stat(storage, index_key(folder)) is not None:
            try:
                with read_packed(storage, folder, key[len(folder) + 1 :]) as stream:
                    return stream.read()
            except errors.NotFound:
                return None
    return None
