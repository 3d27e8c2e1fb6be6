"""What the tests of the jobs share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.jobs.digits import write_digits
from tests.jobs.photos import write_photos


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A synthetic MNIST of the test's own."""
    return write_digits(tmp_path / "MNIST")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A synthetic CIFAR-10 of the test's own."""
    return write_photos(tmp_path / "cifar10")


@pytest.fixture(scope="session")
def mindspore() -> object:
    """MindSpore in graph mode on the CPU, in this process."""
    os.environ.setdefault("GLOG_v", "3")
    import mindspore

    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    return mindspore
