"""As much of MindSpore as `entrypoints` needs, loaded in no time: for tests that start and kill very many runs.

Checkpoints are saved as MindSpore saves them: an older file of that name is deleted first, and the mode is 0400.
"""

import os
import pickle

from .version import __version__ as __version__

GRAPH_MODE = 0


class Tensor:
    def __init__(self, array):
        self.array = array

    def asnumpy(self):
        return self.array


def set_device(target, device_id=0):
    if target != "CPU":
        raise RuntimeError(f"Unsupported device target {target}. This process only supports one of ['CPU']\nmore lines")


def set_context(mode):
    assert mode == GRAPH_MODE


def save_checkpoint(parameters, path):
    if os.path.exists(path):
        os.unlink(path)
    with open(path + ".tmp", "wb") as file:
        pickle.dump({parameter["name"]: parameter["data"].array for parameter in parameters}, file)
    os.rename(path + ".tmp", path)
    os.chmod(path, 0o400)


def load_checkpoint(path):
    with open(path, "rb") as file:
        return {name: Tensor(array) for name, array in pickle.load(file).items()}
