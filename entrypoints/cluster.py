"""Several devices in one training, on MindSpore's own distributed engine: who takes part, and how they meet.

The platform starts the boot file once for each device, with RANK_ID and RANK_SIZE. They find each other by

    a rank table     on an Ascend: RANK_TABLE_FILE, ModelArts' usual boot mode; read only once its status is `completed`
    msrun            MS_ROLE is set: msrun has started this process (MA_RUN_METHOD=msrun on ModelArts), and one more
                     with this boot file that trains nothing, the scheduler
    a scheduler      else, so on CPUs: the first rank starts one, as msrun would, at MS_SCHED_HOST and MS_SCHED_PORT

From then on all ranks do the same steps, and whatever one of them decides alone, such as when to stop, they agree on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, MutableMapping, Optional, Sequence, Tuple

from jobs import ALONE, JobError, Shard, State, Trainer

from .contract import Container
from .devices import first_line
from .ranktable import rank_table
from .scheduler import LOOPBACK, MEET_SECONDS, ROLE, await_scheduler, ranks_a_node, use_scheduler, watch

if TYPE_CHECKING:
    import numpy as np

PIECE = 1 << 20
"""Numbers in one piece of a state that is shared: 4 MiB."""

LEAVE_SECONDS = 0.5
"""From the last sum until a rank may end: MindSpore gives a sum back while its last message is still on its way."""

Total = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]


class Cluster:
    """The devices of one training, seen from one of them. All must make the same calls in the same order.

    What travels are sums of single-precision numbers, each of which holds 16 bits of the message: so it arrives to the
    bit, whatever it is.
    """

    def __init__(self, shard: Shard = ALONE, total: Optional[Total] = None) -> None:
        self.shard = shard
        self.left = threading.Event()
        """Whether all have come to their end."""
        self._total = total

    @property
    def first(self) -> bool:
        """Whether this is the rank that publishes, and that tells how it goes."""
        return self.shard.rank == 0

    def gather(self, numbers: Sequence[float]) -> List[List[float]]:
        """What each rank gave, by rank; all give equally many."""
        if self._total is None:
            return [list(numbers)]
        import numpy as np

        own = np.array(numbers, np.float64).view(np.uint16)
        slots = np.zeros((self.shard.size, len(own)), np.float32)
        slots[self.shard.rank] = own
        told = self._total(slots).astype(np.uint16).reshape(slots.shape)
        return [row.view(np.float64).tolist() for row in np.ascontiguousarray(told)]

    def agree(self, stop: int, steps: int) -> Tuple[int, int]:
        """The exit code that anybody was asked to stop with, else 0; and the first rank's number of steps."""
        told = self.gather((stop, steps))
        return int(max(row[0] for row in told)), int(told[0][1])

    def leave(self) -> None:
        """Wait until all have come to their end, the first one after it has sent everything: a platform ends the rest
        once one has ended.
        """
        self.gather((0,))
        self.left.set()
        if self._total is not None:
            time.sleep(LEAVE_SECONDS)

    def share(self, state: State) -> State:
        """The first rank's state, on every rank."""
        if self._total is None:
            return state
        import numpy as np

        shared: State = {}
        for name in sorted(state):
            array = state[name]
            words = np.frombuffer(array.tobytes() + b"\0" * (array.nbytes % 2), np.uint16)
            parts = []
            for start in range(0, max(1, len(words)), PIECE):
                piece = np.zeros(_room(len(words)), np.float32)
                if self.first:
                    part = words[start : start + PIECE]
                    piece[: len(part)] = part
                parts.append(self._total(piece).astype(np.uint16))
            data = np.concatenate(parts).tobytes()[: array.nbytes]
            shared[name] = np.frombuffer(data, array.dtype).reshape(array.shape).copy()
        return shared

    def evaluate(self, trainer: Trainer, stop: Callable[[], int]) -> Tuple[Dict[str, float], int]:
        """Over the whole test set, of which each rank judges a part; and the exit code that `stop` gave any of them, in
        which case there is no evaluation.

        Moving statistics are each rank's own, and a checkpoint has the first one's: all judge with these.
        """
        if self._total is not None:
            trainer.restore(self.share(trainer.state()))
        own = trainer.evaluate(lambda: bool(stop()))
        if self._total is None:
            return own, 0
        told = self.gather([own.get(name, 0) for name in ("accuracy", "loss", "samples")] + [0 if own else stop()])
        code = int(max(row[3] for row in told))
        if code:
            return {}, code
        samples = sum(row[2] for row in told)
        accuracy, loss = (sum(row[column] * row[2] for row in told) / samples for column in (0, 1))
        return {"accuracy": accuracy, "loss": loss, "samples": samples}, 0


