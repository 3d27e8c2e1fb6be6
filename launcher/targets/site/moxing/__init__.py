"""The launcher's emulation of ModelArts' moxing, for jobs that run on the local target.

Only a local run finds it: `launcher.targets.container` puts the folder above this package at the end of the job's
PYTHONPATH. If the interpreter has the platform's own moxing, that one is loaded in its place. `docs/moxing.md` says
what is emulated, and what is not known of the real one.
"""

from __future__ import annotations

from ._house import announce, platforms_own

LAUNCHER_EMULATION = True
"""By this mark `storage.moxing` tells the emulation from the platform's moxing."""

__version__ = "0.emulated"

if not platforms_own(__name__, __file__):
    from . import file as file

    announce(__version__)
