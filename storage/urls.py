"""Names of things in storage: `obs://bucket/key`, and the rules that keep a key inside its root.

Taken literally: nothing in an `obs://` URL is percent-decoded, and `?` and `#` are ordinary characters, because that is
how OBS, obsutil and moxing read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidUrl, UnsafeKey

MAX_KEY_BYTES = 1024
"""OBS: an object name is 1 to 1024 bytes of UTF-8."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters or more: `C://x` is a Windows path
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_PLAIN = re.compile("[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*").fullmatch
"""Most keys, of which nothing needs a closer look."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r".:")  # Windows takes any one character for a drive


@dataclass(frozen=True)
class ObsUrl:
    """An object, a key prefix or (with an empty key) a whole bucket of OBS.

    Always valid: the bucket keeps OBS' naming rules and the key passes `check_key` or is empty; otherwise InvalidUrl or
    UnsafeKey. `str()` and `parse` are each other's inverse.
    """

    bucket: str
    key: str = ""

    def __post_init__(self) -> None:
        check_bucket(self.bucket)
        if self.key:
            check_key(self.key)

    @classmethod
    def parse(cls, text: str) -> ObsUrl:
        """Read `obs://bucket/key` or `s3://bucket/key`; one slash at the end is dropped."""
        if not is_remote(text):
            raise InvalidUrl(f"{text!r} is not an OBS URL", "write it as obs://bucket/key")
        return cls._split(text.partition("://")[2])

    @classmethod
    def parse_console_path(cls, text: str) -> ObsUrl:
        """Read `/bucket/key`, the form that the ModelArts console and API use; it looks like a local path, so never
        guess."""
        if not text.startswith("/"):
            raise InvalidUrl(f"{text!r} is not a console path", "write it as /bucket/key")
        return cls._split(text[1:])

    @classmethod
    def _split(cls, rest: str) -> ObsUrl:
        bucket, _, key = rest.partition("/")
        return cls(bucket, key[:-1] if key.endswith("/") else key)

    def join(self, *parts: str) -> ObsUrl:
        """A URL below this one. Each part is a relative key, `a` or `a/b`; one that could leave raises UnsafeKey."""
        key = self.key
        for part in parts:
            key = join_key(key, part)
        return ObsUrl(self.bucket, key)

    def __truediv__(self, part: str) -> ObsUrl:
        return self.join(part)

    def __str__(self) -> str:
        return f"obs://{self.bucket}/{self.key}" if self.key else f"obs://{self.bucket}"


def is_remote(text: str) -> bool:
    """True for `obs://…` and `s3://…`, whatever the case of the scheme; the rule by which an entrypoint decides to
    copy."""
    match = _SCHEME.match(text)
    return match is not None and match.group(1).lower() in ("obs", "s3")


def local_path(text: str) -> str:
    """The path that a plain path or a `file://` URL names (percent-decoded, as RFC 8089 has it); else InvalidUrl."""
    match = _SCHEME.match(text)
    if match is None:
        path = text
    elif match.group(1).lower() == "file":
        from urllib.parse import unquote  # rarely needed, and not free to import

        host, slash, rest = text[match.end() :].partition("/")
        if host not in ("", "localhost"):
            raise InvalidUrl(f"{text!r} names a file on another host", "write it as file:///path, with three slashes")
        path = unquote(slash + rest)
    else:
        raise InvalidUrl(f"{text!r}: cannot read {match.group(1)}://", "use obs://, s3://, file:// or a local path")
    if not path or "\0" in path:
        raise InvalidUrl(f"{text!r} is not a path", "name a folder, such as ./data")
    return path


def join_key(prefix: str, path: str) -> str:
    """`prefix/path`, or `path` when the prefix is empty; both are checked, so the result lies below the prefix."""
    check_key(path)
    return check_key(f"{prefix}/{path}") if prefix else path


def check_key(key: str) -> str:
    """Return `key` if it is safe as an object name and as a relative path on Linux, macOS and Windows; else UnsafeKey.

    Refused: empty, over 1024 bytes, not encodable as UTF-8; control characters and NUL; a backslash; a slash at
    either end or two in a row; a segment made of dots and spaces only (`.`, `..`, and what Windows shortens to them)
    or starting with a drive (`C:`).
    """
    if len(key) <= MAX_KEY_BYTES and _PLAIN(key):
        return key
    if not key:
        raise UnsafeKey("an object name is empty", "give it a name")
    _check_characters(key)
    for segment in key.split("/"):
        if not segment:
            raise _unsafe(key, "has a slash at an end or two in a row")
        if not segment.strip(". "):
            raise _unsafe(key, f"has the segment {segment!r}, which can mean another folder")
        if _DRIVE.match(segment):
            raise _unsafe(key, "has a drive, as Windows writes it")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if some key that passes `check_key` can start with it; else UnsafeKey. "" and "a/" are fine."""
    if prefix:
        _check_characters(prefix)
        folder, slash, _ = prefix.rpartition("/")
        if slash:
            check_key(folder)
    return prefix


def check_bucket(name: str) -> str:
    """Return `name` if it keeps OBS' rules, else InvalidUrl.

    3 to 63 of `a-z 0-9 . -`, a letter or digit at both ends, no `..`, `.-` or `-.`, not like an IP address (OBS user
    guide, "Creating a bucket").
    """
    if not _BUCKET.fullmatch(name) or _ADDRESS.fullmatch(name) or any(pair in name for pair in ("..", ".-", "-.")):
        raise InvalidUrl(
            f"{name!r} is not a bucket name",
            "3 to 63 small letters, digits, dots and hyphens, starting and ending with a letter or digit",
        )
    return name


def _check_characters(key: str) -> None:
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        raise _unsafe(key, "is not valid UTF-8") from None
    if size > MAX_KEY_BYTES:
        raise _unsafe(key, f"has {size} bytes, over {MAX_KEY_BYTES}")
    if _CONTROL.search(key):
        raise _unsafe(key, "has a control character")
    if "\\" in key:
        raise _unsafe(key, "has a backslash")


def _unsafe(key: str, why: str) -> UnsafeKey:
    shown = repr(key) if len(key) <= 120 else repr(key[:100]) + "…"
    return UnsafeKey(f"the name {shown} {why}", "rename it")
