"""``/cache`` for jobs that write to it by that name: on ModelArts every job finds an empty one, on a fast disk.

On Linux the worker's process gets a mount namespace of its own in which ``/cache`` is the worker's own folder; that
needs no root where user namespaces are allowed, and nothing outside the process sees it. Where the machine has no
``/cache``, the process gets a root of bind mounts with ``/cache`` added. Where none of this is possible, the job's log
says so.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

NAMED = re.compile(r"""(?<![\w.~/-])/cache(?![\w.-])""")
"""``/cache`` as a place of its own, not ``~/cache`` or ``/cache_old``."""
KNOWS = "LAUNCHER_CACHE"
"""A file that names this variable finds its scratch folder by itself."""
SOURCES = (".py", ".sh", ".yaml", ".yml", ".json", ".toml", ".ini", ".cfg")
LARGEST_SOURCE = 1 << 20

_MOUNT = r"""
set -e
cache=$1 root=$2; shift 2
if [ -d /cache ]; then
    mount --bind "$cache" /cache
else
    here=$PWD
    mkdir -p "$root"
    mount -t tmpfs -o mode=755 launcher "$root"
    for entry in /* /.[!.]*; do
        if [ -L "$entry" ]; then ln -s "$(readlink "$entry")" "$root$entry"
        elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
        elif [ -e "$entry" ]; then : >"$root$entry"; mount --bind "$entry" "$root$entry"
        fi
    done
    mkdir "$root/cache" "$root/.before"
    mount --bind "$cache" "$root/cache"
    cd "$root"
    pivot_root . .before
    umount -l /.before
    rmdir /.before
    cd "$here"
fi
exec "$@"
"""


def is_named(code: Path, words: Sequence[str]) -> bool:
    """Whether the job's code or command line names ``/cache``, other than in files that know LAUNCHER_CACHE."""
    if any(NAMED.search(word) for word in words):
        return True
    for folder, _, names in os.walk(code):
        for name in names:
            if name.endswith(SOURCES) and _has_name(os.path.join(folder, name)):
                return True
    return False


def wrapper(cache: Path, root: Path) -> list[str]:
    """The words before a command that let it see the folder ``cache`` as ``/cache``, in the same process; empty where
    that is not possible. ``root`` is a folder for our use, which may not be there yet."""
    inside = ["/bin/sh", "-c", _MOUNT, "launcher", str(cache), str(root)]
    own = ["--map-user", str(os.getuid()), "--map-group", str(os.getgid())]
    tries = (
        [["unshare", "--mount", *inside]]
        if os.geteuid() == 0
        else [["unshare", "--user", "--map-root-user", "--mount", *inside, "unshare", "--user", *own]]
    )
    tries.append(["unshare", "--user", "--map-root-user", "--mount", *inside])
    for words in tries:
        try:
            done = subprocess.run([*words, "true"], capture_output=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if done.returncode == 0:
            return words
    return []


def is_writable() -> bool:
    """Whether this machine has a ``/cache`` that this user may use, or may make one."""
    return os.access("/cache" if os.path.isdir("/cache") else "/", os.W_OK)


def refusal() -> str:
    """What the job's log says where there can be no ``/cache``."""
    if is_writable():
        return "launcher: this machine allows no mount namespaces, so /cache is the machine's own, shared by all runs\n"
    return (
        "launcher: the job names /cache, which this user cannot write to here, and this machine allows no mount "
        "namespaces.\nlauncher: to mend it: sudo mkdir -m 1777 /cache, or let the script use $LAUNCHER_CACHE\n"
    )


def _has_name(path: str) -> bool:
    try:
        if os.path.getsize(path) > LARGEST_SOURCE:
            return False
        with open(path, encoding="utf-8", errors="replace") as source:
            text = source.read()
    except OSError:
        return False
    return "/cache" in text and KNOWS not in text and NAMED.search(text) is not None
