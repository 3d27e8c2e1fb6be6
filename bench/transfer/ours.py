"""Our transfer as a whole process; the same calls as the launcher's own."""

from __future__ import annotations

import sys

from storage.manifest import HashCache, is_committed, scan
from storage.obs import ObsService, ObsSettings


def main(what: str, endpoint: str, folder: str, prefix: str, certificate: str, cache: str) -> None:
    """``up``, ``up-packed``, ``down`` (packed or not, it finds out) or ``sync``."""
    settings = ObsSettings(
        endpoint=endpoint,
        access_key="key",
        secret_key="secretsecret",
        signature="obs",
        addressing="path",
        ca_file=certificate if endpoint.startswith("https") else "",
    )
    bucket = ObsService(settings).bucket("bucket")
    if what == "sync":
        with HashCache(cache) as hashes:
            manifest = scan(folder, cache=hashes)
        if is_committed(bucket, prefix, manifest):
            print(f"{len(manifest.entries)} files, nothing to send")
            return
    # after that: a tree that is there needs none of it
    from storage.transfer import download_tree, send_tree, upload_tree

    if what == "down":
        result = download_tree(bucket, prefix, folder)
    elif what == "sync":
        result = upload_tree(folder, bucket, prefix, manifest)
    else:
        _, result = send_tree(folder, bucket, prefix, pack=what == "up-packed")
    print(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
