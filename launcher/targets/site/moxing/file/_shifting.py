"""`shift('os', 'mox')`: Python's own file functions take obs:// and s3:// URLs too."""

from __future__ import annotations

import builtins
import glob as local_glob
import os
import shutil
from typing import Any, Callable, Dict, List, Tuple

from . import _copying, _looking, _making
from ._errors import missing
from ._stream import File
from ._trees import tree_of
from ._urls import is_remote, parse

_originals: Dict[Tuple[Any, str], Any] = {}


def shift(src: str, dst: str) -> None:
    """`shift('os', 'mox')` replaces the functions, for this process; a second time changes nothing. `shift('mox',
    'os')` is `unshift`. Local paths behave exactly as before."""
    if (src, dst) == ("mox", "os"):
        unshift(dst, src)
        return
    if (src, dst) != ("os", "mox"):
        raise ValueError(f"shift({src!r}, {dst!r}): there is only shift('os', 'mox')")
    if _originals:
        return
    for module, name, ours in _table():
        original = getattr(module, name)
        _originals[module, name] = original
        setattr(module, name, _either(original, ours))


def unshift(src: str = "os", dst: str = "mox") -> None:
    """Take `shift` back."""
    for (module, name), original in _originals.items():
        setattr(module, name, original)
    _originals.clear()


def _table() -> List[Tuple[Any, str, Callable[..., Any]]]:
    return [
        (builtins, "open", _open),
        (os, "listdir", lambda path: _looking.list_directory(path)),
        (os, "scandir", lambda path: _Scan(_looking.scan_dir(path))),
        (os, "walk", lambda top, *_, **__: _looking.walk(top)),
        (os, "stat", lambda path, **_: _stat(path)),
        (os, "lstat", lambda path, **_: _stat(path)),
        (os, "makedirs", _makedirs),
        (os, "mkdir", _mkdir),
        (os, "remove", lambda path, **_: _remove(path)),
        (os, "unlink", lambda path, **_: _remove(path)),
        (os, "rename", lambda source, target, **_: _copying.rename(source, target)),
        (os, "replace", lambda source, target, **_: _copying.rename(source, target)),
        (os, "access", lambda path, mode, **_: _looking.exists(path)),
        (os.path, "exists", _looking.exists),
        (os.path, "lexists", _looking.exists),
        (os.path, "isdir", _looking.is_directory),
        (os.path, "isfile", _is_file),
        (os.path, "getsize", _looking.get_size),
        (os.path, "getmtime", lambda path: _looking.stat(path).mtime_nsec / 1e9),
        (os.path, "abspath", lambda path: path),
        (os.path, "realpath", lambda path, **_: path),
        (shutil, "copyfile", _copyfile),
        (shutil, "copy", _copy_into),
        (shutil, "copy2", _copy_into),
        (shutil, "copytree", _copytree),
        (shutil, "rmtree", lambda path, *_, **__: _remove_tree(path)),
        (shutil, "move", lambda source, target, *_, **__: _copying.rename(source, target)),
        (local_glob, "glob", lambda pathname, **_: _looking.glob(pathname)),
        (local_glob, "iglob", lambda pathname, **_: iter(_looking.glob(pathname))),
    ]


def _either(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, unless one of the first two arguments is a URL of OBS."""

    def choose(*args: Any, **kwargs: Any) -> Any:
        given = [*args[:2], *kwargs.values()] if kwargs else args[:2]
        return ours(*args, **kwargs) if any(is_remote(value) for value in given) else original(*args, **kwargs)

    choose.__name__ = getattr(original, "__name__", "choose")
    choose.__doc__ = original.__doc__
    choose.__wrapped__ = original  # type: ignore[attr-defined]
    return choose


class _Scan:
    """`os.scandir` is also a context manager."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> _Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def _open(
    file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None
) -> File:
    if "x" in mode:
        if _looking.exists(file):
            raise FileExistsError(f"{file} is there already")
        mode = mode.replace("x", "w")
    kind = "".join(letter for letter in "rwa" if letter in mode)
    return File(file, kind + ("+" if "+" in mode else "") + ("b" if "b" in mode else ""), encoding, errors, newline)


def _stat(path: str) -> os.stat_result:
    found = _looking.stat(path)
    seconds = found.mtime_nsec / 1e9
    mode = 0o040755 if found.is_directory else 0o100644
    return os.stat_result((mode, 0, 0, 1, 0, 0, found.length, seconds, seconds, seconds))


def _is_file(path: str) -> bool:
    place = parse(path)
    return not place.is_folder and bool(tree_of(place).is_file(place.key))


def _makedirs(name: str, mode: int = 0o777, exist_ok: bool = False) -> None:
    if not exist_ok and _looking.exists(name):
        raise FileExistsError(f"{name} is there already")
    _making.make_dirs(name)


def _mkdir(path: str, mode: int = 0o777, **_: Any) -> None:
    if _looking.exists(path):
        raise FileExistsError(f"{path} is there already")
    _making.mk_dir(path)


def _remove(path: str) -> None:
    if not _is_file(path):
        if _looking.is_directory(path):
            raise IsADirectoryError(f"{path} is a folder")
        raise missing(path)
    _making.remove(path)


def _remove_tree(path: str) -> None:
    if not _looking.is_directory(path):
        raise missing(path)
    _making.remove(path, recursive=True)


def _copyfile(source: Any, target: Any, **_: Any) -> Any:
    _copying.copy(source, target)
    return target


def _copy_into(source: Any, target: Any, **_: Any) -> Any:
    if str(target).endswith("/") or _looking.is_directory(target):
        target = parse(target).below(parse(source).name)
    _copying.copy(source, target)
    return target


def _copytree(source: Any, target: Any, *_: Any, **__: Any) -> Any:
    _copying.copy_parallel(source, target)
    return target
