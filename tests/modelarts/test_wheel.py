"""`client: modelarts-sdk`, against a double with exactly the documented signatures; nobody here has the wheel."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from launcher.errors import PreflightError
from launcher.modelarts.wheel import refuse_unsaid, session_of

from .conftest import Rig, only_spoken, spoken
from .test_client import place

MADE: dict[str, Any] = {}


class Session:
    def __init__(self, access_key=None, secret_key=None, project_id=None, region_name=None) -> None:
        MADE["session"] = (access_key, secret_key, project_id, region_name)

    @staticmethod
    def set_endpoint(iam_endpoint=None, obs_endpoint=None, modelarts_endpoint=None, region_name=None) -> None:
        MADE["endpoints"] = (iam_endpoint, obs_endpoint, modelarts_endpoint, region_name)


class TrainingFiles:
    def __init__(self, code_dir, boot_file, obs_path=None) -> None:
        self.code_dir, self.boot_file = code_dir, boot_file


class InputData:
    def __init__(self, obs_path, name=None, local_path=None, is_local_source=False) -> None:
        self.obs_path, self.name = obs_path, name


class OutputData:
    def __init__(self, obs_path, name, local_path=None) -> None:
        self.obs_path, self.name = obs_path, name


class Job:
    def __init__(self, job_id: str) -> None:
        self.job_id = job_id


class Estimator:
    create: Any = None
    """How the double reaches the emulator."""
    fails_after = False

    def __init__(
        self,
        session,
        training_files,
        outputs,
        parameters,
        framework_type,
        framework_version,
        train_instance_type,
        train_instance_count,
        log_url,
        env_variables=None,
        working_dir=None,
        local_code_dir=None,
        job_description=None,
        pool_id=None,
        user_image_url=None,
        user_command=None,
    ) -> None:
        self.given = {key: value for key, value in locals().items() if key != "self"}

    def fit(self, inputs, job_name, wait=True, show_log=True) -> Job:
        assert not wait and not show_log, "it has no follow mode that could be trusted"
        given = self.given

        def channel(row: Any) -> dict[str, Any]:
            assert row.obs_path.startswith("obs://") and row.obs_path.endswith("/")
            return {"name": row.name, "remote": {"obs": {"obs_url": row.obs_path}}}

        body = {
            "kind": "job",
            "metadata": {"name": job_name, "description": given["job_description"]},
            "algorithm": {
                "code_dir": given["training_files"].code_dir,
                "boot_file": given["training_files"].boot_file,
                "engine": {"engine_id": given["framework_version"]},
                "parameters": given["parameters"],
                "inputs": [channel(row) for row in inputs],
                "outputs": [channel(row) for row in given["outputs"]],
                "environments": given["env_variables"],
            },
            "spec": {
                "resource": {
                    "flavor_id": given["train_instance_type"],
                    "node_count": given["train_instance_count"],
                },
                "log_export_path": {"obs_url": given["log_url"]},
            },
        }
        job = Estimator.create(body)
        if Estimator.fails_after:
            raise RuntimeError("connection lost")
        return Job(job["metadata"]["id"])


@pytest.fixture
def wheel(modelarts: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Huawei's wheel as its documents show it, and settings that ask for it."""
    modules = {
        "modelarts": {},
        "modelarts.session": {"Session": Session},
        "modelarts.estimatorV2": {"Estimator": Estimator},
        "modelarts.train_params": {
            "TrainingFiles": TrainingFiles,
            "InputData": InputData,
            "OutputData": OutputData,
        },
    }
    for name, names in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("LAUNCHER_CLIENT", "modelarts-sdk")
    monkeypatch.setattr(Estimator, "fails_after", False)
    target = modelarts.target()
    monkeypatch.setattr(Estimator, "create", staticmethod(target.client.create))
    MADE.clear()
    return modelarts


def test_a_run_is_submitted_through_the_wheel(wheel: Rig, cli, project) -> None:
    wheel.bucket().write("set/one", b"1")
    answer = cli("submit", "tiny", "--target", "modelarts", "--data", "obs://my-bucket/set/")
    assert answer.code == 0, answer
    assert only_spoken(answer.out) == spoken(5)
    assert MADE["session"][0] == wheel.emulator.account.access_key and MADE["session"][3] == "cn-north-4"
    assert MADE["endpoints"][2] == wheel.emulator.endpoint
    assert wheel.jobs == [project.last()["id"]]


def test_a_fit_that_fails_after_it_submitted_makes_no_second_job(wheel: Rig, cli, project, monkeypatch) -> None:
    monkeypatch.setattr(Estimator, "fails_after", True)
    assert cli("submit", "tiny", "--target", "modelarts").code == 0
    assert wheel.jobs == [project.last()["id"]]


def test_without_the_wheel_it_is_said(modelarts: Rig, cli, monkeypatch) -> None:
    monkeypatch.setenv("LAUNCHER_CLIENT", "modelarts-sdk")
    answer = cli("submit", "tiny", "--target", "modelarts")
    assert answer.code == 1 and "is not installed" in answer.err and "client: sdk" in answer.err


def test_temporary_keys_are_the_notebooks_own_business(wheel: Rig) -> None:
    class Temporary:
        def current(self) -> Any:
            return types.SimpleNamespace(access="a", secret="s", token="t")

    made = place("http://127.0.0.1:1")
    session_of(
        types.SimpleNamespace(
            credentials=Temporary(),
            endpoint="https://modelarts.cn-north-4.myhuaweicloud.com",
            region="cn-north-4",
            iam_endpoint=made.iam_endpoint,
            obs=made.obs,
        ),  # type: ignore[arg-type]
        "p",
    )
    assert MADE["session"] == (None, None, None, None)


@pytest.mark.parametrize("spec", [{"volumes": [{}]}, {"notification": {}}, {"schedule_policy": {"priority": 1}}])
def test_what_the_estimator_cannot_be_told_is_refused(spec: dict[str, Any]) -> None:
    body = {"spec": spec, "metadata": {"annotations": {}}, "algorithm": {"inputs": [], "outputs": []}}
    if all(spec.values()):
        with pytest.raises(PreflightError):
            refuse_unsaid(body)
    else:
        refuse_unsaid(body)
