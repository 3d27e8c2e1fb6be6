"""In a process of its own: lenet5.onnx (a batch of one) and lenet5.mindir (any batch) of a run's newest checkpoint.

    python make_models.py DATA FOLDER

FOLDER/output is the run's output; FOLDER/models gets the models.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(data: str, folder: Path) -> None:
    from entrypoints import devices, exporting
    from jobs.lenet5.model import MODEL

    devices.start("CPU", 0, print)
    scratch = folder / "scratch"
    scratch.mkdir()
    images = MODEL.test_set(data)[0]
    for form, dynamic in (("onnx", False), ("mindir", True)):
        place = scratch / form
        place.mkdir()
        source = exporting.fetch(str(folder / "output"), "", str(place))
        path, sidecar = exporting.Export(MODEL, source, form, dynamic, images, str(place)).make()
        exporting.publish(path, sidecar, str(folder / "models"), f"lenet5.{form}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