def join(
    container: Container, device: str, scratch: str, scheduler: "Optional[subprocess.Popen[bytes]]" = None
) -> Cluster:
    """Meet the other ranks of this run, if there are any, and have MindSpore average their gradients.

    MindSpore must have been set to `device`; `scheduler` is what `prepare` gave, if it was called. Blocks until all are
    there; JobError if they do not come.
    """
    if container.size == 1:
        return Cluster()
    if not os.environ.get(ROLE):
        if device == "Ascend":
            _use_rank_table(os.environ, container, scratch)
        else:
            scheduler = use_scheduler(os.environ, container)
    if os.environ.get(ROLE):
        await_scheduler(os.environ, scheduler)
    import mindspore
    from mindspore.communication import get_group_size, get_rank, init

    try:
        with _killable():
            init()
    except (RuntimeError, ValueError) as error:
        raise JobError(
            f"the {container.size} processes of this run did not meet: {first_line(str(error))}",
            "look for the one that ended, in the other logs; or train alone: --nodes 1 --devices 1",
        ) from error
    shard = Shard(get_rank(), get_group_size())
    if shard != (container.rank, container.size):
        raise JobError(
            f"MindSpore counts this process as rank {shard.rank} of {shard.size}, and RANK_ID and RANK_SIZE as "
            f"{container.rank} of {container.size}",
            "start msrun with --node_rank, or set RANK_ID and RANK_SIZE for each process",
        )
    parallel = mindspore.ParallelMode.DATA_PARALLEL
    mindspore.set_auto_parallel_context(parallel_mode=parallel, gradients_mean=True, device_num=shard.size)
    from jobs.shared.together import Sum

    add = Sum()
    cluster = Cluster(shard, lambda numbers: add(mindspore.Tensor(numbers)).asnumpy())
    if scheduler is not None:
        watch(scheduler, cluster.left)
    return cluster


def prepare(container: Container, environ: MutableMapping[str, str]) -> "Optional[subprocess.Popen[bytes]]":
    """What ranks on CPUs need before MindSpore is imported: the scheduler on its way, and processors of their own."""
    environ.setdefault("MS_NODE_TIMEOUT", str(MEET_SECONDS))  # under msrun, too
    scheduler = None if environ.get(ROLE) else use_scheduler(environ, container)
    _pin(container, environ)
    return scheduler


def _use_rank_table(environ: MutableMapping[str, str], container: Container, scratch: str) -> None:
    path = environ.get("RANK_TABLE_FILE", "")
    if not path:
        raise JobError(
            "the run has several devices, and neither RANK_TABLE_FILE nor MS_ROLE says how they meet",
            "set MA_RUN_METHOD: msrun in the environment of job.yaml",
        )
    environ["RANK_TABLE_FILE"] = rank_table(path, container.size, scratch)
    environ.setdefault("RANK_ID", str(container.rank))  # a custom image is not told
    environ.setdefault("RANK_SIZE", str(container.size))


@contextlib.contextmanager
def _killable() -> Iterator[None]:
    """Let signals end the process at once, as they do by default: MindSpore lets no Python run while it waits here."""
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _pin(container: Container, environ: MutableMapping[str, str]) -> None:
    """Give each rank of this machine its share of the processors: threads of two that share them slow each other."""
    here = _ranks_here(container, environ)
    if here > 1 and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        own = processors[container.rank % here :: here] or [processors[container.rank % len(processors)]]
        os.sched_setaffinity(0, own)


def _ranks_here(container: Container, environ: MutableMapping[str, str]) -> int:
    """How many ranks this machine has: all of them if they meet on the loopback, else those of its devices."""
    return container.size if environ.get("MS_SCHED_HOST") == LOOPBACK else ranks_a_node(container, environ)


def _room(words: int) -> int:
    """The size of a piece for so many 16-bit words: few different ones, since MindSpore compiles each anew."""
    room = 64
    while room < min(words, PIECE):
        room *= 8
    return min(room, PIECE)
