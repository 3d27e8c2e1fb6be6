"""What ModelArts' error codes mean and what mends them: a table, and nothing else.

Codes and statuses are those of the API reference's appendix "Error Codes" (facts, section 1.2); what mends them is our
own wording. Pages of the console have their English and their Chinese name. `cause_of` explains runs that failed.
"""

from __future__ import annotations

from typing import NamedTuple

from launcher.modelarts.causes import Cause, cause_of

__all__ = [
    "AGENCY_PAGE",
    "KEYS_PAGE",
    "POOLS_PAGE",
    "QUOTA_PAGE",
    "Cause",
    "Meaning",
    "cause_of",
    "explain",
    "hint_for",
]

AGENCY_PAGE = (
    "ModelArts console > Permission Management (权限管理; in older consoles Settings 全局配置) >"
    " Add Authorization (添加授权)"
)
KEYS_PAGE = "console > My Credentials (我的凭证) > Access Keys (访问密钥)"
PROJECTS_PAGE = "console > My Credentials (我的凭证) > API Credentials (API凭证)"
POOLS_PAGE = "ModelArts console > AI Dedicated Resource Pools (AI专属资源池)"
QUOTA_PAGE = "console > Resources > My Quotas (资源 > 我的配额)"
BILLING_PAGE = "console > Billing Center (费用中心)"
USERS_PAGE = "console > Identity and Access Management (统一身份认证服务)"
JOBS_PAGE = "ModelArts console > Model Training > Training Jobs (模型训练 > 训练作业)"
WORKSPACES_PAGE = "ModelArts console > Workspaces (工作空间)"
IMAGES_PAGE = "console > SoftWare Repository for Container (容器镜像服务)"
DOCTOR = "python -m launcher doctor --target modelarts"
SHOW = "python -m launcher config show --origin"
INIT = "python -m launcher config init"
DRY_RUN = "`python -m launcher submit JOB --target modelarts --dry-run` shows the request"


class Meaning(NamedTuple):
    """An error code in plain words."""

    what: str
    hint: str
    """One line: the command or the console's page that mends it."""


def hint_for(status: int, code: str) -> str:
    """What mends an answer of ModelArts, of its gateway or of IAM; never empty, one line."""
    return explain(status, code).hint


def explain(status: int, code: str) -> Meaning:
    """What an answer means; codes that are not in the table are explained by their family, then by their status."""
    found = CODES.get(code) or CODES.get(code.rpartition(".")[2] if code.startswith("ModelArts.") else "")
    if found:
        return Meaning(*found)
    number = code.rpartition(".")[2]
    for first, last, row in FAMILIES:
        if code.startswith("ModelArts.") and len(number) == 4 and first <= number <= last:
            return Meaning(*row)
    if status in STATUSES:
        return Meaning(*STATUSES[status])
    if status >= 500:
        return Meaning(*_FAULT)
    shown = f"code {code}" if code else f"status {status}"
    return Meaning(f"ModelArts refused, with {shown}", f"{DOCTOR} looks at account, bucket and request one by one")


Row = tuple[str, str]

_TOKEN: Row = ("the IAM token is missing, expired, or of another project", "get a new token of the region's project")
_OBS_PATH: Row = (
    "a path in OBS is not there, or not written as ModelArts wants it",
    "a folder is obs://BUCKET/DIR/ with a slash at its end: python -m launcher storage ls obs://BUCKET/DIR/",
)
_CODE_SIZE: Row = (
    "the code is too much (at most 5 GB, 1000 files, 32 folders deep)",
    "narrow code: include/exclude in job.yaml; `python -m launcher submit JOB --dry-run` lists the files",
)
_DATASET: Row = (
    "ModelArts knows no such data set or version",
    "name the data by its URL: python -m launcher submit JOB --data obs://BUCKET/DIR/",
)
_ENGINE: Row = (
    "the engine (MindSpore's image) is not offered here, or no longer",
    f"{DOCTOR} --job JOB lists the engines of this region; name one in job.yaml",
)
_FLAVOR: Row = (
    "the flavor (规格) is not offered in this region or pool",
    f"{DOCTOR} --job JOB lists the flavors that there are; name one in job.yaml",
)
_FILTER: Row = (
    "the list was asked for in a way that the service does not know",
    "leave the filters out: python -m launcher runs",
)
_SWR: Row = ("the custom image cannot be read or written", f"look at its name and at who may read it: {IMAGES_PAGE}")
_BODY: Row = ("the request has a value that ModelArts does not take", f"{DRY_RUN}; the message names the field")
_GONE: Row = ("there is no such job (any more)", "python -m launcher runs --target modelarts")
_FAULT: Row = (
    "ModelArts has a fault of its own",
    "wait a few minutes and run the same command again: nothing is doubled",
)
_RIGHTS: Row = (
    "this user may not do that",
    f"ask for the role ModelArts CommonOperations, or the action that the message names: {USERS_PAGE}",
)
_LOG_LATER: Row = ("there is no log yet", "it comes a minute after the start: python -m launcher logs -f RUN")
_POOL: Row = ("the dedicated resource pool cannot take the job", f"look at its id and state: {POOLS_PAGE}; then {SHOW}")
_STATE: Row = ("the job is in another state by now", "python -m launcher show RUN")

