"""Submitting through Huawei's own wheel, `modelarts` ("modelarts-sdk"), which notebooks have and no registry does.

Written after its documentation: `Session`, `train_params` and `estimatorV2.Estimator` with `fit`; nobody here has the
wheel, so a double with exactly the documented signatures is all that this was tested against. Only the submit goes
through it; following, stopping and the rest need keys of our own, as always.
"""

from __future__ import annotations

from typing import Any

from launcher.errors import PreflightError, ServiceError, Unsettled
from launcher.modelarts.client import Client
from launcher.modelarts.place import Place

Json = dict[str, Any]

_UNSAID = {
    "volumes": "volumes:",
    "notification": "notification:",
    "schedule_policy": "resources.priority:",
}
"""What the Estimator has no argument for, and its key in job.yaml."""


def submit_with_wheel(place: Place, client: Client, body: Json) -> Json:
    """The job that the Estimator made; it is looked for by name before and, if the answer was lost, after."""
    refuse_unsaid(body)
    name = body["metadata"]["name"]
    there = client.named(name)
    if there is not None:
        return there
    estimator, inputs = estimator_of(place, client.project, body)
    try:
        made = estimator.fit(inputs=inputs, job_name=name, wait=False, show_log=False)
        return client.job(str(made.job_id))
    except ServiceError:
        raise
    except Exception as error:  # its errors are not documented
        job = client.named(name)
        if job is not None:
            return job
        raise Unsettled(
            f"modelarts-sdk could not submit {name}: {error or type(error).__name__}", "client: sdk in the settings"
        ) from error


def refuse_unsaid(body: Json) -> None:
    """PreflightError for what job.yaml asks and the Estimator cannot say."""
    for key, word in _UNSAID.items():
        if body["spec"].get(key):
            raise PreflightError(f"modelarts-sdk cannot be told {word}", "client: sdk in the settings")
    if any(name.startswith("fault-tolerance/") for name in body["metadata"]["annotations"]):
        raise PreflightError("modelarts-sdk cannot be told retries:", "client: sdk in the settings")
    if any(row.get("prefetch_to_local") for row in body["algorithm"]["outputs"]):
        raise PreflightError("modelarts-sdk cannot fill the output folder for --resume", "client: sdk in the settings")
    if any(row["access_method"] == "env" for row in body["algorithm"]["inputs"] + body["algorithm"]["outputs"]):
        raise PreflightError("modelarts-sdk passes folders as arguments only", "client: sdk in the settings")


def estimator_of(place: Place, project: str, body: Json) -> tuple[Any, list[Any]]:
    """The Estimator that says what the body says, and its inputs. `auto_stop` and the workspace cannot be said."""
    try:
        from modelarts.estimatorV2 import Estimator
        from modelarts.train_params import InputData, OutputData, TrainingFiles
    except ImportError as error:
        raise PreflightError(
            "client: modelarts-sdk, and Huawei's wheel `modelarts` is not installed",
            "client: sdk in the settings; the wheel is in ModelArts' notebooks",
        ) from error
    algorithm, resource = body["algorithm"], body["spec"]["resource"]
    optional: Json = {"pool_id": resource["pool_id"]} if resource.get("pool_id") else {}
    outputs = [OutputData(obs_path=_url(row), name=row["name"]) for row in algorithm["outputs"]]
    estimator = Estimator(
        session=session_of(place, project),
        training_files=TrainingFiles(
            code_dir=_obs(algorithm["code_dir"]),
            boot_file=_obs(algorithm["boot_file"]),
        ),
        outputs=outputs,
        parameters=algorithm["parameters"],
        framework_type=algorithm["engine"]["engine_name"],
        framework_version=algorithm["engine"]["engine_version"],
        train_instance_type=resource["flavor_id"],
        train_instance_count=resource["node_count"],
        log_url=_obs(body["spec"]["log_export_path"]["obs_url"]),
        env_variables=algorithm["environments"],
        job_description=body["metadata"]["description"],
        **optional,
    )
    return estimator, [InputData(obs_path=_url(row), name=row["name"]) for row in algorithm["inputs"]]


def session_of(place: Place, project: str) -> Any:
    """A Session with our keys; with the notebook's own where ours are temporary (it takes no token), or not there."""
    from modelarts.session import Session

    from storage.errors import NoCredentials

    if not place.endpoint.endswith((".myhuaweicloud.com", ".myhuaweicloud.cn", ".myhuaweicloud.eu")):
        Session.set_endpoint(
            iam_endpoint=place.iam_endpoint,
            obs_endpoint=place.obs.url,
            modelarts_endpoint=place.endpoint,
            region_name=place.region,
        )
    try:
        keys = place.credentials.current()
    except NoCredentials:
        return Session()
    if keys.token:
        return Session()
    return Session(access_key=keys.access, secret_key=keys.secret, project_id=project, region_name=place.region)


def _url(channel: Json) -> str:
    return _obs(channel["remote"]["obs"]["obs_url"])


def _obs(console: str) -> str:
    return "obs:/" + console
