"""The emulated moxing inside the tests' own process, under a name that leaves `import moxing` as it is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
SITE = HOUSE / "launcher" / "targets" / "site"
_NAME = "_emulated_moxing"


def emulated_moxing() -> Any:
    if _NAME not in sys.modules:
        folder = SITE / "moxing"
        spec = importlib.util.spec_from_file_location(
            _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[_NAME]
