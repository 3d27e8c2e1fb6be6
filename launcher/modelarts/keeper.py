"""The ledger kept in step with the jobs there are: a run gets its job, a job's state is written down.

While a launcher is creating a job, it holds the lock of the run's folder; a run that is still Creating with nobody at
its lock was left by a killed one, and is settled by the next command that looks::

    lock     job of that name   "create sent" in the ledger   what is done
    held     -                  -                             nothing: the ledger is right
    free     there              any                           taken over: from here on the run has an id
    free     not there          a minute ago or less          left Creating: it may still appear
    free     not there          longer ago, or never          Abnormal (Terminated if a stop was asked)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.errors import ServiceError
from launcher.modelarts import jobs
from launcher.modelarts.client import NO_JOB, Client
from launcher.results import results
from launcher.run import ACTIVE, Run, now
from storage.obs import ObsService
from storage.urls import ObsUrl

if TYPE_CHECKING:
    from launcher.ledger import Ledger

Json = dict[str, Any]
Held = Callable[[str], bool]

SENT = "create sent"
APPEARS_SECONDS = 60.0
"""How long after it was sent a creation may still come through."""
LOOKED_INTO = 50
"""How many runs of other machines a listing reads the results of."""
_LOST = "the launcher was killed before the job was created"
_NEVER = "the job was not created: the answer was lost, and none of that name has appeared"


class Keeper:
    """One place's jobs and one machine's ledger; `where` is what every run's ``remote`` says of the place."""

    def __init__(self, client: Client, service: ObsService, where: Json) -> None:
        self.client, self.service, self.where = client, service, where

    def remote(self, job: Json) -> Json:
        """What a run's ``remote`` holds once it has a job."""
        return {**self.where, "id": job["metadata"]["id"], "tasks": jobs.workers(job)}

    def take_over(self, run: Run, job: Json, ledger: Ledger) -> None:
        """The run has a job from here on; one that was given up for lost lives again."""
        remote = {**run.remote, **self.remote(job)}
        lost = ("Abnormal",) if run.phase == "Abnormal" else ()
        first = jobs.phase(job, run) if jobs.phase(job, run) in ACTIVE else "Pending"
        if not ledger.move(run.id, first, since=("Creating", *lost), remote=remote, ended_at=None, message=""):
            ledger.update(run.id, remote=remote)
            if ledger.get(run.id).phase in ("Terminating", "Terminated"):  # a stop was asked meanwhile
                self.client.stop(remote["id"])
        if remote.get("tags"):
            try:
                self.client.add_tags(remote["id"], remote["tags"])
            except ServiceError as error:
                ledger.note(run.id, "not tagged", str(error))
        if job["status"]["phase"] not in ACTIVE:
            self.record(ledger.get(run.id), job, ledger)

    def settle(self, run: Run, ledger: Ledger) -> None:
        """A run without a job whose launcher is gone."""
        job = self.client.named(run.id)
        if job is not None:
            self.take_over(run, job, ledger)
            return
        sent = [step["at"] for step in ledger.steps(run.id) if step["step"] == SENT]
        if sent and time.time() - seconds(sent[-1]) < APPEARS_SECONDS:
            return
        if run.phase == "Terminating":
            ledger.move(run.id, "Terminated", ended_at=now(), message="stopped before it started")
            return
        ledger.move(run.id, "Abnormal", ended_at=now(), message=_NEVER if sent else _LOST)

    def look(self, run: Run, ledger: Ledger) -> None:
        """Ask after a run's job, and write down how it is."""
        try:
            self.record(run, self.client.job(run.remote["id"]), ledger)
        except ServiceError as error:
            if error.code != NO_JOB:
                raise
            ended = "Terminated" if run.phase == "Terminating" else "Abnormal"
            ledger.move(run.id, ended, ended_at=now(), message="its job was deleted on ModelArts")

    def record(self, run: Run, job: Json, ledger: Ledger) -> None:
        """Write down how the job is."""
        phase, started = jobs.phase(job, run), jobs.started_at(job)
        if phase in ACTIVE:
            if started and not run.started_at:
                ledger.update(run.id, started_at=started)
            if phase != run.phase:
                ledger.move(run.id, phase)
            return
        ledger.move(
            run.id,
            phase,
            started_at=started,
            ended_at=jobs.ended_at(job, self.client.wire.now()),
            exit_code=jobs.exit_code(job),
            message=jobs.message(job),
            **self._results(run),
        )

    def fill(self, run: Run, ledger: Ledger) -> None:
        """The results of a run that has ended, which somebody else saw end."""
        ledger.update(run.id, remote={**run.remote, "looked": True}, **self._results(run))

    def sync(self, found: Iterable[Json], target: str, ours: str, held: Held, ledger: Ledger) -> list[Run]:
        """All jobs that there are: those of ours (their output lies below the URL ``ours``) that this machine does not
        know become runs, the others are brought up to date; returned are those that are not ours.

        ``held`` tells of a run id whether somebody is creating it.
        """
        foreign = []
        runs = ledger.runs(target=target)
        by_id = {run.remote["id"]: run for run in runs if run.remote.get("id")}
        by_name = {run.id: run for run in runs}
        new: dict[str, Run] = {}
        for job in found:
            name = str(job["metadata"].get("name"))
            run = by_id.get(job["metadata"]["id"]) or by_name.get(name)
            if run is None:
                maybe = _is_short(job) and jobs.is_run_id(name)
                whole = self.client.job(job["metadata"]["id"]) if maybe else job
                if jobs.output(whole).startswith(f"{ours}{name}/"):
                    new[name] = jobs.as_run(whole, target, self.remote(whole))
                else:
                    foreign.append(jobs.as_run({**whole, "spec": {}, "algorithm": {}}, target, {}))
            elif not run.remote.get("id"):
                if not held(run.id):
                    self.take_over(run, job, ledger)
            elif not run.final and jobs.phase(job, run) != run.phase:
                self.look(run, ledger)
        ledger.add_found(sorted(new.values(), key=lambda run: run.created_at))
        for run in [run for run in new.values() if run.phase == "Completed"][:LOOKED_INTO]:
            self.fill(run, ledger)
        return foreign

    def _results(self, run: Run) -> Json:
        if not run.output:
            return {}
        place = ObsUrl.parse(run.output)
        return results(self.service.bucket(place.bucket), place.key)


def seconds(time_text: str) -> float:
    """POSIX seconds of an RFC 3339 time."""
    return datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp()


def _is_short(job: Json) -> bool:
    """Items of a search may be less complete than the job itself."""
    return "algorithm" not in job
