"""What the words of a ``storage`` verb name: an object, a folder of objects, a bucket, many objects, a local path.

A key's ``*``, ``?`` and ``[…]`` make a pattern: ``*`` and ``?`` stay within one folder, ``**`` crosses folders. An
object whose name has such characters is still found by its own name, which is tried first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.objects.errors import STORAGE, NotFound, is_missing_bucket, worded
from storage import errors
from storage.base import ObjectInfo, Storage
from storage.urls import ObsUrl, is_remote, local_path

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Remote:
    """``obs://bucket/key``; ``folder`` when it ends with a slash or is a whole bucket."""

    bucket: str
    key: str
    folder: bool

    @property
    def pattern(self) -> bool:
        return _MAGIC.search(self.key) is not None

    @property
    def prefix(self) -> str:
        """What the keys below this folder start with."""
        return self.key + "/" if self.key else ""

    def __str__(self) -> str:
        return url(self.bucket, self.prefix if self.folder else self.key)


@dataclass(frozen=True)
class Local:
    """A path on this machine; ``folder`` when it is written with a slash at its end."""

    path: str
    folder: bool

    def __str__(self) -> str:
        return self.path


def parse(text: str) -> Remote | Local:
    """Read one word. UsageError for a URL that names nothing."""
    with worded():
        if is_remote(text):
            place = ObsUrl.parse(text)
            return Remote(place.bucket, place.key, text.endswith("/") or not place.key)
        path = os.path.expanduser(local_path(text))
        return Local(path, path.endswith(("/", os.sep)))


def parse_remote(text: str) -> Remote:
    """Read one word that must be an OBS URL."""
    with worded():
        ObsUrl.parse(text)
    found = parse(text)
    assert isinstance(found, Remote)
    return found


def url(bucket: str, key: str) -> str:
    """The URL of a key, whatever it looks like."""
    return f"obs://{bucket}/{key}"


def printable(text: str) -> str:
    """What a terminal can show on one line: others may have put anything into a name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def matches(storage: Storage, remote: Remote) -> Iterator[ObjectInfo]:
    """The objects of a pattern, in order; markers of folders (``dir/``) are none."""
    literal = remote.key[: _first_magic(remote.key)]
    wanted = re.compile(translate(remote.key))
    return (info for info in storage.list(literal) if wanted.fullmatch(info.key) and not info.key.endswith("/"))


def fixed_folder(key: str) -> str:
    """The part of a pattern up to the slash before its first wildcard; "" or ends with a slash."""
    return key[: key.rfind("/", 0, _first_magic(key)) + 1]


def translate(pattern: str) -> str:
    """The regular expression of a pattern; a ``[`` that is never closed stands for itself."""
    found, i = [], 0
    while i < len(pattern):
        if pattern.startswith("**/", i) and (i == 0 or pattern[i - 1] == "/"):
            found.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i):
            found.append(".*")
            i += 2
        elif pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            inside = pattern[i + 1 : end]
            negated = inside[0] in "!^"
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
            found.append(f"[^/{body}]" if negated else f"(?!/)[{body}]")
            i = end + 1
        else:
            found.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[i]) or re.escape(pattern[i]))
            i += 1
    return "(?s:" + "".join(found) + ")"


def stat(storage: Storage, key: str, digest: bool = False) -> ObjectInfo | None:
    """The object of that very name, or None; an error if it is the bucket that is missing."""
    try:
        return storage.stat(key, digest)
    except errors.NotFound as error:
        if is_missing_bucket(error):
            raise
        return None


def nothing_at(remote: Remote) -> NotFound:
    """The error for a name that names nothing."""
    if remote.pattern:
        return NotFound(f"nothing matches {remote}", f"* stays within one folder, ** crosses them: {STORAGE} ls -r ...")
    above = url(remote.bucket, remote.key.rpartition("/")[0])
    return NotFound(f"there is nothing at {remote}", f"{STORAGE} ls {above.rstrip('/')}/")


def _first_magic(key: str) -> int:
    found = _MAGIC.search(key)
    return found.start() if found else len(key)
