"""`moxing.framework`, by which older scripts reach the same functions."""

from __future__ import annotations

import sys

from .. import file as file

sys.modules[__name__ + ".file"] = file
sys.modules[__name__ + ".file.file_io"] = file.file_io
