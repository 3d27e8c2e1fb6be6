"""The exceptions of `moxing.file`, and how errors of the launcher's storage become them."""

from __future__ import annotations

import contextlib
import errno
from typing import Any, Iterator

from .._house import storage


class Response:
    """What `MoxFileRespException.resp` tells: the fields of the OBS SDK's answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.reason = message
        self.errorCode = code
        self.errorMessage = message
        self.requestId = ""
        self.body = None
        self.header: Any = []

    def __repr__(self) -> str:
        return f"stat:{self.status} errorCode:{self.errorCode} errorMessage:{self.errorMessage}"


class MoxFileRespException(OSError):
    """OBS answered with a status of 300 or more, which `resp` tells."""

    def __init__(self, message: str, resp: Any = None) -> None:
        super().__init__(message)
        self.resp = resp


class MoxFileNotExistsException(MoxFileRespException, FileNotFoundError):
    """There is no such file, folder or object."""

    errno = errno.ENOENT


class MoxFileReadException(OSError):
    """The bytes did not arrive as they should have."""


class MoxFileNameDuplicateException(OSError):
    """OBS has both `a` and `a/`, which no local folder can hold."""


def missing(url: str, more: str = "") -> MoxFileNotExistsException:
    """The error for what is not there."""
    answer = Response(404, "NoSuchKey", "The specified key does not exist.")
    return MoxFileNotExistsException(f"{url}: {more + ', ' if more else ''}{answer!r}", answer)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn errors of the launcher's storage into moxing's. Names that are refused stay ValueErrors, a full disk and
    other errors of the system stay OSErrors."""
    errors = storage("errors")
    try:
        yield
    except errors.StorageError as error:
        hint = f" ({error.hint})" if error.hint else ""
        text = f"{error.message}{hint}"
        if isinstance(error, errors.NotFound):
            answer = Response(404, "NoSuchKey", error.message)
            raise MoxFileNotExistsException(f"{text}, stat:404 errorCode:NoSuchKey", answer) from error
        if isinstance(error, errors.AccessDenied):
            answer = Response(403, "AccessDenied", error.message)
            raise MoxFileRespException(f"{text}, stat:403 errorCode:AccessDenied", answer) from error
        if isinstance(error, errors.Corrupt):
            raise MoxFileReadException(text) from error
        if isinstance(error, (ValueError, ImportError, OSError)):
            raise
        raise MoxFileRespException(text, Response(500, type(error).__name__, error.message)) from error
