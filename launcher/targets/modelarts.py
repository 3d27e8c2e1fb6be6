"""The ModelArts target: runs on Huawei Cloud, storage in OBS.

A run's id is its job's name, so whoever looks by name finds the one job that there is: `launcher.modelarts.jobs`
creates it once, `launcher.modelarts.keeper` settles what a killed launcher left half done.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import (
    DataError,
    ExitCode,
    LauncherError,
    PreflightError,
    RunNotFound,
    ServiceError,
    Unsettled,
    UsageError,
)
from launcher.locks import is_held, take
from launcher.modelarts import jobs
from launcher.modelarts.client import NO_JOB, Client
from launcher.modelarts.following import Follower
from launcher.modelarts.keeper import SENT, Keeper, seconds
from launcher.modelarts.logs import Position, WorkerLog, object_key
from launcher.modelarts.place import Place, find_place
from launcher.modelarts.request import Choice, again, body, choose
from launcher.paths import Home
from launcher.run import Run, now
from launcher.settings import is_huaweis, load_settings
from launcher.targets.base import LogChunk, Target
from storage.base import Storage
from storage.errors import AccessDenied, NotFound, StorageError
from storage.obs import ObsService
from storage.urls import ObsUrl

if TYPE_CHECKING:
    from launcher.jobs import Job
    from launcher.ledger import Ledger
    from launcher.plan import Plan

GONE_SECONDS = 120.0
"""How long a deletion, which is asynchronous, is waited for."""


class ModelArtsTarget(Target):
    """Runs on ModelArts; the account, region and bucket are the settings'."""

    name = "modelarts"
    poll_seconds = (1.0, 10.0)
    detaches = True

    def __init__(self, home: Home, profile: str | None = None, place: Place | None = None) -> None:
        self.home = home
        self.profile = profile
        if place is None:
            settings = load_settings(home, profile=profile)
            place, self.profile = find_place(settings), settings.profile
        self.at = place
        self.notes = place.notes
        self.place = f"ModelArts in {place.region or place.endpoint}"
        self.bucket, self.root = place.bucket, place.root
        self.client = Client(place, lambda text: self.say(text))
        self.service = ObsService(place.obs)
        self._keeper: Keeper | None = None
        self._choices: dict[str, Choice] = {}
        self._offered: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self._followers: dict[str, Follower] = {}

    @property
    def keeper(self) -> Keeper:
        """Made when it is needed, since it needs the project's id, which may have to be asked for."""
        if self._keeper is None:
            self._keeper = Keeper(self.client, self.service, self._where())
        return self._keeper

    def close(self) -> None:
        self.client.close()
        self.service.close()

    def preflight(self, job: Job, python: str, in_place: Sequence[str]) -> None:
        try:
            next(iter(self.storage().list(f"{self.root}/runs/-/")), None)  # is the bucket there, and ours?
        except NotFound as error:
            message = f"there is no bucket {self.bucket!r} at {self.at.obs.url}"
            raise PreflightError(message, f"python -m launcher storage mb obs://{self.bucket} --storage obs") from error
        for url in in_place:
            place = ObsUrl.parse(url)
            try:
                first = next(iter(self.service.bucket(place.bucket).list(place.key + "/" if place.key else "")), None)
            except AccessDenied as error:
                raise DataError(
                    f"{url} cannot be read with these keys, nor by a job, which reads as the account that it runs for",
                    "its owner can let your account read it (a bucket policy); or bring it here with the keys that may:"
                    f" python -m launcher storage sync --profile PROFILE {url} FOLDER, and submit with --data FOLDER",
                ) from error
            except NotFound:
                first = None
            if first is None:
                raise DataError(f"there is nothing at {url}", f"python -m launcher storage ls {url}")

    def storage(self) -> Storage:
        return self.service.bucket(self.bucket)

    def request(self, plan: Plan) -> dict[str, Any]:
        access: dict[str, str] = {}
        if plan.job.script:
            from launcher.targets.local import script_access

            access = script_access(plan)
        return body(plan, self.at, self._choice(plan), access)

    def remote(self, plan: Plan) -> dict[str, Any]:
        choice, spec = self._choice(plan), plan.job.spec
        known = {"machine": choice.reason, "tags": dict(spec.tags), "price_per_hour": spec.resources.price_per_hour}
        return {**self._where(), **known}

    def again(self, run: Run, new_id: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self._check_place(run)
        request = again(run.request, run.id, new_id, parameters)
        code = ObsUrl.parse(jobs.folder(request["algorithm"].get("code_dir") or "/none/"))
        if next(iter(self.service.bucket(code.bucket).list(code.key + "/")), None) is None:
            raise DataError(f"the code of {run.id} is no longer at {code}", f"python -m launcher submit {run.job}")
        output = jobs.output(request)
        if output == run.output:
            raise DataError(f"{run.id} was not started by this launcher: its folders are not ours", "submit its job")
        return output, request

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[None]:
        paths = self.home.run(run_id)
        paths.root.mkdir(parents=True, exist_ok=True)
        descriptor = take(paths.lock)
        assert descriptor is not None  # nobody else has heard of the run
        try:
            yield
        finally:
            paths.lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                paths.root.rmdir()
            os.close(descriptor)

    def create(self, run: Run, ledger: Ledger) -> None:
        if ledger.get(run.id).phase != "Creating":
            ledger.move(run.id, "Terminated", ("Terminating",), ended_at=now(), message="stopped before it started")
            return
        ledger.note(run.id, SENT, self.at.endpoint)
        created = False
        try:
            job = self._create(run)
            created = True
            self.keeper.take_over(run, job, ledger)
        except BaseException as error:
            if isinstance(error, LauncherError) and not created:
                raise  # it was refused, or is Unsettled already
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            what = f"its job was created, but: {why}" if created else f"{why} while its job was being created"
            unsettled = Unsettled(f"{run.id}: {what}", f"python -m launcher show {run.id}")
            if isinstance(error, KeyboardInterrupt):
                unsettled.exit_code = ExitCode.INTERRUPTED
            raise unsettled from error
        with contextlib.suppress(StorageError):
            from launcher.submit import record

            self.storage().write(f"{self.root}/runs/{run.id}/run.json", record(ledger.get(run.id)))

    def refresh(self, run: Run, ledger: Ledger) -> Run:
        run = ledger.get(run.id)
        if run.final:
            if run.result is None and run.phase == "Completed" and not run.remote.get("looked"):
                self._check_place(run)
                self.keeper.fill(run, ledger)
            return ledger.get(run.id)
        if not run.remote.get("id"):
            if self._held(run.id):
                return run
            run = ledger.get(run.id)
            if not run.final and not run.remote.get("id"):
                self._check_place(run)
                self.keeper.settle(run, ledger)
                return ledger.get(run.id)
        if not run.final:
            self._check_place(run)
            self.keeper.look(run, ledger)
        return ledger.get(run.id)

    def workers(self, run: Run) -> int:
        tasks = run.remote.get("tasks")
        return len(tasks) if tasks else int(run.request["spec"]["resource"].get("node_count") or 1)

    def read_log(self, run: Run, worker: int, cursor: Any) -> LogChunk:
        position: Position = cursor or Position()
        if not run.remote.get("id"):
            return LogChunk(b"", position)
        self._check_place(run)
        ended = None
        if run.final:
            began = run.started_at and run.ended_at
            ended = seconds(run.ended_at or now()) if began else 0.0
        return LogChunk(self._log(run, worker).read(position, ended), position)

    def unfinished(self, cursor: Any) -> bytes:
        return cursor.rest if isinstance(cursor, Position) else b""

    def stop(self, run: Run, ledger: Ledger, now: bool = False) -> None:
        stoppable = ("Creating", "Pending", "Running")
        job_id = ledger.get(run.id).remote.get("id")
        if not job_id:  # whoever is creating it sees the phase, and stops it
            ledger.move(run.id, "Terminating", since=stoppable)
            job_id = ledger.get(run.id).remote.get("id")
        if job_id:
            self._check_place(run)
            try:
                self.client.stop(job_id)
            except ServiceError as error:
                if error.code != NO_JOB:
                    raise
            ledger.move(run.id, "Terminating", since=stoppable)  # only now: it may have been refused

    def pull(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        self._check_place(run)
        return self._bring(run.output, destination, progress) if run.output else []

    def pull_logs(self, run: Run, destination: Path, progress: Any = None) -> Sequence[str]:
        self._check_place(run)
        folder = jobs.log_folder(run.request)
        return self._bring(folder, destination, progress) if folder else []

    def delete(self, run: Run, keep_output: bool) -> None:
        import shutil

        job_id = run.remote.get("id")
        if job_id:
            self._check_place(run)
            self.client.delete(job_id)
            deadline, pause = time.monotonic() + GONE_SECONDS, 0.1
            while not self.client.is_gone(job_id):
                if time.monotonic() > deadline:
                    hint = f"later: python -m launcher delete --yes {run.id}"
                    raise LauncherError(f"ModelArts has not deleted {run.id} yet", hint)
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
        if not keep_output:
            storage = self.storage()  # what an adopted job wrote elsewhere is not ours to delete
            storage.delete([info.key for info in storage.list(f"{self.root}/runs/{run.id}/")])
            shutil.rmtree(self.home.outputs / run.id, ignore_errors=True)
        shutil.rmtree(self.home.run(run.id).root, ignore_errors=True)

    def sync(self, ledger: Ledger) -> list[Run]:
        return self.keeper.sync(self.client.jobs(), self.name, self.url("runs"), self._held, ledger)

    def adopt(self, name: str, ledger: Ledger) -> Run:
        try:
            job: dict[str, Any] | None = self.client.job(name)
        except ServiceError as error:
            if error.code != NO_JOB and error.status != 404:
                raise
            job = self.client.named(name)
        if job is None:
            raise RunNotFound(f"ModelArts has no job {name!r}", "python -m launcher runs --target modelarts")
        job = self.client.job(job["metadata"]["id"])
        run = jobs.as_run(job, self.name, self.keeper.remote(job))
        known = [old for old in ledger.runs() if old.id == run.id or old.remote.get("id") == run.remote["id"]]
        if known:
            raise UsageError(f"{name} is the run {known[0].id} already", f"python -m launcher show {known[0].id}")
        ledger.add_found([run])
        return self.refresh(run, ledger)

    def describe(self, run: Run) -> dict[str, Any]:
        self._check_place(run)
        return self._follower(run).describe(run)

    def causes(self, run: Run) -> list[dict[str, str]]:
        return self._follower(run).causes(run)

    def notice(self, run: Run, idle: float) -> list[str]:
        return self._follower(run).notice(run, idle)

    def _choice(self, plan: Plan) -> Choice:
        if plan.run not in self._choices:
            if self._offered is None:
                self._offered = self.client.flavors(), self.client.engines()
            self._choices[plan.run] = choose(plan.job.spec, self.at, *self._offered)
        return self._choices[plan.run]

    def _create(self, run: Run) -> dict[str, Any]:
        if self.at.client == "modelarts-sdk":
            from launcher.modelarts.wheel import submit_with_wheel

            made: dict[str, Any] = submit_with_wheel(self.at, self.client, run.request)
            return made
        return jobs.create_once(self.client, run.request)

    def _storage_of(self, url: str) -> Storage | None:
        return self.service.bucket(ObsUrl.parse(url).bucket) if url else None

    def _bring(self, url: str, destination: Path, progress: Any) -> Sequence[str]:
        from storage.transfer import download_tree

        place = ObsUrl.parse(url)
        storage = self.service.bucket(place.bucket)
        prefix = place.key + "/" if place.key else ""
        files = sorted(info.key[len(prefix) :] for info in storage.list(prefix) if not info.key.endswith("/"))
        if files:
            download_tree(storage, place.key, destination, progress=progress)
        return files

    def _log(self, run: Run, worker: int) -> WorkerLog:
        task = (run.remote.get("tasks") or [f"worker-{index}" for index in range(worker + 1)])[worker]
        folder = jobs.log_folder(run.request)
        key = object_key(ObsUrl.parse(folder).key, run.remote["id"], task) if folder else ""
        return WorkerLog(self.client, run.remote["id"], task, self._storage_of(folder), key)

    def _follower(self, run: Run) -> Follower:
        return self._followers.setdefault(run.id, Follower(self.client))

    def _where(self) -> dict[str, Any]:
        return {"profile": self.profile or "", "endpoint": self.at.endpoint, "project": self.client.project}

    def _check_place(self, run: Run) -> None:
        """UsageError when the settings have been changed to another account or region since."""
        there = (run.remote.get("endpoint"), run.remote.get("project"))
        if run.remote and there != (self.at.endpoint, self.client.project):
            raise UsageError(
                f"{run.id} is in project {there[1]} at {there[0]}, and the settings name another",
                f"{self._way_back(run.remote)}python -m launcher show {run.id}",
            )

    def _way_back(self, remote: dict[str, Any]) -> str:
        """The variables to set before a command, for it to go where a run is."""
        if profile := remote.get("profile"):
            return f"LAUNCHER_PROFILE={profile} "
        endpoint, project = str(remote.get("endpoint")), str(remote.get("project"))
        found = ""
        if endpoint != self.at.endpoint:
            region = endpoint.split(".")[1] if is_huaweis(endpoint, "modelarts") else ""
            found = f"LAUNCHER_REGION={region} " if region else f"LAUNCHER_MODELARTS_ENDPOINT={endpoint} "
        return found + (f"LAUNCHER_PROJECT_ID={project} " if project != self.client.project else "")

    def _held(self, run_id: str) -> bool:
        return is_held(self.home.run(run_id).lock)
