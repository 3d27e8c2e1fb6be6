"""Routes of one training job: create, show, stop, delete, update, names."""

from __future__ import annotations

import time

from . import checks
from .checks import items, mapping, text
from .echo import job_of, told
from .errors import ApiError, invalid, not_found
from .house import House
from .http import Reply, Request, Route
from .state import Job

JOBS = "/v2/{project_id}/training-jobs"
JOB = JOBS + "/{training_job_id}"
STOPPABLE = ("Creating", "Pending", "Running")


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _Jobs(house)
    return [
        Route("POST", JOBS, "create_training_job", own.create),
        Route("GET", JOB, "show_training_job_details", own.show),
        Route("PUT", JOB, "change_training_job_description", own.update),
        Route("DELETE", JOB, "delete_training_job", own.delete),
        Route("POST", JOBS + "/batch-delete", "batch_delete_training_job", own.delete_many),
        Route("POST", JOB + "/actions", "stop_training_job", own.act),
        Route("GET", "/v2/{project_id}/training-job-names", "validate_training_job_name", own.check_name),
    ]


def find(house: House, request: Request) -> Job:
    """The job that a request's path names: 400 ModelArts.2775 if there is none."""
    job = house.state.get(request.words["training_job_id"])
    if job is None:
        raise not_found(request.words["training_job_id"])
    return job


class _Jobs:
    def __init__(self, house: House) -> None:
        self.house, self.state = house, house.state

    def create(self, request: Request) -> Reply:
        """201 and the job object. There is no idempotency key: a used name is what refuses a repetition."""
        body = request.object()
        if self.house.faults.find("no-agency"):
            raise ApiError("ModelArts.2785", "The ModelArts agency authorization is not configured.")
        job = job_of(body, request.user, self.house.objects)
        with self.state.together():
            self._check_quota()
            if self._is_taken(job.workspace, job.name):
                raise ApiError(
                    "ModelArts.2751", f"The training job name {job.name} already exists.", "Use another job name."
                )
            self.state.add(job)
        self.house.lifecycle.wake()
        return Reply(told(job), 201)

    def show(self, request: Request) -> Reply:
        return Reply(told(find(self.house, request)))

    def act(self, request: Request) -> Reply:
        """`terminate`: 202 and the job object, Terminating; 409 ModelArts.2796 when there is nothing to stop."""
        action = text(request.object(), "action_type", required=True)
        job = find(self.house, request)
        if action != "terminate":
            raise ApiError("ModelArts.2812", f"Unsupported action type {action}.")
        with self.state.together():
            job = find(self.house, request)
            if job.phase not in STOPPABLE:
                raise ApiError(
                    "ModelArts.2796",
                    f"The training job (ID: {job.id}) in phase {job.phase} is not allowed to be terminated.",
                    "Check the status of the training job.",
                )
            job.stop, job.phase, job.secondary, job.moved = "stop", "Terminating", "Terminating", time.time()
            self.state.save(job)
            message = "ExecuteAction: Start to execute action TerminateJob"
            self.state.event(job.id, message, source="K8S")
        self.house.lifecycle.wake()
        return Reply(told(job), 202)

    def delete(self, request: Request) -> Reply:
        """202 and the text "" (OTC API reference); the job can be seen for a moment yet. One that runs is killed."""
        find(self.house, request)
        self._delete(request.words["training_job_id"])
        return Reply(b'""', 202, {"Content-Type": "application/json"})

    def delete_many(self, request: Request) -> Reply:
        """Up to 100 jobs: `{"jobs": [{"kind": "job", "metadata": {"id": …}}]}`."""
        wanted = items(request.object(), "jobs")
        if not 1 <= len(wanted) <= 100:
            raise invalid("jobs: 1 to 100 of them")
        ids = [text(mapping(item, "metadata", required=True), "id", required=True) for item in wanted]
        for job_id in ids:
            if self.state.get(job_id) is None:
                raise not_found(job_id)
        for job_id in ids:
            self._delete(job_id)
        return Reply({}, 202)

    def update(self, request: Request) -> Reply:
        """Description, notification, priority (of a job that waits), annotations; 200 and `null`."""
        body = request.object()
        description = text(body, "description")
        if len(description) > 256:
            raise invalid("description: at most 256 characters")
        spec = mapping(body, "spec")
        policy = mapping(spec, "schedule_policy")
        if "priority" in policy:
            checks.number(policy, "priority", 1, 0, 3)
        with self.state.together():
            job = find(self.house, request)
            if policy and job.phase not in ("Creating", "Pending"):
                raise ApiError("ModelArts.2858", "The priority of a job can be changed only while it is pending.")
            if "description" in body:
                job.body["metadata"]["description"] = description
            for name in ("schedule_policy", "notification"):
                if name in spec:
                    job.body["spec"][name] = {**job.body["spec"].get(name, {}), **mapping(spec, name)}
            annotations = mapping(mapping(body, "metadata"), "annotation")
            annotations = {name: text(annotations, name) for name in annotations}
            job.body["metadata"]["annotations"].update(annotations)
            self.state.save(job)
        return Reply(b"null")

    def check_name(self, request: Request) -> Reply:
        name = checks.name_of(request.argument("job_name"))
        return Reply({"is_duplicate": self._is_taken(request.argument("workspace_id", "0"), name)})

    def _is_taken(self, workspace: str, name: str) -> bool:
        if self.house.settings.names == "taken":
            return self.state.was_named(workspace, name)
        return self.state.named(workspace, name)

    def _check_quota(self) -> None:
        quota = int(self.house.quotas()["job-num"])
        if self.state.count() >= quota:
            raise ApiError("ModelArts.2815", f"The quota {quota} of resource job-num is exceeded.")

    def _delete(self, job_id: str) -> None:
        with self.state.together():
            job = self.state.get(job_id)
            if job is not None and not job.deleted:
                job.deleted = time.time() + self.house.settings.deleting
                self.state.save(job)
        self.house.lifecycle.wake()
