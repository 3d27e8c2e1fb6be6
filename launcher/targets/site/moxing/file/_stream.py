"""`File`: one file, read or written bit by bit."""

from __future__ import annotations

import io
import os
import tempfile
from typing import Any, Iterable, Iterator, List, Optional

from ._errors import missing, told
from ._making import append_bytes
from ._trees import tree_of
from ._urls import parse

MODES = ("r", "w", "a", "r+", "w+", "a+")
IN_MEMORY = 16 << 20
"""Bytes of an object that are held in memory; larger ones wait in a temporary file."""


class File:
    """An open file, of modes r, w, a, r+, w+, a+, each also with b.

    What is written to OBS is there after `flush` or `close`, and not before: a File that is never closed leaves
    nothing.
    """

    def __init__(
        self,
        name: Any,
        mode: str = "r",
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
    ) -> None:
        plain = mode.replace("b", "").replace("t", "")
        if plain not in MODES or mode.count("b") + mode.count("t") > 1:
            raise ValueError(f"{mode!r} is no mode: take r, w, a, r+, w+ or a+, each also with b")
        self._place = parse(name)
        self.name = self._place.text
        self.mode = mode
        self._kind = plain
        self._changed = False
        self._base = 0
        if not self._place.bucket:
            try:
                raw: Any = open(self._place.text, plain + "b")  # noqa: SIM115 - a File is closed by whoever has it
            except FileNotFoundError:
                if plain[0] == "r":
                    raise missing(self.name) from None
                raise
        else:
            raw = self._open()
        self._raw = raw
        self._file: Any = raw
        if "b" not in mode:
            self._file = io.TextIOWrapper(raw, encoding or "utf-8", errors, newline, write_through=True)
        self.encoding = None if "b" in mode else encoding or "utf-8"

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def read(self, n: Optional[int] = -1) -> Any:
        """Up to `n` bytes or characters; all that is left by default."""
        return self._file.read(-1 if n is None else n)

    def readline(self, size: int = -1) -> Any:
        """One line with its end, empty at the end of the file."""
        return self._file.readline(size)

    def readlines(self, hint: int = -1) -> List[Any]:
        """All lines that are left."""
        return list(self._file.readlines(hint))

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer; how many."""
        return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; the new one."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Where we are."""
        return int(self._file.tell())

    def size(self) -> int:
        """Bytes of the file as this File sees it."""
        here = self._raw.tell()
        end = int(self._raw.seek(0, os.SEEK_END))
        self._raw.seek(here)
        return end

    def write(self, data: Any) -> int:
        """Text, or bytes in the b modes; how much was written."""
        if self._kind[0] == "a":
            self._file.seek(0, os.SEEK_END)
        self._changed = True
        return int(self._file.write(data))

    def writelines(self, lines: Iterable[Any]) -> None:
        """One after the other, with nothing between."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Make visible what was written."""
        if self._kind == "r":
            return
        self._file.flush()
        if self._place.bucket and self._changed:
            self._commit()

    def close(self) -> None:
        """Make visible what was written, and end; a second time does nothing."""
        if self.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def readable(self) -> bool:
        return self._kind in ("r", "r+", "w+", "a+")

    def writable(self) -> bool:
        return self._kind != "r"

    def seekable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.readline, b"" if "b" in self.mode else "")

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _open(self) -> Any:
        """A stream of this machine that stands for the object."""
        tree, key = tree_of(self._place), self._place.key
        if self._place.is_folder:
            raise IsADirectoryError(f"{self.name} is a folder")
        there = self._kind[0] != "w" and tree.is_file(key)
        if self._kind[0] == "r":
            if not there:
                raise missing(self.name)
            if self._kind == "r":
                with told():
                    stream = tree.store.read(key)
                if stream.seekable():
                    return stream
                stream.close()
        local: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - likewise
        if there:
            with told(), tree.store.read(key) as stream:
                for chunk in iter(lambda: stream.read(1 << 20), b""):
                    local.write(chunk)
        self._base = local.tell()
        if self._kind[0] == "r":
            local.seek(0)
        self._changed = not there
        return _Whole(local)

    def _commit(self) -> None:
        here = self._raw.tell()
        end = int(self._raw.seek(0, os.SEEK_END))
        if self._kind[0] == "a":
            self._raw.seek(self._base)
            append_bytes(self._place, self._raw.read())
            self._base = end
        else:
            self._raw.seek(0)
            store = tree_of(self._place).store
            if end <= IN_MEMORY:
                with told():
                    store.write(self._place.key, self._raw.read())
            else:
                self._upload(store)
        self._raw.seek(here)
        self._changed = False

    def _upload(self, store: Any) -> None:
        with tempfile.NamedTemporaryFile(prefix="moxing-") as file:
            for chunk in iter(lambda: self._raw.read(1 << 20), b""):
                file.write(chunk)
            file.flush()
            with told():
                store.upload(file.name, self._place.key)


class _Whole(io.RawIOBase):
    """A spooled file with all that text streams want of a stream."""

    def __init__(self, file: Any) -> None:
        self._local = file

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        return self._local.read(size)

    def read1(self, size: int = -1) -> Any:
        return self._local.read(size)

    def readline(self, size: Optional[int] = -1) -> Any:
        return self._local.readline(-1 if size is None else size)

    def readinto(self, buffer: Any) -> int:
        data = self._local.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return int(self._local.write(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._local.seek(offset, whence)
        return int(self._local.tell())

    def tell(self) -> int:
        return int(self._local.tell())

    def close(self) -> None:
        self._local.close()
        super().close()
