"""One step of the torture test, in a process that may be killed: `torture_worker.py STEP` with STEP in JSON.

It ends with 0 when the step is done, and with 3 and the error on stderr when storage gave up.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from storage.base import Storage
from storage.errors import StorageError
from storage.hashcache import HashCache
from storage.manifest import scan
from storage.obs import ObsService, ObsSettings
from storage.transfer import download_tree, send_tree, sync_tree, upload_tree

GAVE_UP = 3


def main() -> int:
    """Do the step that the command line names."""
    step: dict[str, Any] = json.loads(sys.argv[1])
    settings = ObsSettings(
        endpoint=step["endpoint"],
        access_key=os.environ["OBS_ACCESS_KEY_ID"],
        secret_key=os.environ["OBS_SECRET_ACCESS_KEY"],
        signature=step["signature"],
        addressing="path",
        timeout=step["timeout"],
    )
    service = ObsService(settings)
    try:
        perform(service.bucket(step["bucket"]), step)
    except StorageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return GAVE_UP
    finally:
        service.close()
    return 0


def perform(storage: Storage, step: dict[str, Any]) -> None:
    """Move the tree, or each of its files, one way."""
    source, prefix, target = Path(step["source"]), step["prefix"], Path(step["target"])
    how = step["how"]
    if how == "upload_tree":
        upload_tree(source, storage, prefix, scan(source))
    elif how == "send_tree":
        with HashCache(step["cache"]) as cache:
            send_tree(source, storage, prefix, cache)
    elif how == "sync_tree":
        sync_tree(source, storage, prefix, {})
    elif how == "upload":
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            storage.upload(path, f"{prefix}/{path.relative_to(source)}")
    elif how == "download_tree":
        download_tree(storage, prefix, target)
    elif how == "download":
        for info in list(storage.list(prefix + "/")):
            storage.download(info.key, target / info.key[len(prefix) + 1 :])
    else:
        raise ValueError(how)


if __name__ == "__main__":
    sys.exit(main())
