"""Whether a boot file can be given packed data: read off the code that goes up, which is never run here."""

from __future__ import annotations

import warnings

from launcher.snapshot import Snapshot

UNPACKER = "entrypoints/staging.py"
"""The file that unpacks; a project with an older copy of our entry points does not have it."""


def unpacks(boot_file: str, snapshot: Snapshot) -> bool:
    """Whether the boot file hands its data to ``entrypoints.training``, in code that has what unpacks it.

    True only if it calls ``main`` of that module by a name that it was imported under: a script that merely uses
    another part of ours, or reaches ``main`` in a roundabout way, sees plain files, which every script can read.
    """
    paths = {entry.path for entry in snapshot.manifest.entries}
    if not {UNPACKER, "entrypoints/training.py"} <= paths:
        return False
    source = snapshot.rewritten.get(boot_file)
    return _calls_main(source if source is not None else (snapshot.project / boot_file).read_bytes())


def _calls_main(source: bytes) -> bool:
    import ast

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = list(ast.walk(ast.parse(source)))
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level:
            wanted, end = {"entrypoints.training": ("main", ""), "entrypoints": ("training", ".main")}.get(
                node.module or "", ("", "")
            )
            names |= {(alias.asname or alias.name) + end for alias in node.names if alias.name == wanted}
        elif isinstance(node, ast.Import):
            names |= {f"{a.asname or a.name}.main" for a in node.names if a.name == "entrypoints.training"}
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) in names for node in nodes) if names else False
