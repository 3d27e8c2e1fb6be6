"""Which bucket and key a request is about."""

from __future__ import annotations

import re

from .message import decoded

_ADDRESS = re.compile(r"[0-9.]+|\[[0-9a-fA-F:]+\]|localhost|")


def located(host: str, raw_path: str) -> tuple[str, str, bool]:
    """(bucket, key, whether the host names the bucket) of a request.

    `bucket.obs.region.domain` and `bucket.localhost` name one, `obs.region.domain`, an IP address and `localhost` do
    not: then it is the first segment of the path. Of any other host the first label is the bucket.
    """
    name = re.sub(r":\d+$", "", host).lower()
    bucket = _bucket_of(name)
    if bucket:
        return bucket, decoded(raw_path[1:]), True
    first, _, rest = raw_path[1:].partition("/")
    return decoded(first), decoded(rest), False


def _bucket_of(name: str) -> str:
    if _ADDRESS.fullmatch(name) or name.startswith("obs."):
        return ""
    for mark in (".obs.", ".localhost"):
        bucket, found, rest = name.rpartition(mark)
        if found and (mark == ".obs." or not rest):
            return bucket
    return name.partition(".")[0] if "." in name else ""
