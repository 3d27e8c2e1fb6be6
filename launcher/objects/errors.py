"""Storage's errors as the verbs end with them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from launcher.errors import ExitCode, LauncherError, UsageError
from storage import errors

STORAGE = "python -m launcher storage"


class NotFound(LauncherError, LookupError):
    """No such bucket, object, folder or file."""

    exit_code = ExitCode.NOT_FOUND


class Refused(LauncherError):
    """It could be done, and would do harm."""


@contextlib.contextmanager
def worded(bucket: str = "") -> Iterator[None]:
    """In the block, a name that cannot be one is a UsageError and what is missing is a NotFound, each with a hint."""
    try:
        yield
    except errors.NotFound as error:
        raise NotFound(error.message, hint_for(error, bucket)) from error
    except (errors.InvalidUrl, errors.UnsafeKey) as error:
        raise UsageError(error.message, error.hint) from error


def hint_for(error: errors.StorageError, bucket: str = "") -> str:
    """The command that mends it, where this is known better here than in ``storage``."""
    if isinstance(error, errors.NotFound) and bucket:
        if is_missing_bucket(error):
            return f"{STORAGE} mb obs://{bucket}, or look at the name: {STORAGE} ls"
        return error.hint or f"{STORAGE} ls obs://{bucket}/"
    return error.hint


def is_missing_bucket(error: errors.StorageError) -> bool:
    """Whether it is the bucket that is not there, and not one of its objects."""
    return isinstance(error, errors.NotFound) and bool(re.search(r"\bno (such )?bucket\b", error.message))
