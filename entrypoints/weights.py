"""A trained network from a checkpoint: its weights alone, and only if they are this network's."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Tuple

from jobs import JobError
from jobs.models import Model

SHOWN_DIFFERENCES = 3


def load(model: Model, path: str) -> Any:
    """The network of `model` with the weights of a checkpoint, not in training. MindSpore must have been started.

    JobError, with the difference, unless every parameter of the network is there with its shape and type, and what else
    is there is an optimizer's. (MindSpore's own load_param_into_net takes moments for weights when names are missing.)
    """
    import mindspore

    file = os.path.basename(path)
    try:
        loaded = mindspore.load_checkpoint(path)
    except (ValueError, RuntimeError) as error:
        raise JobError(
            f"MindSpore {mindspore.__version__} cannot read the checkpoint {file}",
            "bring it home anew, python -m launcher pull RUN, or use the MindSpore that wrote it",
        ) from error
    network = model.network()
    parameters: Dict[str, Any] = {parameter.name: parameter for parameter in network.get_parameters()}
    differences = _differences(loaded, parameters)
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        shown = "; ".join(differences[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise JobError(
            f"checkpoint {file} is of another network than {model.name}'s: {shown}",
            "use the code that trained it, or pass a checkpoint of this job",
        )
    for name, parameter in parameters.items():
        parameter.set_data(mindspore.Tensor(loaded[name].asnumpy()))
    network.set_train(False)
    return network


def _differences(there: Dict[str, Any], here: Dict[str, Any]) -> List[str]:
    differences = []
    for name, parameter in here.items():
        if name not in there:
            differences.append(f"it has no {name}")
        elif _kind(there[name]) != _kind(parameter):
            differences.append(f"{name} is {_text(there[name])} there and {_text(parameter)} here")
    for name in sorted(set(there) - set(here)):
        of_optimizer = any(name.endswith("." + known) for known in here) or there[name].asnumpy().size <= 1
        if not of_optimizer and not re.fullmatch(r"learning_rate|global_step|momentum|.*_power", name):
            differences.append(f"it has {name}, which this network has not")
    return differences


def _kind(parameter: Any) -> Tuple[Tuple[int, ...], str]:
    return tuple(parameter.shape), str(parameter.dtype)


def _text(parameter: Any) -> str:
    shape, dtype = _kind(parameter)
    return f"{dtype} {'x'.join(str(side) for side in shape) or 'scalar'}"
