"""Copies: one file, or a tree, between any two places."""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List, Optional, Sequence, Tuple

from .._house import note, silent, storage
from ._errors import MoxFileNameDuplicateException, missing, told
from ._making import append_bytes, read
from ._trees import tree_of
from ._urls import Url, parse

_THREADS = 8


def copy(src_url: Any, dst_url: Any, client_id: Any = None) -> None:
    """Copy one file; folders above the target are made. IsADirectoryError if either is a folder."""
    source, target = parse(src_url), parse(dst_url)
    tree = tree_of(source)
    if source.is_folder or (not tree.is_file(source.key) and tree.is_folder(source.key)):
        raise IsADirectoryError(f"{source.text} is a folder: copy_parallel copies folders")
    if target.is_folder or (not target.bucket and os.path.isdir(target.text)):
        raise IsADirectoryError(f"{target.text} is a folder: name the file that is to be made")
    copy_file(source, target)


def copy_parallel(
    src_url: Any,
    dst_url: Any,
    file_list: Optional[Sequence[str]] = None,
    threads: Optional[int] = None,
    is_processing: bool = True,
    use_queue: bool = True,
) -> None:
    """Copy what a folder holds into another, which may have files already; or one file.

    `file_list` names the files, relative to the source, that alone are wanted. Threads do the work, whatever
    `is_processing` and `use_queue` say. A file goes to `dst_url` itself, or into it if that is a folder. Empty folders
    are copied too. Every file appears whole or not at all, and the first error stops the copy.
    """
    source, target = parse(src_url), parse(dst_url)
    tree, other = tree_of(source), tree_of(target)
    if not source.is_folder and tree.is_file(source.key):
        into_folder = target.is_folder or (not target.bucket and other.is_folder(target.key))
        copy_file(source, parse(target.below(source.name)) if into_folder else target)
        return
    if not tree.is_folder(source.key):
        raise missing(source.text, "No files to copy")
    items = tree.below(source.key)
    folders = [item.name for item in items if item.is_directory]
    names = [item.name for item in items if not item.is_directory]
    if file_list is not None:
        wanted = [str(name).strip("/") for name in file_list]
        for name in sorted(set(wanted).difference(names)):
            raise missing(source.below(name))
        names, folders = wanted, []
    if not target.bucket:
        _refuse_duplicates(source, names)
    if not names:
        print("WARNING:root:No files to copy", file=sys.stderr, flush=True)
    if not target.bucket or not names:
        other.make(target.key)
    parents = {name[:end] for name in [*names, *folders] for end in _slashes(name)}
    for name in folders:
        if not target.bucket or name not in parents:  # folders of OBS that hold something need no making
            other.make(other.join(target.key, name))
    pairs = [(parse(source.below(name)), parse(target.below(name))) for name in names]
    _copy_all(pairs, _THREADS if threads is None else max(1, min(int(threads), _THREADS)))


def rename(src_url: Any, dst_url: Any) -> None:
    """Move a file or a folder, also between this machine and OBS; a file that is there is replaced, a folder is
    merged."""
    source, target = parse(src_url), parse(dst_url)
    if not source.bucket and not target.bucket:
        os.rename(source.text, target.text)
        return
    tree = tree_of(source)
    is_file = not source.is_folder and tree.is_file(source.key)
    if not is_file and not tree.is_folder(source.key):
        raise missing(source.text)
    if (source.bucket, source.key) == (target.bucket, target.key):
        return
    if is_file:
        copy(source.text, target.text)
        tree.remove_file(source.key)
        return
    if not source.key or (source.bucket == target.bucket and (target.key + "/").startswith(source.key + "/")):
        raise ValueError(f"cannot move {source.text} to {target.text}: a folder cannot be moved into itself")
    copy_parallel(source.text.rstrip("/") + "/", target.text.rstrip("/") + "/")
    tree.remove_folder(source.key)


def append_remote(src_url: Any, dst_url: Any) -> None:
    """Write an object at the end of another one. ValueError unless both are in OBS."""
    source, target = parse(src_url), parse(dst_url)
    if not source.bucket or not target.bucket:
        raise ValueError(f"append_remote needs two objects of OBS, not {source.text} and {target.text}")
    data = read(source.text, binary=True)
    append_bytes(target, data if isinstance(data, bytes) else data.encode("utf-8"))


def copy_file(source: Url, target: Url) -> None:
    """One file, whole or not at all."""
    with told():
        if source.bucket and target.bucket:
            here, there = tree_of(source), tree_of(target)
            if source.bucket == target.bucket:
                here.store.copy(source.key, target.key)
                return
            with tempfile.TemporaryDirectory(prefix="moxing-") as folder:
                path = os.path.join(folder, "object")
                here.store.download(source.key, path)
                there.store.upload(path, target.key)
        elif source.bucket:
            tree_of(source).store.download(source.key, target.text)
        elif target.bucket:
            tree_of(target).store.upload(source.text, target.key)
        else:
            files = storage("files")
            path = os.path.abspath(target.text)
            telling = storage("errors").translated(f"cannot copy {source.text} to {path}")
            with telling, files.SourceFile(source.text) as opened, files.replacing(path) as written:
                for chunk in opened:
                    written.write(chunk)
                opened.finish()


def _copy_all(pairs: List[Tuple[Url, Url]], threads: int) -> None:
    if threads == 1:
        for source, target in pairs:
            copy_file(source, target)
        return
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(copy_file, source, target) for source, target in pairs]
        try:
            for number, done in enumerate(running, 1):
                done.result()
                if number % 1000 == 0 and not silent():
                    note(f"Copied {number} of {len(running)} files")
        except BaseException:
            for waiting in running:
                waiting.cancel()
            raise


def _refuse_duplicates(source: Url, names: Sequence[str]) -> None:
    files = set(names)
    for name in names:
        for end in _slashes(name):
            if name[:end] in files:
                raise MoxFileNameDuplicateException(
                    f"{source.below(name[:end])} is an object and a folder: no local folder can hold both"
                )


def _slashes(name: str) -> List[int]:
    return [place for place, letter in enumerate(name) if letter == "/"]
