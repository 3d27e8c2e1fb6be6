"""A training run, from the command line to the exit code, for any job.

    stage in -> import MindSpore and prepare the data -> resume -> compile -> train, publishing -> evaluate

What a run leaves in train_url, under either contract:

    checkpoints/          see `checkpoints`
    metrics.jsonl         a line an epoch: epoch, step, loss, step_ms, samples_per_second, time
    result.json           at the end: accuracy, loss, epochs, seconds, samples_per_second

A run without --resume starts its output anew. One that continues another output first makes that checkpoint, and the
metrics up to it, its own: whatever becomes of it, it can be continued in turn.

Exit codes: 0; 1 after an error, told in two lines; 143 after SIGTERM.
"""

from __future__ import annotations

import concurrent.futures
import json
import math
import os
import shutil
import signal
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from jobs import Job, JobError, Trainer
from storage import is_remote

from . import checkpoints, devices, staging
from .contract import Arguments, Container, explain, parse, scratch_folder
from .output import Output

STOP_SECONDS = 12.0
"""How long a stopped run may take to send its last files; ModelArts kills it after about 15 s."""

CALL_SECONDS = 0.25
"""How long one call into the trainer may take, as far as can be foreseen; no signal is heard meanwhile."""

PROGRESS_SECONDS = 10.0
"""How often an epoch that takes long says how far it is."""


def main(job: Job, argv: Optional[Sequence[str]] = None) -> int:
    """Run a job as the boot file's arguments say; the exit code."""
    begun = time.monotonic()
    stop = StopRequest()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        arguments = parse(job, sys.argv[1:] if argv is None else argv, os.environ)
        scratch = stop.scratch = scratch_folder(job.name, os.environ)
        try:
            return Run(job, arguments, Container.of(os.environ), scratch, stop, begun).go()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except Exception as error:
        return explain(error)


class StopRequest:
    """SIGTERM and Ctrl-C. Before the first step there is nothing to save, and the process ends at once; from `defer`
    on, `code` becomes the exit code, and whoever trains looks at it often.
    """

    def __init__(self) -> None:
        self.code = 0
        self.scratch = ""
        self._deferred = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def defer(self) -> None:
        self._deferred = True

    def _hear(self, number: int, _: object) -> None:
        self.code = 128 + number
        if not self._deferred:
            # No print, in which the signal may have come, and no exception, which MindSpore may take for its own.
            os.write(2, f"stopped by {signal.Signals(number).name} before the first step\n".encode())
            shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(self.code)


class Position(NamedTuple):
    """How far a training is. Epochs are counted from 0 here, and from 1 in all that people read."""

    epoch: int = 0
    step: int = 0
    """Steps done in this epoch."""
    loss: float = 0.0
    """Sum over these steps."""


