"""Making and removing files and folders, and whole files as values."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Iterator, Union

from ._errors import missing, told
from ._trees import Shelf, tree_of
from ._urls import Url, parse

Data = Union[str, bytes]

_appending = threading.Lock()


def read(url: Any, client_id: Any = None, binary: bool = False) -> Data:
    """The whole file, as text (UTF-8) or as bytes."""
    place = parse(url)
    if place.bucket:
        with told(), tree_of(place).store.read(_file_key(place)) as stream:
            data: bytes = stream.read()
    else:
        try:
            with open(place.text, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            raise missing(place.text) from None
    return data if binary else data.decode("utf-8")


def write(url: Any, data: Data, binary: bool = False) -> None:
    """Make or replace a file; text is written as UTF-8."""
    place = parse(url)
    if place.bucket:
        with told():
            tree_of(place).store.write(_file_key(place), _bytes(data))
    else:
        with open(place.text, "wb") as file:
            file.write(_bytes(data))


def append(url: Any, data: Data, binary: bool = False) -> None:
    """Write at the end of a file, which is made if need be."""
    place = parse(url)
    if place.bucket:
        append_bytes(place, _bytes(data))
    else:
        with open(place.text, "ab") as file:
            file.write(_bytes(data))


def append_bytes(place: Url, data: bytes) -> None:
    """Replace an object by itself and `data`. In a local bucket, appending processes wait for each other; in OBS only
    the threads of one process do."""
    tree, key = tree_of(place), _file_key(place)
    with _one_at_a_time(tree):
        old = read(place.text, binary=True) if tree.is_file(key) else b""
        with told():
            tree.store.write(key, _bytes(old) + data)


def make_dirs(url: Any) -> None:
    """Make a folder and those above it; one that is there is fine."""
    place = parse(url)
    _refuse_file(place)
    tree_of(place).make(place.key)


def mk_dir(url: Any) -> None:
    """Make a folder; OSError if the one above it is missing. One that is there is fine."""
    place = parse(url)
    _refuse_file(place)
    tree = tree_of(place)
    above = place.key.rstrip("/").rpartition("/")[0] if place.bucket else os.path.dirname(place.key.rstrip("/")) or "."
    if not tree.is_folder(above):
        raise OSError(f"cannot make {place.text}: there is no folder above it")
    tree.make(place.key)


def remove(url: Any, recursive: bool = False) -> None:
    """Remove a file, or a folder if `recursive`. On OBS, as on the real one, these do nothing, silently: a folder
    without `recursive`, a file written with a slash at its end, and what is not there."""
    place = parse(url)
    tree = tree_of(place)
    if not place.bucket:
        if recursive and tree.is_folder(place.key) and not os.path.islink(place.key.rstrip("/")):
            tree.remove_folder(place.key)
        else:
            tree.remove_file(place.key)
        return
    if not place.key:
        if recursive:
            raise ValueError(f"{place.text} is a whole bucket: name what is to be removed in it")
        return
    if not place.is_folder and tree.is_file(place.key):
        tree.remove_file(place.key)
    elif recursive and tree.is_folder(place.key):
        tree.remove_folder(place.key)


def _file_key(place: Url) -> str:
    if place.is_folder:
        raise IsADirectoryError(f"{place.text} is a folder")
    return place.key


def _refuse_file(place: Url) -> None:
    if tree_of(place).is_file(place.key):
        raise FileExistsError(f"cannot make the folder {place.text}: there is a file of that name")


def _bytes(data: Data) -> bytes:
    return data.encode("utf-8") if isinstance(data, str) else bytes(data)


@contextlib.contextmanager
def _one_at_a_time(tree: Any) -> Iterator[None]:
    with _appending:
        if not isinstance(tree, Shelf):
            yield
            return
        import fcntl

        os.makedirs(tree.store.root, exist_ok=True)
        folder = os.open(tree.store.root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
