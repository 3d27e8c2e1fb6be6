"""Where the emulation stands: the launcher's storage, loaded under a name of its own, and the platform's moxing."""

from __future__ import annotations

import glob
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any, List

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))
_PRIVATE = "_launcher_storage"


def storage(part: str = "") -> Any:
    """The launcher's `storage`, or a module of it, under a private name: a job may well have a `storage` of its own."""
    if _PRIVATE not in sys.modules:
        folder = os.path.join(_ROOT, "storage")
        spec = importlib.util.spec_from_file_location(
            _PRIVATE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"the launcher's storage is not in {_ROOT}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PRIVATE] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_PRIVATE]
            raise
    return importlib.import_module(f"{_PRIVATE}.{part}") if part else sys.modules[_PRIVATE]


def platforms_own(name: str, here: str) -> bool:
    """Load the platform's package in place of this one, if it is on the path. Huawei's has a `framework` or a `file`
    inside; the unrelated package of the same name on PyPI has neither."""
    site = os.path.realpath(os.path.dirname(os.path.dirname(here)))
    others = [entry for entry in sys.path if os.path.realpath(entry or ".") != site]
    spec = importlib.machinery.PathFinder.find_spec(name, others)
    if spec is None or spec.loader is None:
        return False
    folders = list(spec.submodule_search_locations or ())
    inside = ("framework", "file", "file.py")
    if not any(os.path.exists(os.path.join(folder, part)) for folder in folders for part in inside):
        return False
    emulation = sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules[name] = emulation
        raise
    return True


def announce(version: str) -> None:
    """The line that the real one prints on import, saying which one this is."""
    if not silent():
        buckets = os.environ.get("LAUNCHER_BUCKETS", "")
        note(f"Using MoXing-v{version}, the launcher's emulation: obs:// is {'in ' + buckets if buckets else 'OBS'}")
        for path in _stale_locks():
            print(
                f"WARNING:root:{path} is older than this run: a script that waits for it will copy nothing; remove it",
                file=sys.stderr,
                flush=True,
            )


def _stale_locks() -> List[str]:
    """Lock files by which scripts tell the other processes of a node that the data is there. In a container /tmp is
    new; on this machine an earlier run may have left one."""
    try:
        begun = os.stat(os.environ.get("MA_LOG_DIR", "")).st_mtime
        return [path for path in glob.glob("/tmp/copy_sync.lock*") if os.stat(path).st_mtime < begun]
    except OSError:
        return []


def silent() -> bool:
    """Whether the job asked for silence, as the real one's users do."""
    return os.environ.get("MOX_SILENT_MODE", "") not in ("", "0")


def note(text: str) -> None:
    """A line on stderr, shaped as the real one's are."""
    print(f"INFO:root:{text}", file=sys.stderr, flush=True)