class Run:
    """One execution of a job."""

    def __init__(
        self, job: Job, arguments: Arguments, container: Container, scratch: str, stop: StopRequest, begun: float
    ) -> None:
        self._job = job
        self._arguments = arguments
        self._parameters = arguments.parameters
        self._container = container
        self._scratch = scratch
        self._stop = stop
        self._begun = begun
        self._output = Output(arguments.train_url)
        self._metrics: List[Dict[str, Any]] = []
        self._seconds = 0.0
        self._steps = 0
        self._steps_per_call = 1
        self._published = 0
        self._trainer: Trainer
        self._publisher: Optional[checkpoints.Publisher] = None

    def go(self) -> int:
        """Do it; the exit code."""
        for argument in self._arguments.unknown:
            note(f"ignored: {argument} is no parameter of {self._job.name}")
        raw = self._read_data()
        found, source = self._find_checkpoint()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(self._job.prepare, raw)
            device = devices.start(self._arguments.device_target, self._container.device_id, note)
            data = prepared.result()
        self._trainer = self._job.trainer(data, self._parameters, device)
        start = self._restore(found)
        self._trainer.compile()
        self._begin_output(found, source)
        self._stop.defer()
        settings = " ".join(f"{name}={value}" for name, value in vars(self._parameters).items())
        say(f"training {self._job.name} on {device}: {settings}, {self._trainer.steps_per_epoch} steps per epoch")
        return self._train(start) or self._finish()

    def _read_data(self) -> Any:
        """The raw data; errors name data_url, wherever the data was copied or unpacked to."""
        url = self._arguments.data_url
        folder = staging.bring(url, self._scratch, say)
        try:
            return self._job.read(folder, self._parameters)
        except JobError as error:
            if folder == url:
                raise
            raise JobError(error.message.replace(folder, url), error.hint.replace(folder, url)) from error

    def _find_checkpoint(self) -> Tuple[Optional[checkpoints.Found], Output]:
        """The checkpoint to continue from, if any, and the output that it is of."""
        arguments = self._arguments
        places = [arguments.train_url] if arguments.resume else []
        places += [arguments.resume_url] if arguments.resume_url else []
        for place in places:
            source = self._output if _place(place) == _place(arguments.train_url) else Output(place)
            found = checkpoints.newest(source, self._scratch, note)
            if found:
                say(f"resuming from {found.checkpoint.file} of {place}")
                return found, source
            say(f"{place} has no checkpoint to resume from")
        if places:
            say("starting from scratch")
        return None, self._output

    def _restore(self, found: Optional[checkpoints.Found]) -> Position:
        """Bring the trainer to where the checkpoint is, and get ready to publish."""
        names = self._job.schedule
        schedule = {
            "steps_per_epoch": self._trainer.steps_per_epoch,
            **{name: getattr(self._parameters, name) for name in names},
        }
        if self._container.rank == 0:
            self._publisher = checkpoints.Publisher(
                self._output, self._job.name, schedule, self._arguments.keep_last, self._scratch
            )
        if found is None:
            return Position()
        checkpoints.check_schedule(found, self._job.name, schedule)
        self._trainer.restore(checkpoints.load(found, self._trainer.state()))
        self._published = found.checkpoint.step
        epoch, step = divmod(found.checkpoint.step, self._trainer.steps_per_epoch)
        return Position(epoch, step, found.checkpoint.metrics.get("loss", 0.0) * step)

    def _begin_output(self, found: Optional[checkpoints.Found], source: Output) -> None:
        """Make the output say what is true now; also finds out, before any work is done, whether it can be written."""
        if self._publisher is None:
            return
        own = source is self._output
        if found:
            lines = (source.read("metrics.jsonl") or b"").decode().splitlines()
            self._metrics = [line for line in map(_record, lines) if line and line["step"] <= found.checkpoint.step]
        self._publisher.begin(found.manifest.checkpoints if found and own else ())
        self._output.remove(["result.json"])
        self._write_metrics()
        if found and not own:
            self._publisher.adopt(found)
        self._output.flush()

    def _train(self, start: Position) -> int:
        """All epochs that are left; the exit code if the run was stopped, else 0."""
        for epoch in range(start.epoch, self._parameters.epochs):
            position = self._train_epoch(start if epoch == start.epoch else Position(epoch))
            if position.step < self._trainer.steps_per_epoch or self._stop.code:
                return self._stopped(position)
            self._publish(position)
        return 0

    def _train_epoch(self, at: Position) -> Position:
        trainer = self._trainer
        first, begun = at.step, time.perf_counter()
        told = begun
        while at.step < trainer.steps_per_epoch and not self._stop.code:
            at = self._train_call(at)
            if time.perf_counter() - told > PROGRESS_SECONDS and at.step < trainer.steps_per_epoch:
                told = time.perf_counter()
                self._tell(at, told - begun, at.step - first)
        seconds = time.perf_counter() - begun
        self._seconds += seconds
        self._steps += at.step - first
        if at.step == trainer.steps_per_epoch:
            self._metrics.append(self._tell(at, seconds, at.step - first))
            self._write_metrics()
        return at

    def _train_call(self, at: Position) -> Position:
        """As many steps as the last call's speed promises for CALL_SECONDS."""
        begun = time.perf_counter()
        stop = min(at.step + self._steps_per_call, self._trainer.steps_per_epoch)
        loss = at.loss + self._trainer.train(at.epoch, at.step, stop)
        if not math.isfinite(loss):
            raise JobError(f"the loss is {loss} in epoch {at.epoch + 1}, step {stop}", "train with a smaller --lr")
        seconds = max(time.perf_counter() - begun, 1e-6)
        self._steps_per_call = 1 + int((stop - at.step) * CALL_SECONDS / seconds)
        return Position(at.epoch, stop, loss)

    def _stopped(self, at: Position) -> int:
        """Publish a last checkpoint; the exit code."""
        self._publish(at)
        arrived = self._output.flush(STOP_SECONDS)
        say(f"stopped by {signal.Signals(self._stop.code - 128).name}; --resume continues after step {self._published}")
        if not arrived:
            note(f"warning: the last checkpoint did not reach {self._output.url} in {STOP_SECONDS:.0f} s")
        return self._stop.code

    def _finish(self) -> int:
        evaluation = self._trainer.evaluate()
        seconds = time.monotonic() - self._begun
        result = {
            "accuracy": evaluation["accuracy"],
            "loss": evaluation["loss"],
            "epochs": self._parameters.epochs,
            "seconds": round(seconds, 3),
            "samples_per_second": self._samples_per_second(self._seconds, self._steps),
        }
        if self._publisher:
            self._output.write("result.json", _json(result))
            self._output.flush()
        say(
            f"accuracy {result['accuracy']:.4f} loss {result['loss']:.4f} on the test set, after {seconds:.1f} s in all"
        )
        return self._stop.code

    def _publish(self, at: Position) -> None:
        """Publish a checkpoint, unless there is none that is newer than the last."""
        step = at.epoch * self._trainer.steps_per_epoch + at.step
        if self._publisher and step > self._published:
            self._publisher.publish(self._trainer.state(), at.epoch + 1, step, {"loss": at.loss / at.step})
            self._published = step

    def _tell(self, at: Position, seconds: float, steps: int) -> Dict[str, Any]:
        """Say how an epoch goes; the same for metrics.jsonl. `seconds` and `steps` are those of this process."""
        speed = self._samples_per_second(seconds, steps)
        step_ms = 1000 * seconds / steps
        where = f"epoch {at.epoch + 1}/{self._parameters.epochs} step {at.step}"
        say(f"{where} loss {at.loss / at.step:.4f} {step_ms:.2f} ms/step {speed or 0:.0f} samples/s")
        return {
            "epoch": at.epoch + 1,
            "step": at.epoch * self._trainer.steps_per_epoch + at.step,
            "loss": at.loss / at.step,
            "step_ms": round(step_ms, 4),
            "samples_per_second": speed,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _samples_per_second(self, seconds: float, steps: int) -> Optional[float]:
        return round(steps * self._parameters.batch_size / seconds, 1) if steps else None

    def _write_metrics(self) -> None:
        if self._publisher:
            self._output.write("metrics.jsonl", b"".join(_json(record) for record in self._metrics))


def say(text: str) -> None:
    """A line for people, on stdout."""
    print(text, flush=True)


def note(text: str) -> None:
    """The same, beside the matter, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _place(url: str) -> str:
    """The same text for every way to write the same output."""
    return url.rstrip("/").replace("s3://", "obs://") if is_remote(url) else os.path.realpath(url)


def _json(value: object) -> bytes:
    return (json.dumps(value, allow_nan=False) + "\n").encode()


def _record(line: str) -> Optional[Dict[str, Any]]:
    """A line of metrics.jsonl, None for one that is not whole."""
    try:
        record = json.loads(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
