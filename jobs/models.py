"""A trained network for those who use it: what it sees, what it says, how to build it.

`jobs/NAME/model.py` has a `MODEL`. With it, and a checkpoint, a job can be exported and used; without it, only trained.
"""

from __future__ import annotations

import abc
import importlib
import os
import re
from typing import TYPE_CHECKING, Any, Mapping, Optional, Tuple

import jobs
from jobs import JobError

if TYPE_CHECKING:
    import numpy as np

    from jobs.pictures import Pictures


class Model(abc.ABC):
    """Made without MindSpore; `network` needs it."""

    name: str
    """The job's."""
    pictures: Pictures
    classes: Tuple[str, ...]
    """In the order of the network's outputs."""

    def of(self, parameters: Mapping[str, Any]) -> Model:
        """The same for a run of these parameters of the job, where they change the network or its pictures. May be
        none, or not all of them: the rest are the job's defaults."""
        return self

    @abc.abstractmethod
    def network(self) -> Any:
        """A new `nn.Cell`, from float32 of shape (n, *pictures.shape) to logits of (n, len(classes)), whose parameters
        have the names that they have in a checkpoint."""

    @abc.abstractmethod
    def test_set(self, folder: str) -> Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The test pictures as their files have them, uint8 for `Pictures.prepare`, and the numbers of their classes.
        JobError for anything wrong with the folder."""


def find(name: str, code: str = "", parameters: Optional[Mapping[str, Any]] = None) -> Model:
    """The model of a job, from `jobs/` here or in the project `code`, as a run of these parameters has trained it.
    JobError if there is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise JobError(f"{name!r} is no name of a job", "pass --model=lenet5")
    folder = os.path.join(code, "jobs")
    if code and os.path.isdir(folder) and folder not in jobs.__path__:
        jobs.__path__.append(folder)
    module = f"jobs.{name}.model"
    try:
        found: Model = importlib.import_module(module).MODEL
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):
            raise
        raise JobError(
            f"the job {name!r} cannot be exported or used: there is no jobs/{name}/model.py",
            "write it as jobs/models.py says (jobs/lenet5/model.py is one), or pass the project with --code=FOLDER",
        ) from error
    return found.of(parameters or {})