CODES: dict[str, Row] = {
    "ModelArts.0010": _FAULT,
    "ModelArts.0108": _RIGHTS,
    "ModelArts.0112": (
        "the workspace's policy does not let this user do that",
        f"have the workspace's owner add you: {WORKSPACES_PAGE}; or another one: {INIT} --workspace 0",
    ),
    "ModelArts.0118": ("a quota of the account is used up", f"delete what is not needed, or raise it: {QUOTA_PAGE}"),
    "ModelArts.0206": (
        "the access key or the secret key is wrong",
        f"compare them with {KEYS_PAGE}; `{SHOW}` says where they are from",
    ),
    "ModelArts.0210": (
        "the project's id is not of this account, or of another region",
        f"look it up: {PROJECTS_PAGE}; then {INIT} --project-id ID",
    ),
    "ModelArts.2751": (
        "the name is used by another job",
        "leave --name out: every run has a name of its own; or: python -m launcher adopt NAME",
    ),
    "ModelArts.2753": ("inputs or outputs are not well formed", DRY_RUN),
    "ModelArts.2755": ("there is no such algorithm", "ModelArts console > Algorithm Management (算法管理) has the ids"),
    "ModelArts.2757": ("the code folder is not in OBS", "submit again: what is missing goes up again"),
    "ModelArts.2758": ("the boot file is not in OBS", "look at boot_file in job.yaml, and submit again"),
    "ModelArts.2759": _CODE_SIZE,
    "ModelArts.2760": _CODE_SIZE,
    "ModelArts.2761": _CODE_SIZE,
    "ModelArts.2763": _FLAVOR,
    "ModelArts.2764": _FILTER,
    "ModelArts.2767": ("two parameters have one name", "look at parameters in job.yaml and at --set"),
    "ModelArts.2775": _GONE,
    "ModelArts.2776": _LOG_LATER,
    "ModelArts.2777": ("there are no metrics yet", "they come a minute after the start: python -m launcher show RUN"),
    "ModelArts.2780": _ENGINE,
    "ModelArts.2781": _FLAVOR,
    "ModelArts.2782": _DATASET,
    "ModelArts.2783": _DATASET,
    "ModelArts.2784": _TOKEN,
    "ModelArts.2785": (
        "ModelArts may not act for this user yet: its agency (委托) is not set up",
        f"once for each user: {AGENCY_PAGE}",
    ),
    "ModelArts.2786": (
        "the project's id is not the one of the keys or the token",
        f"look it up: {PROJECTS_PAGE}; then {INIT} --project-id ID",
    ),
    "ModelArts.2787": ("ModelArts cannot read the request", DRY_RUN),
    "ModelArts.2788": _BODY,
    "ModelArts.2789": _FILTER,
    "ModelArts.2790": _FILTER,
    "ModelArts.2791": _OBS_PATH,
    "ModelArts.2792": ("the boot file does not lie in the code folder", "look at boot_file and code: in job.yaml"),
    "ModelArts.2793": ("the flavor allows fewer workers", "python -m launcher submit JOB --nodes 1"),
    "ModelArts.2796": ("the job has ended already", "python -m launcher show RUN"),
    "ModelArts.2799": ("too many requests at once", "wait a minute; fewer commands side by side"),
    "ModelArts.2802": _OBS_PATH,
    "ModelArts.2803": ("ModelArts here knows no such call", f"look at the endpoint: {SHOW}"),
    "ModelArts.2806": ("a custom image needs its URL and a command", "give both in job.yaml"),
    "ModelArts.2807": _FILTER,
    "ModelArts.2808": _FILTER,
    "ModelArts.2809": _FILTER,
    "ModelArts.2810": _SWR,
    "ModelArts.2811": _SWR,
    "ModelArts.2812": ("ModelArts here knows no such action", f"look at the endpoint: {SHOW}"),
    "ModelArts.2813": _STATE,
    "ModelArts.2815": (
        "the quota of jobs or devices is used up",
        f"delete old runs (python -m launcher delete RUN), wait for others to end, or ask for more: {QUOTA_PAGE}",
    ),
    "ModelArts.2816": ("a value is over its upper limit", f"{DRY_RUN}; the message names the field"),
    "ModelArts.2818": _LOG_LATER,
    "ModelArts.2819": (
        "ModelArts has cleared the log away (it keeps one for 30 days)",
        "the copy in the bucket stays: python -m launcher pull RUN --logs",
    ),
    "ModelArts.2820": ("the folder for the log is not in OBS", "python -m launcher storage ls obs://BUCKET/"),
    "ModelArts.2822": ("the job was made without a folder for its log", "python -m launcher resubmit RUN sets one"),
    "ModelArts.2825": ("a value has the wrong type", f"{DRY_RUN}; put numbers that must be text in quotes"),
    "ModelArts.2832": _ENGINE,
    "ModelArts.2833": ("the free flavor is used up for today", "name another flavor in job.yaml"),
    "ModelArts.2836": ("ModelArts here knows no such call", f"look at the endpoint: {SHOW}"),
    "ModelArts.2837": ("the account is in arrears, restricted or frozen", f"pay what is open: {BILLING_PAGE}"),
    "ModelArts.2839": ("the advanced configuration of MindSpore is wrong", "leave it out of job.yaml"),
    "ModelArts.2840": ("this engine does not run on this flavor", f"{DOCTOR} --job JOB lists what fits together"),
    "ModelArts.2841": ("the experiment's name is used", "choose another"),
    "ModelArts.2842": ("there is no such experiment", f"look at {JOBS_PAGE}"),
    "ModelArts.2845": ("the custom image is too large", f"make it smaller: {IMAGES_PAGE}"),
    "ModelArts.2855": ("the image's user id is under 1000, which the public pool refuses", "use uid 1000 or more"),
    "ModelArts.2857": ("local_code_dir is refused", "a folder below /home, but not /home/ma-user itself"),
    "ModelArts.2858": ("ModelArts does not support that for this job", "python -m launcher show RUN"),
    "ModelArts.2859": ("working_dir is refused", "leave it out, or name a folder of the code"),
    "ModelArts.2878": _STATE,
    "ModelArts.2879": ("that is for debug jobs only", f"make one: {JOBS_PAGE}"),
    "ModelArts.2880": ("the job's image is being saved already", "wait until it is"),
    "ModelArts.2881": ("no image of this job is being saved", "python -m launcher show RUN"),
    "ModelArts.2883": ("an image is saved while the job runs, and it does not", "python -m launcher show RUN"),
    "ModelArts.2884": ("the image's tag is taken", "choose another tag"),
    "ModelArts.2885": _SWR,
    "ModelArts.2886": ("the pool is not for training", f"choose one whose jobs are training (训练作业): {POOLS_PAGE}"),
    "ModelArts.2887": _POOL,
    "ModelArts.2889": _POOL,
    "ModelArts.2890": ("there is no such resource pool", f"its id: {POOLS_PAGE}; the public pool: {INIT} --pool ''"),
    "ModelArts.50004000": ("the events were asked for in a way it does not know", "python -m launcher show RUN"),
    "APIGW.0101": ("the gateway knows no such call here", f"look at the endpoint and its region: {SHOW}"),
    "APIGW.0301": (
        "the gateway does not accept the signature or the token",
        f"wrong keys, another region's project, an expired token or a wrong clock: {DOCTOR} tells which",
    ),
    "APIGW.0308": ("too many requests at once", "wait a minute; fewer commands side by side"),
}  # fmt: skip
FAMILIES: tuple[tuple[str, str, Row], ...] = (
    ("0201", "0212", _TOKEN),
    ("0420", "0431", ("ModelArts cannot look at its agency (委托)", f"set it up anew: {AGENCY_PAGE}")),
    ("6301", "6327", ("a notebook is not in a state for that", "ModelArts console > Notebook (开发环境)")),
)
"""First and last number, and what all between them mean; a row of `CODES` goes before."""
STATUSES: dict[int, Row] = {
    302: (
        "something on the way (a proxy's login page?) answered in place of ModelArts",
        f"look at proxy and endpoint: {SHOW}",
    ),
    400: ("ModelArts does not take the request", f"{DRY_RUN}; {DOCTOR} looks at what it needs"),
    401: (
        "the keys or the token are not accepted",
        f"`{SHOW}` says where they are from; compare them with {KEYS_PAGE}",
    ),
    403: _RIGHTS,
    404: ("there is no such call or resource here", f"look at region, endpoint and project: {SHOW}"),
    405: ("ModelArts here knows no such call", f"look at the endpoint: {SHOW}"),
    407: ("the proxy wants a name and a password", "export LAUNCHER_PROXY=http://NAME:PASSWORD@HOST:PORT"),
    408: _FAULT,
    409: _STATE,
    413: ("the request is too large", "fewer or shorter environment variables and parameters in job.yaml"),
    429: ("too many requests at once", "wait a minute; fewer commands side by side"),
}
