"""A training run, from the command line to the exit code, for any job.

    stage in -> import MindSpore and prepare the data -> resume -> compile -> train, publishing -> evaluate

What a run leaves in train_url, under either contract:

    checkpoints/          see `checkpoints`
    metrics.jsonl         a line an epoch: epoch, step, loss, lr, step_ms, samples_per_second, time; perhaps accuracy
    result.json           at the end: accuracy, loss, epochs, seconds, samples_per_second

A run without --resume starts its output anew, unless that has checkpoints of this very run: then the platform has
started it again after a failure, and it goes on by itself. One that continues another output first makes that
checkpoint, and the metrics up to it, its own: whatever becomes of it, it can be continued in turn.

On several devices (see `cluster`) each rank runs this. The first one tells how it goes, finds the checkpoint to resume
from and publishes; all judge a part of the test set, and stop after the same step.

LAUNCHER_DRILL=kill@0.5 in the environment makes a run that starts from scratch kill itself half-way: see `drill`.

Exit codes: 0; 1 after an error, told in two lines; 143 after SIGTERM.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import sys
import time
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from jobs import BadLoss, Epoch, Job, JobError, Trainer

from . import checkpoints, cluster, devices, drill, resuming, scheduler, staging
from .contract import Arguments, Container, explain, parse, scratch_folder
from .metrics import METRICS, Metrics, as_line
from .output import Output
from .staging import Say
from .stopping import ALL_SECONDS, STUCK_SECONDS, StopRequest

STOP_SECONDS = 12.0
"""How long a stopped run may take to send its last files; ModelArts kills it after about 15 s."""

CALL_SECONDS = 0.25
"""How long one call into the trainer may take, as far as can be foreseen; no signal is heard meanwhile."""

PROGRESS_SECONDS = 10.0
"""How often an epoch that takes long says how far it is."""


def main(job: Job, argv: Optional[Sequence[str]] = None) -> int:
    """Run a job as the boot file's arguments say; the exit code."""
    begun = time.monotonic()
    if scheduler.is_scheduler():
        return scheduler.schedule()
    stop = StopRequest()
    scheduler.follow_msrun()
    container = Container.of(os.environ)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        arguments = parse(job, sys.argv[1:] if argv is None else argv, os.environ)
        scratch = stop.scratch = scratch_folder(job.name, os.environ)
        try:
            with stop.watched(STUCK_SECONDS if container.size > 1 else ALL_SECONDS):
                code = Run(job, arguments, container, scratch, stop, begun).go()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except Exception as error:
        code = explain(error, f"rank {container.rank}: " if container.size > 1 else "")
    if container.size > 1 and (code or os.environ.get(scheduler.ROLE)):
        sys.stdout.flush()  # MindSpore's own end waits for other ranks, which may wait for this one, and says much
        os._exit(code)
    return code


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
        self._metrics = Metrics()
        self._seconds = 0.0
        self._steps = 0
        self._steps_per_call = 1
        self._published = 0
        self._published_at = 0.0
        self._kill_step = -1
        self._evaluation: Dict[str, float] = {}
        self._say: Say = say if container.rank == 0 else quiet
        self._note: Say = note if container.rank == 0 else quiet
        self._trainer: Trainer
        self._cluster = cluster.Cluster()
        self._publisher: Optional[checkpoints.Publisher] = None

    def go(self) -> int:
        """Do it; the exit code."""
        ignored = [f"ignored: {argument} is no parameter of {self._job.name}" for argument in self._arguments.unknown]
        for line in ignored + scheduler.notes(self._container, os.environ):
            self._note(line)
        raw = self._read_data()
        for line in self._job.data_lines(raw):
            self._say(line)
        found, source = self._find_checkpoint()
        device, data = self._prepare(raw)
        self._trainer = self._job.trainer(data, self._parameters, device, self._cluster.shard)
        if not self._trainer.steps_per_epoch:
            raise JobError(
                f"the training set does not fill one batch on each of {self._cluster.shard.size} devices",
                f"pass a --batch_size below {self._parameters.batch_size}, or train on fewer devices",
            )
        start, resumed = self._restore(found, device)
        self._trainer.compile()
        self._begin_output(found, source)
        self._kill_step = drill.kill_step(os.environ, self._trainer.steps_per_epoch * self._epochs, resumed)
        self._published_at = time.monotonic()
        self._stop.defer()
        settings = " ".join(f"{name}={value}" for name, value in vars(self._parameters).items())
        for line in self._trainer.advice():
            self._say(line)
        where = f"{device} ({self._cluster.shard.size} devices together)" if self._cluster.shard.size > 1 else device
        self._say(f"training {self._job.name} on {where}: {settings}, {self._trainer.steps_per_epoch} steps per epoch")
        return self._train(start) or self._finish()

    def _prepare(self, raw: Any) -> Tuple[str, Any]:
        """MindSpore on its device, with the other ranks if there are any, and the data as the network takes it."""
        target, place = self._arguments.device_target, self._container
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(self._job.prepare, raw)
            child = None
            if place.size > 1 and (target == "CPU" or (target == "auto" and "Ascend" not in devices.present())):
                child = cluster.prepare(place, os.environ)
            device = devices.start(target, place.device_id, self._note)
            self._cluster = cluster.join(place, device, self._scratch, child)
            return device, prepared.result()

    def _read_data(self) -> Any:
        """The raw data; errors name data_url, wherever the data was copied or unpacked to."""
        url = self._arguments.data_url
        folder = staging.bring(url, self._scratch, self._say)
        try:
            return self._job.read(folder, self._parameters)
        except JobError as error:
            if folder == url:
                raise
            raise JobError(error.message.replace(folder, url), error.hint.replace(folder, url)) from error

    def _find_checkpoint(self) -> Tuple[Optional[checkpoints.Found], Output]:
        """The first rank finds it for all."""
        if self._container.rank:
            return None, self._output
        return resuming.find_checkpoint(self._arguments, self._container, self._output, self._scratch, say, note)

    def _restore(self, found: Optional[checkpoints.Found], device: str) -> Tuple[Position, bool]:
        """Bring the trainer, on every rank, to where the first one's checkpoint is; and whether there is one."""
        position = self._restore_own(found, device)
        if self._cluster.shard.size == 1:
            return position, found is not None
        first = self._cluster.gather((*position, found is not None))[0]
        self._trainer.restore(self._cluster.share(self._trainer.state()))
        return Position(int(first[0]), int(first[1]), first[2]), bool(first[3])

    def _restore_own(self, found: Optional[checkpoints.Found], device: str) -> Position:
        """The same for this rank alone, which also gets ready to publish if it is the first."""
        parameters = {**vars(self._parameters), **devices.describe(device)}
        schedule = {
            "devices": self._cluster.shard.size,
            "steps_per_epoch": self._trainer.steps_per_epoch,
            **{name: parameters[name] for name in self._job.schedule},
        }
        if self._container.rank == 0:
            manifest = checkpoints.Manifest(self._job.name, schedule, (), parameters, self._container.run)
            self._publisher = checkpoints.Publisher(self._output, manifest, self._arguments.keep_last, self._scratch)
        if found is None:
            return Position()
        checkpoints.check_schedule(found, self._job.name, schedule)
        self._trainer.restore(checkpoints.load(found, self._trainer.state()))
        for line in checkpoints.changes(found, parameters):
            say(line)
        self._published = found.checkpoint.step
        epoch, step = divmod(found.checkpoint.step, self._trainer.steps_per_epoch)
        metrics = found.checkpoint.metrics
        return Position(epoch, step, metrics.get("total", metrics.get("loss", 0.0) * step) if step else 0.0)

    def _begin_output(self, found: Optional[checkpoints.Found], source: Output) -> None:
        """Make the output say what is true now; also finds out, before any work is done, whether it can be written."""
        if self._publisher is None:
            return
        own = source is self._output
        if found:
            self._metrics.take_over(source.read(METRICS) or b"", found.checkpoint.step)
        self._publisher.begin(found.manifest.checkpoints if found and own else ())
        self._output.remove(["result.json"])
        self._write_metrics()
        if found and not own:
            self._publisher.adopt(found)
        self._output.flush()

    @property
    def _epochs(self) -> int:
        return int(self._parameters.epochs)

    def _train(self, start: Position) -> int:
        """All epochs that are left; the exit code if the run was stopped, else 0."""
        for epoch in range(start.epoch, self._epochs):
            at = self._train_epoch(start if epoch == start.epoch else Position(epoch))
            code, _ = self._cluster.agree(self._stop.code, 0)
            if code:
                self._stop.code = code  # a request that came meanwhile is not undone
                return self._stopped(at)
            self._publish(at)
        return 0

    def _train_epoch(self, at: Position) -> Position:
        trainer, minutes = self._trainer, self._arguments.checkpoint_minutes
        first, begun = at.step, time.perf_counter()
        told = begun
        while at.step < trainer.steps_per_epoch:
            code, steps = self._cluster.agree(self._stop.code, self._next_steps(at))
            if code:
                self._stop.code = code
                break
            at = self._train_call(at, steps)
            self._output.check()
            if at.step == trainer.steps_per_epoch:
                break
            if time.perf_counter() - told > PROGRESS_SECONDS:
                told = time.perf_counter()
                self._tell(at, told - begun, at.step - first)
            if minutes and time.monotonic() - self._published_at > 60 * minutes:
                self._publish(at)
        seconds = time.perf_counter() - begun
        self._seconds += seconds
        self._steps += at.step - first
        if at.step == trainer.steps_per_epoch:
            record = self._tell(at, seconds, at.step - first)
            epoch = Epoch(at.epoch + 1, at.step - first, seconds, record["samples_per_second"])
            for line in trainer.epoch_lines(epoch):
                self._say(line)
            record.update(self._evaluate_epoch(epoch.number))
            self._metrics.add(record)
            self._write_metrics()
        return at

    def _next_steps(self, at: Position) -> int:
        """As many as the last call's speed promises for CALL_SECONDS."""
        steps = min(self._steps_per_call, self._trainer.steps_per_epoch - at.step)
        to_kill = self._kill_step - at.epoch * self._trainer.steps_per_epoch - at.step
        return min(steps, to_kill) if to_kill > 0 else steps

    def _train_call(self, at: Position, steps: int) -> Position:
        begun = time.perf_counter()
        before = at.epoch * self._trainer.steps_per_epoch
        stop = at.step + steps
        try:
            loss = self._trainer.train(at.epoch, at.step, stop, at.loss)
        except BadLoss as error:
            raise self._astray(error, at.epoch) from error
        if before + stop == self._kill_step:
            drill.kill()
        seconds = max(time.perf_counter() - begun, 1e-6)
        self._steps_per_call = 1 + int(steps * CALL_SECONDS / seconds)
        return Position(at.epoch, stop, loss)

    def _astray(self, error: BadLoss, epoch: int) -> JobError:
        """What to say when the loss is no number; the checkpoints that are on their way arrive first."""
        self._output.flush(STOP_SECONDS)
        self._cluster.leave()
        last = self._publisher.newest() if self._publisher else ""
        return JobError(
            f"the loss is {error.loss} in epoch {epoch + 1}, step {error.step}",
            f"train with a smaller {self._job.rate}"
            + (f"; the last good checkpoint is {last}, and --resume goes on from it" if last else ""),
        )

    def _evaluate_epoch(self, number: int) -> Dict[str, float]:
        """The accuracy after an epoch, if this is one of those that are evaluated."""
        every = self._arguments.evaluate_every
        self._evaluation = {}
        if not every or number % every:
            return {}
        self._evaluation = self._evaluate()
        if not self._evaluation:
            return {}
        self._say(f"epoch {number}/{self._epochs} accuracy {self._evaluation['accuracy']:.4f} on the test set")
        return {"accuracy": self._evaluation["accuracy"]}

    def _evaluate(self) -> Dict[str, float]:
        """Over the whole test set; nothing if the run was asked to stop meanwhile."""
        evaluation, code = self._cluster.evaluate(self._trainer, lambda: self._stop.code)
        self._stop.code = self._stop.code or code
        return evaluation

    def _stopped(self, at: Position) -> int:
        """Publish a last checkpoint; the exit code."""
        deadline = time.monotonic() + STOP_SECONDS
        self._publish(at, STOP_SECONDS)
        arrived = self._output.flush(max(0.0, deadline - time.monotonic()))
        self._cluster.leave()
        self._say(f"stopped by {self._stop.name}; --resume continues after step {self._published}")
        if not arrived:
            note(f"warning: the last checkpoint did not reach {self._output.url} in {STOP_SECONDS:.0f} s")
        return self._stop.code

    def _finish(self) -> int:
        evaluation = self._evaluation or self._evaluate()
        seconds = time.monotonic() - self._begun
        if not evaluation:
            self._output.flush(STOP_SECONDS)
            self._cluster.leave()
            self._say(f"stopped by {self._stop.name} after the last step; --resume evaluates")
            return self._stop.code
        result = {
            "accuracy": evaluation["accuracy"],
            "loss": evaluation["loss"],
            "epochs": self._epochs,
            "seconds": round(seconds, 3),
            "samples_per_second": self._samples_per_second(self._seconds, self._steps),
        }
        if self._publisher:
            self._output.write("result.json", as_line(result))
            self._output.flush()
        self._cluster.leave()
        for line in self._trainer.evaluation_lines(evaluation):
            self._say(line)
        self._say(
            f"accuracy {result['accuracy']:.4f} loss {result['loss']:.4f} on the test set, after {seconds:.1f} s in all"
        )
        return self._stop.code

    def _publish(self, at: Position, patience: Optional[float] = None) -> None:
        """Publish a checkpoint, unless there is none that is newer than the last."""
        step = at.epoch * self._trainer.steps_per_epoch + at.step
        if self._publisher and step > self._published:
            metrics = {"loss": at.loss / at.step, "total": at.loss}
            if self._evaluation and at.step == self._trainer.steps_per_epoch:
                metrics["accuracy"] = self._evaluation["accuracy"]
            if self._publisher.publish(self._trainer.state(), at.epoch + 1, step, metrics, patience):
                self._published = step
        self._published_at = time.monotonic()

    def _tell(self, at: Position, seconds: float, steps: int) -> Dict[str, Any]:
        """Say how an epoch goes; the same for metrics.jsonl. `seconds` and `steps` are those of this process."""
        speed = self._samples_per_second(seconds, steps)
        step_ms = 1000 * seconds / steps
        where = f"epoch {at.epoch + 1}/{self._epochs} step {at.step}"
        self._say(f"{where} loss {at.loss / at.step:.4f} {step_ms:.2f} ms/step {speed or 0:.0f} samples/s")
        step = at.epoch * self._trainer.steps_per_epoch + at.step
        return {
            "epoch": at.epoch + 1,
            "step": step,
            "loss": at.loss / at.step,
            "lr": self._trainer.learning_rate(step - 1),
            "step_ms": round(step_ms, 4),
            "samples_per_second": speed,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _samples_per_second(self, seconds: float, steps: int) -> Optional[float]:
        """Over all devices; None if no step was done."""
        together = self._parameters.batch_size * self._cluster.shard.size
        return round(steps * together / seconds, 1) if steps else None

    def _write_metrics(self) -> None:
        if self._publisher:
            self._output.write(METRICS, self._metrics.encode())


def say(text: str) -> None:
    """A line for people, on stdout."""
    print(text, flush=True)


def note(text: str) -> None:
    """The same, beside the matter, on stderr."""
    print(text, file=sys.stderr, flush=True)


def quiet(_: str) -> None:
    """Nothing: the first rank says it for all."""
