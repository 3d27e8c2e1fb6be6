"""What is known of an upload in parts, on this machine's disk, so that another process can go on with it.

One file an upload, in `$LAUNCHER_STATE` or `$XDG_STATE_HOME/modelarts-launcher` (`~/.local/state/…`), never beside the
source, which may be read-only. A line for the upload, then a line a part, each appended when OBS has the part; a last
line that is torn is not there. It is locked while an upload uses it. Nothing in it is believed: see `multipart`.

What OBS was told when the upload began (size, sha256 and time of the file) cannot be changed later, so an upload of
another file, or of this one before it changed, is not gone on with: it is `abandoned`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any, BinaryIO, Dict, NamedTuple, Optional

from ..files import lock

_LARGEST = 4 << 20


class Part(NamedTuple):
    """A part that OBS has."""

    sha256: str
    """Of its bytes."""
    etag: str


class Checkpoint:
    """The record of one upload. `upload` is its id, "" for a new one; then `begin` names it."""

    def __init__(self, place: str, name: str, size: int, part_size: int, sha256: str, mtime_ns: int) -> None:
        self._path = os.path.join(_folder(), hashlib.sha256(f"{place}\n{name}".encode()).hexdigest()[:32] + ".jsonl")
        self._head = {"name": name, "place": place, "size": size, "part_size": part_size}
        self._head.update(sha256=sha256, mtime_ns=mtime_ns)
        self._file: Optional[BinaryIO] = None
        self.upload = ""
        self.abandoned = ""
        """The id of an upload to the same name that the record was of; to be aborted before `begin`."""
        self.parts: Dict[int, Part] = {}
        with contextlib.suppress(OSError):
            os.makedirs(_folder(), exist_ok=True)
            file = open(self._path, "a+b", buffering=0)  # noqa: SIM115  # `close` closes it
            if lock(file):
                self._file = file
                self._read()
            else:
                file.close()

    @property
    def is_kept(self) -> bool:
        """Whether another process will find it."""
        return self._file is not None

    def begin(self, upload: str) -> None:
        """A new upload, with no part yet."""
        self.upload = upload
        self.parts = {}
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
                self._append({**self._head, "upload": upload})
                return
            self._file.close()
            self._file = None

    def add(self, number: int, part: Part) -> None:
        self.parts[number] = part
        with contextlib.suppress(OSError):  # a full disk costs sending it again
            self._append([number, part.sha256, part.etag])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """The upload is over."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self.close()

    def _append(self, row: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(row).encode() + b"\n")

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        lines = self._file.read(_LARGEST).split(b"\n")[:-1]
        try:
            head, *rows = [json.loads(line) for line in lines]
            if {name: head.get(name) for name in self._head} != self._head:
                self.abandoned = str(head["upload"])
                return
            self.parts = {int(number): Part(str(sha256), str(etag)) for number, sha256, etag in rows}
            self.upload = str(head["upload"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self.parts = {}


def _folder() -> str:
    base = os.environ.get("LAUNCHER_STATE")
    if base:
        return os.path.join(base, "uploads")
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "modelarts-launcher", "uploads")
