"""An emulator in the test's own process, the official SDK's client, and an object store to put scripts into."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkmodelarts.v1 import (
    CreateTrainingJobRequest,
    DeleteTrainingJobRequest,
    JobActionType,
    ModelArtsClient,
    ShowTrainingJobDetailsRequest,
    ShowTrainingJobLogsPreviewRequest,
    StopTrainingJobRequest,
)

from launcher.emulator.modelarts import Emulator, Settings
from storage.obs import ObsService, ObsSettings

QUICK = Settings(creating=0, queuing=0.02, deleting=0, output_period=0.2, log_period=0.1, bucket="my-bucket")
FINAL = ("Completed", "Failed", "Terminated", "Abnormal")
NEW_ENGINE = "mindspore_2.0.0-cann_6.3.0-py_3.7-euler_2.8.3-aarch64"
OLD_ENGINE = "MindSpore-1.3.0-c78-python3.7-euleros2.8-aarch64"


@dataclass(frozen=True)
class Answer:
    """One reply, raw."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cloud:
    """An emulator and what tests do with it."""

    def __init__(self, emulator: Emulator, **store: str) -> None:
        self.emulator = emulator
        account = emulator.account
        self.project = account.project_id
        self.sdk = client(emulator.endpoint, account.access_key, account.secret_key, self.project)
        found = {**store, **emulator.environment()}
        self.objects = ObsService(
            ObsSettings(
                endpoint=found["OBS_ENDPOINT"],
                access_key=found["OBS_ACCESS_KEY_ID"],
                secret_key=found["OBS_SECRET_ACCESS_KEY"],
                signature=found["OBS_SIGNATURE"],
                addressing="path",
            )
        )
        self.bucket = self.objects.bucket("my-bucket")

    def end_jobs(self) -> None:
        """Delete what still runs, and wait for its processes: nothing of a test goes on after it."""
        self.emulator.faults.clear()
        state, ends = self.emulator.state, time.monotonic() + 30
        while jobs := state.active():
            assert time.monotonic() < ends, jobs
            for job in jobs:
                if not job.deleted:
                    self.ask("DELETE", self.url(f"/{job.id}"))
            time.sleep(0.02)

    def close(self) -> None:
        self.sdk.close()
        self.objects.close()

    def body(self, script: str = "print('hello')\n", name: str = "hello", **changes: Any) -> dict[str, Any]:
        """A create request for a script, which is put where it says; `changes` go into spec, or replace algorithm's."""
        self.bucket.write(f"jobs/{name}/code/train.py", script.encode())
        self.bucket.write("data/mnist/one.txt", b"1")
        algorithm: dict[str, Any] = {
            "code_dir": f"/my-bucket/jobs/{name}/code/",
            "boot_file": f"/my-bucket/jobs/{name}/code/train.py",
            "engine": {"engine_id": NEW_ENGINE},
            "parameters": [{"name": "epochs", "value": "3"}],
            "inputs": [{"name": "data_url", "remote": {"obs": {"obs_url": "/my-bucket/data/mnist/"}}}],
            "outputs": [{"name": "train_url", "remote": {"obs": {"obs_url": f"/my-bucket/jobs/{name}/output/"}}}],
        }
        spec: dict[str, Any] = {
            "resource": {"flavor_id": "modelarts.kat1.xlarge", "node_count": 1},
            "log_export_path": {"obs_url": f"/my-bucket/jobs/{name}/log/"},
        }
        metadata: dict[str, Any] = {"name": name, "workspace_id": "0", "description": "a test"}
        for key, value in changes.items():
            (algorithm if key in _ALGORITHM else metadata if key in _METADATA else spec)[key] = value
        return {"kind": "job", "metadata": metadata, "algorithm": algorithm, "spec": spec}

    def create(self, body: dict[str, Any]) -> str:
        """Create a job with the SDK; its id."""
        return str(self.sdk.create_training_job(CreateTrainingJobRequest(body=body)).metadata.id)

    def show(self, job_id: str) -> Any:
        """The job by the SDK."""
        return self.sdk.show_training_job_details(ShowTrainingJobDetailsRequest(training_job_id=job_id))

    def wait(self, job_id: str, *phases: str, seconds: float = 30) -> Any:
        """Until the job is in one of the phases, any final one by default."""
        ends = time.monotonic() + seconds
        while True:
            job = self.show(job_id)
            if job.status.phase in (phases or FINAL):
                return job
            assert job.status.phase not in FINAL, (job.status, self.log(job_id), self.events(job_id))
            assert time.monotonic() < ends, (job.status, self.log(job_id), self.events(job_id))
            time.sleep(0.02)

    def log(self, job_id: str, task: str = "worker-0") -> str:
        """The preview of a worker's log, without the platform's own lines."""
        lines = self.raw_log(job_id, task).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("[Modelarts Service Log]"))

    def raw_log(self, job_id: str, task: str = "worker-0") -> str:
        """The preview of a worker's log."""
        request = ShowTrainingJobLogsPreviewRequest(training_job_id=job_id, task_id=task)
        return str(self.sdk.show_training_job_logs_preview(request).content or "")

    def wait_for_log(self, job_id: str, text: str, seconds: float = 30) -> str:
        """Until the preview holds a text."""
        ends = time.monotonic() + seconds
        while text not in (log := self.log(job_id)):
            assert time.monotonic() < ends, log
            time.sleep(0.02)
        return log

    def stop(self, job_id: str) -> Any:
        request = StopTrainingJobRequest(training_job_id=job_id, body=JobActionType(action_type="terminate"))
        return self.sdk.stop_training_job(request)

    def delete(self, job_id: str) -> None:
        self.sdk.delete_training_job(DeleteTrainingJobRequest(training_job_id=job_id))

    def events(self, job_id: str) -> list[str]:
        """All events' messages, oldest first."""
        found = self.ask("GET", f"/v2/{self.project}/training-jobs/{job_id}/events?limit=100&order=asc").json
        return [event["message"] for event in found["events"]]

    def faults(self, *faults: dict[str, Any]) -> None:
        answer = self.ask("PUT", "/_emulator/faults", list(faults))
        assert answer.status == 200, answer.body

    def happened(self) -> dict[str, int]:
        found: dict[str, int] = self.ask("GET", "/_emulator/faults").json["happened"]
        return found

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str) -> Answer:
        """A request with a token in place of a signature, and the raw answer."""
        sent = {"Content-Type": "application/json", "X-Auth-Token": self.token() if token is None else token, **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.emulator.endpoint + path, data, {k: v for k, v in sent.items() if v}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return Answer(reply.status, reply.read(), dict(reply.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))

    def token(self) -> str:
        """A token of the account's, made without a request."""
        tokens = self.emulator.state.note("tokens", {})
        if not tokens:
            self.emulator.state.keep("tokens", {"test-token": time.time() + 3600})
        return "test-token"

    def url(self, path: str = "") -> str:
        return f"/v2/{self.project}/training-jobs{path}"


_ALGORITHM = {"code_dir", "boot_file", "engine", "parameters", "inputs", "outputs", "environments", "command"}
_METADATA = {"name", "workspace_id", "description", "annotations"}


def client(endpoint: str, access_key: str, secret_key: str, project: str) -> ModelArtsClient:
    """The SDK's client, made as its documentation shows."""
    credentials = BasicCredentials(access_key, secret_key, project)
    return ModelArtsClient.new_builder().with_credentials(credentials).with_endpoint(endpoint).build()


Make = Callable[..., Cloud]


@pytest.fixture(scope="module", autouse=True)
def sdk_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The SDK writes `~/.huaweicloud/application_id`: into a home of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(queuing=1)`: an emulator on the test's own state."""
    with ExitStack() as stack:

        def one(folder: str = "state", **values: Any) -> Cloud:
            emulator = stack.enter_context(Emulator(tmp_path / folder, QUICK.changed(values)))
            cloud = Cloud(emulator)
            stack.callback(cloud.close)
            stack.callback(cloud.end_jobs)
            return cloud

        yield one


@pytest.fixture
def cloud(make: Make) -> Cloud:
    return make()


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Emulator(tmp_path_factory.mktemp("shared"), QUICK) as emulator:
        cloud = Cloud(emulator)
        yield cloud
        cloud.close()


@pytest.fixture
def shared(one_for_all: Cloud) -> Cloud:
    """An emulator that a module's tests share, with no faults set; for tests that make no jobs."""
    one_for_all.emulator.faults.clear()
    one_for_all.emulator.faults.happened.clear()
    return one_for_all
