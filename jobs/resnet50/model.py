"""ResNet-50 in use: photographs of ten kinds of things."""

from __future__ import annotations

from typing import Any, Mapping, Tuple

import numpy as np

from jobs.models import Model

from . import Parameters, data


class ResNet50Model(Model):
    """The network and the size of its pictures are parameters of the run."""

    name = "resnet50"
    classes = data.CLASSES

    def __init__(self, parameters: Parameters) -> None:
        self.pictures = data.pictures_of(parameters.image_size)
        self._network = parameters.network

    def of(self, parameters: Mapping[str, Any]) -> Model:
        names = ("network", "image_size")
        return ResNet50Model(Parameters(**{name: parameters[name] for name in names if name in parameters}))

    def network(self) -> Any:
        from .network import build

        return build(self._network)

    def test_set(self, folder: str) -> Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        images, labels = data.read_test(folder)
        return images.transpose(0, 2, 3, 1), labels


MODEL = ResNet50Model(Parameters())
