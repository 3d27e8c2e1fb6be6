"""What a transfer and its worker processes say to each other: JSON, one value a line, so that nothing that comes out of
a pipe can be more than data."""

from __future__ import annotations

import builtins
import json
import os
import select
import traceback
from typing import Any, Dict, List

from . import errors
from .errors import StorageError


class Lines:
    """The values that come out of a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._poll = select.poll()  # select.select knows no descriptor over 1,023
        self._poll.register(descriptor, select.POLLIN)

    def get(self, seconds: float) -> List[Any]:
        """What has come; nothing when nothing does for so long. EOFError when the other end is closed."""
        if not self._poll.poll(int(seconds * 1000)):
            return []
        data = os.read(self._descriptor, 1 << 16)
        if not data:
            raise EOFError
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return [json.loads(line) for line in lines]


def put(descriptor: int, value: Any) -> None:
    """Say it, all of it."""
    data = memoryview(json.dumps(value, separators=(",", ":")).encode() + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]


def from_error(error: BaseException) -> Dict[str, Any]:
    """An exception as data."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    told: Dict[str, Any] = {
        "kind": type(error).__name__,
        "message": str(error),
        "hint": "",
        "errno": None,
        "trace": trace,
    }
    if isinstance(error, StorageError):
        told.update(message=error.message, hint=error.hint)
    elif isinstance(error, OSError) and error.errno is not None:
        told.update(errno=error.errno, message=error.strerror or "", hint=str(error.filename or ""))
    return told


def to_error(told: Dict[str, Any]) -> BaseException:
    """The same class again, if it is one of ours or Python's own; where it came from is its cause."""
    kind, message, hint = getattr(errors, told["kind"], None), told["message"], told["hint"]
    error: BaseException
    if isinstance(kind, type) and issubclass(kind, StorageError):
        error = kind(message, hint)
    elif told["errno"] is not None:
        error = OSError(told["errno"], message, hint or None)
    else:
        kind = getattr(builtins, told["kind"], None)
        plain = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError)
        error = kind(message) if plain and kind is not None else StorageError(f"{told['kind']}: {message}")
    error.__cause__ = StorageError(f"in a worker process:\n{told['trace']}")
    return error
