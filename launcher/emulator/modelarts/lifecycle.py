"""The thread that moves jobs through their phases, and the only one that touches their processes.

::

    phase / secondary      until                              then
    Creating / Creating    `creating` s                       Pending; Abnormal / CreateFailed by a fault
    Pending / Queuing      `queuing` s, then staging in       Running, when the processes start
    Running / Running      the processes end                  Completed (0), Failed, or Pending again (a restart)
    Terminating            the processes have ended           Terminated; also what `auto_stop` ends
    deleted                `deleting` s and no process left   forgotten

A stop is taken in the first three. How long a job is Creating or queues is made up, the order is not (SDK, OTC API
reference). A supervisor that was killed makes its job Failed / Lost, or a restart.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from launcher.run import Run
from storage.errors import StorageError

from .faults import Faults
from .objects import Objects
from .runner import Runner, request_of, url_of
from .settings import Settings
from .state import Job, State

LOOK_SECONDS = 0.03
"""How often a job that is not over is looked at."""
REST_SECONDS = 0.5


class Lifecycle:
    """See the module. `wake` after any change that it should see at once."""

    def __init__(
        self,
        state: State,
        runner: Runner,
        objects: Objects,
        faults: Faults,
        settings: Settings,
        say: Callable[[str], None],
    ) -> None:
        self.state, self.runner, self.objects, self.faults = state, runner, objects, faults
        self.settings, self.say = settings, say
        self._changed = threading.Condition()
        self._woken = self._over = False
        self._leaving: dict[str, list[str]] = {}
        self._drawn: set[tuple[str, int]] = set()
        self._spoiled: dict[tuple[str, int], int] = {}
        self._thread = threading.Thread(target=self._live, name="lifecycle", daemon=True)

    def start(self) -> None:
        """Take up the jobs that are there, which an earlier emulator may have left running."""
        self._thread.start()

    def close(self) -> None:
        """Leave the jobs as they are: their processes go on."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _live(self) -> None:
        try:
            self._look_after()
        finally:
            self.runner.close()

    def _look_after(self) -> None:
        while not self._over:
            try:
                rest = self._look()
            except Exception:  # such as a full disk, which the next look may find mended
                self.say(traceback.format_exc())
                rest = REST_SECONDS
            with self._changed:
                if not self._woken and not self._over:
                    self._changed.wait(rest)
                self._woken = False

    def _look(self) -> float:
        """Take every job that is not over a step further; how long to rest before the next look."""
        jobs, rest = self.state.active(), LOOK_SECONDS
        for job in jobs:
            try:
                self._step(job.id)
            except Exception:  # one job's trouble must not stop the others
                self.say(traceback.format_exc())
                rest = REST_SECONDS
                self._fail(job.id)
        self.runner.reap()
        self._dismiss()
        return rest if jobs or self._leaving else REST_SECONDS

    def _dismiss(self) -> None:
        """Keys of jobs that are over open nothing once the supervisor, which may copy the log yet, has ended too."""
        for job_id, keys in list(self._leaving.items()):
            if not self.runner.is_driven(job_id):
                self.objects.dismiss(keys)
                del self._leaving[job_id]

    def _step(self, job_id: str) -> None:
        job, now = self.state.row(job_id), time.time()
        if job is None:
            return
        if job.deleted:
            self._remove(job, now)
        elif job.launched:
            self._follow(job)
        elif job.stop:
            self._move(job, "Terminated")
            self._event(job, "Training job terminated.")
        elif job.phase == "Creating" and now - job.moved >= self.settings.creating:
            self._create(job)
        elif job.phase == "Pending" and now - job.moved >= self.settings.queuing and not self._is_stuck():
            self._launch(job)

    def _is_stuck(self) -> bool:
        return self.faults.find("queue-for-ever") is not None

    def _create(self, job: Job) -> None:
        if self.faults.draw("create-failed", "engine"):
            self._event(job, "Failed to create the training job: the resources could not be prepared.", "Error")
            self._move(job, "Abnormal", "CreateFailed")
            return
        self._event(job, "Training job created.")
        self._event(job, "Training job is queuing, waiting for resources.")
        self._move(job, "Pending", "Queuing")

    def _launch(self, job: Job) -> None:
        run, _ = self.runner.look(job)
        begun = run is not None and run.request.get("attempt") == job.attempt
        if not begun or self.runner.never_began(job):  # else an emulator was killed before it could write it down
            if not job.keys:
                job.keys = self.objects.lend()
                self._save(job)
            if self.faults.draw("obs-forbidden", "engine"):
                self.objects.dismiss(job.keys)
            try:
                self.runner.start(job)
            except Exception as error:
                self._event(job, f"Failed to create the training job: {error}", "Error")
                self._move(job, "Abnormal", "CreateFailed")
                return
        job.attempt += 1
        job.seen, job.statuses, job.launched, job.running = 0, [], True, False
        self._save(job)
        for index in range(job.nodes):
            pod = f"modelarts-job-{job.id}-worker-{index}"
            for what in ("Pulled: Container image pulled", "Created: Created container", "Started: Started container"):
                self._event(job, f"[{pod}] {what}", source="K8S")

    def _follow(self, job: Job) -> None:
        run, steps = self.runner.look(job)
        if run is None:  # somebody has removed the runner's record
            job.launched = False
            self._save(job)
            return
        if run.started_at and not job.running:
            job.running = True
            started = _milliseconds(run.started_at)
            job.spans.append([started, 0])
            job.started = job.started or started
            if job.phase == "Pending":
                job.phase = job.secondary = "Running"
                job.moved = time.time()
            self._event(job, "Training job is running.")
            self._save(job)
        for step in steps[job.seen :]:
            self._tell(job, step)
        if len(steps) > job.seen:
            job.seen = len(steps)
            self._save(job)
        if run.final:
            self._end(job, run)
            return
        if job.stop and run.phase != "Terminating":
            self.runner.stop(job, job.stop == "kill")
        if run.phase == "Terminating" and job.phase in ("Pending", "Running"):  # auto_stop
            self._event(job, "ExecuteAction: Start to execute action TerminateJob", source="K8S")
            self._move(job, "Terminating")
        self._trouble(job, run)
        self._sample(job)

    def _trouble(self, job: Job, run: Run) -> None:
        """Faults of what runs. A node's is drawn once an attempt, a log's each time that it has been copied out."""
        if job.phase != "Running" or not job.spans:
            return
        fault = self.faults.find("node-fault")
        ran = time.time() - job.spans[-1][0] / 1000
        if fault and ran >= fault.number("seconds", 0.5) and (job.id, job.attempt) not in self._drawn:
            self._drawn.add((job.id, job.attempt))
            if self.faults.draw("node-fault", "engine"):
                self._event(job, "Node fault: the training processes are asked to save and end.", "Warning", "K8S")
                self.runner.signal(job, signal.SIGTERM)
        folder = url_of(job.body["spec"]["log_export_path"].get("obs_url", ""))
        if folder and (self.faults.find("log-shrunk") or self.faults.find("log-rotated")):
            for worker in range(job.nodes):
                self._spoil_log(job, worker, folder)

    def _spoil_log(self, job: Job, worker: int, folder: str) -> None:
        shown = self.runner.shown(job.id, worker)
        if not shown.exists() or self._spoiled.get((job.id, worker)) == shown.stat().st_mtime_ns:
            return
        self._spoiled[(job.id, worker)] = shown.stat().st_mtime_ns
        url = folder.rstrip("/") + "/" + shown.name
        if self.faults.draw("log-shrunk", "engine"):
            data = self.objects.read(url) or b""
            self.objects.write(url, data[: len(data) // 2])
        if self.faults.draw("log-rotated", "engine"):
            number = 1
            while self.objects.read(f"{url}.{number}") is not None:
                number += 1
            self.objects.write(f"{url}.{number}", self.runner.rotate(job, worker))

    def _tell(self, job: Job, step: dict[str, str]) -> None:
        """An event, or what else a step of the runner means."""
        at = _milliseconds(step["at"]) / 1000
        words = step["detail"].split()
        if step["step"] == "staged":
            worker, name, seconds = words
            what = "code" if name == "code" else f"input (parameter name: {name})"
            self._event(job, f"[{worker}] Training {what} downloading.", source="Task", at=at - float(seconds))
            done = f"[{worker}] Training {what} downloaded. [time used: {float(seconds):.3f}s]"
            self._event(job, done, source="Task", at=at)
        elif step["step"] == "started":
            self._event(job, f"[{words[0]}] training started.", source="Task", at=at)
        elif step["step"] == "ended":
            self._ended(job, words[0], int(words[1]), at)
        elif step["step"] == "uploading":
            for index in range(job.nodes):
                what = f"[worker-{index}] Training output(parameter name: {words[0]})"
                self._event(job, f"{what} Uploading.", source="Task", at=at)

    def _ended(self, job: Job, task: str, code: int, at: float = 0.0) -> None:
        job.statuses = [status for status in job.statuses if status["task"] != task]
        message = "" if code == 0 else f"training finished with exit code {code}"
        job.statuses.append({"task": task, "exit_code": code, "message": message})
        self._event(job, f"[{task}] Training finished. Exit code {code}.", "Error" if code else "Info", "Task", at)

    def _end(self, job: Job, run: Run) -> None:
        job.launched = False
        ended = _milliseconds(run.ended_at) if run.ended_at else int(time.time() * 1000)
        if job.spans and not job.spans[-1][1]:
            job.spans[-1][1] = max(ended, job.spans[-1][0])
        broken = run.phase in ("Failed", "Abnormal")
        job.reasons = [*job.reasons[: max(0, len(job.spans) - 1)], run.message] if job.spans else []
        if broken and not job.stop and self._may_restart(job, run):
            job.restarts -= 1
            self._event(job, f"Training job restarting: {run.message}", "Warning")
            self._move(job, "Pending", "Queuing")
            return
        for channel in job.body["algorithm"]["outputs"] if run.exit_code is not None else ():
            for index in range(job.nodes):
                what = f"[worker-{index}] Training output(parameter name: {channel['name']})"
                self._event(job, f"{what} uploaded.", source="Task")
        phase, secondary = (run.phase, run.phase) if run.phase != "Abnormal" else ("Failed", "Lost")
        if run.exit_code is not None and not job.statuses:  # on a full disk the runner could note no step
            self._ended(job, "worker-0", run.exit_code)
        if phase == "Failed" and run.exit_code is None:  # it never started: an input or the code could not be fetched
            job.statuses = job.statuses or [{"task": "worker-0", "exit_code": 1, "message": run.message}]
            self._event(job, f"[worker-0] {run.message}", "Error", "Task")
        self._device_logs(job)
        level = "Error" if phase == "Failed" else "Info"
        self._event(job, f"Training job {phase.lower()}.", level)
        self._move(job, phase, secondary)

    def _device_logs(self, job: Job) -> None:
        """What an Ascend job leaves beside its log: what each card's process printed, and CANN's plog.

        File names as Huawei's launcher in the container has them; in which folder they end up in OBS is not known.
        """
        spec = job.body["spec"]
        kind = spec["resource"].get("flavor_detail", {}).get("flavor_type", "Ascend")
        folder = url_of(spec["log_export_path"].get("obs_url", "")).rstrip("/")
        if self.settings.device_logs != "yes" or kind != "Ascend" or not folder or not job.spans:
            return
        began = time.strftime("%Y%m%d%H%M%S", time.gmtime(job.spans[-1][0] / 1000))
        cards = int(request_of(job.body, self.settings)["devices"])
        for worker in range(job.nodes):
            log = self.runner.log(job.id, worker)
            said = _read_tail(log, 65536)
            for device in range(cards):
                rank, name = worker * cards + device, f"modelarts-job-{job.id}"
                plog = f"[INFO] RUNTIME({rank},python): no device of the emulator has anything to say\n".encode()
                try:
                    self.objects.write(f"{folder}/{name}-proc-rank-{rank}-device-{device}.txt", said)
                    self.objects.write(f"{folder}/ascend/process_log/rank_{rank}/plog-{rank + 1}_{began}.log", plog)
                except StorageError as error:
                    self._event(job, f"The device logs could not be copied: {error.message}", "Warning", "Task")

    def _may_restart(self, job: Job, run: Run) -> bool:
        annotations = job.body["metadata"]["annotations"]
        for_all = annotations.get("fault-tolerance/job-unconditional-retry") == "true"
        return job.restarts > 0 and (for_all or self.settings.retry == "any" or run.exit_code in (None, 137, 143))

    def _sample(self, job: Job) -> None:
        """Once a minute, what the processes use."""
        minute = self.settings.hour / 60
        if job.phase != "Running" or not job.spans or time.time() - max(job.sampled, job.spans[-1][0] / 1000) < minute:
            return
        job.sampled = time.time()
        now = {f"worker-{worker}": use for worker, use in self.runner.read_use(job).items()}
        for task, (seconds, memory) in now.items():
            cpu = max(0.0, seconds - job.use.get(task, 0.0)) / minute * 100
            self.state.sample(job.id, task, round(min(100.0, cpu), 2), round(memory, 2))
        job.use = {task: seconds for task, (seconds, _) in now.items()}
        self._save(job)

    def _remove(self, job: Job, now: float) -> None:
        if job.launched:
            run, _ = self.runner.look(job)
            if run is not None and not run.final:
                self.runner.stop(job, now=True)
                return
            job.launched = False
        if now >= job.deleted:
            self.objects.dismiss(job.keys)
            self.runner.remove(job)
            self.state.forget(job.id)

    def _fail(self, job_id: str) -> None:
        """What went wrong is the emulator's own fault: say so, and let go of the job."""
        job = self.state.get(job_id)
        if job is not None and not job.launched and not job.final:
            self._event(job, "the emulator failed: see its log", "Error")
            self._move(job, "Abnormal", "Unknown")

    def _move(self, job: Job, phase: str, secondary: str = "") -> None:
        job.phase, job.secondary, job.moved = phase, secondary or phase, time.time()
        if job.final:
            self.runner.forget_keys(job)
            job.ended = int(time.time() * 1000)
            self._leaving[job.id] = job.keys
        self._save(job)

    def _save(self, job: Job) -> None:
        """Keep what a request changed meanwhile: a stop, a deletion, a description."""
        with self.state.together():
            fresh = self.state.row(job.id)
            if fresh is None:
                return
            job.stop, job.deleted, job.body = fresh.stop or job.stop, fresh.deleted, fresh.body
            if fresh.phase == "Terminating" and not job.final and job.phase != "Terminating":
                job.phase, job.secondary = "Terminating", "Terminating"
            self.state.save(job)

    def _event(self, job: Job, message: str, level: str = "Info", source: str = "Job", at: float = 0.0) -> None:
        self.state.event(job.id, message, level, source, at)


def _read_tail(path: Path, most: int) -> bytes:
    """The last bytes of a file, which may have gigabytes; none where there is no file."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        return file.read(most)
    return b""


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
