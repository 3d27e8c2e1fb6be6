"""A network with its optimizer: the state of a training, and how good the network is."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn

from jobs import ALONE, Shard, State, Trainer, never

Part = Callable[[int, int], "np.ndarray[Any, Any]"]
"""The test pictures from one number to another, as the network takes them."""


class NetworkTrainer(Trainer):
    """What every trainer of a MindSpore network has."""

    def __init__(self, network: nn.Cell, optimizer: nn.Optimizer, shard: Shard = ALONE) -> None:
        self.shard = shard
        self._network = network
        self._optimizer = optimizer

    def state(self) -> State:
        return {name: parameter.asnumpy().copy() for name, parameter in self._stateful().items()}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, parameter in self._stateful().items():
            parameter.set_data(ms.Tensor(state[name]))

    def judge(
        self, pictures: Part, labels: np.ndarray[Any, Any], batch: int, stop: Callable[[], bool] = never
    ) -> Dict[str, float]:
        """See `Trainer.evaluate`; the pictures go through in batches of one size, the last one filled up.

        `pictures` and `labels` are the whole test set; each device judges a stretch of it.
        """
        begin, end = (len(labels) * edge // self.shard.size for edge in (self.shard.rank, self.shard.rank + 1))
        labels = labels[begin:end]
        batch = max(1, min(batch, len(labels)))
        parts = []
        self._network.set_train(False)
        try:
            for start in range(0, len(labels), batch):
                if stop():
                    return {}
                part = pictures(begin + start, begin + min(start + batch, len(labels)))
                full = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), part.dtype)])
                parts.append(self._network(ms.Tensor.from_numpy(full)).asnumpy()[: len(part)])
        finally:
            self._network.set_train(True)
        if not parts:  # more devices than pictures
            return {"accuracy": 0.0, "loss": 0.0, "samples": 0}
        logits = np.concatenate(parts).astype(np.float64)
        peak = logits.max(axis=1)
        losses = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak - logits[np.arange(len(labels)), labels]
        right = float((logits.argmax(axis=1) == labels).mean())
        return {"accuracy": right, "loss": float(losses.mean()), "samples": len(labels)}

    def _stateful(self) -> Dict[str, ms.Parameter]:
        """Weights, moving statistics, moments and the step number. The rate is no state: the parameters have it."""
        found = [*self._network.get_parameters(), *self._optimizer.moments, self._optimizer.global_step]
        return {parameter.name: parameter for parameter in found}
