"""What can go wrong with bytes, as one tree.

    StorageError                      everything below; `except StorageError` is enough for a caller
    ├── NotFound       FileNotFoundError   no such object, bucket or local file
    ├── Conflict       FileExistsError     a file stands where a folder is wanted, or the other way round
    ├── AccessDenied   PermissionError     it is there, but not for us
    ├── NoCredentials  PermissionError     no keys, or keys that the store does not take
    ├── Unreachable    ConnectionError     no answer, or none but errors, for as long as patience lasts
    ├── StorageFull    OSError             no space or no quota left
    ├── InvalidUrl     ValueError          not a URL or path that can be located
    ├── UnsafeKey      ValueError          a name that could climb out, hide or break on another system
    ├── LinkRefused    ValueError          a link or special file that the symlink policy does not follow
    ├── SourceChanged                      a local file changed, grew or shrank while it was read
    ├── Corrupt                            size or sha256 is not what it must be
    └── BackendMissing ImportError         nothing installed here can reach that URL

Each class also inherits the builtin that fits, so code that knows nothing of this project catches it too.
"""

from __future__ import annotations

import contextlib
import errno as codes
from typing import Dict, Iterator, Tuple, Type


class StorageError(Exception):
    """Base of the tree.

    `message` says what happened, with the user's own value; `hint` says in one line what mends it and may be empty.
    `str()` is the message. Instances survive pickling.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Type[StorageError], Tuple[str, str]]:
        return type(self), (self.message, self.hint)


class NotFound(StorageError, FileNotFoundError):
    """There is no such object, bucket or local file."""

    errno = codes.ENOENT


class Conflict(StorageError, FileExistsError):
    """`a` is an object and `a/b` is wanted, or the other way round; only where keys are files (OBS has no such
    limit)."""

    errno = codes.EEXIST


class AccessDenied(StorageError, PermissionError):
    """It exists, but this user may not read or write it."""

    errno = codes.EACCES


class NoCredentials(StorageError, PermissionError):
    """There are no keys, or the store does not take those that there are."""

    errno = codes.EACCES


class Unreachable(StorageError, ConnectionError):
    """The store did not answer, or only with errors of its own, however often it was asked."""

    errno = codes.ECONNABORTED


class StorageFull(StorageError, OSError):
    """No space or no quota is left; nothing half-written stays behind."""

    errno = codes.ENOSPC


class InvalidUrl(StorageError, ValueError):
    """The text is neither a URL that can be located nor a local path."""


class UnsafeKey(StorageError, ValueError):
    """The name is refused by `storage.urls.check_key`."""


class LinkRefused(StorageError, ValueError):
    """A symbolic link or a special file that the policy in `storage.tree` does not follow."""


class SourceChanged(StorageError):
    """A local file was not the same from the first byte read to the last, or not what it was said to be."""


class Corrupt(StorageError):
    """Bytes that do not have the size or the sha256 that they must have, or a manifest that cannot be trusted."""


class BackendMissing(StorageError, ImportError):
    """No installed back end can serve the URL."""


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an OSError of the block into the StorageError that fits; `what` opens the message ("cannot write x")."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise from_os_error(error, what) from error


def from_os_error(error: OSError, what: str) -> StorageError:
    """The error of the tree for an operating system's error; plain StorageError when none is nearer."""
    kind, hint = _BY_ERRNO.get(error.errno or 0, (StorageError, ""))
    return kind(f"{what}: {error.strerror or error}", hint)


_DENIED = (AccessDenied, "look at the owner and the permissions, or run as the user who owns it")
_FULL = (StorageFull, "free some space and run the same command again: what has arrived whole is kept")
_CONFLICT = (Conflict, "a file and a folder want the same name: rename one of them")

_BY_ERRNO: Dict[int, Tuple[Type[StorageError], str]] = {
    codes.ENOENT: (NotFound, ""),
    codes.EACCES: _DENIED,
    codes.EPERM: _DENIED,
    codes.EROFS: _DENIED,
    codes.ENOSPC: _FULL,
    codes.EDQUOT: _FULL,
    codes.EEXIST: _CONFLICT,
    codes.EISDIR: _CONFLICT,
    codes.ENOTDIR: _CONFLICT,
    codes.ENOTEMPTY: _CONFLICT,
    codes.ELOOP: (LinkRefused, "replace the link with what it should point to"),
}
