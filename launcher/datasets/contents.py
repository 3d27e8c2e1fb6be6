"""What every checker asks of a file before it looks inside: is it a file, can it be read, is it no stranger."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from .layout import quoted
from .registry import Problem

HEAD = 512
"""Bytes of a file's beginning that a judge gets."""

Judge = Callable[[bytes, int], Problem | None]
"""The beginning and the size of a file -> what is wrong with it."""


def inspect(path: Path, place: str, again: str, judge: Judge) -> Problem | None:
    """The one problem of the file at ``path``, which the person knows as ``place``; ``again`` fetches it anew."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return _folder_in_place(path, place, again)
        if not stat.S_ISREG(status.st_mode):
            return Problem(place, "is no plain file", again)
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
        stranger = _stranger(head, path)
        if stranger is not None:
            return Problem(place, stranger[0], stranger[1] or again)
        return judge(head, status.st_size)
    except FileNotFoundError:
        return Problem(place, f"is a link to nothing ({os.readlink(path)})", again)
    except OSError as error:
        return Problem(place, f"cannot be read: {error.strerror}", f"chmod u+r {quoted(path)}")


def _stranger(head: bytes, path: Path) -> tuple[str, str] | None:
    """What a file is that is no data at all, and how to mend it ('' to fetch it again)."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    packed = path.with_name(path.name + ".gz")
    if not head:
        return "is empty", ""
    if head.startswith(b"\x1f\x8b"):
        return (
            "is still gzipped, under the plain name",
            f"mv {quoted(path)} {quoted(packed)} && gunzip {quoted(packed)}",
        )
    if head.startswith(b"PK\x03\x04"):
        return "is a zip archive, under the plain name", f"unzip it: {quoted(path)}"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, saved in place of the file", ""
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself", "git lfs pull"
    return None


def _folder_in_place(path: Path, place: str, again: str) -> Problem:
    """Some unpackers make a folder of the file's name, with the file inside."""
    inside = [child for child in sorted(path.iterdir()) if child.is_file() and not child.name.startswith(".")]
    if len(inside) != 1:
        return Problem(place, "is a folder where a file belongs", f"rm -r {quoted(path)}; {again}")
    beside = path.with_name(path.name + ".new")
    mend = f"mv {quoted(inside[0])} {quoted(beside)} && rmdir {quoted(path)} && mv {quoted(beside)} {quoted(path)}"
    return Problem(place, f"is a folder; the file is inside it ({inside[0].name})", mend)
