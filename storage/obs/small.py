"""A small file whose size and sha256 are known before: a short way, since a tree may have very many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import Progress
from ..errors import from_os_error
from ..files import sha256_of, write_small
from ..retry import patiently
from . import download

if TYPE_CHECKING:
    from .bucket import ObsStorage


def download_small(bucket: ObsStorage, key: str, path: str, size: int, sha256: str, progress: Progress) -> None:
    """`download` of an object of up to `files.SMALL` bytes to an absolute path; the key has passed `check_key`.

    The first try knows what must come. If anything else comes, the others are those of `download`, and so are the
    errors: an answer that is a refusal has been waited for as usual, whatever came short or wrong is asked for again.
    """
    is_first = True

    def once() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            if _fetch(bucket, key, path, size, sha256):
                if progress is not None:
                    progress(size)
                return
        download.download(bucket, key, path, sha256, progress)

    patiently(once)


def _fetch(bucket: ObsStorage, key: str, path: str, size: int, sha256: str) -> bool:
    """Whether the object came at once as it must be, and is the file now; else nothing has happened."""
    opened = bucket.channel.open_once(f"cannot read {bucket.label(key)}", "read", lambda: bucket.wire.get(key, {}))
    told = opened.headers
    try:
        if opened.status != 200 or told.get("content-length") != str(size) or "transfer-encoding" in told:
            return False
        data = opened.read()
    except Exception:  # as in ObjectStream: those that last come again
        return False
    finally:
        opened.close()
    if len(data) != size or sha256_of(data) != sha256:
        return False
    try:
        write_small(path, data)
    except OSError as error:
        raise from_os_error(error, f"cannot write {path}") from error
    return True
