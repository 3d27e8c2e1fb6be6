"""LeNet-5 in use: digits, light on dark, in the middle of a square."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from jobs.models import Model

from . import data


class LeNet5Model(Model):
    """See the module's docstring."""

    name = "lenet5"
    pictures = data.PICTURES
    classes = tuple(str(digit) for digit in range(10))

    def network(self) -> Any:
        from .network import LeNet5

        return LeNet5()

    def test_set(self, folder: str) -> Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return tuple(data.read_split(folder, "test", "t10k"))  # type: ignore[return-value]


MODEL = LeNet5Model()
