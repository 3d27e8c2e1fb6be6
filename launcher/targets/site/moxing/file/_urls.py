"""URLs as moxing takes them: `obs://`, `s3://` and local paths, in any position."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from .._house import storage


class Url(NamedTuple):
    """A place that a script has named."""

    text: str
    """As it was written."""
    bucket: str
    """Empty for a path of this machine."""
    key: str
    """Without slashes at its ends, and none twice in a row; for a path of this machine, the path."""
    is_folder: bool
    """It ends with a slash, or names a whole bucket."""

    @property
    def name(self) -> str:
        """The last part."""
        return os.path.basename(self.key.rstrip("/"))

    def below(self, name: str) -> str:
        """The text of what lies below this place."""
        return f"{self.text.rstrip('/')}/{name}" if self.bucket else os.path.join(self.text, name)


def is_remote(place: Any) -> bool:
    """Whether this is an `obs://` or `s3://` URL; anything but text is not."""
    return isinstance(place, str) and bool(storage().is_remote(place))


def parse(place: Any) -> Url:
    """Understand a URL or path. ValueError for a bucket or a name that OBS or a local bucket cannot hold."""
    text = os.fspath(place)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not isinstance(text, str) or not text:
        raise ValueError(f"{place!r} is neither a path nor an obs:// URL")
    if not is_remote(text):
        return Url(text, "", text, text.endswith(("/", os.sep)))
    bucket, _, key = text.partition("://")[2].partition("/")
    urls = storage("urls")
    urls.check_bucket(bucket)
    clean = re.sub("/+", "/", key).strip("/")
    if clean:
        urls.check_key(clean)
    return Url(text, bucket, clean, not clean or key.endswith("/"))
